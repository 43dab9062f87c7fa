"""CCE and CAG as published (Jiang and Chen, ICASSP 2024): the whole network.

CCE: 2D and 3D of a joint are two nodes of one graph, 34 nodes x 3 channels (equation 4), instead of one node
of 5 channels (equation 3). CAG: a second branch reads the clean 2D; after the attention of every layer its
features are added to the main branch's, and the main branch's to its.

Where paper and official code differ: 5 layers and the two-way merging are the code's (the paper is silent on
the direction); the target is the process's business (`process.ProcessConfig.target`). The guide's last block
and its output convolution, dead parameters in the code, are left out. A third guide channel says which joints
were observed, dropout is 0 and the output starts at zero, as in every network here. `denoisers.CceCag` is the
network that posefix grew from this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..lifter.graph import ChebBlock, ChebConv, GraphAttention, chebyshev_terms, skeleton_adjacency
from ..skeleton import H36M17
from .denoisers import StepEmbedding, cross_channel_adjacency

JOINTS = len(H36M17.joints)
NODES = 2 * JOINTS


@dataclass(frozen=True)
class CceConfig:
    channels: int = 96
    layers: int = 5
    heads: int = 4
    time_channels: int = 384
    dropout: float = 0.0
    guided: bool = True  # with CAG


class Branch(nn.Module):
    """The layers of one branch on 34 nodes: attentions, and blocks with their share of the step."""

    def __init__(self, c: CceConfig, blocks: int, terms: Tensor):
        super().__init__()
        self.attentions = nn.ModuleList(
            GraphAttention(c.channels, c.heads, NODES, c.dropout) for _ in range(c.layers)
        )
        self.blocks = nn.ModuleList(ChebBlock(c.channels, terms, c.dropout) for _ in range(blocks))
        self.shifts = nn.ModuleList(nn.Linear(c.time_channels, c.channels) for _ in range(blocks))

    def block(self, i: int, x: Tensor, step: Tensor) -> Tensor:  # (B, 34, C), (B, time) -> (B, 34, C)
        return self.blocks[i](x, self.shifts[i](step)[:, None])


class PublishedCce(nn.Module):
    """Noisy (u, v, x, y, z) per joint, step and clean 2D -> the noise in it."""

    def __init__(self, config: CceConfig | None = None):
        super().__init__()
        self.config = c = config or CceConfig()
        terms = chebyshev_terms(cross_channel_adjacency())
        self.align = nn.Linear(2, 3)  # L_e of equation 4
        self.embed = ChebConv(3, c.channels, terms)
        self.step = StepEmbedding(c.channels, c.time_channels)
        self.main = Branch(c, c.layers, terms)
        self.head = ChebConv(c.channels, 3, terms)
        self.out = nn.Linear(6, 5)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        if c.guided:
            self.embed_2d = ChebConv(3, c.channels, chebyshev_terms(skeleton_adjacency(H36M17.edges, JOINTS)))
            self.spread = nn.Linear(JOINTS, NODES)  # over the joint axis
            self.guide = Branch(c, c.layers - 1, terms)

    def guidance(self, keypoints: Tensor) -> Tensor:
        """(G, 17, 3) -> the same: the guide hears of the step and of the main branch, so nothing is ready before."""
        return keypoints

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        """state (G, H, 17, 5), k (G,) float, guidance (G, 17, 3) u, v, observed -> (G, H, 17, 5)."""
        g, h = state.shape[:2]
        step = self.step(k).repeat_interleave(h, dim=0)  # (G*H, time)
        state = state.reshape(g * h, JOINTS, 5)
        with torch.autocast(state.device.type, enabled=False):
            x = torch.cat([self.align(state[..., :2]), state[..., 2:]], dim=1)  # (G*H, 34, 3)
            x = self.embed(x)  # (G*H, 34, C)
        x = self._guided(x, step, guidance.repeat_interleave(h, dim=0)) if self.config.guided else (
            self._alone(x, step)
        )  # fmt: skip
        with torch.autocast(state.device.type, enabled=False):
            x = self.head(x.float())  # (G*H, 34, 3)
            x = torch.cat([x[:, :JOINTS], x[:, JOINTS:]], dim=-1)  # (G*H, 17, 6)
            return self.out(x).reshape(g, h, JOINTS, 5)

    def _alone(self, x: Tensor, step: Tensor) -> Tensor:
        for i, attention in enumerate(self.main.attentions):
            x = self.main.block(i, attention(x), step)
        return x

    def _guided(self, x: Tensor, step: Tensor, keypoints: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            guide = self.spread(self.embed_2d(keypoints).transpose(1, 2)).transpose(
                1, 2
            )  # (G*H, 17 -> 34, C)
        x = x + guide
        last = self.config.layers - 1
        for i in range(last + 1):
            x, guide = self.main.attentions[i](x), self.guide.attentions[i](guide)
            x = x + guide
            if i < last:
                guide = self.guide.block(i, guide + x, step)
            x = self.main.block(i, x, step)
        return x
