"""Smoothing over time: steady to the eye, without clipping what is truly fast.

`OneEuro` is for live use: it knows the past only, and answers at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MAX_GAP_S = 0.25
"""No filter joins what lies further apart in time."""


class OneEuroPreset(NamedTuple):
    """The three numbers of a `OneEuro`, in its order."""

    min_cutoff_hz: float
    beta: float
    d_cutoff_hz: float


#: How much to smooth live -> `OneEuro(*preset)`; None: not at all.
LIVE: dict[str, OneEuroPreset | None] = {
    "off": None,
    "light": OneEuroPreset(1.5, 3.0, 1.5),
    "strong": OneEuroPreset(0.7, 1.5, 1.0),
}


class OneEuro:
    """One-Euro filter of a pose: a low pass whose cut-off grows with the joint's own speed.

    Source: Casiez, Roussel & Vogel, "1€ Filter", CHI 2012, with the speed of a joint in the place of that of each
    coordinate, so that turning the camera does not change the result. One filter holds one person's state.

    Args:
        min_cutoff_hz: cut-off frequency of a joint at rest.
        beta: hertz that the cut-off rises by for each m/s (for pixels: for each px/s).
        d_cutoff_hz: cut-off frequency of the speed's own low pass.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, d_cutoff_hz: float) -> None:
        self.min_cutoff_hz, self.beta, self.d_cutoff_hz = min_cutoff_hz, beta, d_cutoff_hz
        self._time_s = -np.inf
        self._values: Array | None = None
        self._speed: Array = np.empty(0)

    def push(self, time_s: float, values: npt.ArrayLike) -> Array:
        """The next frame's pose, smoothed.

        Args:
            time_s: seconds; a time that does not grow, or a gap of more than MAX_GAP_S, starts anew.
            values: (J, D), e.g. (17, 3) metres relative to Hip; NaN rows for joints that are not seen.

        Returns:
            (J, D) float64, NaN where `values` is. A joint that was not seen before comes back as it is.
        """
        now = np.array(values, dtype=np.float64)
        now[np.isnan(now).any(axis=1)] = np.nan
        dt, self._time_s = time_s - self._time_s, time_s
        if self._values is None or not 0 < dt <= MAX_GAP_S:
            self._values, self._speed = now, np.zeros_like(now)
            return now.copy()
        fresh = np.isnan(self._values)
        before = np.where(fresh, now, self._values)
        speed = np.where(fresh, 0.0, self._speed)
        speed = speed + _share(self.d_cutoff_hz, dt) * ((now - before) / dt - speed)
        cutoff = self.min_cutoff_hz + self.beta * np.linalg.norm(speed, axis=1, keepdims=True)
        self._values, self._speed = before + _share(cutoff, dt) * (now - before), speed
        return self._values.copy()


def _share(cutoff_hz: npt.ArrayLike, dt_s: float) -> Array:
    """How much of a new value a first-order low pass takes over."""
    turns = 2.0 * np.pi * np.asarray(cutoff_hz, dtype=np.float64) * dt_s
    return turns / (turns + 1.0)
