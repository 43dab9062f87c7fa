"""Which of a person's poses are one motion: where films are cut, leaps, and pictures that are no film at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..skeleton import Person
from .leaps import is_leap

Array = npt.NDArray[np.float64]

MAX_GAP_S = 0.25
"""Frames that lie further apart in time are not joined."""
# A pose has jumped when half of its joints moved by more: metres, and in the picture by this share of its size. Of the
# steps of `train` motion at 30 and 10 frames/s the largest are 0.21 and 0.33 m; of pairs of unrelated poses 25 % are
# nearer than 0.22 m, 5 % than 0.11 m.
_FILM, _PICTURES, _PER_S = np.array([0.15, 0.25]), np.array([0.03, 0.08]), 3.0
_MOST_JUMPS = 1 / 3  # of all steps, where more are jumps it is no film


@dataclass(slots=True, eq=False)
class Sample:
    """One person in one row.

    Attributes:
        number: of the row. time_s: seconds.
        person: with 3D. joints: its (17, 3) metres, float64.
        joined, jumped: to, and away from, the sample before; None: not known yet.
    """

    number: int
    time_s: float
    person: Person
    joints: Array
    joined: bool | None = None
    jumped: bool | None = None

    @property
    def points(self) -> Array:
        """(17, 2) pixels, NaN where hidden"""
        pose = self.person.pose2d
        return np.full((len(self.joints), 2), np.nan) if pose is None else pose.keypoints.astype(np.float64)


class Shots:
    """Finds runs of samples that go on from each other.

    Args:
        film: the pictures are those of a film, at the rate that their times say; else smaller steps are jumps.
    """

    def __init__(self, film: bool = True) -> None:
        self._limits = _FILM if film else _PICTURES

    def run(self, samples: list[Sample], at: int, first: int, last: int) -> tuple[int, int]:
        """The first and last sample of those between `first` and `last` that are one motion with sample `at`.

        Only itself where most steps about it are jumps: there is no motion to be seen. Looks two samples further back
        than `first` and one further on than `last`.
        """
        begin = end = at
        while begin > first and _follows(samples, begin):
            begin -= 1
        while end < last and _follows(samples, end + 1):
            end += 1
        if sum(self._has_jumped(samples, k) for k in range(begin + 1, end + 1)) > _MOST_JUMPS * (end - begin):
            return at, at
        first, last, begin, end = begin, end, at, at
        while begin > first and self._joined(samples, begin):
            begin -= 1
        while end < last and self._joined(samples, end + 1):
            end += 1
        return begin, end

    def _has_jumped(self, samples: list[Sample], k: int) -> bool:
        now = samples[k]
        if now.jumped is None:
            now.jumped = self._jumped(samples[k - 1], now)
        return now.jumped

    def _joined(self, samples: list[Sample], k: int) -> bool:
        """Whether the k-th sample, which follows the one before, is of the same shot.

        It is not where it and the one after it have jumped away from both before; one bad frame comes back. Nor is it
        after a leap, also where that is one frame only: then that frame shows somebody else.
        """
        now, last = samples[k], samples[k - 1]
        if now.joined is None:
            before = [k - 1, k - 2] if _follows(samples, k - 1) else [k - 1]
            after = [k, k + 1] if _follows(samples, k + 1) else [k]
            now.joined = not (
                is_leap(last.points, now.points, now.time_s - last.time_s)
                or all(self._jumped(samples[a], samples[b]) for a in before for b in after)
            )
        return now.joined

    def _jumped(self, a: Sample, b: Sample) -> bool:
        """Whether most of the body lies elsewhere, in 3D or in the picture."""
        moved = np.linalg.norm(a.joints - b.joints, axis=1)[1:]
        ends = np.stack([a.points, b.points])
        shift = np.linalg.norm(ends[0] - ends[1], axis=1)
        both = np.isfinite(shift)
        if not both.any() or not np.isfinite(moved).any():
            return True
        size = max(float(np.ptp(ends[:, both], axis=1).max()), 1e-6)
        jump = np.array([np.median(moved[np.isfinite(moved)]), np.median(shift[both]) / size])
        return bool((jump > self._limits + _PER_S * (b.time_s - a.time_s)).any())


def _follows(samples: list[Sample], k: int) -> bool:
    """Whether there is a sample before the k-th, of the row before, and not long before."""
    if not 0 < k < len(samples):
        return False
    before, now = samples[k - 1], samples[k]
    return now.number == before.number + 1 and 0 < now.time_s - before.time_s <= MAX_GAP_S
