"""Skeleton graphs and graph layers, shared by lifter and refiner.

Shapes: B poses, N graph nodes, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def skeleton_adjacency(edges: tuple[tuple[int, int], ...], nodes: int) -> Tensor:
    """(N, N) row-normalised adjacency with self loops (GraFormer's and DiffPose's convention)."""
    a = torch.eye(nodes)
    for i, j in edges:
        a[i, j] = a[j, i] = 1.0
    return a / a.sum(dim=1, keepdim=True)


def chebyshev_terms(adjacency: Tensor, order: int = 2) -> Tensor:
    """(order + 1, N, N) Chebyshev polynomials T_k of L = I - D^-1/2 A D^-1/2 (GraFormer, section 3).

    A may be asymmetric (row-normalised), as in the official code.
    """
    degree = adjacency.sum(dim=1).rsqrt()
    laplacian = torch.eye(len(adjacency)) - degree[:, None] * adjacency * degree[None, :]
    terms = [torch.eye(len(adjacency)), laplacian]
    while len(terms) <= order:
        terms.append(2 * laplacian @ terms[-1] - terms[-2])
    return torch.stack(terms[: order + 1])


class ChebConv(nn.Module):
    """Chebyshev graph convolution: y = sum_k T_k x W_k + b, with fixed T_k."""

    mix: Tensor

    def __init__(self, c_in: int, c_out: int, terms: Tensor):
        super().__init__()
        k, n, _ = terms.shape
        self.c_out = c_out
        self.weight = nn.Parameter(torch.empty(c_in, k * c_out))
        self.bias = nn.Parameter(torch.zeros(c_out))
        # Xavier over one term, as the official code initialises each W_k by itself.
        nn.init.uniform_(self.weight, -1.0, 1.0)
        self.weight.data.mul_((6.0 / (c_in + c_out)) ** 0.5 / k**0.5)
        # mix[i, n*K + k] = T_k[i, n]: one product sums over terms and neighbours at once.
        self.register_buffer("mix", terms.permute(1, 2, 0).reshape(n, n * k).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, c_in) -> (B, N, c_out)
        b = x.shape[0]
        z = (x @ self.weight).reshape(b, -1, self.c_out)  # (B, N, K*c_out) -> (B, N*K, c_out)
        return self.mix.to(z.dtype) @ z + self.bias.to(z.dtype)


class LearnedGraphLinear(nn.Module):
    """LAM graph convolution: y = norm(A) x W + b with a learnable adjacency A that starts as identity.

    The official code divides by sqrt of row sums, which is NaN once a sum turns negative; absolute
    values guard against that (identical while A stays non-negative).
    """

    def __init__(self, c_in: int, c_out: int, nodes: int):
        super().__init__()
        self.adjacency = nn.Parameter(torch.eye(nodes))
        self.linear = nn.Linear(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, c_in) -> (B, N, c_out)
        a = self.adjacency
        degree = (a.abs().sum(dim=1) + 1e-5).rsqrt()
        a = (degree[:, None] * a * degree[None, :]).to(x.dtype)
        return self.linear(a @ x)


class Attention(nn.Module):
    """Multi-head self-attention over the joints."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels: expected a multiple of heads={heads}, got {channels}")
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C) -> (B, N, C)
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads)  # (B, N, 3, h, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, h, N, d)
        weights = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(dim=-1)  # (B, h, N, N)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c))


class GraphAttention(nn.Module):
    """GraFormer's GraAttention: pre-norm attention, then LAM feed-forward, both with residuals."""

    def __init__(self, channels: int, heads: int, nodes: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.up = LearnedGraphLinear(channels, 2 * channels, nodes)
        self.down = LearnedGraphLinear(2 * channels, channels, nodes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, C) -> (B, N, C)
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(F.relu(self.up(self.norm2(x)))))


class ChebBlock(nn.Module):
    """Residual block of two Chebyshev convolutions, with an optional shift between them (time step)."""

    def __init__(self, channels: int, terms: Tensor, dropout: float):
        super().__init__()
        self.conv1 = ChebConv(channels, channels, terms)
        self.conv2 = ChebConv(channels, channels, terms)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:  # (B, N, C), (B, 1, C) -> (B, N, C)
        y = self.dropout(F.relu(self.conv1(x)))
        if shift is not None:
            y = y + shift
        return x + self.dropout(F.relu(self.conv2(y)))
