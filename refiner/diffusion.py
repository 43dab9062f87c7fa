"""The diffusion itself: forward noising, denoising and the start, in one place for training and run time.

State h: (..., 17, 5) = normalised u, v and x, y, z in metres relative to Hip, camera axes.
Forward (DiffPose equation 7, CCE+CAG section 2.2.3, written around the truth):

    h_k = h_0 + s_k e,    e = (h_start - h_0) + t * n,    n ~ centred Gaussian mixture,

with s_k from 0 to 1 (`schedules.relative_levels`), h_start = [detected 2D | lifted 3D] and the mixture
fitted to h_start - h_0 of people the lifter never saw. So h_K is exactly what run time starts from: the
lifter's pose with a drawn error of the size and shape that such poses have. t is `spread`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoisers import CceCag


def mask_hidden(state: Tensor, observed: Tensor) -> Tensor:
    """Hidden joints have no 2D: their u, v are 0. state (..., 17, 5), observed (..., 17, 1) of 0 and 1."""
    return torch.cat([state[..., :2] * observed, state[..., 2:]], dim=-1)


def centre_root(state: Tensor) -> Tensor:
    """x, y, z relative to joint 0 again. (..., 17, 5)"""
    return torch.cat([state[..., :2], state[..., 2:] - state[..., :1, 2:]], dim=-1)


def denoise(
    model: CceCag,
    state: Tensor,
    k: Tensor,
    s: Tensor,
    guidance: Tensor,
    observed: Tensor,
    predict: str = "error",
) -> Tensor:
    """The clean state the network believes in: h_k - s_k * (its estimate of the unit error).

    Args:
        state: (G, H, 17, 5) h_k. k, s: (G,) step and level s_k. guidance: `CceCag.guidance`.
        observed: (G, 1, 17, 1) of 0 and 1.
        predict: "error" as above; "pose" takes the network's answer as the clean state itself.
    """
    answer = model(state, k, guidance)
    clean = answer if predict == "pose" else state - s[:, None, None, None] * answer
    return centre_root(mask_hidden(clean, observed))
