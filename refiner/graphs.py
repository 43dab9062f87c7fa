"""The refiner's two halves as they run and are exported: guidance once a frame, one denoising step.

Both work on G frames and on their mirror images at once: rows 0 … G-1 as they are, G … 2G-1 mirrored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..lifter.normalise import MIRROR_2D, mirror, normalise_keypoints
from .config import DiffusionConfig
from .denoisers import CceCag
from .diffusion import denoise


class GuideGraph(nn.Module):
    """Pixels -> normalised 2D and the guidance for all layers."""

    def __init__(self, network: CceCag):
        super().__init__()
        self.network = network

    def forward(self, keypoints: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """(G, 17, 2) px, (G, 17) of 0 and 1 -> (G, 17, 3) u, v, observed and (2G, layers, 34, C)."""
        x = normalise_keypoints(keypoints, observed > 0.5)
        return x, self.network.guidance(torch.cat([x, mirror(x, MIRROR_2D)]))


class StepGraph(nn.Module):
    """One call of the denoiser: h_k -> the clean state it believes in."""

    def __init__(self, network: CceCag, config: DiffusionConfig):
        super().__init__()
        self.network, self.predict = network, config.predict

    def forward(self, state: Tensor, k: Tensor, s: Tensor, guidance: Tensor, observed: Tensor) -> Tensor:
        """(2G, H, 17, 5), (1,), (1,), (2G, layers, 34, C), (2G, 17) -> (2G, H, 17, 5)"""
        rows = state.shape[0]
        return denoise(
            self.network,
            state,
            k.expand(rows),
            s.expand(rows),
            guidance,
            observed[:, None, :, None],
            self.predict,
        )
