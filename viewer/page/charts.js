// The curves: four small uPlots of one joint (x, y, z, speed) or of four angles, left and right in each.

const LONG_S = 40, STRETCH_S = 20;

class Charts {
  constructor(holder, selected, onSeek) {
    this.holder = holder;
    this.selected = selected;
    this.onSeek = onSeek;
    this.mode = "joint";
    this.row = 0;
    this.plots = [];
    // [from, to] seconds, null for the whole clip; a long one begins with its first stretch
    this.zoom = TIMES[ROWS - 1] - TIMES[0] > LONG_S ? [TIMES[0], TIMES[0] + STRETCH_S] : null;
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(holder);
  }

  // What to draw: one entry per chart, with a curve per side.
  wanted() {
    const person = PEOPLE[this.selected()];
    if (this.mode === "angle") {
      return ["Knee", "Hip", "Elbow", "Shoulder"].map((name) => ({
        title: `${name} flexion`, unit: "°", digits: 0,
        curves: ["L", "R"].map((letter) => {
          const from = 2 * META.angles.indexOf(letter + name) * ROWS;
          return { side: letter === "L" ? "left" : "right", value: (row) => person.angles[from + row],
            spread: (row) => person.angles[from + ROWS + row] };
        }),
      }));
    }
    const curves = (value, spread) => this.joints.map((j) => ({
      side: SIDES[j], value: (row) => value(row * JOINTS + j), spread: (row) => spread(row * JOINTS + j) }));
    const axes = [["x (right)", 1], ["y (down)", -1], ["z (away)", 1]];
    return [
      ...axes.map(([title, dir], k) => ({ title, unit: " m", digits: 2, dir,
        curves: curves((at) => person.joints[3 * at + k], (at) => person.std[at]) })),
      { title: "speed", unit: " m/s", digits: 2, floor: 0,
        curves: curves((at) => person.speed[at], () => NaN) },
    ];
  }

  show(mode, joints) {
    this.mode = mode;
    this.joints = joints;
    this.rebuild();
  }

  rebuild() {
    for (const { plot } of this.plots) plot.destroy();
    this.holder.replaceChildren();
    const person = PEOPLE[this.selected()];
    this.gaps = stretches((row) => person.status[row] >= STATUS.missing);
    this.pale = stretches((row) => person.status[row] === STATUS.interpolated);
    this.plots = this.wanted().map((chart) => this.make(chart));
    if (this.zoom) this.zoomAll(...this.zoom);
    this.mark(this.row);
  }

