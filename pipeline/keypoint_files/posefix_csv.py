"""posefix's own CSV: `NAME_2d.csv` alone, or `NAME_3d.csv` with the `NAME_2d.csv` that lies beside it.

Gaps were decided when the files were written: rows, status and people are taken as they are.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np

from ...skeleton import H36M17, FramePoses, Person, Pose2D, Status
from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import Array, ReadOptions, bounded, to_17
from .json_text import MOST

_KEYS = ["frame", "time_s", "person", "status"]
_JOINTS = len(H36M17.joints)
Key = tuple[int, int]


def is_posefix_csv(start: str) -> bool:
    return start.lstrip("\ufeff").startswith(",".join(_KEYS))


def from_posefix_csv(path: Path, options: ReadOptions) -> KeypointClip:
    """Reads the 2D, and the 3D where `path` is a 3D file.

    Raises:
        InputError: columns or rows that posefix does not write, or a 3D file whose 2D file is absent or has
            other rows.
    """
    if options.layout not in (None, H36M17.name):
        raise InputError(f"{path}: posefix's CSVs are in the layout {H36M17.name}, not {options.layout}")
    three: dict[Key, tuple[float, Status, Array | None]] = {}
    if _is_3d(path):
        head, _, tail = path.name.rpartition("3d")  # the clip's own name may have one, too
        beside = path.with_name(f"{head}2d{tail.removeprefix('_raw')}")
        if beside == path or not beside.is_file():
            raise InputError(f"{path}: needs {beside.name} beside it, which holds the 2D")
        three, path = _table(path, ("x", "y", "z", "score", "std")), beside
    two = _table(path, ("x", "y", "score"))
    if three and list(three) != list(two):
        other = sorted(set(three) ^ set(two)) or [(0, 0)]
        raise InputError(
            f"{path}: its rows are not those of the 3D file (frame {other[0][0]}); keep both whole"
        )
    return _clip(path, two, three)


def _clip(path: Path, two: dict, three: dict) -> KeypointClip:
    rows: dict[int, FramePoses] = {}
    frames: dict[int, list[Sight]] = {}
    for (frame, number), (time_s, status, values) in two.items():
        person = Person(number, status)
        if values is not None and status != "missing":
            hidden = np.isnan(values[:, :2]).any(axis=1)
            points = np.where(hidden[:, None], np.nan, values[:, :2]).astype(np.float32)
            pose = Pose2D(points, np.nan_to_num(values[:, 2]).astype(np.float32))
            person = replace(person, pose2d=pose)
            given = three[frame, number][2] if three else None
            joints = None if given is None else to_17(given[:, :3], H36M17.name)
            frames.setdefault(frame, []).append(Sight(points, pose.scores, joints, number))
        row = rows.setdefault(frame, FramePoses(frame, time_s))
        rows[frame] = replace(row, people=(*row.people, person))
    if not frames:
        raise InputError(f"{path}: holds nobody: no row has a position")
    times = {frame: row.time_s for frame, row in rows.items()}
    return KeypointClip("posefix", H36M17.name, frames, max(rows) + 1, times, rows=rows)


def _is_3d(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return f"{H36M17.joints[0]}_z" in file.readline().rstrip().split(",")


def _table(path: Path, fields: tuple[str, ...]) -> dict[Key, tuple[float, Status, Array | None]]:
    """(frame, person) -> time, status and (17, fields) values, None where the row is empty."""
    wanted = [*_KEYS, *(f"{joint}_{field}" for joint in H36M17.joints for field in fields)]
    found: dict[Key, tuple[float, Status, Array | None]] = {}
    before = (-1, -1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.reader(file)
            header = next(lines, [])
            if header != wanted:
                odd = next((c for c in wanted if c not in header), None)
                said = f"no column {odd}" if odd else "other columns, or another order"
                raise InputError(f"{path}: {said}; expected the columns that posefix writes")
            for number, line in enumerate(lines, 2):
                key, row = _row(line, len(fields), len(wanted), f"{path}, line {number}")
                if key <= before:
                    raise InputError(
                        f"{path}, line {number}: frame {key[0]} after {before[0]}; sort the rows"
                    )
                found[key] = row
                before = key
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if not found:
        raise InputError(f"{path}: has no rows")
    return found


def _row(
    line: list[str], fields: int, columns: int, where: str
) -> tuple[Key, tuple[float, Status, Array | None]]:
    if len(line) != columns:
        raise InputError(f"{where}: {len(line)} cells, expected {columns}; was the file cut short?")
    try:
        key, time_s = (int(line[0]), int(line[2])), float(line[1])
        cells = [float(cell) if cell else None for cell in line[4:]]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if line[3] not in get_args(Status):
        raise InputError(f"{where}: status {line[3]!r}; expected one of {', '.join(get_args(Status))}")
    if not all(math.isfinite(value) for value in (time_s, *cells) if value is not None):
        raise InputError(f"{where}: holds a value that is no number; leave unknown cells empty")
    if key[0] < 0 or not 0 <= key[1] <= MOST:
        raise InputError(f"{where}: frame {line[0]}, person {line[2]} cannot be")
    table = bounded(np.array(cells, np.float64), where).reshape(_JOINTS, fields)  # (17, fields)
    return key, (time_s, cast(Status, line[3]), None if np.isnan(table).all() else table)
