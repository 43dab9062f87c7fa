"""One HTML file that holds everything: data, video, libraries. It opens by a double click and asks no server.

The page's own files are in page/, three.js and uPlot in vendor/; here they are put together.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..skeleton.errors import InputError, OutputError
from ..skeleton.layouts import H36M17
from .kinematics import ANGLES, angles, speeds
from .motion import Motion, RunFiles, Track
from .tables import STATUSES

EMBED_LIMIT_MB = 64.0
"""Larger videos stay beside the page: as text they grow by a third, and browsers slow down."""

_CODE = ("data.js", "player.js", "picture.js", "scene.js", "charts.js", "app.js")
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
_STATURE_M = 1.75
_CHUNK = 3 << 20  # bytes of video at a time; a multiple of three, so that base64 goes on seamlessly


def write_page(
    run: RunFiles,
    motion: Motion,
    target: Path,
    video: Path | None = None,
    embed_limit_mb: float = EMBED_LIMIT_MB,
) -> bool:
    """Writes the page for one run to `target`; replaced where it exists.

    Args:
        video: another clip than the rendered one, e.g. the original; its frames are those of the CSV's times.
        embed_limit_mb: a video up to this size goes into the page, a larger one is linked to.

    Returns:
        Whether the page is whole by itself: False where it links to a video.

    Raises:
        InputError: `video` is not there. OutputError: the page cannot be written.
    """
    if video is not None and not video.is_file():
        raise InputError(f"{video}: there is no such video")
    shown = video or run.video
    start_s = _start_of_video(run, motion) if video is None else 0.0
    kind = _video(shown, start_s, video is None, target, embed_limit_mb)
    part = target.with_name(target.name + ".part")  # a stopped write leaves no half page
    try:
        with part.open("w", encoding="utf-8", newline="\n") as out:
            out.writelines(_pieces(run, motion, kind, shown))
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        hint = "choose another file with -o"
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); {hint}") from None
    return kind["kind"] != "linked"


def _pieces(run: RunFiles, motion: Motion, video: dict[str, Any], clip: Path | None) -> Iterator[str]:
    """The page, piece by piece: a video of 64 MB is never held as one text."""
    head, data = payload(run, motion, video)
    page, vendor = files("posefix.viewer") / "page", files("posefix.viewer") / "vendor"
    licences = "\n".join(
        f"<!-- {name}\n{(vendor / file).read_text(encoding='utf-8').replace('--', '- -')}-->"
        for name, file in (("three.js", "LICENSE.three.txt"), ("uPlot", "LICENSE.uplot.txt"))
    )
    code = "\n".join((page / name).read_text(encoding="utf-8") for name in _CODE)
    parts = {
        "generator": html.escape(f"posefix {_own_version()}"),
        "title": html.escape(run.name),
        "licences": licences,
        "css": _text(vendor, "uplot.min.css") + _text(page, "viewer.css"),
        "meta": json_for_html(head),
        "data": base64.b64encode(data).decode(),
        "three": _text(vendor, "three.min.js"),
        "uplot": _text(vendor, "uplot.min.js"),
        "code": f'"use strict";\n(() => {{\n{code}\n}})();',
    }
    # Names in the template only: what is put in is not looked at again.
    for k, piece in enumerate(re.split(r"<!--@(\w+)-->", _text(page, "index.html"))):
        if k % 2 == 0:
            yield piece
        elif piece != "video":
            yield parts[piece]
        elif clip is not None and video["kind"] == "embedded":
            yield from _base64(clip)


def _text(folder: Any, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _base64(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield base64.b64encode(chunk).decode()


def json_for_html(content: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever names are in it."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def payload(run: RunFiles, motion: Motion, video: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The page's data: a head for JSON, and one block of numbers that its `arrays` point into.

    Little-endian, row-major, each array at a multiple of 8 bytes: `times` f8 (T,), `frames` i4 (T,) and, for person
    P, `P/status` u1 (T,), `P/joints` f4 (T, 17, 3), `P/std`, `P/speed` f4 (T, 17), `P/pixels` f4 (T, 17, 2),
    `P/angles` f4 (8, 2, T): value and spread in degrees. Units as in the CSV.
    """
    record = run.record()
    arrays: dict[str, np.ndarray] = {
        "times": motion.times.astype("<f8"),
        "frames": motion.frames.astype("<i4"),
    }
    for track in motion.people:
        arrays |= {f"{track.id}/{name}": values for name, values in _numbers(track, motion).items()}
    places, block = {}, bytearray()
    for name, values in arrays.items():
        block += bytes(-len(block) % 8)
        dtype = values.dtype.str[1:]
        places[name] = {"dtype": dtype, "shape": list(values.shape), "offset": len(block)}
        block += values.tobytes()
    height = _number(record.get("settings"), "height") or _STATURE_M
    head = {
        "name": run.name,
        "joints": H36M17.joints,
        "parents": H36M17.parents,
        "left": H36M17.left,
        "right": H36M17.right,
        "statuses": STATUSES,
        "angles": list(ANGLES),
        "people": [track.id for track in motion.people],
        "first_person": motion.people.index(motion.person(None)),
        "source": {side: _number(record.get("source"), side) for side in ("width", "height")},
        "height_m": height,
        "ground_m": _ground(motion, height),
        "about": _about(run, record),
        "video": video,
        "arrays": places,
    }
    return head, bytes(block)


