"""`posefix train lifter`: GraFormer on augmented motion capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..lifter.graformer import GraFormer
from ..lifter.normalise import flip_average, normalise_keypoints
from ..skeleton.metrics import mpjpe, p_mpjpe
from .augment import AugmentConfig
from .loop import Batch, TrainConfig, Trainer, claim
from .mocap import load_mocap
from .pool import VAL_FILES, build_pool, fold_of, training_sequences
from .protocol import Benchmark, Cameras, make_benchmark
from .strange import strange_bodies

LIFTER_BUDGET = TrainConfig(samples=4_200_000)
FOLD_BUDGET = TrainConfig(samples=700_000)
VALIDATION_STRIDE = 12


def lifter_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Joint-weighted MPJPE, metres."""
    error = (model(batch["input"]).float() - batch["target"]).norm(dim=-1)  # (B, 17)
    return (error * batch["weight"]).sum() / batch["weight"].sum()


def validation_sets(
    data: Path, stride: int = VALIDATION_STRIDE, strange: bool = False, cameras: Cameras = "lab"
) -> dict[str, Benchmark]:
    """`val` people of cmu and hdm05, exact and detector-like 2D; in strange bodies on demand."""
    files = {name: load_mocap(data / f"{name}.npz") for name in VAL_FILES}
    if strange:
        files = {name: strange_bodies(mocap, "val") for name, mocap in files.items()}
    return {
        f"{name.removeprefix('mocap17_')}_{kind}": make_benchmark(mocap, "val", cameras, kind, stride)
        for name, mocap in files.items()
        for kind in ("gt", "det")
    }


@torch.no_grad()
def lift_rows(model: nn.Module, keypoints: np.ndarray, device: str = "cpu", chunk: int = 1024) -> np.ndarray:
    """(R, 17, 2) px -> (R, 17, 3) metres, flip-averaged, every joint observed."""
    out = []
    for rows in torch.as_tensor(keypoints, dtype=torch.float32).split(chunk):
        x = normalise_keypoints(rows, torch.ones(rows.shape[:2], dtype=torch.bool)).to(device)
        out.append(flip_average(model, x).cpu().numpy())
    return np.concatenate(out)


def figures_of(predict: Callable[[Benchmark], np.ndarray], sets: dict[str, Benchmark]) -> dict[str, float]:
    """MPJPE and P-MPJPE of every validation set, mm; "score" is their mean over all sets."""
    out: dict[str, float] = {}
    for name, bench in sets.items():
        poses = predict(bench)
        out[name], out[f"{name}_p"] = mpjpe(poses, bench.target), p_mpjpe(poses, bench.target)
    out["score"] = float(np.mean(list(out.values())))
    return out


def train_lifter(
    data: Path,
    run: Path,
    config: TrainConfig = LIFTER_BUDGET,
    augment: AugmentConfig | None = None,
    leave_out_fold: int | None = None,
    device: str = "cpu",
) -> GraFormer:
    """Trains (or resumes) in `run` and returns the best EMA network.

    Args:
        leave_out_fold: 0 or 1: never sees that half of the people; what it then says of them is as
            wrong as it will be for strangers, and the refiner learns from such errors.

    Raises:
        InputError: the folder holds a run on other data, or with other settings.
    """
    augment = augment or AugmentConfig()
    sequences = [
        s for s in training_sequences(data) if leave_out_fold is None or fold_of(s.subject) != leave_out_fold
    ]
    claim(run, "lifter.json", {
        "augment": asdict(augment), "left_out": leave_out_fold, "sequences": len(sequences),
        "frames": sum(map(len, sequences)),
    }, {"augment": asdict(AugmentConfig())})  # fmt: skip
    pool = build_pool(sequences)
    return run_lifter(
        lambda g: pool.draw(config.batch, augment, g), validation_sets(data), run, config, device
    )


def run_lifter(
    draw: Callable[[torch.Generator], Batch],
    sets: dict[str, Benchmark],
    run: Path,
    config: TrainConfig,
    device: str,
) -> GraFormer:
    """A GraFormer trained (or resumed) in `run` on drawn batches; the best EMA network."""
    torch.manual_seed(config.seed)
    return Trainer(
        GraFormer(),
        draw=draw,
        loss=lifter_loss,
        validate=lambda model: figures_of(lambda b: lift_rows(model, b.keypoints, device), sets),
        config=config,
        folder=run,
        device=device,
    ).run()
