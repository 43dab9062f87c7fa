"""`posefix train lifter`, `posefix train refiner` and `posefix train NAME` for the systems compared."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from ..pipeline.settings import DeviceName, Settings
from ..skeleton.devices import resolve_device
from ..skeleton.errors import InputError
from .datasets.published import Dataset


class ShippedRun(NamedTuple):
    """One of the runs that made the shipped refiner; samples None: as in its budget."""

    samples: int | None
    seed: int
    both_steps: bool = False
    far_bodies: bool = False


SHIPPED_RUNS = (
    ShippedRun(None, 0),
    ShippedRun(None, 0),
    ShippedRun(1_100_000, 2),
    ShippedRun(1_200_000, 3),
    ShippedRun(600_000, 4, both_steps=True),
    ShippedRun(700_000, 5, both_steps=True, far_bodies=True),
)


def train_lifter(
    *,
    data: Path,
    dataset: Dataset = "mocap17",
    input: Literal["gt", "det"] | None = None,
    run: Path = Path("runs/lifter"),
    export: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: DeviceName = "cpu",
) -> None:
    """Train the 2D-to-3D lifter. Stopped runs resume.

    Args:
        data: folder with the mocap17 files (see docs/training.md), or with those of the data set.
        dataset: mocap17, or the training part of h36m, 3dhp or humaneva (see docs/datasets.md).
        input: 2D of h36m: gt (exact; the default) or det (CPN).
        run: run folder: log, curves, checkpoints.
        export: folder to write lifter.safetensors, lifter.onnx and manifest.json to.
        samples: training budget; by default that of the shipped weights.
        seed: of everything random.
        device: where the training runs; auto takes the fastest there is.
    """
    from .curves import plot_curves
    from .train_lifter import LIFTER_BUDGET
    from .train_lifter import train_lifter as train

    place, kind = _checked(data, samples, seed, device), _input_of(dataset, input)
    config = replace(LIFTER_BUDGET, samples=samples or LIFTER_BUDGET.samples, seed=seed)
    if dataset == "mocap17":
        network = train(data, run, config, device=place)
    else:
        from .datasets.pairs import load_rows, train_lifter_on_rows

        rows = load_rows(dataset, data, kind)
        network = train_lifter_on_rows(rows, dataset, kind, run, config, device=place)
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
    begin: Path | None = None,
    predict: Literal["error", "pose", "previous"] = "error",
    bridge: float | None = None,
    both_steps: bool = False,
    odd_bodies: bool = True,
    far_bodies: bool = False,
    shipped_share: float | None = None,
    export: Path | None = None,
    all_runs: bool = False,
    budget: Literal["shipped", "common"] = "shipped",
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
        begin: run folder of another refiner; a new run begins with its averaged weights.
        predict: what the network answers: the error in its input, the pose afresh, or the previous step's state.
        bridge: share of the samples that lie between truth and lifted pose; the others, around the truth.
        both_steps: every sample trains both of run time's steps, the second from where the first leads; a sample
            takes half as long again.
        odd_bodies: train also in bodies and joint definitions beyond those the lifter saw.
        far_bodies: half of the odd bodies have bones anywhere in a wide range, not near somebody's.
        shipped_share: share of the training poses that the shipped lifter lifts, not the fold lifters.
        export: folder to write the refiner's files and manifest.json to.
        all_runs: not one run but all that made the shipped weights: RUN, then RUN-2, RUN-3 and so on, each begun with
            the averaged weights of the one before; the last is exported.
        budget: that of the shipped weights' first run, or with --begin their second; or the one common to
            the systems compared.
        samples: training budget, where it is to be another.
        seed: of everything random.
        device: where the training runs; auto takes the fastest there is.
    """
    from .augment import AugmentConfig
    from .curves import plot_curves
    from .train_lifter import FOLD_BUDGET
    from .train_lifter import train_lifter as train_fold
    from .train_refiner import (
        BOTH_STEPS,
        FAR_AUGMENT,
        FIRST_BUDGET,
        REFINER_AUGMENT,
        SECOND_BUDGET,
        SHIPPED_SHARE,
        RefinerLossConfig,
        choose,
        load_network,
    )  # fmt: skip
    from .train_refiner import train_refiner as train
    from .train_system import SYSTEM_BUDGET

    place = _checked(data, samples, seed, device, begin)
    for flag, share in (("--bridge", bridge), ("--shipped-share", shipped_share)):
        if share is not None and not 0 <= share <= 1:
            raise InputError(f"{flag} {share:g}: expected 0 to 1")
    if export and predict == "previous":
        raise InputError("--predict previous: a comparison, not for export; leave out --export")
    if far_bodies and not odd_bodies:
        raise InputError("--far-bodies: are odd ones; leave out --no-odd-bodies")
    if all_runs:
        if begin or samples or seed or both_steps or far_bodies or budget != "shipped":
            own = "--begin, --samples, --seed, --both-steps, --far-bodies, --budget"
            raise InputError(f"--all-runs: has its own {own}; leave them out")
        one = functools.partial(
            train_refiner, data=data, lifter=lifter, folds=folds or run, predict=predict, bridge=bridge,
            odd_bodies=odd_bodies, shipped_share=shipped_share, device=device,
        )  # fmt: skip
        return _one_after_another(one, run, export)
    if not (lifter / "best.pt").is_file():
        raise InputError(
            f"{lifter}: no trained lifter (best.pt); run `posefix train lifter --run {lifter}` first"
        )
    lifters = [
        train_fold(
            data,
            (folds or run) / f"fold{i}",
            FOLD_BUDGET,  # with one seed: the lifters underneath are the same for all seeds
            leave_out_fold=i,
            device=place,
        )
        for i in (0, 1)
    ]
    shipped = FIRST_BUDGET if begin is None else SECOND_BUDGET
    given = shipped if budget == "shipped" else SYSTEM_BUDGET
    config = replace(given, samples=samples or given.samples, seed=seed)
    base, losses = load_network(lifter), BOTH_STEPS if both_steps else RefinerLossConfig()
    bodies = FAR_AUGMENT if far_bodies else REFINER_AUGMENT if odd_bodies else AugmentConfig()
    network, mixture, diffusion = train(
        data,
        run,
        base,
        lifters,
        config,
        replace(losses, bridge=losses.bridge if bridge is None else bridge),
        shipped_share=SHIPPED_SHARE if shipped_share is None else shipped_share,
        augment=bodies,
        predict=predict,
        device=place,
        begin=begin,
    )
    baseline = json.loads((run / "lifted.json").read_text(encoding="utf-8"))
    print(f"curves: {plot_curves(run, baseline)}")
    if export:
        from .calibrate import calibrate_network
        from .export import export_refiner

        diffusion, pull = choose(network, mixture, diffusion, base, data, run, place)
        spread = calibrate_network(network, mixture, diffusion, pull, base, data, place)
        export_refiner(network, mixture, diffusion, pull, export, spread)
        print(f"weights: {export}")


