"""Samplers: one plain function each, one signature (denoise, state, levels, visited).

`denoise(state, k)` answers the clean state it believes in at diffusion step k; NumPy arrays and torch
tensors alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

State = TypeVar("State")


def ddim(
    denoise: Callable[[State, int], State], state: State, levels: np.ndarray, visited: Sequence[int]
) -> State:
    """Deterministic DDIM (Song et al. 2021, equation 12 with eta = 0) for h_k = h_0 + s_k e.

    Args:
        state: h_K; any array.
        levels: (K + 1,) s_k, `schedules.relative_levels`.
        visited: steps from K down to 0, `schedules.ddim_steps`.
    """
    for now, after in itertools.pairwise(visited):
        clean = denoise(state, now)
        share = float(levels[after] / levels[now])
        state = clean + (state - clean) * share  # type: ignore[operator]
    return state
