"""Where several people stand in the 3D panel: as far apart as their places and sizes in the picture say.

posefix's 3D is relative to each person's own hip, so this is a guess for the eye and goes into no file: everybody is
taken for as tall as `--height`, the lens for one that sees 53 degrees, and the floor for level. From the pixels to a
metre of somebody (their 2D held against their 3D) come their distance and their place across.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..skeleton.poses import Person

_CALM_S = 0.3  # how long a place takes to follow: single sizes waver
_SLOW_S = 2.0  # how long the view takes to follow everybody's distance
_GONE_S = 1.0  # somebody gone for longer turns up at once where they are
MIN_HALF_M, MAX_HALF_M = 1.6, 4.0
_SHARE = 0.8  # of the picture's width is shown: people are smaller here than there
_MARGIN_M = 0.4  # from the panel's edge to somebody's hip


@dataclass(frozen=True, slots=True)
class Places:
    """Who stands where.

    Attributes:
        half_m: half the width that is shown, metres.
        at: person's number -> metres across (to the right) and away from the viewer.
    """

    half_m: float
    at: dict[int, tuple[float, float]] = field(default_factory=dict)


class Stage:
    """Follows the places of one clip's people; the width shown is that of the picture where the first ones stand.

    Args:
        yaw_deg: how far the view is turned.
    """

    def __init__(self, yaw_deg: float = 35.0) -> None:
        self._turn = math.radians(yaw_deg)
        self._half_m = self._middle_m = math.nan
        self._time_s = 0.0
        self._last: dict[int, tuple[float, np.ndarray]] = {}

    def place(self, time_s: float, people: Sequence[Person], width: int, height: int) -> Places:
        """The next frame's people; `width` and `height` of its picture in pixels."""
        seen = {p.id: where for p in people if (where := _where(p, width, height)) is not None}
        if seen:
            self._follow(
                time_s, float(np.mean([away for _, away in seen.values()])), width / max(width, height)
            )
        if math.isnan(self._half_m):
            return Places(MIN_HALF_M)
        self._last = {n: last for n, last in self._last.items() if 0 <= time_s - last[0] <= _GONE_S}
        for number, now in seen.items():
            then_s, then = self._last.get(number, (-math.inf, now))
            share = 1 - math.exp(-(time_s - then_s) / _CALM_S)
            self._last[number] = time_s, (1 - share) * then + share * now
        return Places(self._half_m, {n: self._shown(where) for n, (_, where) in self._last.items()})

    def _follow(self, time_s: float, middle_m: float, aspect: float) -> None:
        if math.isnan(self._half_m):
            self._middle_m, self._half_m = middle_m, _SHARE * middle_m * aspect / 2
            self._half_m = min(max(self._half_m, MIN_HALF_M), MAX_HALF_M)
        share = 1 - math.exp(-max(0.0, time_s - self._time_s) / _SLOW_S)
        self._middle_m += share * (middle_m - self._middle_m)
        self._time_s = time_s

    def _shown(self, where: np.ndarray) -> tuple[float, float]:
        """Within the panel, also for who is far off."""
        away = min(max(where[1] - self._middle_m, -self._half_m), self._half_m)
        # The viewer stands some 2.4 halves off and sees less of what is near.
        most = self._half_m + min(away, 0.0) / 2.4 - _MARGIN_M
        cos, sin = math.cos(self._turn), math.sin(self._turn)
        aside = min(max(where[0] * cos - away * sin, -most), most)  # from the panel's middle
        return float((aside + away * sin) / cos), float(away)


def pixels_a_metre(person: Person) -> float | None:
    """How large somebody is in the picture: their 2D held against their 3D, pixels a metre; None: cannot be told."""
    found = _compare(person)
    return found[0] if found else None


def _where(person: Person, width: int, height: int) -> np.ndarray | None:
    """(2,) metres across from the picture's middle and away from the camera; None where that cannot be told."""
    found = _compare(person)
    if found is None:
        return None
    scale, hip_x = found
    return np.array([(hip_x - width / 2) / scale, max(width, height) / scale])


def _compare(person: Person) -> tuple[float, float] | None:
    """Pixels a metre, and the hip's x in pixels; by least squares."""
    flat, deep = person.pose2d, person.pose3d
    if flat is None or deep is None:
        return None
    both = np.isfinite(flat.keypoints).all(axis=1) & np.isfinite(deep.joints).all(axis=1)
    if both.sum() < 2:
        return None
    pixels, metres = flat.keypoints[both].astype(np.float64), deep.joints[both, :2].astype(np.float64)
    spread = metres - metres.mean(axis=0)
    scale = (spread * (pixels - pixels.mean(axis=0))).sum() / max((spread**2).sum(), 1e-9)  # px a metre
    if not scale > 1e-6:
        return None
    return float(scale), float(pixels[:, 0].mean() - scale * metres[:, 0].mean())
