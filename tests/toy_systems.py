"""A tiny lifter, its batches and tiny networks, for tests of the systems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from posefix.lifter.graformer import GraFormer, GraFormerConfig
from posefix.lifter.normalise import flip_average
from posefix.refiner.mixture import Mixture
from posefix.training.augment import AugmentConfig
from posefix.training.systems import SYSTEMS, SystemConfig
from test_training import a_pool


def small_lifter() -> GraFormer:
    torch.manual_seed(0)
    return GraFormer(GraFormerConfig(channels=16, layers=1, heads=2)).eval()


class Toy:
    """Batches of a tiny pool, lifted by a tiny lifter."""

    def __init__(self, lifter: GraFormer):
        self.pool, self.lifter = a_pool(), lifter
        self.augment = AugmentConfig(clean_2d=1.0, layout_bias=0.0, drop=0.0)

    def draw(self, count: int, g: torch.Generator) -> dict[str, torch.Tensor]:
        batch = self.pool.draw(count, self.augment, g)
        x = batch["input"]
        with torch.no_grad():
            lifted = flip_average(self.lifter, x)
        truth = torch.cat([batch["exact"], batch["target"]], dim=-1)
        start = torch.cat([x[..., :2], lifted], dim=-1)
        return {**batch, "start": start, "truth": truth, "observed": x[..., 2:]}


def small(name: str) -> SystemConfig:
    """A system, its network tiny."""
    config = SYSTEMS[name]
    sizes = {"channels": 16, "layers": 2, "heads": 2, "time_channels": 32}
    if getattr(config.network, "stack", 1) > 1:
        sizes["stack"] = 2
    known = {k: v for k, v in sizes.items() if hasattr(config.network, k)}
    return replace(config, network=replace(config.network, **known))


def a_mixture(scale: float = 0.05, components: int = 2) -> Mixture:
    """Correlated draws whose covariance is known: (M,) equal weights, means and factors."""
    rng = np.random.default_rng(3)
    factors = np.tril(rng.normal(size=(components, 85, 85)) * scale / 9).astype(np.float32)
    means = (rng.normal(size=(components, 85)) * scale).astype(np.float32)
    return Mixture(np.full(components, 1 / components, np.float32), means, factors)


def rows_of(batch: dict[str, torch.Tensor]) -> tuple[np.ndarray, ...]:
    """What a refiner is called with. The batch's 2D is normalised already; doing so again changes nothing."""
    n = len(batch["input"])
    keys = np.stack([np.arange(n), np.zeros(n)], axis=-1).astype(int)
    lifted = (batch["start"] if "start" in batch else batch["target"])[..., -3:]
    return batch["input"][..., :2].numpy(), np.ones((n, 17), bool), lifted.numpy(), keys
