"""`posefix train cpn`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..pipeline.settings import DeviceName, Settings
from ..skeleton.devices import resolve_device
from ..skeleton.errors import InputError


def train_cpn(
    *,
    coco: Path,
    size: Literal["256x192", "384x288"] = "256x192",
    pretrained: Path | None = None,
    run: Path = Path("runs/cpn"),
    samples: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    device: DeviceName = "auto",
) -> None:
    """Train CPN, a 2D detector, on a folder of COCO keypoints. Stopped runs resume.

    Args:
        coco: folder with annotations/person_keypoints_*.json and the pictures (see docs/train-cpn.md).
        size: height x width of the network's pictures.
        pretrained: weights to begin with: a ResNet-50 with torchvision's names, or a whole CPN.
        run: run folder: log, checkpoints, and at the end the file for --pose-weights.
        samples: training budget in pictures of people; by default 32 times the people of COCO.
        batch: pictures at once; 32 by default.
        lr: learning rate at its highest; 5e-4 by default.
        seed: of everything random.
        device: where the training runs; auto takes the fastest there is.
    """
    from .cpn import CPN_BUDGET
    from .cpn import train_cpn as train

    base = CPN_BUDGET
    given = {"samples": samples, "batch": batch, "lr": lr, "seed": seed}
    config = replace(base, **{name: value for name, value in given.items() if value is not None})
    for flag, value, low in (("--batch", config.batch, 2), ("--samples", config.samples, config.batch)):
        if value < low:
            raise InputError(f"{flag} {value}: expected {low} or more")
    if not 0 < config.lr < 1:
        raise InputError(f"--lr {config.lr:g}: expected more than 0 and less than 1")
    Settings(seed=seed)  # the same limits
    # Small budgets are looked at twenty times, too, and warm up sooner.
    every = max(config.batch, min(base.validate_every, config.samples // 20))
    config = replace(config, validate_every=every, warmup=min(base.warmup, config.steps // 10))
    weights = train(coco, run, size, config, pretrained=pretrained, device=resolve_device(device))
    print(f"weights: {weights}")
