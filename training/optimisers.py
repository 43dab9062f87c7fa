"""Optimisers by name, with one learning rate for all their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from ..skeleton.errors import InputError

OptimiserName = Literal["adamw", "muon"]
HIDDEN_WIDTH = (
    64  # matrices at least this wide and high are hidden layers', the rest in- and outputs, graphs, biases
)


class Muon:
    """Muon (Jordan et al. 2024) for the matrices of hidden layers, AdamW for the rest.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both.
    Raises InputError: this torch has no Muon.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float):
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"the muon optimiser needs torch 2.9 or later, this is {torch.__version__}")
        hidden, rest = [], []
        for p in model.parameters():
            (hidden if p.ndim == 2 and min(p.shape) >= HIDDEN_WIDTH else rest).append(p)
        self.parts: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay)
        }
        if hidden:
            self.parts["muon"] = torch.optim.Muon(
                hidden, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def make_optimiser(
    name: OptimiserName, model: nn.Module, lr: float, weight_decay: float
) -> torch.optim.AdamW | Muon:
    """Over all parameters of a model. Raises InputError: see `Muon`."""
    if name == "muon":
        return Muon(model, lr, weight_decay)
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
