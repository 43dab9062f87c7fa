"""Keypoints as wide CSV: one row per frame and person, header once, UTF-8, '.' decimals.

Columns are `frame,time_s,person,status` and then, joint by joint in Human3.6M-17 order,
3D: `J_x,J_y,J_z,J_score,J_std`, metres, root-relative camera axes; std in metres;
2D: `J_x,J_y,J_score`, pixels of the upright frame.
What is not known is an empty cell.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import numpy.typing as npt

from ...skeleton.layouts import H36M17
from ...skeleton.poses import FramePoses, Person
from .errors import cannot_write

_KEYS = ("frame", "time_s", "person", "status")
_NO_PERSON = Person(0, "missing")


class _CsvSink:
    """Writes each frame's rows at once and in whole lines: a killed run leaves a valid file.

    Args:
        path: file to write; replaced where it exists.
        resume: keep what is there as far as the rows that come are the same.

    Raises:
        OutputError: the file cannot be written (also from `write` and `close`).
    """

    fields: tuple[str, ...] = ()
    decimals: tuple[int, ...] = ()

    def __init__(self, path: str | os.PathLike[str], resume: bool = False) -> None:
        self.path = Path(path)
        self.rows = 0
        """Rows written so far, without the header."""
        self._whole = 0
        self._old = resume and self.path.exists()  # whether what follows may be there already
        self._file: IO[bytes] | None = None
        self._empty = "," * (len(H36M17.joints) * len(self.fields))
        try:
            # Unbuffered: some hundred small writes a second cost nothing, and nothing waits in memory.
            self._file = self.path.open("r+b" if self._old else "wb", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        columns = [f"{joint}_{field}" for joint in H36M17.joints for field in self.fields]
        self._append(",".join((*_KEYS, *columns)) + "\n")

    def write(self, poses: FramePoses) -> None:
        """Appends one row per person; a frame with nobody at all gets a `missing` row of person 0."""
        people = poses.people or (_NO_PERSON,)
        start = f"{poses.index},{_number(poses.time_s, 6)},"
        self._append("".join(f"{start}{p.id},{p.status}{self._cells(p)}\n" for p in people))
        self.rows += len(people)

    def _values(self, person: Person) -> npt.NDArray[np.float64] | None:
        """(17, fields) values, NaN where unknown; None for an empty row."""
        raise NotImplementedError

    def _cells(self, person: Person) -> str:
        values = None if person.status == "missing" else self._values(person)
        if values is None:
            return self._empty
        # + 0.0 turns -0.0 into 0.0, so that no cell reads -0.00.
        values = (
            np.stack([np.round(v, d) for v, d in zip(values.T, self.decimals, strict=True)], axis=1) + 0.0
        )
        formats = [f"%.{d}f" for d in self.decimals] * len(values)
        cells = [
            f % v if np.isfinite(v) else "" for f, v in zip(formats, values.ravel().tolist(), strict=True)
        ]
        return "," + ",".join(cells)

    def _append(self, text: str) -> None:
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        data = memoryview(text.encode())
        try:
            if self._old and self._file.read(len(data)) == data:
                self._whole += len(data)
                return
            self._cut()
            while data:
                data = data[self._file.write(data) or 0 :]
            self._whole += len(text.encode())
        except OSError as error:
            # A full disk may take half a line: cut back to the last whole one.
            with contextlib.suppress(OSError):
                self._file.truncate(self._whole)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            raise cannot_write(self.path, error) from None

    def _cut(self) -> None:
        """Takes away what an earlier run left behind the rows written so far."""
        if self._old and self._file is not None:
            self._old = False
            self._file.seek(self._whole)
            self._file.truncate()

    def finish(self) -> None:
        """All rows are written: the file ends here."""
        try:
            self._cut()
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def close(self) -> None:
        """Closes the file. May be called twice."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise cannot_write(self.path, error) from None

    def __enter__(self):
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Csv3DSink(_CsvSink):
    """3D keypoints: x, y, z in metres (0.01 mm steps), score of the 2D joint 0..1, std in metres."""

    fields = ("x", "y", "z", "score", "std")
    decimals = (5, 5, 5, 3, 5)

    def _values(self, person: Person) -> npt.NDArray[np.float64] | None:
        pose, seen = person.pose3d, person.pose2d
        if pose is None and seen is None:
            return None
        unknown = np.full((len(H36M17.joints), 3), np.nan)
        joints, std = (unknown, unknown[:, 0]) if pose is None else (pose.joints, pose.std)  # no hips: no 3D
        hidden = ~np.isfinite(joints).all(axis=1)
        scores = unknown[:, 0] if seen is None else seen.scores
        values = np.column_stack([joints, scores, std]).astype(np.float64)
        values[hidden, :3] = values[hidden, 4] = np.nan  # the score stays
        return values


class CsvRawSink(Csv3DSink):
    """3D keypoints as they were before they were smoothed over time."""

    def _values(self, person: Person) -> npt.NDArray[np.float64] | None:
        return super()._values(person if person.raw3d is None else replace(person, pose3d=person.raw3d))


class Csv2DSink(_CsvSink):
    """2D keypoints: x, y in pixels of the upright frame (0.01 px steps), score 0..1."""

    fields = ("x", "y", "score")
    decimals = (2, 2, 3)

    def _values(self, person: Person) -> npt.NDArray[np.float64] | None:
        pose = person.pose2d
        if pose is None:
            return None
        values = np.column_stack([pose.keypoints, pose.scores]).astype(np.float64)
        values[~np.isfinite(values[:, :2]).all(axis=1), :2] = np.nan
        return values


def _number(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"