def _numbers(track: Track, motion: Motion) -> dict[str, np.ndarray]:
    bends = np.array([angles(track.joints, track.std, name) for name in ANGLES], np.float32)  # (8, 2, T)
    table = {
        "joints": track.joints,
        "std": track.std,
        "speed": speeds(track.joints, motion.times),
        "pixels": track.pixels,
        "angles": bends,
    }
    return {"status": track.status} | {name: np.ascontiguousarray(v, "<f4") for name, v in table.items()}


def _ground(motion: Motion, height_m: float) -> float:
    """How far below the hip the grid lies, metres: the lower ankle's usual place when the legs are long."""
    ankles = [H36M17.joints.index(name) for name in ("LAnkle", "RAnkle")]
    lowest = np.concatenate([track.joints[:, ankles, 1] for track in motion.people]).max(axis=1)
    lowest = lowest[np.isfinite(lowest)]
    usual = 0.93 * height_m / _STATURE_M  # as in the rendered video
    return round(float(np.percentile(lowest, 80)) + 0.03, 3) if len(lowest) else round(usual, 3)


def _start_of_video(run: RunFiles, motion: Motion) -> float:
    """When the rendered video begins: with its first row, but for damaged frames before the first that is whole."""
    told = run.record().get("video_start_s")
    if isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told < 1e9:
        return float(told)
    return float(motion.times[0])


def _video(
    path: Path | None, start_s: float, rendered: bool, target: Path, limit_mb: float
) -> dict[str, Any]:
    """What the page needs to know of the video; its first frame is at `start_s` of the CSV's times."""
    if path is None:
        return {
            "kind": "none",
            "start_s": 0.0,
            "rendered": False,
            "why": "there is no rendered video in the folder",
        }
    about = {"start_s": start_s, "rendered": rendered}
    if path.stat().st_size <= limit_mb * 1e6:
        return {"kind": "embedded", "type": _TYPES.get(path.suffix.lower(), "video/mp4"), **about}
    try:
        link = quote(Path(os.path.relpath(path.resolve(), target.resolve().parent)).as_posix())
    except ValueError:  # another drive
        link = path.resolve().as_uri()
    return {"kind": "linked", "src": link, **about}


def _about(run: RunFiles, record: dict[str, Any]) -> str:
    """One line on where the numbers come from."""
    settings, detector = _table(record.get("settings")), _table(record.get("detector"))
    words = [run.csv_3d.name]
    if record.get("posefix"):
        words.append(f"posefix {record['posefix']}")
    if detector.get("name"):
        words.append(f"2D: {detector['name']}")
    if settings.get("refine") is False:
        words.append("not refined: no J_std")
    elif settings.get("hypotheses"):
        words.append(f"{settings['hypotheses']} hypotheses")
    if settings.get("height"):
        words.append(f"stature {settings['height']} m")
    if record.get("interrupted") or record.get("error"):
        words.append("the run was stopped early")
    return " · ".join(str(word) for word in words)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(table: Any, key: str) -> float | None:
    value = _table(table).get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        return None
    return float(value)


def _own_version() -> str:
    try:
        return version("posefix")
    except PackageNotFoundError:
        return "from source"
