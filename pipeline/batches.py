"""Rows in batches, and the 3D of everybody in them: what files, loops in Python and the webcam do alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..skeleton import Person, Pose3D
from .people import Timed
from .sinks import Csv2DSink

PATIENCE_S = 0.5  # a batch goes on after so long, full or not: rows of slow clips and cameras do not wait


def in_batches(rows: Iterable[Timed], size: int) -> Iterator[list[Timed]]:
    """Rows in lists of `size`; shorter at the end, and when the next row is `PATIENCE_S` late."""
    batch: list[Timed] = []
    began = 0.0
    for row in rows:
        began = began if batch else time.monotonic()
        batch.append(row)
        if len(batch) == size or time.monotonic() - began > PATIENCE_S:
            yield batch
            batch = []
    if batch:
        yield batch


def add_3d(batch: list[Timed], estimator: Callable[..., Sequence[Pose3D | None]]) -> list[Timed]:
    """The same rows with a 3D pose for everybody who has a 2D one."""
    batch = [(frame, replace(row, people=tuple(map(as_written, row.people)))) for frame, row in batch]
    keys = [(row.index, p.id) for _, row in batch for p in row.people if p.pose2d is not None]
    poses = [p.pose2d for _, row in batch for p in row.people if p.pose2d is not None]
    found = dict(zip(keys, estimator(poses, keys), strict=True)) if poses else {}
    done: list[Timed] = []
    for frame, row in batch:
        people = tuple(replace(p, pose3d=found.get((row.index, p.id))) for p in row.people)
        done.append((frame, replace(row, people=people)))
    return done


def as_written(person: Person) -> Person:
    """The person with the digits that the 2D CSV holds, so that `refine` of that file gives the same 3D."""
    if person.pose2d is None:
        return person
    (pixels, _, score), pose = Csv2DSink.decimals, person.pose2d
    keypoints = np.round(pose.keypoints.astype(np.float64), pixels)
    return replace(person, pose2d=replace(pose, keypoints=keypoints, scores=np.round(pose.scores, score)))
