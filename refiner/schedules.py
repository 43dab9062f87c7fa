"""Noise schedules as pure functions: K -> cumulative signal share abar_0 … abar_K (abar_0 = 1), float64.

abar_k = prod (1 - beta_i). Two readings turn one into levels, the size of the error at each step, in which
every sampler works: `relative_levels` (the full error is the lifter's) and `sigmas` (it is pure noise). The
`…_steps` choose the steps that a sampler visits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def linear(steps: int, first: float = 1e-4, last: float = 2e-3) -> Array:
    """Betas in a straight line (Ho et al. 2020); DiffPose's supplement: 1e-4 to 2e-3."""
    betas = np.linspace(first, last, steps)
    return np.concatenate([[1.0], np.cumprod(1 - betas)])


def cosine(steps: int, s: float = 0.008) -> Array:
    """Squared cosine (Nichol and Dhariwal 2021; DiffuPose and E533 use it)."""
    t = np.linspace(0, 1, steps + 1)
    f = np.cos((t + s) / (1 + s) * np.pi / 2) ** 2
    return np.clip(f / f[0], 1e-5, 1.0)


def relative_levels(abar: Array) -> Array:
    """(K + 1,) s_k = sqrt(1 - abar_k) / sqrt(1 - abar_K): 0 at the truth, 1 at what the lifter delivers."""
    noise = np.sqrt(1 - abar)
    return noise / noise[-1]


def sigmas(abar: Array) -> Array:
    """(K + 1,) sigma_k = sqrt((1 - abar_k) / abar_k): noise over signal, what EDM (2022) calls sigma.

    h_k = sqrt(abar_k) h_0 + sqrt(1 - abar_k) e, divided by its signal share, is h_0 + sigma_k e.
    """
    return np.sqrt((1 - abar) / abar)


def shipped_levels(steps: int) -> Array:
    """(K + 1,) s_k of the schedule that ships: linear betas."""
    return relative_levels(linear(steps))


def ddim_steps(levels: Array, steps: int, start: int | None = None) -> list[int]:
    """The `steps` + 1 diffusion steps that DDIM visits, from `start` (K if None) to 0, even in noise level.

    Raises ValueError if `steps` is not between 1 and `start`.
    """
    first = len(levels) - 1 if start is None else start
    if not 1 <= steps <= first:
        raise ValueError(f"steps: expected 1 to {first}, got {steps}")
    return _nearest(levels, np.linspace(levels[first], 0.0, steps + 1), first)


def index_steps(levels: Array, steps: int, start: int | None = None) -> list[int]:
    """As `ddim_steps`, but even in the step's number (Song et al. 2021, "linear")."""
    first = len(levels) - 1 if start is None else start
    if not 1 <= steps <= first:
        raise ValueError(f"steps: expected 1 to {first}, got {steps}")
    return [round(first * (steps - i) / steps) for i in range(steps + 1)]


def karras_steps(levels: Array, steps: int, start: int | None = None, rho: float = 7.0) -> list[int]:
    """As `ddim_steps`, but spaced as EDM's equation 5, denser near 0, on the nearest of the K levels."""
    first = len(levels) - 1 if start is None else start
    if not 1 <= steps <= first:
        raise ValueError(f"steps: expected 1 to {first}, got {steps}")
    return _nearest(levels, np.append(karras(steps, levels[1], levels[first], rho), 0.0), first)


def karras(steps: int, lowest: float, highest: float, rho: float = 7.0) -> Array:
    """(steps,) noise levels from highest to lowest (Karras et al. 2022, equation 5, without its final 0)."""
    ramp = np.linspace(0.0, 1.0, steps)
    root = 1 / rho
    return (highest**root + ramp * (lowest**root - highest**root)) ** rho


def _nearest(levels: Array, wanted: Sequence[float] | Array, first: int) -> list[int]:
    """Falling steps from `first` to 0 whose levels are nearest to the wanted ones."""
    steps = len(wanted) - 1
    visited = [int(np.abs(levels - w).argmin()) for w in wanted]
    visited[0] = first
    for i in range(1, steps + 1):  # near 0 neighbours could coincide
        visited[i] = min(visited[i], visited[i - 1] - 1)
    visited[-1] = 0
    for i in range(steps - 1, 0, -1):
        visited[i] = max(visited[i], visited[i + 1] + 1)
    return visited


SCHEDULES: dict[str, Callable[[int], Array]] = {"linear": linear, "cosine": cosine}
