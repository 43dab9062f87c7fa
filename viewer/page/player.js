// One clock for all: the video's where there is one, else its own. Everything else listens to rows.

class Player {
  constructor(video) {
    this.video = video;  // null: none, or it cannot be played
    this.row = 0;
    this.last = ROWS - 1;  // that playing leads to: the video may end before the rows do
    this.playing = false;
    this.speed = 1;
    this.listeners = [];
    this.shown = null;  // media time of the picture on screen, where the browser tells
    this.tick = this.tick.bind(this);
    if (video) this.follow(video);
  }

  follow(video) {
    video.addEventListener("ended", () => {
      // A slow machine leaves out pictures, the last ones too.
      this.row = this.last = rowAt(video.currentTime + META.video.start_s + 0.001);
      this.pause();
    });
    if (!video.requestVideoFrameCallback) return;
    const note = (_, picture) => {
      this.shown = picture.mediaTime;
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  }

  dropVideo() {
    this.video = null;
    this.last = ROWS - 1;
    if (this.playing) this.startClock();
  }

  listen(listener) { this.listeners.push(listener); }

  emit() { for (const listener of this.listeners) listener(this.row); }

  // Into the middle of the frame's time on screen, where no rounding leads to its neighbour.
  mediaTime(row) {
    const start = TIMES[row] - META.video.start_s;
    const stay = row + 1 < ROWS ? TIMES[row + 1] - TIMES[row] : 0.01;
    return Math.max(0, start + Math.min(stay, 0.1) / 2);
  }

  seek(row) {
    this.row = Math.max(0, Math.min(ROWS - 1, Math.round(row)));
    if (this.video) {
      this.shown = null;
      this.video.currentTime = this.mediaTime(this.row);
    }
    if (this.playing) this.startClock();
    this.emit();
  }

  startClock() {
    this.origin = { now: performance.now(), time: TIMES[this.row] };
  }

  play() {
    if (this.playing) return;
    if (this.row >= this.last) this.seek(0);
    this.playing = true;
    this.startClock();
    if (this.video) {
      this.video.playbackRate = this.speed;
      // Aborted: by a pause that came at once.
      this.video.play().catch((error) => { if (error.name !== "AbortError") this.pause(); });
    }
    requestAnimationFrame(this.tick);
    this.emit();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    if (this.video) {
      this.video.pause();
      this.seek(this.row);  // the picture may be one further than the row
    } else this.emit();
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  setSpeed(speed) {
    this.speed = speed;
    if (this.video) this.video.playbackRate = speed;
    this.startClock();
    this.emit();
  }

  now() {
    if (!this.video) return this.origin.time + (performance.now() - this.origin.now) / 1000 * this.speed;
    if (this.video.seeking) return TIMES[this.row];
    const media = this.shown === null ? this.video.currentTime : this.shown;
    return media + META.video.start_s + 0.001;  // times in the file are rounded
  }

  tick() {
    if (!this.playing) return;
    const row = rowAt(this.now());
    if (row !== this.row) {
      this.row = row;
      this.emit();
    }
    if (row >= ROWS - 1) this.pause();
    else requestAnimationFrame(this.tick);
  }
}
