"""The denoiser: Cross-Channel Embedding with Context Attention Guidance (Jiang and Chen, ICASSP 2024).

CCE: 2D and 3D of a joint are two nodes of one graph, 34 nodes x 3 channels (equation 4).
CAG: a second branch reads the clean 2D and its features are added to the main branch's after attention.

What differs from the official code, and why:
    * guidance flows one way, from the guide to the main branch, and the guide does not see the noise or
      its step: so it is computed once a frame, however many hypotheses and steps follow;
    * the guide works on 17 nodes and is spread to 34 by a joint-axis Linear at every layer (there: once,
      at the start), which halves its cost;
    * a third guide channel says which joints were observed;
    * the output layer starts at zero, so training starts exactly at the lifter's pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..lifter.graformer import GraFormer
from ..lifter.graph import ChebBlock, ChebConv, GraphAttention, chebyshev_terms, skeleton_adjacency
from ..skeleton import H36M17

JOINTS = len(H36M17.joints)


@dataclass(frozen=True)
class CceCagConfig:
    channels: int = 96
    layers: int = 5
    heads: int = 4
    time_channels: int = 384
    dropout: float = 0.0
    guided: bool = True


def cross_channel_adjacency() -> Tensor:
    """(34, 34): two skeletons (2D nodes 0-16, 3D nodes 17-33) and an edge between the two nodes of a joint."""
    edges = list(H36M17.edges)
    edges += [(a + JOINTS, b + JOINTS) for a, b in H36M17.edges]
    edges += [(j, j + JOINTS) for j in range(JOINTS)]
    return skeleton_adjacency(tuple(edges), 2 * JOINTS)


class StepEmbedding(nn.Module):
    """Diffusion step -> sinusoid -> two-layer MLP (swish)."""

    def __init__(self, sinusoid: int, channels: int):
        super().__init__()
        self.sinusoid = sinusoid
        self.mlp = nn.Sequential(
            nn.Linear(sinusoid, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )

    def forward(self, k: Tensor) -> Tensor:  # (B,) float -> (B, channels)
        half = self.sinusoid // 2
        rate = torch.exp(torch.arange(half, device=k.device) * (-9.21034 / (half - 1)))  # 1 … 1e-4
        angle = k[:, None] * rate
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))


class Guide(nn.Module):
    """Clean 2D -> features for every layer of the main branch, on its 34 nodes."""

    def __init__(self, c: CceCagConfig):
        super().__init__()
        self.channels = c.channels
        terms = chebyshev_terms(skeleton_adjacency(H36M17.edges, JOINTS))
        self.embed = ChebConv(3, c.channels, terms)
        self.attentions = nn.ModuleList(
            GraphAttention(c.channels, c.heads, JOINTS, c.dropout) for _ in range(c.layers)
        )
        # The last layer's block would feed nothing.
        self.blocks = nn.ModuleList(ChebBlock(c.channels, terms, c.dropout) for _ in range(c.layers - 1))
        spread = [nn.Linear(JOINTS, 2 * JOINTS) for _ in range(c.layers)]
        for linear in spread:  # a joint's features start on its own two nodes
            nn.init.zeros_(linear.bias)
            linear.weight.data.copy_(torch.eye(JOINTS).repeat(2, 1))
        self.spread = nn.ModuleList(spread)

    def start_from(self, lifter: GraFormer) -> None:
        """Takes over a trained lifter's layers: same shapes, same input. Raises ValueError if they differ."""
        if lifter.config.c_in != 3 or lifter.config.channels != self.channels:
            raise ValueError(f"Guide: expected a lifter of {self.channels} channels, got {lifter.config}")
        self.embed.load_state_dict(lifter.embed.state_dict())
        for mine, its in ((self.attentions, lifter.attentions), (self.blocks, lifter.blocks)):
            for layer, source in zip(mine, its, strict=False):  # the lifter has one block more
                layer.load_state_dict(source.state_dict())

    def forward(self, keypoints: Tensor) -> Tensor:  # (B, 17, 3) -> (B, layers, 34, C)
        with torch.autocast(keypoints.device.type, enabled=False):
            x = self.embed(keypoints)
        out = []
        for i, attention in enumerate(self.attentions):
            x = attention(x)
            out.append(self.spread[i](x.transpose(1, 2)).transpose(1, 2))  # joint axis 17 -> 34
            if i < len(self.blocks):
                x = self.blocks[i](x)
        return torch.stack(out, dim=1)


class CceCag(nn.Module):
    """Noisy (u, v, x, y, z) per joint, step and guidance -> estimate of the error in it.

    The network answers the error e of the state h_k = h_0 + s_k e at unit level; `diffusion.py` turns it
    into the clean pose.
    """

    def __init__(self, config: CceCagConfig | None = None):
        super().__init__()
        self.config = c = config or CceCagConfig()
        terms = chebyshev_terms(cross_channel_adjacency())
        self.align = nn.Linear(2, 3)  # L_e of equation 4
        self.embed = ChebConv(3, c.channels, terms)
        self.step = StepEmbedding(c.channels, c.time_channels)
        self.shifts = nn.ModuleList(nn.Linear(c.time_channels, c.channels) for _ in range(c.layers))
        self.attentions = nn.ModuleList(
            GraphAttention(c.channels, c.heads, 2 * JOINTS, c.dropout) for _ in range(c.layers)
        )
        self.blocks = nn.ModuleList(ChebBlock(c.channels, terms, c.dropout) for _ in range(c.layers))
        self.head = ChebConv(c.channels, 3, terms)
        self.out = nn.Linear(6, 5)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.guide = Guide(c) if c.guided else None

    def guidance(self, keypoints: Tensor) -> Tensor:
        """(G, 17, 3) normalised u, v, observed -> (G, layers, 34, C), zeros for an unguided network."""
        if self.guide is not None:
            return self.guide(keypoints)
        return keypoints.new_zeros(len(keypoints), self.config.layers, 2 * JOINTS, self.config.channels)

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        """state (G, H, 17, 5), k (G,) float, guidance (G, layers, 34, C) -> (G, H, 17, 5).

        H hypotheses share one guidance and one step.
        """
        g, h = state.shape[:2]
        c = self.config.channels
        state = state.reshape(g * h, JOINTS, 5)
        with torch.autocast(state.device.type, enabled=False):
            x = torch.cat([self.align(state[..., :2]), state[..., 2:]], dim=1)  # (G*H, 34, 3)
            x = self.embed(x)  # (G*H, 34, C)
        shift = self.step(k)  # (G, time)
        for i, (attention, block) in enumerate(zip(self.attentions, self.blocks, strict=True)):
            x = attention(x)
            x = (x.reshape(g, h, -1, c) + guidance[:, None, i]).reshape(g * h, -1, c)
            s = self.shifts[i](shift)[:, None].expand(g, h, c).reshape(g * h, 1, c)
            x = block(x, s)
        with torch.autocast(state.device.type, enabled=False):
            x = self.head(x.to(self.out.weight.dtype))  # (G*H, 34, 3)
            x = torch.cat([x[:, :JOINTS], x[:, JOINTS:]], dim=-1)  # (G*H, 17, 6)
            return self.out(x).reshape(g, h, JOINTS, 5)
