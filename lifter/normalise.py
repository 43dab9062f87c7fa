"""2D normalisation and mirroring shared by training and run time: pelvis-centred, box-scaled.

Framing and lens of wild video differ from any laboratory's, so neither enters the network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..skeleton import H36M17


def frame_of(keypoints: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 17, 2) and (B, 17) bool -> centre (B, 1, 2), the Hip, and half the larger box side (B, 1, 1)."""
    seen = observed[..., None]
    high = torch.where(seen, keypoints, -torch.inf).amax(dim=1)
    low = torch.where(seen, keypoints, torch.inf).amin(dim=1)
    half = ((high - low).amax(dim=-1) / 2).clamp_min(1e-6)
    return keypoints[:, :1], half[:, None, None]


def normalise_keypoints(keypoints: Tensor, observed: Tensor) -> Tensor:
    """(B, 17, 2) in any unit and (B, 17) bool -> (B, 17, 3): u, v, observed.

    u, v = (keypoint - Hip) / (half the larger side of the observed joints' box); hidden joints are 0, 0, 0.
    """
    centre, half = frame_of(keypoints, observed)
    seen = observed[..., None]
    uv = torch.where(seen, (keypoints - centre) / half, torch.zeros_like(keypoints))
    return torch.cat([uv, seen.to(uv.dtype)], dim=-1)


def mirror(nodes: Tensor, signs: tuple[float, ...]) -> Tensor:
    """The mirror image: left and right joints swap, channels change sign as told. (..., 17, C)"""
    return nodes[..., H36M17.flip_order, :] * torch.tensor(signs, dtype=nodes.dtype, device=nodes.device)


MIRROR_2D = (-1.0, 1.0, 1.0)  # u, v, observed
MIRROR_3D = (-1.0, 1.0, 1.0)  # x, y, z


def flip_average(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Mean of the network's answers to a pose and to its mirror image, mirrored back. (B, 17, 3) -> (B, 17, 3)"""
    straight, mirrored = model(torch.cat([x, mirror(x, MIRROR_2D)])).chunk(2)
    return (straight + mirror(mirrored, MIRROR_3D)) / 2