  make(chart) {
    const box = document.createElement("div");
    box.className = "chart";
    box.innerHTML = '<div class="title"><span class="name"></span><span class="values"></span></div><div class="plot"></div>';
    box.querySelector(".name").textContent = chart.title + (chart.unit === "°" ? " [°]" : ` [${chart.unit.trim()}]`);
    this.holder.append(box);
    const holder = box.querySelector(".plot");
    const plot = new uPlot(this.options(chart, holder), this.columns(chart), holder);
    const playhead = document.createElement("div");
    playhead.className = "playhead";
    plot.over.append(playhead);
    plot.over.addEventListener("wheel", (event) => this.wheel(plot, event), { passive: false });
    let down = 0;
    plot.over.addEventListener("mousedown", (event) => { down = event.clientX; });
    plot.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - down) < 4) this.onSeek(this.nearest(plot.posToVal(event.offsetX, "x")));
    });
    return { chart, box, holder, plot, playhead };
  }

  nearest(seconds) {
    const row = rowAt(seconds);
    return row + 1 < ROWS && TIMES[row + 1] - seconds < seconds - TIMES[row] ? row + 1 : row;
  }

  // uPlot wants null where there is nothing; three columns a curve: value, lower and upper edge of the band.
  columns(chart) {
    const known = (value) => Number.isFinite(value) ? value : null;
    const columns = [Array.from(TIMES)];
    for (const { value, spread } of chart.curves) {
      const middle = [], low = [], high = [];
      for (let row = 0; row < ROWS; row++) {
        const v = value(row), s = spread(row);
        middle.push(known(v));
        low.push(known(v - s));
        high.push(known(v + s));
      }
      columns.push(middle, low, high);
    }
    return columns;
  }

  options(chart, holder) {
    const series = [{}], bands = [];
    chart.curves.forEach(({ side }) => {
      const at = series.length, edge = { stroke: "transparent", width: 0, points: { show: false } };
      series.push({ stroke: colour(side), width: 1.75, spanGaps: false }, edge, edge);
      bands.push({ series: [at + 2, at + 1], fill: this.pale_(colour(side)) });
    });
    const axis = { stroke: colour("quiet"), font: "11px system-ui, sans-serif", grid: { stroke: colour("grid"), width: 1 },
      ticks: { show: false }, gap: 3 };
    return {
      width: Math.max(60, holder.clientWidth), height: Math.max(60, holder.clientHeight), series, bands,
      legend: { show: false },
      scales: { x: { time: false }, y: { dir: chart.dir ?? 1, range: (_, low, high) => this.range(low, high, chart) } },
      axes: [{ ...axis, size: 22, space: 48 }, { ...axis, size: 44, space: 26 }],
      cursor: { drag: { x: true, y: false, setScale: true }, points: { show: false }, y: false,
        sync: { key: "curves", setSeries: false } },
      hooks: {
        drawClear: [(plot) => this.shade(plot)],
        setScale: [(plot, key) => { if (key === "x") this.zoomed(plot); }],
      },
    };
  }

  pale_(ink) { return `color-mix(in srgb, ${ink} 24%, transparent)`; }

  range(low, high, chart) {
    if (low === null || !Number.isFinite(low)) return [0, 1];
    const least = chart.unit === "°" ? 20 : chart.unit === " m" ? 0.1 : 0.2;
    const extra = Math.max(0.06 * (high - low), (least - (high - low)) / 2, 0);
    return [chart.floor ?? low - extra, high + extra];
  }

  // Where the person was not seen: grey. Interpolated: half as grey.
  shade(plot) {
    const pen = plot.ctx, { left, top, width, height } = plot.bbox;
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    for (const [rows, strength] of [[this.gaps, 1], [this.pale, 0.5]]) {
      pen.globalAlpha = strength;
      pen.fillStyle = colour("gap");
      for (const [first, last] of rows) {
        const from = plot.valToPos(TIMES[first], "x", true);
        const to = plot.valToPos(TIMES[Math.min(last + 1, ROWS - 1)], "x", true);
        pen.fillRect(from, top, Math.max(to - from, 1), height);
      }
    }
    pen.restore();
  }

  zoomed(plot) {
    const { min, max } = plot.scales.x;
    if (this.zooming || min === null) return;
    this.zoom = min <= TIMES[0] && max >= TIMES[ROWS - 1] ? null : [min, max];
    this.zoomAll(min, max, plot);
    // Plots tell about their first scale before they are in the list.
    this.mark(this.row);
  }

  wheel(plot, event) {
    event.preventDefault();
    const { min, max } = plot.scales.x, at = plot.posToVal(event.offsetX, "x");
    const factor = Math.exp(Math.sign(event.deltaY) * 0.2);
    const from = Math.max(TIMES[0], at - (at - min) * factor), to = Math.min(TIMES[ROWS - 1], at + (max - at) * factor);
    if (to - from > 0.1) plot.setScale("x", { min: from, max: to });
  }

  // A stretch goes on with the playhead: like turning a page.
  follow(seconds) {
    if (!this.zoom || !this.plots.length) return;
    const [from, to] = this.zoom, width = to - from;
    if (seconds >= from && seconds <= to) return;
    const start = Math.max(TIMES[0], Math.min(seconds - 0.05 * width, TIMES[ROWS - 1] - width));
    this.zoom = [start, start + width];
    this.zoomAll(...this.zoom);
  }

  zoomAll(min, max, except) {
    this.zooming = true;
    for (const { plot } of this.plots) if (plot !== except) plot.setScale("x", { min, max });
    this.zooming = false;
  }

  resize() {
    for (const { plot, holder } of this.plots) {
      plot.setSize({ width: Math.max(60, holder.clientWidth), height: Math.max(60, holder.clientHeight) });
    }
    this.mark(this.row);
  }

  // Playhead and values; nothing is redrawn.
  mark(row) {
    if (row !== this.row) this.follow(TIMES[row]);
    this.row = row;
    for (const { chart, box, plot, playhead } of this.plots) {
      const at = plot.valToPos(TIMES[row], "x");
      playhead.style.transform = `translateX(${at}px)`;
      playhead.hidden = !(at >= -1 && at <= plot.over.clientWidth + 1);
      box.querySelector(".values").replaceChildren(...chart.curves.flatMap((curve) => [this.words(chart, curve, row), " "]));
    }
  }

  words(chart, { side, value, spread }, row) {
    const made = document.createElement("span"), v = value(row), s = spread(row);
    made.className = side;
    const letter = { left: "L ", right: "R ", centre: "" }[side];
    const number = (n) => n.toFixed(chart.digits).replace(/^-(?=[0.]+$)/, "");  // no -0
    const sign = Number.isFinite(s) ? ` ±${number(s)}` : "";
    made.textContent = letter + (Number.isFinite(v) ? number(v) + sign : "–");
    return made;
  }
}
