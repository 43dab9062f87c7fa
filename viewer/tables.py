"""posefix's CSVs as columns by name: other columns may stand beside them, in any order.

The reader of `posefix refine` (pipeline/keypoint_files) wants the exact file that posefix wrote, as it computes on;
looking at a file needs less, so that a table somebody has added columns to, or cut rows from, can be looked at.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..skeleton.errors import InputError
from ..skeleton.layouts import H36M17

KEYS = ("frame", "time_s", "person", "status")
STATUSES = ("detected", "interpolated", "missing", "absent")
"""What a row's status number stands for; `absent`: the file has no row of that person and frame."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one CSV, as they stand there.

    Attributes:
        frames, people: (n,) int64. times: (n,) float64, seconds. status: (n,) uint8, index into `STATUSES`.
        values: (n, 17, fields) float32; NaN where a cell is empty or the column is not there.
    """

    frames: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    people: npt.NDArray[np.int64]
    status: npt.NDArray[np.uint8]
    values: Array


def read_table(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Reads `J_FIELD` of all 17 joints J, for every field.

    Raises:
        InputError: the file cannot be read, lacks a column of the `needed` fields, or has a damaged row.
    """
    keys, values = [], []
    with _opened(path) as lines:
        header = next(lines, [])
        at = _places(path, header, needed, optional)
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            where = f"{path}, line {number}"
            if len(line) != len(header):
                raise InputError(
                    f"{where}: {len(line)} cells, expected {len(header)}; was the file cut short?"
                )
            keys.append(_keys(line, at, where))
            values.append(_numbers(line, at, where))
    if not keys:
        raise InputError(f"{path}: has no rows; was the run stopped before its first frame?")
    frames, times, people, status = zip(*keys, strict=True)
    fields = len(needed) + len(optional)
    return Table(
        np.array(frames, np.int64),
        np.array(times, np.float64),
        np.array(people, np.int64),
        np.array(status, np.uint8),
        np.array(values, np.float32).reshape(
            len(keys), len(H36M17.joints), fields
        ),  # (n, 17 * f) -> (n, 17, f)
    )


class _opened:
    """The lines of a CSV; whatever is wrong with the file itself becomes an InputError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None

    def __enter__(self) -> Iterator[list[str]]:
        return csv.reader(self._file)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, (csv.Error, UnicodeDecodeError)):
            raise InputError(
                f"{self._path}: cannot be read as CSV; give the folder that posefix wrote, or the NAME_3d.csv in it"
            ) from None
        if isinstance(error, OSError):
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from None


def _places(
    path: Path, header: list[str], needed: Sequence[str], optional: Sequence[str]
) -> list[int | None]:
    """Where the keys and then the values stand in a line; None for columns that are not there."""
    columns = {name: k for k, name in reversed(list(enumerate(header)))}
    places: list[int | None] = []
    for name in KEYS:
        if name not in columns:
            raise InputError(f"{path}: no column {name}; expected a CSV that posefix wrote")
        places.append(columns[name])
    for joint in H36M17.joints:
        for field in (*needed, *optional):
            name = f"{joint}_{field}"
            if name not in columns and field in needed:
                hint = " (a 2D file? give the one that ends in _3d.csv)" if field == "z" else ""
                raise InputError(f"{path}: no column {name}{hint}; expected a CSV that posefix wrote")
            places.append(columns.get(name))
    return places


def _keys(line: list[str], at: list[int | None], where: str) -> tuple[int, float, int, int]:
    frame, time_s, person, status = (line[k] for k in at[: len(KEYS)] if k is not None)
    try:
        row = int(frame), float(time_s), int(person)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not math.isfinite(row[1]) or not all(0 <= n < 2**31 for n in (row[0], row[2])):
        raise InputError(f"{where}: frame {frame}, time {time_s}, person {person} cannot be")
    if status not in STATUSES[:3]:
        raise InputError(f"{where}: status {status!r}; expected one of {', '.join(STATUSES[:3])}")
    return *row, STATUSES.index(status)


def _numbers(line: list[str], at: list[int | None], where: str) -> list[float]:
    try:
        row = [float(line[k]) if k is not None and line[k] else math.nan for k in at[len(KEYS) :]]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    # Metres or pixels: what is larger is a damaged cell, and would not fit the page's 32 bits either.
    if any(abs(value) > 1e6 for value in row):
        raise InputError(f"{where}: holds a value that no joint has; leave unknown cells empty")
    return row
