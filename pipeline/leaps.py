"""When somebody in the picture can no longer be the one of before: they leap further than anybody moves.

That is what it looks like when a detector of one person goes over to another. Nothing is joined across a leap: no gap
is bridged, nothing smoothed. Only the trunk counts, so fast limbs are no leaps. 2D alone decides: gaps come before 3D.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..skeleton import H36M17

LEAP_M_S = 12.0  # nobody runs that fast
LEAP_M = 0.5  # about a body's width

_TRUNK = [H36M17.joints.index(j) for j in ("LShoulder", "RShoulder", "LHip", "RHip")]
_KNEES = [H36M17.joints.index(j) for j in ("LKnee", "RKnee")]
#: ends of trunk and limbs, and their lengths in somebody of 1.75 m (means of motion capture)
_ENDS = np.array([(8, 0), (1, 2), (4, 5), (2, 3), (5, 6), (11, 12), (14, 15), (12, 13), (15, 16)])
_LENGTHS_M = np.array([0.52, 0.42, 0.42, 0.40, 0.40, 0.27, 0.27, 0.24, 0.24])


def is_leap(before: npt.NDArray[np.floating], now: npt.NDArray[np.floating], seconds: float) -> bool:
    """Whether the trunk has moved by more than LEAP_M, and faster than LEAP_M_S; False where that cannot be told.

    Where left and right are mixed up, or the pose is upside down, the trunk stays where it is. Knees count where no
    joint of the trunk is seen both times.

    Args:
        before, now: (17, 2) px, Human3.6M-17, NaN where hidden.
        seconds: from one to the other.
    """
    scale = np.fmax(pixels_a_metre_2d(before), pixels_a_metre_2d(now))
    for joints in (_TRUNK, _KNEES):
        moved = (now - before)[joints].astype(np.float64)
        moved = moved[np.isfinite(moved).all(axis=1)]
        if len(moved):
            metres = float(np.hypot(*np.median(moved, axis=0))) / scale
            return bool(metres > max(LEAP_M, LEAP_M_S * seconds))  # False for NaN
    return False


def pixels_a_metre_2d(points: npt.NDArray[np.floating]) -> float:
    """How large somebody of 1.75 m is, (17, 2) px -> pixels a metre; NaN: cannot be told.

    A limb never looks longer than it is, so the longest by its own measure tells; the second longest, as one joint may
    be wrong. Of 226 poses of `val` motion capture, seen from all sides, 98 % come out at 0.77 to 1.18 of the truth.
    """
    lengths = np.linalg.norm(np.subtract(*points[_ENDS.T].astype(np.float64)), axis=1) / _LENGTHS_M
    known = np.sort(lengths[np.isfinite(lengths)])
    return max(float(known[-2:][0]), 1e-6) if len(known) else np.nan
