"""TRC marker files (OpenSim, Pose2Sim, Sports2D): 3D of named markers.

Five lines of header (rate, frames, markers and unit in the third; names in the fourth), then a line a frame, tabs
between: number, time, x, y, z of each marker. Axes of OpenSim: y up, right handed. The nominal camera stands on the
side of +z and looks along -z: x_cam = x, y_cam = -y, z_cam = -z. Empty, NaN and (0, 0, 0) markers are unobserved.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...skeleton import H36M17, get_layout
from ...skeleton.convert import TO_H36M17
from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import Array, ReadOptions, bounded, nominal_2d, to_17

_METRES = {"m": 1.0, "meters": 1.0, "metres": 1.0, "cm": 0.01, "mm": 0.001}
_LIMBS = [side + joint for side in "LR" for joint in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]
_ORDER = ("halpe26", "h36m17", "body25", "blazepose33", "coco17")  # that with most of the 17 first


def is_trc(start: str) -> bool:
    return start.startswith("PathFileType")


def from_trc(path: Path, options: ReadOptions) -> KeypointClip:
    """Reads the markers that are named like joints.

    Raises:
        InputError: no TRC file, an unknown unit, no joints among the markers, or rows that do not fit the header.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({(error.strerror or 'error').lower()})") from None
    if len(lines) < 6:
        raise InputError(f"{path}: has {len(lines)} lines, a TRC file has five of header and one a frame")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    unit = header.get("Units", "").strip().lower()
    if unit not in _METRES:
        raise InputError(f"{path}: units {unit or 'not given'}; expected one of {', '.join(_METRES)}")
    names = [name.strip() for name in lines[3].split("\t")[2:] if name.strip()]
    table = _rows(lines[5:], len(names), path)
    claimed = header.get("NumFrames", "").strip()
    if claimed.isdecimal() and int(claimed) != len(table):
        raise InputError(
            f"{path}: its header says {claimed} frames, {len(table)} are there; was it cut short?"
        )
    layout, columns = _columns(names, options.layout, path)
    markers = table[:, 2:].reshape(len(table), len(names), 3) * _METRES[unit]  # (T, markers, 3)
    markers[(markers == 0).all(axis=2)] = np.nan
    points = np.full((len(table), len(columns), 3), np.nan)
    there = [k for k, column in enumerate(columns) if column is not None]
    points[:, there] = markers[:, [c for c in columns if c is not None]] * [1.0, -1.0, -1.0]
    frames: dict[int, list[Sight]] = {}
    for t, pose in enumerate(points):
        joints = to_17(pose, layout)
        keypoints, known = nominal_2d(joints)
        if known.any():
            frames[t] = [Sight(keypoints, known, joints)]
    if not frames:
        raise InputError(f"{path}: holds nobody: no marker of a hip in any frame")
    times = {t: float(row[1]) for t, row in enumerate(table)}
    rate = header.get("DataRate", "")
    return KeypointClip("trc", H36M17.name, frames, len(table), times, _float(rate), nominal=True)


def _float(text: str) -> float | None:
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if 0 < rate < np.inf else None


def _rows(lines: list[str], markers: int, path: Path) -> Array:
    """(T, 2 + 3 markers): number, time and coordinates; NaN where a cell is empty."""
    rows = []
    for number, line in enumerate(lines, 6):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        cells = cells[: 2 + 3 * markers] if not any(cells[2 + 3 * markers :]) else cells  # tabs at the end
        # Trailing empty cells may be cut off; half a marker may not.
        if len(cells) > 2 + 3 * markers or len(cells) < 2 or (len(cells) - 2) % 3:
            raise InputError(f"{path}, line {number}: {len(cells)} cells, expected {2 + 3 * markers}")
        cells += [""] * (2 + 3 * markers - len(cells))
        try:
            rows.append([float(cell) if cell else np.nan for cell in cells])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    table = np.array(rows, dtype=np.float64).reshape(-1, 2 + 3 * markers)
    if not len(table) or not np.isfinite(table[:, :2]).all():
        raise InputError(f"{path}: a row has no number or no time, or there are no rows")
    return bounded(table, str(path))


def _plain(name: str) -> str:
    """ "Left_Shoulder", "l shoulder", "LShoulder" -> "lshoulder"."""
    word = "".join(c for c in name.lower() if c.isalnum())
    for side in ("left", "right"):
        word = side[0] + word.removeprefix(side) if word.startswith(side) else word
    return word


def _columns(names: list[str], named: str | None, path: Path) -> tuple[str, list[int | None]]:
    """The layout whose recipe the markers fill best, and the marker of each of its joints."""
    places = {_plain(name): k for k, name in enumerate(names)}
    best: tuple[int, str, list[int | None]] = (-1, "", [])
    for layout in (named,) if named else _ORDER:
        columns = [places.get(_plain(joint)) for joint in get_layout(layout).joints]
        there = np.array([c is not None for c in columns])
        made = int((~((TO_H36M17[layout] != 0) & ~there).any(axis=1)).sum())
        if made > best[0]:
            best = made, layout, columns
    missing = [joint for joint in _LIMBS if _plain(joint) not in places]
    if missing:
        raise InputError(
            f"{path}: no marker {missing[0]}; found {', '.join(names[:8])}...; rename the markers"
        )
    return best[1], best[2]
