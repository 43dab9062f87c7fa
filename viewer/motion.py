"""The files of one run, and the motion of everybody in them as dense arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..skeleton.errors import InputError
from ..skeleton.layouts import H36M17
from .tables import STATUSES, Array, Table, read_table

ABSENT = STATUSES.index("absent")
MISSING = STATUSES.index("missing")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run left in its folder; None for what is not there."""

    name: str
    csv_3d: Path
    csv_2d: Path | None
    video: Path | None
    run_json: Path | None

    def record(self) -> dict[str, Any]:
        """The run's record; {} where there is none or it cannot be read."""
        try:
            content = json.loads(self.run_json.read_text(encoding="utf-8")) if self.run_json else {}
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True)
class Track:
    """One person through the whole clip of T frames.

    Attributes:
        id: the number in the column `person`.
        status: (T,) uint8, index into `STATUSES`.
        joints: (T, 17, 3) float32, metres relative to Hip, camera axes; NaN where unknown.
        std, score: (T, 17) float32, metres and 0..1; NaN where unknown.
        pixels: (T, 17, 2) float32, pixels; NaN where unknown or without a 2D file.
    """

    id: int
    status: npt.NDArray[np.uint8]
    joints: Array
    std: Array
    score: Array
    pixels: Array

    @property
    def with_pose(self) -> npt.NDArray[np.bool_]:
        """(T,): where at least one joint has a 3D position."""
        flat = self.joints.reshape(len(self.joints), -1)  # (T, 17, 3) -> (T, 51)
        return np.asarray(np.isfinite(flat).any(axis=1))


@dataclass(frozen=True, slots=True)
class Motion:
    """Everybody in one clip.

    Attributes:
        frames: (T,) int64, numbers of the frames; times: (T,) float64, seconds.
        people: one track each, by their number.
    """

    frames: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    people: tuple[Track, ...]

    def person(self, number: int | None) -> Track:
        """A person by number; by default whoever has a pose in most frames.

        Raises:
            InputError: there is nobody with that number.
        """
        for track in self.people:
            if track.id == number:
                return track
        if number is not None:
            there = ", ".join(str(track.id) for track in self.people)
            raise InputError(f"there is no person {number}; there are: {there}")
        return max(self.people, key=lambda track: int(track.with_pose.sum()))


def find_run(where: Path) -> RunFiles:
    """The files that belong together, from a results folder or from its NAME_3d.csv.

    Raises:
        InputError: nothing of that name, or not exactly one NAME_3d.csv in the folder.
    """
    if where.is_file():
        csv_3d = where
    elif where.is_dir():
        found = sorted(where.glob("*_3d.csv"))
        # Another table of the same run, made by hand or kept as raw, has no record of its own.
        recorded = [
            path for path in found if path.with_name(path.name[: -len("3d.csv")] + "run.json").is_file()
        ]
        found = recorded if len(recorded) == 1 else found
        if not found:
            raise InputError(
                f"{where}: holds no NAME_3d.csv; give the folder that posefix wrote, e.g. clip_posefix/"
            )
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise InputError(f"{where}: holds several results ({names}); name one of them")
        csv_3d = found[0]
    else:
        raise InputError(f"{where}: there is no such folder or file; run `posefix clip.mp4` first")
    name = csv_3d.name.removesuffix(".csv").removesuffix("_3d")

    def beside(end: str) -> Path | None:
        path = csv_3d.with_name(f"{name}_{end}")
        return path if path.is_file() and path.stat().st_size else None

    return RunFiles(name, csv_3d, beside("2d.csv"), beside("pose.mp4"), beside("run.json"))


def read_motion(csv_3d: Path, csv_2d: Path | None = None) -> Motion:
    """Reads the tables. Frames that the file leaves out get one empty row per hole, so that no curve bridges it.

    Raises:
        InputError: a file is damaged or not posefix's, or both are of different frames.
    """
    three = read_table(csv_3d, ("x", "y", "z"), ("score", "std"))
    two = read_table(csv_2d, ("x", "y")) if csv_2d else None
    frames, times = _clock(three, csv_3d)
    row_of = {frame: k for k, frame in enumerate(frames.tolist())}
    people = []
    for number in np.unique(three.people).tolist():
        rows, status, values = _dense(three, number, row_of, csv_3d)
        pixels = np.full((len(frames), len(H36M17.joints), 2), np.nan, np.float32)
        if two is not None:
            mine = np.flatnonzero((two.people == number) & np.isin(two.frames, frames[rows]))
            pixels[[row_of[frame] for frame in two.frames[mine].tolist()]] = two.values[mine]
        people.append(Track(number, status, values[..., :3], values[..., 4], values[..., 3], pixels))
    if two is not None and not np.isin(two.frames, frames).any():
        raise InputError(
            f"{csv_2d}: has none of the frames of {csv_3d.name}; keep the files of one run together"
        )
    return Motion(frames, times, _without_placeholder(people))


def _clock(table: Table, path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Numbers and times of all frames, (T,) each, with one more after each hole in the numbers."""
    frames, first = np.unique(table.frames, return_index=True)
    times = table.times[first]
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        raise InputError(
            f"{path}: time runs backwards at frame {frames[back[0] + 1]}; sort the rows by frame"
        )
    holes = np.flatnonzero(np.diff(frames) > 1)
    share = 1 / np.diff(frames)[holes]
    between = times[holes] + (times[holes + 1] - times[holes]) * share
    return np.insert(frames, holes + 1, frames[holes] + 1), np.insert(times, holes + 1, between)


def _dense(
    table: Table, person: int, row_of: dict[int, int], path: Path
) -> tuple[list[int], npt.NDArray[np.uint8], Array]:
    """A person's rows among all frames; (T,) status; (T, 17, fields) values."""
    mine = np.flatnonzero(table.people == person)
    rows = [row_of[frame] for frame in table.frames[mine].tolist()]
    if len(set(rows)) != len(rows):
        twice = next(f for k, f in enumerate(table.frames[mine].tolist()) if rows[k] in rows[:k])
        raise InputError(f"{path}: two rows of person {person} in frame {twice}; keep one")
    status = np.full(len(row_of), ABSENT, np.uint8)
    status[rows] = table.status[mine]
    values = np.full((len(row_of), *table.values.shape[1:]), np.nan, np.float32)
    values[rows] = table.values[mine]
    values[status == MISSING] = np.nan
    return rows, status, values


def _without_placeholder(people: list[Track]) -> tuple[Track, ...]:
    """Frames with nobody get a `missing` row of person 0, also where the people are numbered otherwise."""
    real = [track for track in people if (track.status < MISSING).any()]
    return tuple(real or people)
