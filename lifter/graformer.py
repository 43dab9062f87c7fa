"""GraFormer (Zhao et al., CVPR 2022) with 17 joints: the whole network.

Differences from the official code, each for a reason:
    * a third input channel says whether a joint was observed, so that a hidden joint is not mistaken
      for one that sits on the pelvis;
    * dropout is a setting and 0 by default: training draws endless augmented poses, so there is
      nothing to memorise and the small network underfits;
    * the learnable adjacency is guarded against NaN (see `graph.LearnedGraphLinear`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..skeleton import H36M17
from .graph import ChebBlock, ChebConv, GraphAttention, chebyshev_terms, skeleton_adjacency
from .normalise import flip_average, normalise_keypoints


@dataclass(frozen=True)
class GraFormerConfig:
    channels: int = 96
    layers: int = 5
    heads: int = 4
    c_in: int = 3  # u, v, observed
    c_out: int = 3  # x, y, z
    dropout: float = 0.0


class GraFormer(nn.Module):
    """(B, 17, c_in) normalised keypoints -> (B, 17, 3) metres relative to Hip, camera axes."""

    def __init__(self, config: GraFormerConfig | None = None):
        super().__init__()
        self.config = c = config or GraFormerConfig()
        nodes = len(H36M17.joints)
        terms = chebyshev_terms(skeleton_adjacency(H36M17.edges, nodes))
        self.embed = ChebConv(c.c_in, c.channels, terms)
        self.attentions = nn.ModuleList(
            GraphAttention(c.channels, c.heads, nodes, c.dropout) for _ in range(c.layers)
        )
        self.blocks = nn.ModuleList(ChebBlock(c.channels, terms, c.dropout) for _ in range(c.layers))
        self.head = ChebConv(c.channels, c.c_out, terms)

    def features(self, x: Tensor) -> Tensor:
        """(B, 17, c_in) -> (B, 17, C): what the last block says."""
        # The first and last layer, and so the residual stream, stay in full precision under autocast:
        # bfloat16 rounds a metre to 4 mm.
        with torch.autocast(x.device.type, enabled=False):
            x = self.embed(x)  # (B, 17, C)
        for attention, block in zip(self.attentions, self.blocks, strict=True):
            x = block(attention(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.head(x)  # (B, 17, 3)
        return x - x[:, :1]


class Lift(nn.Module):
    """The lifter as it runs and is exported: pixels in, flip-averaged metres out."""

    def __init__(self, network: GraFormer):
        super().__init__()
        self.network = network

    def forward(self, keypoints: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """keypoints (B, 17, 2) px, observed (B, 17) of 0 and 1 -> lifted (B, 17, 3), normalised 2D (B, 17, 3)."""
        x = normalise_keypoints(keypoints, observed > 0.5)
        return flip_average(self.network, x), x
