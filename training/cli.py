"""`posefix train lifter` and `posefix train refiner`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..pipeline.settings import DeviceName, Settings, resolve_device
from ..skeleton.errors import InputError


def train_lifter(
    *,
    data: Path,
    run: Path = Path("runs/lifter"),
    export: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: DeviceName = "cpu",
) -> None:
    """Train the 2D-to-3D lifter. Stopped runs resume.

    Args:
        data: folder with the mocap17 files (see docs/training.md).
        run: run folder: log, curves, checkpoints.
        export: folder to write lifter.safetensors, lifter.onnx and manifest.json to.
        samples: training budget; by default that of the shipped weights.
        seed: of everything random.
        device: where the training runs; auto takes the fastest there is.
    """
    from .curves import plot_curves
    from .train_lifter import LIFTER_BUDGET
    from .train_lifter import train_lifter as train

    place = _checked(data, samples, seed, device)
    config = replace(LIFTER_BUDGET, samples=samples or LIFTER_BUDGET.samples, seed=seed)
    network = train(data, run, config, device=place)
    print(f"curves: {plot_curves(run)}")
    if export:
        from .export import export_lifter

        export_lifter(network, export)
        print(f"weights: {export}")


def train_refiner(
    *,
    data: Path,
    lifter: Path = Path("runs/lifter"),
    run: Path = Path("runs/refiner"),
    folds: Path | None = None,
    predict: Literal["error", "pose", "previous"] = "error",
    bridge: float | None = None,
    odd_bodies: bool = True,
    shipped_share: float | None = None,
    export: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: DeviceName = "cpu",
) -> None:
    """Train the diffusion refiner. Stopped runs resume.

    First trains, where they are not there yet, two lifters that each leave out half of the people
    (FOLDS/fold0, FOLDS/fold1): the refiner learns from what they say of strangers.

    Args:
        data: folder with the mocap17 files (see docs/training.md).
        lifter: run folder of the trained lifter.
        run: run folder: log, curves, checkpoints.
        folds: folder of the two lifters' runs; by default RUN.
        predict: what the network answers: the error in its input, the pose afresh, or the previous step's state.
        bridge: share of the samples that lie between truth and lifted pose; the others, around the truth.
        odd_bodies: train also in bodies and joint definitions beyond those the lifter saw.
        shipped_share: share of the training poses that the shipped lifter lifts, not the fold lifters.
        export: folder to write the refiner's files and manifest.json to.
        samples: training budget; by default that of the shipped weights.
        seed: of everything random.
        device: where the training runs; auto takes the fastest there is.
    """
    from .augment import AugmentConfig
    from .curves import plot_curves
    from .train_lifter import FOLD_BUDGET
    from .train_lifter import train_lifter as train_fold
    from .train_refiner import (
        REFINER_AUGMENT,
        REFINER_BUDGET,
        SHIPPED_SHARE,
        RefinerLossConfig,
        choose,
        load_network,
    )  # fmt: skip
    from .train_refiner import train_refiner as train

    place = _checked(data, samples, seed, device)
    if export and predict == "previous":
        raise InputError("--predict previous: a comparison, not for export; leave out --export")
    if not (lifter / "best.pt").is_file():
        raise InputError(
            f"{lifter}: no trained lifter (best.pt); run `posefix train lifter --run {lifter}` first"
        )
    lifters = [
        train_fold(
            data,
            (folds or run) / f"fold{i}",
            replace(FOLD_BUDGET, seed=seed),
            leave_out_fold=i,
            device=place,
        )
        for i in (0, 1)
    ]
    config = replace(REFINER_BUDGET, samples=samples or REFINER_BUDGET.samples, seed=seed)
    base = load_network(lifter)
    network, mixture, diffusion = train(
        data,
        run,
        base,
        lifters,
        config,
        RefinerLossConfig() if bridge is None else RefinerLossConfig(bridge=bridge),
        shipped_share=SHIPPED_SHARE if shipped_share is None else shipped_share,
        augment=REFINER_AUGMENT if odd_bodies else AugmentConfig(),
        predict=predict,
        device=place,
    )
    baseline = json.loads((run / "lifted.json").read_text(encoding="utf-8"))
    print(f"curves: {plot_curves(run, baseline)}")
    if export:
        from .export import export_refiner

        diffusion, pull = choose(network, mixture, diffusion, base, data, run, place)
        export_refiner(network, mixture, diffusion, pull, export)
        print(f"weights: {export}")


def _checked(data: Path, samples: int | None, seed: int, device: DeviceName) -> str:
    """The device to train on, all else being well. Raises InputError, DeviceError."""
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; --data names the folder of the mocap17 .npz files")
    if samples is not None and samples < 1:
        raise InputError(f"--samples {samples}: expected 1 or more")
    Settings(seed=seed)  # the same limits
    return resolve_device(device)
