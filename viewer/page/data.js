// What Python wrote into the page: a JSON head, and one block of little-endian numbers.

function bytesOf(id) {
  const element = document.getElementById(id);
  const text = element.textContent.trim();
  element.remove();  // the text would stay in memory beside the bytes
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const step = 1 << 20;  // a multiple of four: every piece is base64 of its own
  const pieces = [];
  for (let at = 0; at < text.length; at += step) {
    const piece = atob(text.slice(at, at + step));
    const bytes = new Uint8Array(piece.length);
    for (let k = 0; k < piece.length; k++) bytes[k] = piece.charCodeAt(k);
    pieces.push(bytes);
  }
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let end = 0;
  for (const piece of pieces) { whole.set(piece, end); end += piece.length; }
  return whole;
}

const META = JSON.parse(document.getElementById("meta").textContent);
const ARRAYS = (() => {
  const { buffer, byteOffset } = bytesOf("data");
  const kinds = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u1: Uint8Array };
  const found = {};
  for (const [name, { dtype, shape, offset }] of Object.entries(META.arrays)) {
    found[name] = new kinds[dtype](buffer, byteOffset + offset, shape.reduce((a, b) => a * b, 1));
  }
  return found;
})();

const TIMES = ARRAYS.times, FRAMES = ARRAYS.frames, ROWS = TIMES.length, JOINTS = META.joints.length;
// Row-major, as numpy has them: joints (T, 17, 3), std (T, 17), speed (T, 17), pixels (T, 17, 2), angles (8, 2, T).
const PEOPLE = META.people.map((id) => {
  const array = (name) => ARRAYS[`${id}/${name}`];
  return { id, status: array("status"), joints: array("joints"), std: array("std"), speed: array("speed"),
    pixels: array("pixels"), angles: array("angles") };
});
const STATUS = Object.fromEntries(META.statuses.map((name, k) => [name, k]));
const SIDES = META.joints.map((_, j) => META.left.includes(j) ? "left" : META.right.includes(j) ? "right" : "centre");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// The last row at or before a time.
function rowAt(seconds) {
  let low = 0, high = ROWS - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (TIMES[middle] <= seconds) low = middle; else high = middle - 1;
  }
  return low;
}

// Stretches of rows that hold: [first, last] pairs.
function stretches(holds) {
  const found = [];
  for (let row = 0; row < ROWS; row++) {
    if (!holds(row)) continue;
    if (found.length && found[found.length - 1][1] === row - 1) found[found.length - 1][1] = row;
    else found.push([row, row]);
  }
  return found;
}

function hasPose(person, row) {
  const from = row * JOINTS * 3, to = from + JOINTS * 3;
  for (let k = from; k < to; k++) if (!Number.isNaN(person.joints[k])) return true;
  return false;
}
