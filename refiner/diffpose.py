"""DiffPose's frame-based denoiser (Gong et al., CVPR 2023) and the two regressors it is held against.

17 nodes x 5 channels (u, v, x, y, z), GCN and attention in series, time step added in every block.

Where paper and official code differ:
    * width and depth are the code's (5 blocks of 96 channels, 4 heads; paper: 3 of 128 and 256);
    * context f_ST is the paper's: features of a frozen GraFormer, joined to the embedded state, brought back
      to the blocks' width by one Linear (code: conditioning argument unused);
    * the step enters as in the code, added between the two graph convolutions of every block (paper: once).

Further, as everywhere here: dropout 0, and an output layer that starts at zero, so that an untrained network
leaves the lifted pose alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..lifter.graformer import GraFormer
from ..lifter.graph import ChebBlock, ChebConv, GraphAttention, chebyshev_terms, skeleton_adjacency
from ..skeleton import H36M17
from .denoisers import StepEmbedding

JOINTS = len(H36M17.joints)


@dataclass(frozen=True)
class DiffPoseConfig:
    channels: int = 96
    layers: int = 5
    heads: int = 4
    time_channels: int = 384
    dropout: float = 0.0
    context: bool = True
    stack: int = 1  # networks in a row, for baseline B


class DiffPose(nn.Module):
    """Noisy (u, v, x, y, z) per joint, step and context -> the noise in it.

    Args:
        lifter: source of the context; copied in, never trained.
    """

    def __init__(self, config: DiffPoseConfig, lifter: GraFormer):
        super().__init__()
        self.config = c = config
        terms = chebyshev_terms(skeleton_adjacency(H36M17.edges, JOINTS))
        self.context = copy.deepcopy(lifter).requires_grad_(False)
        self.embed = ChebConv(5, c.channels, terms)
        features = lifter.config.channels if c.context else 0
        self.join = nn.Linear(c.channels + features, c.channels)
        self.step = StepEmbedding(c.channels, c.time_channels)
        self.shifts = nn.ModuleList(nn.Linear(c.time_channels, c.channels) for _ in range(c.layers))
        self.attentions = nn.ModuleList(
            GraphAttention(c.channels, c.heads, JOINTS, c.dropout) for _ in range(c.layers)
        )
        self.blocks = nn.ModuleList(ChebBlock(c.channels, terms, c.dropout) for _ in range(c.layers))
        self.head = ChebConv(c.channels, 5, terms)
        nn.init.zeros_(self.head.weight)

    def guidance(self, keypoints: Tensor) -> Tensor:
        """(G, 17, 3) normalised u, v, observed -> (G, 17, F): what the lifter's last block says, or F = 0."""
        if not self.config.context:
            return keypoints.new_zeros(*keypoints.shape[:2], 0)
        with torch.no_grad(), torch.autocast(keypoints.device.type, enabled=False):
            return self.context.features(keypoints)

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        """state (G, H, 17, 5), k (G,) float, guidance (G, 17, F) -> (G, H, 17, 5).

        H hypotheses share one guidance and one step.
        """
        g, h = state.shape[:2]
        context = guidance.repeat_interleave(h, dim=0)  # (G*H, 17, F)
        with torch.autocast(state.device.type, enabled=False):
            x = self.embed(state.reshape(g * h, JOINTS, 5))  # (G*H, 17, C)
            x = self.join(torch.cat([x, context], dim=-1))  # (G*H, 17, C + F) -> (G*H, 17, C)
        shift = self.step(k)  # (G, time)
        for i, (attention, block) in enumerate(zip(self.attentions, self.blocks, strict=True)):
            s = self.shifts[i](shift).repeat_interleave(h, dim=0)[:, None]  # (G*H, 1, C)
            x = block(attention(x), s)
        with torch.autocast(state.device.type, enabled=False):
            return self.head(x.float()).reshape(g, h, JOINTS, 5)


class Stacked(nn.Module):
    """Baseline B of DiffPose's Table 4: as many of its denoisers in a row as the diffusion makes calls.

    Each corrects what the one before it left; only the last result is scored. One of them is baseline A,
    the denoiser as a one-step regressor.
    """

    def __init__(self, config: DiffPoseConfig, lifter: GraFormer):
        super().__init__()
        self.config = config
        self.networks = nn.ModuleList(DiffPose(config, lifter) for _ in range(config.stack))
        for network in self.networks[1:]:
            del network.context  # the first one's serves all

    def guidance(self, keypoints: Tensor) -> Tensor:
        """As `DiffPose.guidance`: one context for all."""
        first = self.networks[0]
        assert isinstance(first, DiffPose)
        return first.guidance(keypoints)

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        """As `DiffPose.forward`: the sum of all corrections."""
        corrected = state
        for network in self.networks:
            corrected = corrected - network(corrected, k, guidance)
        return state - corrected