def _one_after_another(train: Callable[..., None], run: Path, export: Path | None) -> None:
    """The runs that made the shipped refiner; those that are done already end at once."""
    before = None
    for number, own in enumerate(SHIPPED_RUNS, 1):
        folder = run if number == 1 else run.with_name(f"{run.name}-{number}")
        goes_to = export if number == len(SHIPPED_RUNS) else None
        train(run=folder, begin=before, export=goes_to, **own._asdict())
        before = folder


def _system_command(name: str) -> Callable[..., None]:
    """`posefix train NAME`."""

    def train(
        *,
        data: Path,
        dataset: Dataset = "mocap17",
        input: Literal["gt", "det"] | None = None,
        run: Path | None = None,
        lifter: Path = Path("runs/lifter"),
        folds: Path | None = None,
        begin: Path | None = None,
        samples: int | None = None,
        seed: int = 0,
        device: DeviceName = "cpu",
        noise: Literal["mixture", "gaussian"] | None = None,
        components: int | None = None,
        diffusion_steps: int | None = None,
        schedule: Literal["linear", "cosine"] | None = None,
        spread: float | None = None,
        target: Literal["noise", "previous", "pose"] | None = None,
        sampler: Literal["ddim", "ddpm", "heun"] | None = None,
        ddim_steps: int | None = None,
        hypotheses: int | None = None,
        churn: float | None = None,
        loss: Literal["mse", "l1", "mpjpe"] | None = None,
        guide: bool | None = None,
        stack: int | None = None,
        channels: int | None = None,
        flip: bool | None = None,
    ) -> None:
        """Train a system of the comparison on top of a trained lifter. Stopped runs resume.

        Options that are not given are as the system's paper has them. The budget is common to all.

        Args:
            data: folder with the mocap17 files (see docs/training.md), or with those of the data set.
            dataset: mocap17, or the training part of h36m, 3dhp or humaneva (see docs/datasets.md).
            input: 2D of h36m: gt (exact; the default) or det (CPN).
            run: run folder: settings, curves, checkpoints; by default runs/NAME.
            lifter: run folder of the trained lifter, or a folder of weights.
            folds: folder of the two lifters that leave out half of the people; by default beside the
                lifter's. Trained first where they are not there yet.
            begin: run folder of the same system; a new run begins with its averaged weights (mocap17).
            samples: training budget.
            seed: of everything random.
            device: where the training runs; auto takes the fastest there is.
            noise: mixture fitted to the lifter's errors, or Gaussian (the standard diffusion).
            components: of the mixture (M).
            diffusion_steps: steps of the diffusion (K).
            schedule: of the noise.
            spread: of the drawn starts against the lifter's own error.
            target: what is learnt: the noise, the previous state, or the pose.
            sampler: used by default when the system is evaluated.
            ddim_steps: network calls for each hypothesis, by default, when it is evaluated.
            hypotheses: drawn by default when it is evaluated (N).
            churn: noise that heun adds on its way (S_churn).
            loss: mean square, mean absolute, or joint distances.
            guide: the context guidance (CAG).
            stack: denoisers in a row (stacked).
            channels: width of the network's layers.
            flip: mirror images in training and averaging over them afterwards.
        """
        from .curves import plot_curves
        from .systems import with_options
        from .train_system import SYSTEM_BUDGET, train_on_mocap

        options = {
            "noise": noise, "components": components, "diffusion_steps": diffusion_steps,
            "schedule": schedule, "spread": spread, "target": target, "sampler": sampler,
            "ddim_steps": ddim_steps, "hypotheses": hypotheses, "churn": churn, "loss": loss,
            "guide": guide, "stack": stack, "channels": channels, "flip": flip,
        }  # fmt: skip
        place, kind = _checked(data, samples, seed, device, begin), _input_of(dataset, input)
        folder = run or Path("runs") / name
        budget = replace(SYSTEM_BUDGET, samples=samples or SYSTEM_BUDGET.samples, seed=seed)
        config = with_options(name, options)
        if dataset == "mocap17":
            where = (data, lifter, folds or lifter.parent, folder)
            train_on_mocap(name, config, *where, budget, place, begin)
        elif begin is not None:
            raise InputError("--begin: with --dataset mocap17 only")
        else:
            from .datasets.pairs import load_rows, train_system_on_rows

            rows, places = load_rows(dataset, data, kind), (lifter, folds or lifter.parent, folder)
            train_system_on_rows(name, config, rows, dataset, kind, *places, budget, place)
        baseline = json.loads((folder / "lifted.json").read_text(encoding="utf-8"))
        print(f"curves: {plot_curves(folder, baseline)}")

    return train


train_regressor = _system_command("regressor")
train_stacked = _system_command("stacked")
train_diffpose = _system_command("diffpose")
train_diffupose = _system_command("diffupose")
train_e533 = _system_command("e533")
train_cce = _system_command("cce")
train_cce_cag = _system_command("cce-cag")


def _input_of(dataset: Dataset, input: Literal["gt", "det"] | None) -> Literal["gt", "det"]:
    """Raises InputError where there is no choice."""
    if dataset == "mocap17" and input is not None:
        raise InputError(f"--input {input}: training on mocap17 mixes exact and worn 2D; leave it out")
    return input or "gt"


def _checked(
    data: Path, samples: int | None, seed: int, device: DeviceName, begin: Path | None = None
) -> str:
    """The device to train on, all else being well. Raises InputError, DeviceError."""
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; --data names the folder of the mocap17 .npz files")
    if samples is not None and samples < 1:
        raise InputError(f"--samples {samples}: expected 1 or more")
    if begin is not None and not (begin / "best.pt").is_file():
        raise InputError(f"--begin {begin}: nothing trained there (best.pt)")
    Settings(seed=seed)  # the same limits
    return resolve_device(device)
