"""DiffuPose's denoiser (Choi et al., 2022): a modulated graph convolution network with a step in it.

Exact 2D and noised 3D in, noise of the 3D and the 2D again out (its equations 8 to 10).

Where paper and official code differ:
    * affinity modulation is the paper's A * P + Q, made symmetric (code: A + Q);
    * layers, non-local block and the two places of the step are the code's; width 256, which the paper's tables 2 and
      4 and its schedules have (its best figure, 49.4 mm with ten hypotheses, is of 384);
    * the non-local block is one-headed attention with a residual that starts at zero, which is what it is.

As everywhere here there are 17 joints (16 there), a channel says which joints were observed, and layers are
normalised by LayerNorm instead of batch norm, whose running figures the average of weights would not carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..lifter.graph import Attention, skeleton_adjacency
from ..skeleton import H36M17

JOINTS = len(H36M17.joints)


@dataclass(frozen=True)
class DiffuPoseConfig:
    channels: int = 256
    layers: int = 4


class ModulatedConv(nn.Module):
    """Y = (A_mod * I) (M * X W_0) + (A_mod * (1 - I)) (M * X W_1) + b, A_mod = sym(A * P + Q).

    One W for a joint itself, one for its neighbours (Zou and Tang, ICCV 2021); M gives every joint its own
    share of them (weight modulation), P and Q its own neighbours (affinity modulation).
    """

    affinity: Tensor

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.own, self.other = (nn.Parameter(torch.empty(c_in, c_out)) for _ in range(2))
        nn.init.xavier_uniform_(self.own)
        nn.init.xavier_uniform_(self.other)
        self.modulation = nn.Parameter(1 + 0.1 * torch.randn(JOINTS, c_out))
        self.p = nn.Parameter(torch.ones(JOINTS, JOINTS))
        self.q = nn.Parameter(torch.full((JOINTS, JOINTS), 1e-6))
        self.bias = nn.Parameter(torch.zeros(c_out))
        linked = (skeleton_adjacency(H36M17.edges, JOINTS) > 0).float()
        share = linked.sum(dim=1).rsqrt()
        self.register_buffer("affinity", share[:, None] * linked * share[None, :], persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, 17, c_in) -> (B, 17, c_out)
        a = self.affinity * self.p + self.q
        a = ((a + a.T) / 2).to(x.dtype)
        own = torch.diagonal(a)[:, None]  # (17, 1)
        self_part, other_part = self.modulation * (x @ self.own), self.modulation * (x @ self.other)
        return own * self_part + (a - torch.diag(torch.diagonal(a))) @ other_part + self.bias


class ModulatedLayer(nn.Module):
    """Modulated convolution, norm, ReLU."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv, self.norm = ModulatedConv(c_in, c_out), nn.LayerNorm(c_out)

    def forward(self, x: Tensor) -> Tensor:  # (B, 17, c_in) -> (B, 17, c_out)
        return F.relu(self.norm(self.conv(x)))


class StepScale(nn.Module):
    """Scale and shift by the step, then SiLU."""

    def __init__(self, channels: int, time_channels: int):
        super().__init__()
        self.linear = nn.Linear(time_channels, 2 * channels)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:  # (B, 17, C), (B, time) -> (B, 17, C)
        scale, shift = self.linear(F.silu(step))[:, None].chunk(2, dim=-1)  # each (B, 1, C)
        return F.silu(x * (1 + scale) + shift)


class DiffuPose(nn.Module):
    """(u, v exact, x, y, z noised) per joint and step -> (u, v again, noise of x, y, z)."""

    def __init__(self, config: DiffuPoseConfig | None = None):
        super().__init__()
        self.config = c = config or DiffuPoseConfig()
        self.embed = ModulatedLayer(6, c.channels)
        self.layers = nn.ModuleList(
            nn.Sequential(ModulatedLayer(c.channels, c.channels), ModulatedLayer(c.channels, c.channels))
            for _ in range(c.layers)
        )
        time = c.channels // 2
        self.sinusoid = max(8, c.channels // 8)
        self.step = nn.Sequential(nn.Linear(self.sinusoid, time), nn.GELU(), nn.Linear(time, time))
        self.before, self.after = StepScale(c.channels, time), StepScale(c.channels, time)
        self.non_local = Attention(c.channels, heads=1)
        nn.init.zeros_(self.non_local.out.weight)
        nn.init.zeros_(self.non_local.out.bias)
        self.head = ModulatedConv(c.channels, 5)

    def guidance(self, keypoints: Tensor) -> Tensor:
        """(G, 17, 3) normalised u, v, observed -> (G, 17, 1) observed; the 2D comes with the state."""
        return keypoints[..., 2:]

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        """state (G, H, 17, 5), k (G,) float, guidance (G, 17, 1) -> (G, H, 17, 5)."""
        g, h = state.shape[:2]
        half = self.sinusoid // 2
        rate = torch.exp(torch.arange(half, device=k.device) * (-9.21034 / (half - 1)))  # 1 … 1e-4
        angle = k[:, None] * rate
        step = self.step(torch.cat([angle.sin(), angle.cos()], dim=-1))  # (G, time)
        step = step.repeat_interleave(h, dim=0)  # (G*H, time)
        seen = guidance.repeat_interleave(h, dim=0)  # (G*H, 17, 1)
        with torch.autocast(state.device.type, enabled=False):
            x = self.embed(torch.cat([state.reshape(g * h, JOINTS, 5), seen], dim=-1))  # (G*H, 17, C)
        for layer in self.layers:
            x = x + layer(x)
        x = self.before(x, step)
        x = x + self.non_local(x)
        x = self.after(x, step)
        with torch.autocast(state.device.type, enabled=False):
            return self.head(x.float()).reshape(g, h, JOINTS, 5)
