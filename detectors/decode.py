"""What pose networks answer -> places and scores: heatmaps and SimCC. NumPy in and out.

Places are indices (x, y) with fractions, not yet divided by the number of cells. A joint without any positive
answer gets score 0; scores are cut to 0..1, as networks are not bound to it.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..skeleton.poses import FloatArray

BLUR = 11  # cells: kernel of the blur before DARK's fit, as in MMPose


def decode_heatmaps(heatmaps: FloatArray, dark: bool = False) -> tuple[FloatArray, FloatArray]:
    """(n, J, h, w) -> places (n, J, 2), scores (n, J).

    The place is the maximum, moved a quarter cell towards its higher neighbour (Newell et al. 2016), or, with
    `dark`, the peak of a parabola through the logarithms of the blurred neighbours (DARK, Zhang et al. 2020,
    without the mixed derivative). On the border of the map it stays where it is.
    """
    n, joints, h, w = heatmaps.shape
    maps = np.nan_to_num(heatmaps, nan=0.0, posinf=0.0, neginf=0.0).reshape(n * joints, h, w)
    best = maps.reshape(n * joints, h * w).argmax(axis=1)
    y, x = np.divmod(best, w)  # (n J,) each
    scores = maps[np.arange(len(maps)), y, x]
    if dark:
        blurred = np.stack([cv2.GaussianBlur(m, (BLUR, BLUR), 0) for m in maps]) if len(maps) else maps
        maps = np.log(np.maximum(blurred, 1e-6))
    dx = _shift(maps, y, x, (0, 1), dark) * ((x > 0) & (x < w - 1))
    dy = _shift(maps, y, x, (1, 0), dark) * ((y > 0) & (y < h - 1))
    places = np.stack([x + dx, y + dy], axis=1).reshape(n, joints, 2)
    return places.astype(np.float32), _unit(scores).reshape(n, joints)


def decode_simcc(simcc_x: FloatArray, simcc_y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n, J, Wx), (n, J, Wy) -> places (n, J, 2) in cells of either axis, scores (n, J).

    SimCC (Li et al. 2022) classifies x and y apart. The place is the maximum of each, the score the lower of
    the two maxima, as in MMPose: a joint is known where both are.
    """
    axes = [np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in (simcc_x, simcc_y)]
    places = np.stack([a.argmax(axis=2) for a in axes], axis=2).astype(np.float32)
    return places, _unit(np.minimum(axes[0].max(axis=2), axes[1].max(axis=2)))


def _shift(
    maps: FloatArray, y: np.ndarray, x: np.ndarray, step: tuple[int, int], parabola: bool
) -> np.ndarray:
    """(m,) cells from the maxima (y, x) of (m, h, w) maps towards the peak, along one axis."""
    rows, (h, w) = np.arange(len(maps)), maps.shape[1:]
    before, here, after = (
        maps[rows, (y + k * step[0]).clip(0, h - 1), (x + k * step[1]).clip(0, w - 1)] for k in (-1, 0, 1)
    )
    if not parabola:
        return 0.25 * np.sign(after - before)
    bend = before - 2 * here + after
    safe = np.where(bend < 0, bend, -1)
    return np.where(bend < 0, 0.5 * (before - after) / safe, 0).clip(-1, 1)


def _unit(scores: np.ndarray) -> FloatArray:
    return scores.clip(0, 1).astype(np.float32)
