"""Smoothing over time: steady to the eye, without clipping what is truly fast.

`Smoother` is for files: it holds rows back until it has seen what comes after them, and nothing lags (zero phase).
`OneEuro` is for live use: it knows the past only, and answers at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..skeleton import Person, Pose3D
from .shots import MAX_GAP_S, Sample, Shots

if TYPE_CHECKING:
    from .people import Timed

Array = npt.NDArray[np.float64]
SmoothName = Literal["off", "light", "strong"]
SMOOTH: tuple[str, ...] = ("off", "light", "strong")


class OneEuroPreset(NamedTuple):
    """The three numbers of a `OneEuro`, in its order."""

    min_cutoff_hz: float
    beta: float
    d_cutoff_hz: float


#: How much to smooth live -> `OneEuro(*preset)`; None: not at all. Chosen on `val` people, see docs/smoothing.md.
LIVE: dict[str, OneEuroPreset | None] = {
    "off": None,
    "light": OneEuroPreset(1.0, 4.0, 1.0),
    "strong": OneEuroPreset(0.5, 2.0, 1.0),
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


class Kernel(NamedTuple):
    """How strongly files are smoothed.

    Attributes:
        wide_s, narrow_s: half widths of the two windows in time, seconds.
        keep_m: where the fits of both differ by clearly more than this, metres, the narrow one counts: there the
            joint is fast.
    """

    wide_s: float
    narrow_s: float
    keep_m: float


#: How much to smooth a file -> `Smoother(kernel)`; None: not at all. Chosen on `val` people, see docs/smoothing.md.
KERNELS: dict[str, Kernel | None] = {
    "off": None,
    "light": Kernel(0.25, 0.12, 0.02),
    "strong": Kernel(0.4, 0.2, 0.04),
}

REACH_S = 0.4
"""No window reaches further to either side, whatever the kernel."""
LOOK_BACK_S, LOOK_AHEAD_S = REACH_S + 2 * MAX_GAP_S, REACH_S + MAX_GAP_S
"""What a row becomes does not depend on rows further away: those of a window, and the next ones, which show cuts."""
MAX_ROWS = 48  # the reach in rows: bounds what is held back where times are broken or the rate is extreme
_WIDE_FRAMES = 4.0  # the wide window has so many frames to either side: fewer do not tell a jump from motion
_DEGREE = 2
_ROUNDS = 3  # of weighing outliers down
_OUTLIER = 4.0  # times the median residual
_MIN_RESIDUAL_M = 0.01  # what is nearer than a few of these is no outlier
_RIDGE = 0.01  # keeps fits of few frames tame


@dataclass(slots=True)
class _Held:
    """A row that is not decided yet, and how far from it its neighbours lie in time."""

    item: Timed
    number: int  # of rows since the last cut
    before_s: float = np.inf
    after_s: float = np.inf

    @property
    def time_s(self) -> float:
        """With the digits that the CSVs hold, so that `posefix refine` of them gives the same 3D."""
        return round(self.item[1].time_s, 6)


class Smoother:
    """Smooths the 3D of rows as they come; each is given back once all that it depends on is there.

    Everybody is smoothed by themselves, in runs that end where there is no 3D, where frames lie more than MAX_GAP_S
    apart, where the size of the pictures changes, at leaps, and where the whole pose jumps, as between two shots
    (`Shots`). What a row becomes depends on rows within LOOK_BACK_S and LOOK_AHEAD_S only, so neither how they come
    nor where the first one lies changes it.

    Args:
        how: "off", "light" or "strong".
        pictures: whether those given back with the rows are needed; without, memory is spared.
        film: the pictures are those of a film; False: they may have nothing to do with each other.
    """

    def __init__(self, how: str, pictures: bool = True, film: bool = True) -> None:
        self._kernel, self._pictures, self._shots = KERNELS[how], pictures, Shots(film)
        self._held: deque[_Held] = deque()
        self._samples: dict[int, list[Sample]] = {}
        self._shape: tuple[int, ...] | None = None

    def push(self, item: Timed) -> list[Timed]:
        """The next row with its picture. Returns the rows now decided, in order; `raw3d` is what `pose3d` was."""
        if self._kernel is None:
            return [item]
        frame, row = item
        done: list[Timed] = []
        if frame is not None:
            if self._shape not in (None, frame.image.shape):  # other pictures, not a video
                done = self.finish()
            self._shape = frame.image.shape
            if not self._pictures:  # its size only
                item = replace(frame, image=np.broadcast_to(np.uint8(0), frame.image.shape)), row
        held = _Held(item, 0)
        if self._held:  # the last row is among them: nobody knew yet what follows
            last = self._held[-1]
            held.number, step = last.number + 1, held.time_s - last.time_s
            last.after_s = held.before_s = step if step > 0 else np.inf
        self._held.append(held)
        for person in row.people:
            if person.pose3d is not None:
                joints = person.pose3d.joints.astype(np.float64)
                self._samples.setdefault(person.id, []).append(
                    Sample(held.number, held.time_s, person, joints)
                )
        while self._decided(self._held[0]):
            done.append(self._release(self._kernel))
        return done

    def finish(self) -> list[Timed]:
        """What follows has nothing to do with what came. Returns all rows held."""
        done = [self._release(self._kernel) for _ in range(len(self._held))] if self._kernel else []
        self._samples, self._shape = {}, None
        return done

    def _wide_s(self, held: _Held, kernel: Kernel) -> float:
        """Half width of the wide window about a row, seconds; wider where frames are rare."""
        step = min(held.before_s, held.after_s)
        return min(max(kernel.wide_s, _WIDE_FRAMES * step if step < np.inf else 0.0), REACH_S)

    def _decided(self, held: _Held) -> bool:
        newest = self._held[-1]
        late = newest.time_s - held.time_s >= self._wide_s(held, self._kernel) if self._kernel else True
        return newest is not held and (late or newest.number - held.number >= MAX_ROWS)

    def _release(self, kernel: Kernel) -> Timed:
        held = self._held.popleft()
        frame, row = held.item
        people = tuple(self._smoothed(person, held, kernel) for person in row.people)
        for person, samples in list(self._samples.items()):
            past = [
                s.number < held.number - MAX_ROWS - 1 or s.time_s < held.time_s - LOOK_BACK_S for s in samples
            ]
            self._samples[person] = [s for s, gone in zip(samples, past, strict=True) if not gone]
            if not self._samples[person]:
                del self._samples[person]
        return frame, replace(row, people=people)

    def _smoothed(self, person: Person, held: _Held, kernel: Kernel) -> Person:
        if person.pose3d is None:
            return person
        wide_s = self._wide_s(held, kernel)
        window, at = self._window(self._samples[person.id], held, wide_s)
        if len(window) == 1:
            return replace(person, raw3d=person.pose3d)
        times = np.array([s.time_s for s in window])
        joints = np.stack([s.joints for s in window])
        poses = [s.person.pose3d for s in window]
        std = np.stack([pose.std for pose in poses if pose is not None]).astype(np.float64)
        smooth = smooth_at(times, joints, std, at, wide_s, kernel)
        return replace(
            person, pose3d=Pose3D(smooth.astype(np.float32), person.pose3d.std), raw3d=person.pose3d
        )

    def _window(self, samples: list[Sample], held: _Held, wide_s: float) -> tuple[list[Sample], int]:
        """Those of a person's samples that are in a row's window and in one run with it, and which of them it is."""

        def near(k: int) -> bool:
            sample = samples[k]
            return abs(sample.time_s - held.time_s) < wide_s and abs(sample.number - held.number) < MAX_ROWS

        at = next(k for k, sample in enumerate(samples) if sample.number == held.number)
        first = last = at
        while first > 0 and near(first - 1):
            first -= 1
        while last + 1 < len(samples) and near(last + 1):
            last += 1
        begin, end = self._shots.run(samples, at, first, last)
        return samples[begin : end + 1], at - begin


def smooth_at(times: Array, joints: Array, std: Array, at: int, wide_s: float, kernel: Kernel) -> Array:
    """The pose of one frame, from the frames around it.

    A quadratic in time is fitted to each joint in the wide window, robustly (LOWESS: Cleveland 1979, Robust locally
    weighted regression, JASA 74), so that one frame's jump has no say, and what it leaves is fitted in the narrow
    one. The narrow fit follows fast limbs, the wide one is calmer: where they agree to `keep_m`, the wide one is
    taken. Nothing lags: the windows are symmetric but at a run's ends.

    Args:
        times: (n,) seconds, growing. joints: (n, 17, 3) metres; NaN rows are hidden joints. std: (n, 17) metres,
            NaN where unknown; a joint counts for less where its own is larger.
        at: which of the n frames. wide_s: half width of the wide window, at least the kernel's.

    Returns:
        (17, 3) metres; NaN where joints[at] is. A joint is smoothed over the frames in which it was seen without
        a break.
    """
    dt = times - times[at]
    seen = _unbroken(np.asarray(np.isfinite(joints).all(axis=2)), at)
    known = np.where(np.isfinite(std) & (std > 0), std, np.nan)
    weights = np.where(seen, np.nan_to_num(1.0 / known, nan=1.0), 0.0)
    values = np.where(seen[..., None], joints, 0.0)
    wide = weights * _tricube(dt / wide_s)[:, None]
    near = seen & (np.abs(dt) < 0.9 * wide_s)[:, None]
    trust, basis = np.ones_like(wide), np.vander(dt / wide_s, _DEGREE + 1, increasing=True)
    for turn in range(_ROUNDS + 1):
        fit = _fit(basis, values, wide * trust)
        rest = values - (basis @ fit.reshape(_DEGREE + 1, -1)).reshape(values.shape)
        if turn < _ROUNDS:
            size = np.linalg.norm(rest, axis=2)
            scale = np.maximum(_median(size, near), _MIN_RESIDUAL_M)
            trust = np.clip(1.0 - (size / (_OUTLIER * scale)) ** 2, 0.0, None) ** 2
    narrow = weights * _tricube(dt / kernel.narrow_s)[:, None]
    basis = np.vander(dt / kernel.narrow_s, _DEGREE + 1, increasing=True)
    more = _fit(basis, rest, narrow * trust, every=True)[0]
    size = np.linalg.norm(more, axis=1, keepdims=True) ** 4
    out = fit[0] + more * size / (size + kernel.keep_m**4)
    out[~seen[at]] = np.nan
    return out


def _unbroken(seen: np.ndarray, at: int) -> np.ndarray:
    """(n, J) bool: seen in all frames between this one and frame `at`, both included."""
    after = np.logical_and.accumulate(seen[at:], axis=0)
    before = np.logical_and.accumulate(seen[at::-1], axis=0)[::-1]
    return np.concatenate([before[:-1], after])


def _tricube(u: Array) -> Array:
    return np.clip(1.0 - np.abs(u) ** 3, 0.0, None) ** 3


def _fit(basis: Array, values: Array, weights: Array, every: bool = False) -> Array:
    """Weighted polynomials: (n, d), (n, J, 3), (n, J) -> coefficients (d, J, 3), the constant first.

    A small ridge on all but the constant, with `every` on that, too, draws to zero what the frames do not tell.
    """
    degrees, joints = basis.shape[1], values.shape[1]
    squares = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)  # (n, d * d)
    normal = (weights.T @ squares).reshape(joints, degrees, degrees)  # (J, d, d)
    right = basis.T @ (values * weights[..., None]).reshape(len(basis), -1)  # (d, J * 3)
    right = right.reshape(degrees, joints, 3).transpose(1, 0, 2)  # (J, d, 3)
    mean = weights.max(axis=0) + 1e-9  # (J,)
    ridge = np.diag(np.where(np.arange(degrees) + every > 0, _RIDGE, 1e-9))
    return np.linalg.solve(normal + ridge * mean[:, None, None], right).transpose(1, 0, 2)


def _median(values: Array, counted: np.ndarray) -> Array:
    """(n, J) -> (J,) median of those that are counted, 0 of none."""
    ordered = np.sort(np.where(counted, values, np.inf), axis=0)
    count = counted.sum(axis=0)
    middle = [
        np.take_along_axis(ordered, np.maximum(k, 0)[None], axis=0)[0] for k in ((count - 1) // 2, count // 2)
    ]
    return np.where(count > 0, (middle[0] + middle[1]) / 2, 0.0)
