// Joins the parts: one person, one row, one set of joints; buttons and keys that change them.

const $ = (id) => document.getElementById(id);
// Joints by pairs, as the curves show them.
const GROUPS = (() => {
  const groups = new Map();
  META.joints.forEach((name, j) => {
    const plain = SIDES[j] === "centre" ? name : name.slice(1);
    const key = SIDES[j] === "centre" && name === "Hip" ? "Hip (middle)" : plain;
    groups.set(key, [...(groups.get(key) ?? []), j]);
  });
  groups.delete("Hip (middle)");  // the origin: always 0
  for (const joints of groups.values()) joints.sort((a, b) => (SIDES[b] === "left") - (SIDES[a] === "left"));
  return groups;
})();

let person = 0, mode = "joint";
const selected = () => person;
const picture = new Picture($("picture"), selected);
const scene = new SkeletonScene($("scene"), selected, (joint) => {
  const group = [...GROUPS.keys()].find((name) => GROUPS.get(name).includes(joint));
  if (group) setJoint(group);
});
const player = new Player(null);
const charts = new Charts($("charts"), selected, (row) => player.seek(row));

function remember(key, value) {
  try { localStorage.setItem(`posefix-${key}`, value); } catch { /* a browser may forbid it for files */ }
}

function remembered(key) {
  try { return localStorage.getItem(`posefix-${key}`); } catch { return null; }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  remember("theme", name);
  scene.paint();
  if (charts.plots.length) charts.rebuild();
  drawStrip();
  picture.draw(player.row);
}

function setPerson(k) {
  person = k;
  document.querySelectorAll("#people button").forEach((button, at) => button.setAttribute("aria-pressed", at === k));
  const list = document.querySelector("#people select");
  if (list) list.value = k;
  const count = (name) => PEOPLE[k].status.reduce((sum, value) => sum + (value === STATUS[name]), 0);
  const words = META.statuses.map((name) => [count(name), name]).filter(([n, name]) => n || name === "detected");
  $("counts").textContent = `${ROWS} frames: ` + words.map(([n, name]) => `${n} ${name}`).join(", ");
  charts.rebuild();
  drawStrip();
  player.emit();
}

function setJoint(group) {
  $("joint").value = group;
  scene.chosen = GROUPS.get(group);
  setMode("joint");
}

function setMode(name) {
  mode = name;
  $("tab-joint").setAttribute("aria-pressed", name === "joint");
  $("tab-angle").setAttribute("aria-pressed", name === "angle");
  $("joint").disabled = name === "angle";
  charts.show(name, GROUPS.get($("joint").value));
  scene.draw(player.row);
}

function setHalo(on) { $("halo").checked = scene.halos = on; scene.draw(player.row); }

function setTrail(on) { $("trail").checked = scene.trail = on; scene.draw(player.row); }

// Every frame's status in one line under the slider.
function drawStrip() {
  const strip = $("strip"), width = Math.max(1, Math.round(strip.clientWidth * (window.devicePixelRatio || 1)));
  strip.width = width;
  strip.height = 6;
  const pen = strip.getContext("2d");
  META.statuses.forEach((name, value) => {
    pen.fillStyle = colour(name);
    for (const [first, last] of stretches((row) => PEOPLE[person].status[row] === value)) {
      const from = first / ROWS * width;
      pen.fillRect(from, 0, Math.max((last + 1) / ROWS * width - from, 1), 6);  // one lost frame shows, too
    }
  });
}

function showRow(row) {
  $("frame-number").textContent = `frame ${FRAMES[row]}`;
  $("clock").textContent = `${TIMES[row].toFixed(3)} s of ${TIMES[ROWS - 1].toFixed(2)} s`;
  $("scrub").value = row;
  const name = META.statuses[PEOPLE[person].status[row]];
  $("status").textContent = name;
  $("status-dot").style.background = `var(--${name})`;
  $("play").querySelector("path").setAttribute("d", player.playing ? "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z" : "M4 2.5v11l9-5.5z");
  $("play").setAttribute("aria-label", player.playing ? "pause" : "play");
  picture.draw(row);
  scene.draw(row);
  charts.mark(row);
}

function step(by) {
  player.pause();
  player.seek(player.row + by);
}

function changeSpeed(by) {
  const list = $("speed"), at = list.selectedIndex + by;
  if (at < 0 || at >= list.options.length) return;
  list.selectedIndex = at;
  player.setSpeed(Number(list.value));
}

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => step(-ROWS),
  End: () => step(ROWS),
  ArrowUp: () => changeSpeed(1),
  ArrowDown: () => changeSpeed(-1),
  p: () => setPerson((person + 1) % PEOPLE.length),
  a: () => setMode(mode === "angle" ? "joint" : "angle"),
  j: () => { const names = [...GROUPS.keys()]; setJoint(names[(names.indexOf($("joint").value) + 1) % names.length]); },
  1: () => scene.view("camera"), 2: () => scene.view("side"), 3: () => scene.view("top"), 4: () => scene.view("corner"),
  u: () => setHalo(!scene.halos),
  w: () => setTrail(!scene.trail),
  t: () => setTheme(document.documentElement.dataset.theme === "light" ? "dark" : "light"),
  "?": () => $("help").showModal(),
};

function wire() {
  $("play").onclick = () => player.toggle();
  $("back").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  $("scrub").max = ROWS - 1;
  $("scrub").oninput = (event) => { player.pause(); player.seek(Number(event.target.value)); };
  $("speed").onchange = (event) => player.setSpeed(Number(event.target.value));
  $("theme").onclick = KEYS.t;
  $("help-open").onclick = KEYS["?"];
  $("halo").onchange = (event) => setHalo(event.target.checked);
  $("trail").onchange = (event) => setTrail(event.target.checked);
  $("tab-joint").onclick = () => setMode("joint");
  $("tab-angle").onclick = () => setMode("angle");
  $("joint").append(...[...GROUPS.keys()].map((name) => new Option(name, name)));
  $("joint").onchange = (event) => setJoint(event.target.value);
  document.querySelectorAll("[data-view]").forEach((button) => { button.onclick = () => scene.view(button.dataset.view); });
  if (PEOPLE.length > 5) {
    const list = document.createElement("select");
    list.append(...PEOPLE.map(({ id }, k) => new Option(`person ${id}`, k)));
    list.onchange = () => setPerson(Number(list.value));
    $("people").append(list);
  } else if (PEOPLE.length > 1) {
    PEOPLE.forEach(({ id }, k) => {
      const button = document.createElement("button");
      button.textContent = `person ${id}`;
      button.onclick = () => setPerson(k);
      $("people").append(button);
    });
  }
  document.addEventListener("keydown", (event) => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || $("help").open || event.target.tagName === "SELECT") return;
    event.preventDefault();
    act(event);
  });
  new ResizeObserver(drawStrip).observe($("strip"));
}

$("about").textContent = META.about;
wire();
player.listen(showRow);
document.documentElement.dataset.theme = remembered("theme")
  ?? (window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
scene.paint();
setJoint(GROUPS.has("Knee") ? "Knee" : [...GROUPS.keys()][0]);
setPerson(META.first_person);
picture.open().then((video) => {
  if (!video) return;
  player.video = video;
  player.follow(video);
  video.addEventListener("error", () => { player.dropVideo(); picture.fail("the video stopped: it may be damaged"); });
  player.seek(player.row);
}).finally(() => { document.documentElement.dataset.ready = "yes"; });
