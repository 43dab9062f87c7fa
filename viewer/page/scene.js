// The right panel: skeletons in three.js. CSV axes (x right, y down, z away) become x right, y up, z near.

const SPACING_M = 1.15;
const TRAIL_S = 1, FEW = 4;
const VIEWS = { camera: [0, 0.02, 1], side: [1, 0.02, 0.0001], top: [0, 1, 0.0001], corner: [0.62, 0.36, 0.85] };

class SkeletonScene {
  constructor(panel, selected, onPick) {
    this.panel = panel;
    this.selected = selected;
    this.canvas = panel.querySelector("#canvas3d");
    this.note = panel.querySelector("#scene-note");
    this.halos = this.trail = true;
    this.chosen = [];  // joints whose way is drawn
    this.row = 0;
    try {
      this.renderer = new THREE.WebGLRenderer({ canvas: this.canvas, antialias: true });
    } catch {
      this.say("the 3D view needs WebGL, which this browser does not offer; video and curves work without");
      return;
    }
    this.build();
    this.pick(onPick);
    new ResizeObserver(() => this.resize()).observe(panel);
  }

  say(words) {
    this.note.textContent = words;
    this.note.hidden = !words;
  }

  build() {
    this.scene = new THREE.Scene();
    this.eye = new THREE.PerspectiveCamera(35, 1, 0.05, 100);
    this.controls = new THREE.OrbitControls(this.eye, this.canvas);
    this.controls.addEventListener("change", () => this.request());
    this.controls.addEventListener("start", () => { this.named = null; });
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8890a0, 2.2));
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(1, 3, 2.5);
    this.scene.add(sun);
    this.ball = new THREE.SphereGeometry(1, 20, 14);
    this.rod = new THREE.CylinderGeometry(1, 1, 1, 14);
    this.groundY = -META.ground_m;
    this.places = this.sideBySide();
    this.bodies = PEOPLE.map((_, k) => this.body(k));
    this.way = new THREE.LineSegments(new THREE.BufferGeometry(),
      new THREE.LineBasicMaterial({ vertexColors: true, transparent: true, opacity: 0.9 }));
    this.way.frustumCulled = false;
    this.scene.add(this.way);
    this.paint();
    this.view("corner");
  }

  // Everybody is relative to their own hip: stand them next to each other, in the order of the picture. Of many, those
  // who are never there together share a place.
  sideBySide() {
    if (PEOPLE.length > FEW) return this.shared();
    const middles = PEOPLE.map(({ pixels }) => {
      const x = [];
      for (let row = 0; row < ROWS; row++) {
        const value = pixels[2 * row * JOINTS];
        if (!Number.isNaN(value)) x.push(value);
      }
      return x.sort((a, b) => a - b)[x.length >> 1] ?? 0;
    });
    const order = PEOPLE.map((_, k) => k).sort((a, b) => middles[a] - middles[b] || a - b);
    return PEOPLE.map((_, k) => (order.indexOf(k) - (PEOPLE.length - 1) / 2) * SPACING_M);
  }

  shared() {
    const taken = [];  // per place: the last row of whoever stands there
    const slots = PEOPLE.map(({ status }) => {
      const rows = stretches((row) => status[row] < STATUS.missing);
      if (!rows.length) return 0;
      let slot = taken.findIndex((last) => last < rows[0][0]);
      if (slot < 0) slot = taken.length;
      taken[slot] = rows[rows.length - 1][1];
      return slot;
    });
    return slots.map((slot) => (slot - (taken.length - 1) / 2) * SPACING_M);
  }

  body(k) {
    const group = new THREE.Group();
    group.position.x = this.places[k];
    const skins = {}, halos = {};
    for (const side of ["left", "right", "centre"]) {
      skins[side] = new THREE.MeshLambertMaterial({ transparent: true });
      halos[side] = new THREE.MeshBasicMaterial({ transparent: true, opacity: 0.2, depthWrite: false });
    }
    const mesh = (shape, skin) => {
      const made = new THREE.Mesh(shape, skin);
      group.add(made);
      return made;
    };
    const joints = SIDES.map((side) => mesh(this.ball, skins[side]));
    const spread = SIDES.map((side) => mesh(this.ball, halos[side]));
    const limbs = META.parents.map((parent, j) => parent < 0 ? null : mesh(this.rod, skins[SIDES[j]]));
    const shade = new THREE.MeshBasicMaterial({ color: 0x000000, transparent: true, opacity: 0.13, depthWrite: false });
    const shadow = new THREE.Mesh(new THREE.CircleGeometry(0.3, 40), shade);
    shadow.rotation.x = -Math.PI / 2;
    shadow.position.y = this.groundY + 0.002;
    group.add(shadow);
    this.scene.add(group);
    return { group, skins, halos, joints, spread, limbs, shadow };
  }

  // Colours of the theme.
  paint() {
    if (!this.scene) return;
    this.scene.background = new THREE.Color(colour("panel"));
    for (const body of this.bodies) {
      for (const side of ["left", "right", "centre"]) {
        body.skins[side].color.set(colour(side));
        body.halos[side].color.set(colour(side));
      }
    }
    if (this.grid) this.scene.remove(this.grid);
    const size = Math.max(3, Math.ceil(this.width() + SPACING_M + 2));
    this.grid = new THREE.GridHelper(size, size * 4, colour("cross"), colour("ground"));
    this.grid.position.y = this.groundY;
    this.scene.add(this.grid);
    this.draw(this.row);
  }

  view(name) {
    if (!this.scene) return;
    this.named = name;
    const target = new THREE.Vector3(0, 0.52 * this.groundY + 0.38 * META.height_m - 0.3, 0);
    const away = (2.05 * META.height_m + 0.75 * this.width()) * Math.max(1, 0.8 / this.aspect());
    this.eye.position.set(...VIEWS[name]).normalize().multiplyScalar(away).add(target);
    this.controls.target.copy(target);
    this.controls.update();
    this.request();
  }

  width() { return Math.max(...this.places) - Math.min(...this.places); }

  aspect() { return Math.max(0.2, this.panel.clientWidth / Math.max(1, this.panel.clientHeight)); }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.panel;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.renderer.setSize(width, height, false);
    this.eye.aspect = width / height;
    this.eye.updateProjectionMatrix();
    if (this.named) this.view(this.named);  // nobody has turned it yet: fit it to the new size
    this.render();  // at once: a resized canvas is blank
  }

  // Drawn when something has changed, not sixty times a second.
  request() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.render());
  }

  render() {
    this.asked = false;
    this.renderer.render(this.scene, this.eye);
  }

  point(person, row, j) {
    const at = 3 * (row * JOINTS + j), { joints } = person;
    return new THREE.Vector3(joints[at], -joints[at + 1], -joints[at + 2]);
  }

  draw(row) {
    this.row = row;
    const status = PEOPLE[this.selected()].status[row];
    if (!this.scene) return;
    PEOPLE.forEach((person, k) => this.pose(person, this.bodies[k], row, k === this.selected()));
    this.drawTrail();
    const words = { [STATUS.missing]: "not seen in this frame", [STATUS.absent]: "no row for this frame" };
    this.say(words[status] ?? (hasPose(PEOPLE[this.selected()], row)
      ? (status === STATUS.interpolated ? "interpolated" : "") : "seen, but without 3D: both hips are hidden"));
    this.request();
  }

  pose(person, body, row, chosen) {
    body.group.visible = hasPose(person, row);
    if (!body.group.visible) return;
    const opacity = (chosen ? 1 : 0.38) * (person.status[row] === STATUS.interpolated ? 0.45 : 1);
    for (const side of ["left", "right", "centre"]) body.skins[side].opacity = opacity;
    const points = META.joints.map((_, j) => this.point(person, row, j));
    const up = new THREE.Vector3(0, 1, 0);
    points.forEach((point, j) => {
      const known = !Number.isNaN(point.x), spread = person.std[row * JOINTS + j];
      body.joints[j].visible = known;
      body.spread[j].visible = known && chosen && this.halos && spread > 0;
      const limb = body.limbs[j], start = points[META.parents[j]];
      if (limb) limb.visible = known && !Number.isNaN(start.x);
      if (!known) return;
      body.joints[j].position.copy(point);
      body.joints[j].scale.setScalar(this.chosen.includes(j) && chosen ? 0.034 : 0.024);
      body.spread[j].position.copy(point);
      body.spread[j].scale.setScalar(Math.max(spread || 0, 1e-4));
      if (!limb || !limb.visible) return;
      const along = new THREE.Vector3().subVectors(point, start), length = along.length();
      limb.position.addVectors(start, point).multiplyScalar(0.5);
      limb.scale.set(0.017, length, 0.017);
      if (length > 1e-6) limb.quaternion.setFromUnitVectors(up, along.divideScalar(length));
    });
  }

  drawTrail() {
    const places = [], colours = [], person = PEOPLE[this.selected()];
    if (this.trail && hasPose(person, this.row)) {
      const first = rowAt(TIMES[this.row] - TRAIL_S), paper = new THREE.Color(colour("panel"));
      for (const j of this.chosen) {
        const ink = new THREE.Color(colour(SIDES[j]));
        for (let row = first; row < this.row; row++) {
          const a = this.point(person, row, j), b = this.point(person, row + 1, j);
          if (Number.isNaN(a.x) || Number.isNaN(b.x)) continue;
          places.push(...a.toArray(), ...b.toArray());
          for (const at of [row, row + 1]) {
            const share = Math.max(0, 1 - (TIMES[this.row] - TIMES[at]) / TRAIL_S);
            colours.push(...paper.clone().lerp(ink, 0.15 + 0.85 * share).toArray());
          }
        }
      }
    }
    this.way.position.x = this.places[this.selected()];
    this.way.geometry.dispose();
    this.way.geometry = new THREE.BufferGeometry();
    this.way.geometry.setAttribute("position", new THREE.Float32BufferAttribute(places, 3));
    this.way.geometry.setAttribute("color", new THREE.Float32BufferAttribute(colours, 3));
  }

  // A click that does not drag takes the nearest joint of the chosen person.
  pick(onPick) {
    let down = null;
    this.canvas.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; });
    this.canvas.addEventListener("pointerup", (event) => {
      if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
      const box = this.canvas.getBoundingClientRect(), person = PEOPLE[this.selected()];
      let best = 16, joint = -1;
      META.joints.forEach((_, j) => {
        const point = this.point(person, this.row, j);
        if (Number.isNaN(point.x)) return;
        point.x += this.places[this.selected()];
        point.project(this.eye);
        const away = Math.hypot(box.left + (point.x + 1) / 2 * box.width - event.clientX,
          box.top + (1 - point.y) / 2 * box.height - event.clientY);
        if (away < best) [best, joint] = [away, j];
      });
      if (joint >= 0) onPick(joint);
    });
  }
}
