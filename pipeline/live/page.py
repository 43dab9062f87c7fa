"""The page of `posefix webcam --serve`."""

from __future__ import annotations

import html

from .controls import KEYS

_STYLE = """
:root { color-scheme: dark; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: #16181c; color: #dfe3e8;
       font: 15px/1.4 system-ui, sans-serif; }
main { flex: 1; display: flex; align-items: center; justify-content: center; padding: 12px; min-height: 0; }
img { max-width: 100%; max-height: calc(100vh - 92px); border-radius: 6px; background: #000; }
footer { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; justify-content: center; padding: 0 12px 14px; }
button { font: inherit; color: inherit; background: #272b31; border: 1px solid #3a4048; border-radius: 6px;
         padding: 7px 13px; cursor: pointer; }
button:hover { background: #323840; }
button[aria-pressed="true"] { background: #2f5d86; border-color: #4f86b6; }
button[data-key="r"][aria-pressed="true"] { background: #a12a2a; border-color: #d25a5a; }
kbd { opacity: .65; font: 13px ui-monospace, monospace; margin-left: 5px; }
#figures { min-width: 15em; text-align: center; opacity: .8; font-variant-numeric: tabular-nums; }
"""

_SCRIPT = """
const token = new URLSearchParams(location.search).get("token");
const path = (name, more = {}) =>
  name + "?" + new URLSearchParams(token ? { ...more, token } : more);
const names = { r: "record", p: "paused", m: "mirror", f: "refine", h: "help" };
const picture = document.querySelector("img"), figures = document.querySelector("#figures");
let ended = false;
function show(state) {
  for (const button of document.querySelectorAll("button"))
    if (names[button.dataset.key])
      button.setAttribute("aria-pressed", String(state[names[button.dataset.key]]));
  figures.textContent = `${state.fps.toFixed(1)} frames/s · ${state.latency_ms} ms`;
  if (state.quit) end("ended");
}
function end(words) { ended = true; figures.textContent = words; }
async function press(key) {
  try {
    const answer = await fetch(path("/key", { key }), { method: "POST" });
    if (answer.ok) show(await answer.json());
  } catch { if (key === "q") end("ended"); }
}
async function look() {
  if (ended) return;
  try {
    const answer = await fetch(path("/state"));
    if (answer.ok) show(await answer.json());
    setTimeout(look, 500);
  } catch { end("posefix has ended"); }
}
for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", () => { press(button.dataset.key); button.blur(); });
const arrows = { ArrowLeft: "[", ArrowRight: "]", Escape: "q", " ": "p" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && !event.key.startsWith("Arrow")) return;
  const key = arrows[event.key] || event.key;
  if (document.querySelector(`button[data-key="${CSS.escape(key)}"]`)) { event.preventDefault(); press(key); }
});
picture.src = path("/stream.mjpg");
look();
"""


def page() -> str:
    """The whole page, HTML."""
    buttons = "\n".join(
        f'<button data-key="{html.escape(key)}">{what}<kbd>{html.escape(key)}</kbd></button>'
        for key, what in KEYS.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>posefix</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main><img alt="the camera's picture with the 2D skeleton, and the 3D skeleton beside it"></main>
<footer>
{buttons}
<span id="figures"></span>
</footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""
