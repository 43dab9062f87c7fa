"""Several frames at once for detectors that remember the last one: what is computed before a frame's turn.

Where a person's box ends depends on the joints found in the frame before (`box_memory.py`), so the poses of frames in
a row cannot be computed together. They can be guessed together, in the boxes as the person detector gave them. A
guess is used where the box turns out to be left as it was: with RTMDet-nano and PP-TinyPose nine of ten people in
`balance_cam01` and `park_two_people`, three of ten in `two_walking`; the others are computed when it is their turn.
So every pose is the one that a detector gives that takes frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ..skeleton import Frame, Pose2D
from ..skeleton.poses import FloatArray


@runtime_checkable
class LooksAhead(Protocol):
    """A detector that is sooner done with several frames when it sees them together.

    Attributes:
        at_once: how many it wants to see; 1: it gains nothing.
    """

    at_once: int

    def look_ahead(self, frames: Sequence[Frame]) -> None:
        """The frames that come next, in their order. `detect` of each then gives what it would have given anyway."""
        ...


def frames_at_once(detector: object) -> int:
    """How many waiting frames to show a detector before it is asked for the first of them."""
    return detector.at_once if isinstance(detector, LooksAhead) else 1


def look_ahead(detector: object, frames: Sequence[Frame]) -> None:
    """Shows a detector the frames that come next, where it gains by that."""
    if isinstance(detector, LooksAhead) and len(frames) > 1:
        detector.look_ahead(frames)


class Guesses:
    """Boxes and poses of frames whose turn has not come.

    Args:
        find: frame -> boxes (n, 4) of the people.
        pose: pairs of a frame and a box -> their poses, in order.
    """

    def __init__(
        self,
        find: Callable[[Frame], FloatArray],
        pose: Callable[[Sequence[tuple[Frame, FloatArray]]], Iterator[Pose2D]],
    ) -> None:
        self._find, self._pose = find, pose
        self._kept: dict[int, tuple[Frame, FloatArray, list[Pose2D]]] = {}

    def make(self, frames: Sequence[Frame]) -> None:
        """Guess these frames; older guesses are forgotten."""
        boxes = [self._find(frame) for frame in frames]  # (n, 4) each
        pairs = [(frame, box) for frame, own in zip(frames, boxes, strict=True) for box in own]
        poses = self._pose(pairs)
        self._kept = {
            id(frame): (frame, own, [next(poses) for _ in own])
            for frame, own in zip(frames, boxes, strict=True)
        }

    def take(
        self, frame: Frame, widen: Callable[[FloatArray, Frame], FloatArray]
    ) -> tuple[FloatArray, list[Pose2D]]:
        """Boxes (n, 4) of a frame as they were found, and the poses in them as `widen` leaves them."""
        _, boxes, guessed = self._kept.pop(id(frame), (frame, None, []))
        boxes = self._find(frame) if boxes is None else boxes
        wide = widen(boxes, frame)
        known = {k: pose for k, pose in enumerate(guessed) if np.array_equal(wide[k], boxes[k])}
        fresh = self._pose([(frame, box) for k, box in enumerate(wide) if k not in known])
        return boxes, [known[k] if k in known else next(fresh) for k in range(len(boxes))]
