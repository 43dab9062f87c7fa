// The left panel: the video, cut to its left half where it is the rendered one, and marks over it.

class Picture {
  constructor(panel, selected) {
    this.panel = panel;
    this.selected = selected;  // () => index of the person
    this.frame = panel.querySelector("#frame");
    this.video = panel.querySelector("#video");
    this.overlay = panel.querySelector("#overlay");
    this.note = panel.querySelector("#picture-note");
    this.row = 0;
    this.source = META.source.width ? [META.source.width, META.source.height] : this.extent();
    this.shape = this.source || [16, 9];  // of what is shown, width and height
    new ResizeObserver(() => this.layout()).observe(panel);
    new ResizeObserver(() => this.share()).observe(panel.parentElement);
  }

  // Without a record, the points themselves tell how large the picture must have been.
  extent() {
    let width = 0, height = 0;
    for (const { pixels } of PEOPLE) {
      for (let k = 0; k < pixels.length; k += 2) {
        if (pixels[k] > width) width = pixels[k];
        if (pixels[k + 1] > height) height = pixels[k + 1];
      }
    }
    return width && height ? [width * 1.05, height * 1.05] : null;
  }

  // Resolves to the video element, or null when there is nothing that plays.
  open() {
    const { kind, src, why } = META.video;
    if (kind === "none") {
      this.fail(this.source ? `${why}; the 2D points are drawn instead` : why);
      return Promise.resolve(null);
    }
    return new Promise((resolve) => {
      this.video.addEventListener("loadedmetadata", () => { this.fit(); resolve(this.video); }, { once: true });
      this.video.addEventListener("error", () => {
        this.fail(kind === "linked" ? `the video ${src} is not beside this page, or this browser cannot play it`
          : "this browser cannot play the video");
        resolve(null);
      }, { once: true });
      this.video.src = kind === "embedded"
        ? URL.createObjectURL(new Blob([bytesOf("video-data")], { type: META.video.type })) : src;
    });
  }

  fail(words) {
    this.failed = true;
    this.video.hidden = true;
    this.note.textContent = words;
    this.note.hidden = false;
    this.layout();
  }

  // The rendered video is the picture and, right of it, a square as high as it: that square is not needed here.
  fit() {
    const width = this.video.videoWidth, height = this.video.videoHeight;
    this.shape = [width, height];
    this.cropped = false;
    if (META.video.rendered && width > 1.3 * height) {
      const left = width - height;
      const expected = this.source ? Math.max(this.source[0] / this.source[1], 0.5) : left / height;
      this.cropped = Math.abs(left / height / expected - 1) < 0.03;
      if (this.cropped) this.shape = [left, height];
    }
    this.video.style.width = `${100 * width / this.shape[0]}%`;
    this.share();
    this.layout();
  }

  // As wide as the picture needs, between a quarter and six tenths; the 3D view takes the rest.
  share() {
    const stage = this.panel.parentElement, narrow = window.innerWidth <= 700;
    const wanted = stage.clientHeight * this.shape[0] / this.shape[1];
    const width = Math.round(Math.min(Math.max(wanted, 0.25 * stage.clientWidth), 0.6 * stage.clientWidth));
    stage.style.gridTemplateColumns = narrow ? "" : `${width}px minmax(0, 1fr)`;
  }

  layout() {
    const room = [this.panel.clientWidth, this.panel.clientHeight];
    const scale = Math.min(room[0] / this.shape[0], room[1] / this.shape[1]);
    const size = this.shape.map((side) => side * scale);
    Object.assign(this.frame.style, { width: `${size[0]}px`, height: `${size[1]}px`,
      left: `${(room[0] - size[0]) / 2}px`, top: `${(room[1] - size[1]) / 2}px` });
    const dense = window.devicePixelRatio || 1;
    this.overlay.width = Math.max(1, Math.round(size[0] * dense));
    this.overlay.height = Math.max(1, Math.round(size[1] * dense));
    this.draw(this.row);
  }

  draw(row) {
    this.row = row;
    const pen = this.overlay.getContext("2d");
    const { width, height } = this.overlay;
    pen.clearRect(0, 0, width, height);
    if (!this.source || (META.video.rendered && !this.failed && !this.cropped)) return;
    const scale = Math.min(width / this.source[0], height / this.source[1]);
    const place = [(width - scale * this.source[0]) / 2, (height - scale * this.source[1]) / 2];
    PEOPLE.forEach((person, k) => {
      const points = META.joints.map((_, j) => {
        const at = 2 * (row * JOINTS + j);
        return [person.pixels[at] * scale + place[0], person.pixels[at + 1] * scale + place[1]];
      });
      const chosen = k === this.selected();
      const bare = this.failed || !META.video.rendered;  // nothing is drawn in the picture yet
      if (bare) this.skeleton(pen, points, chosen, person.status[row]);
      if (PEOPLE.length > 1 && (bare || chosen)) this.mark(pen, points, chosen, bare ? `#${person.id}` : "");
    });
  }

  skeleton(pen, points, chosen, status) {
    pen.globalAlpha = chosen ? 1 : 0.45;
    pen.lineWidth = Math.max(2, this.overlay.height / 160);
    pen.lineCap = "round";
    pen.setLineDash(status === STATUS.interpolated ? [6, 8] : []);
    META.parents.forEach((parent, j) => {
      if (parent < 0 || Number.isNaN(points[j][0]) || Number.isNaN(points[parent][0])) return;
      pen.strokeStyle = colour(SIDES[j]);
      pen.beginPath();
      pen.moveTo(...points[parent]);
      pen.lineTo(...points[j]);
      pen.stroke();
    });
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  mark(pen, points, chosen, name) {
    const seen = points.filter((point) => !Number.isNaN(point[0]));
    if (!seen.length) return;
    const x = seen.map((point) => point[0]), y = seen.map((point) => point[1]);
    const edge = this.overlay.height / 40;
    const box = [Math.min(...x) - edge, Math.min(...y) - edge, Math.max(...x) + edge, Math.max(...y) + edge];
    pen.strokeStyle = pen.fillStyle = chosen ? "#ffffff" : "rgba(255,255,255,.45)";
    pen.lineWidth = chosen ? 2.5 : 1;
    pen.shadowColor = "rgba(0,0,0,.8)";  // seen on light pictures, too
    pen.shadowBlur = 4;
    pen.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    pen.font = `600 ${Math.max(12, this.overlay.height / 30)}px system-ui, sans-serif`;
    pen.fillText(name, box[0] + 2, Math.max(box[1] - 5, this.overlay.height / 28));
    pen.shadowBlur = 0;
  }
}
