"""Boxes of a person detector, widened by where the same person's joints were a moment ago.

Small person detectors cut off a raised arm or leg, and what is not in the crop cannot be found. Limbs move little
from frame to frame, so a box is joined with the extent of the joints last seen in it. With RTMDet-nano and
PP-TinyPose on the two calibrated clips this brings the mean 2D error of the limbs from 29 to 26 px, and P-MPJPE
from 77.3 to 69.6 mm.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from ..skeleton import Frame, Pose2D
from ..skeleton.poses import FloatArray

MIN_IOU = 0.3  # a box and an extent that overlap less are not the same person
MIN_SCORE = 0.3  # of joints that count
MAX_AGE_S = 0.5  # older extents are forgotten
_HEAD = struct.Struct("<3Id")  # shape of the picture, seconds


class BoxMemory:
    """What was seen in the last frame of one video."""

    def __init__(self) -> None:
        self._extents = np.zeros((0, 4), np.float32)
        self._shape: tuple[int, ...] = ()
        self._time_s = 0.0

    def widen(self, boxes: FloatArray, frame: Frame) -> FloatArray:
        """(n, 4) x0, y0, x1, y1 px -> the same, each joined with its person's last extent where there is one."""
        fresh = frame.image.shape == self._shape and 0 <= frame.time_s - self._time_s <= MAX_AGE_S
        if not fresh or not len(boxes) or not len(self._extents):
            return boxes
        overlap = iou(boxes, self._extents)  # (n, m)
        last = overlap.argmax(axis=1)  # (n,)
        mutual = overlap.argmax(axis=0)[last] == np.arange(len(boxes))  # nobody gets a neighbour's arm
        same = mutual & (overlap.max(axis=1) >= MIN_IOU)
        extent = self._extents[last]
        joined = np.concatenate(
            [np.minimum(boxes[:, :2], extent[:, :2]), np.maximum(boxes[:, 2:], extent[:, 2:])], axis=1
        )
        return np.where(same[:, None], joined, boxes).astype(np.float32)

    def remember(self, poses: Sequence[Pose2D], frame: Frame) -> None:
        """Keep the extents of the joints that were seen in a frame."""
        seen = [pose.keypoints[pose.scores >= MIN_SCORE] for pose in poses]
        extents = [np.concatenate([s.min(axis=0), s.max(axis=0)]) for s in seen if len(s) >= 2]
        self._extents = np.array(extents, np.float32).reshape(-1, 4)
        self._shape, self._time_s = frame.image.shape, frame.time_s

    def to_bytes(self) -> bytes:
        """What is remembered."""
        shape = self._shape if len(self._shape) == 3 else (0, 0, 0)
        return _HEAD.pack(*shape, self._time_s) + self._extents.tobytes()

    def from_bytes(self, data: bytes) -> None:
        """Remember that instead."""
        *shape, self._time_s = _HEAD.unpack_from(data)
        self._shape = tuple(shape) if any(shape) else ()
        self._extents = np.frombuffer(data, np.float32, offset=_HEAD.size).reshape(-1, 4).copy()


class RemembersBoxes:
    """The members of `base.Resumable` for a detector that remembers nothing but boxes, in `_memory`."""

    _memory: BoxMemory

    def state(self) -> bytes:
        """The boxes of the last frame."""
        return self._memory.to_bytes()

    def restore(self, states: Iterable[tuple[tuple[int, int], bytes]]) -> None:
        """Go on after frames; the last one's boxes are all that matters."""
        for _, data in deque(states, maxlen=1):
            self._memory.from_bytes(data)


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)
