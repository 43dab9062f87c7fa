"""Samplers: one plain function each, one signature (denoise, state, levels, visited, draw).

The state is h_0 + s_k e, s_k = levels[k]. `denoise(state, k)` answers the clean state it believes in at
diffusion step k, which may lie between two steps; `draw()` gives fresh noise e of unit level. NumPy arrays
and torch tensors alike. A process whose signal shrinks is brought to this form by dividing by the signal's
share (`schedules.sigmas`), so any sampler goes with any schedule.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

State = TypeVar("State")


def ddim(
    denoise: Callable[[State, Any], State],
    state: State,
    levels: np.ndarray,
    visited: Sequence[int],
    draw: Callable[[], State] | None = None,
) -> State:
    """Deterministic DDIM (Song et al. 2021, equation 12 with eta = 0) for h_k = h_0 + s_k e.

    Args:
        state: h_K; any array.
        levels: (K + 1,) s_k, `schedules.relative_levels`.
        visited: steps from K down to 0, `schedules.ddim_steps`.
        draw: not used.
    """
    for now, after in itertools.pairwise(visited):
        clean = denoise(state, now)
        share = float(levels[after] / levels[now])
        state = clean + (state - clean) * share  # type: ignore[operator]
    return state


def ddpm(
    denoise: Callable[[State, Any], State],
    state: Any,
    levels: np.ndarray,
    visited: Sequence[int],
    draw: Callable[[], State] | None = None,
) -> State:
    """Ancestral sampling (Ho et al. 2020, equation 7: the posterior of h_after given h_now and h_0).

    Written for h_0 + s e: mean h_0 + (s'/s)^2 (h - h_0), variance s'^2 (s^2 - s'^2) / s^2.

    Args: as of `ddim`; `draw` is needed. Raises ValueError without it.
    """
    if draw is None:
        raise ValueError("ddpm: needs draw, a source of noise")
    for now, after in itertools.pairwise(visited):
        clean: Any = denoise(state, now)
        high, low = float(levels[now]), float(levels[after])
        state = clean + (state - clean) * (low / high) ** 2
        if low > 0:
            state = state + draw() * (low * (high**2 - low**2) ** 0.5 / high)
    return state


def heun(
    denoise: Callable[[State, Any], State],
    state: Any,
    levels: np.ndarray,
    visited: Sequence[int],
    draw: Callable[[], State] | None = None,
    churn: float = 0.0,
) -> State:
    """EDM's second-order sampler with churn (Karras et al. 2022, algorithm 2; S_min 0, S_noise 1).

    n visited intervals cost 2 n - 1 calls: the last one, down to 0, is a plain Euler step.

    Args: as of `ddim`; `draw` is needed where churn (S_churn) is not 0. Noise is never raised beyond
        levels[K], which is as far as the network was trained. Raises ValueError without a needed `draw`.
    """
    if churn > 0 and draw is None:
        raise ValueError("heun: churn needs draw, a source of noise")
    gamma = min(churn / max(1, len(visited) - 1), 2**0.5 - 1)
    for now, after in itertools.pairwise(visited):
        sigma, low, k = float(levels[now]), float(levels[after]), now
        high = min(sigma * (1 + gamma), float(levels[-1]))
        if draw is not None and high > sigma:
            state = state + draw() * (high**2 - sigma**2) ** 0.5
            k = float(np.interp(high, levels, np.arange(len(levels))))
        else:
            high = sigma
        slope: Any = (state - denoise(state, k)) / high
        guess = state + (low - high) * slope
        if low > 0:
            slope = (slope + (guess - denoise(guess, after)) / low) / 2
        state = state + (low - high) * slope
    return state


def intervals(sampler: str, calls: int) -> int:
    """How many intervals a sampler walks with that many network calls. Raises ValueError where it cannot."""
    if sampler != "heun":
        return calls
    if calls % 2 == 0:
        raise ValueError(f"heun takes an odd number of network calls, got {calls}")
    return (calls + 1) // 2


SAMPLERS: dict[str, Callable[..., Any]] = {"ddim": ddim, "ddpm": ddpm, "heun": heun}
