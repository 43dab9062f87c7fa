"""`posefix train NAME`: any system of `systems.py`, in one loop, on the same poses and the same lifter.

A run folder holds system.json, config.json (the budget), machine.json, lifter.safetensors (the lifter
underneath), noise.safetensors (the fitted mixture, the lifter's error on val), lifted.json (the lifter's
figures), log.jsonl, last.pt (resumes) and best.pt (averaged weights); with those it can be evaluated anywhere.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..lifter.graformer import GraFormer, GraFormerConfig
from ..refiner.config import DiffusionConfig
from ..refiner.diffusion import centre_root, mask_hidden
from ..refiner.mixture import Mixture
from ..refiner.process import Process
from ..refiner.refine import MIXTURE_KEYS
from ..refiner.system_refiner import SamplingConfig, SystemRefiner
from ..skeleton.errors import InputError
from .loop import Batch, TrainConfig, Trainer, begin_with
from .protocol import Benchmark, row_keys
from .systems import SystemConfig, SystemLossConfig, build_network, from_dict, to_dict
from .train_lifter import FOLD_BUDGET, figures_of, lift_rows, train_lifter, validation_sets
from .train_refiner import REFINER_AUGMENT, SHIPPED_SHARE, OutOfFold, fit_errors, load_network

# The common budget of the comparison; what differs between systems is in their SystemConfig.
SYSTEM_BUDGET = TrainConfig(
    samples=100_000, batch=128, lr=1e-3, warmup=100, validate_every=50_000, optimiser="muon"
)
SYSTEM_FILE, LIFTER_FILE, NOISE_FILE = "system.json", "lifter.safetensors", "noise.safetensors"
VALIDATION_CALLS, VALIDATION_STRIDE = 10, 24
# DiffuPose, after its code: 1 trunk and hips, 2 knees, elbows and nose, 4 wrists and ankles.
LIMB_WEIGHTS = torch.tensor([1, 1, 2, 4, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 1, 2, 4], dtype=torch.float32)


class Source(Protocol):
    """Where batches come from, `train_refiner.OutOfFold` or a stand-in."""

    def draw(self, count: int, g: torch.Generator) -> dict[str, Tensor]: ...


@dataclass(frozen=True, eq=False)
class TrainedSystem:
    """All that a run folder knows."""

    name: str
    config: SystemConfig
    network: nn.Module
    process: Process
    lifter: GraFormer

    def refiner(self, sampling: SamplingConfig | None = None, device: str = "cpu") -> SystemRefiner:
        """Ready to run, as trained or otherwise. Raises InputError: a setting that the system cannot do."""
        return SystemRefiner(self.network, self.process, sampling or self.config.sampling, device)


def system_loss(config: SystemLossConfig, process: Process) -> Callable[[nn.Module, Batch], Tensor]:
    """Loss over a batch of `Source.draw` with "noise" (`Process.draw`) and "u" (B,) uniform added.

    The residual is that of the answer: noise in units of `process.unit`, scaled as it shows in h_{k-1}
    where that is the target; for poses and for MPJPE that of the clean state, metres.
    """
    joint = LIMB_WEIGHTS if config.limbs else torch.ones(17)
    target = process.config.target

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        truth, observed = batch["truth"], batch["observed"]
        error = batch["noise"] if process.config.noise != "none" else batch["start"] - truth
        error = mask_hidden(error, observed)
        if process.config.noise == "mixture":
            error = centre_root(error)
        k = 1 + (batch["u"] * process.last).floor()
        # u and v without noise are what the detector says, not what is true.
        clean = torch.where(process.noised.to(truth.device), truth, batch["start"])
        state = (clean + process.level(k)[:, None, None] * error)[:, None]  # (B, 1, 17, 5)
        answer = process.answer(model, state, k, model.guidance(batch["input"]))  # type: ignore[operator]
        if config.kind == "mpjpe" or target == "pose":
            residual = process.clean(answer, state, k, observed[:, None])[:, 0] - clean
        else:
            residual = (answer[:, 0] - error) / process.unit.to(error.device)
            # Where 2D carries no noise, the answer's u and v are the 2D itself again (DiffuPose, equation 9).
            again = answer[:, 0] - clean
            residual = torch.where(process.noised.to(error.device), residual, again)
        if target == "previous" and config.kind != "mpjpe":
            residual = residual * process.fall(k)[:, None, None]
        size = {"mse": residual.square(), "l1": residual.abs(), "mpjpe": residual}[config.kind]
        if config.kind == "mpjpe":
            flat, deep = size[..., :2].norm(dim=-1), size[..., 2:].norm(dim=-1)  # (B, 17)
        else:
            flat, deep = size[..., :2].mean(dim=-1), size[..., 2:].mean(dim=-1)
        w3 = batch["weight"] * joint.to(deep.device)
        w2 = observed[..., 0] * joint.to(deep.device)
        return (deep * w3).sum() / w3.sum() + config.weight_2d * (flat * w2).sum() / w2.sum()

    return loss


def train_system(
    name: str,
    config: SystemConfig,
    source: Source,
    lifter: GraFormer,
    fit: Callable[[], Mixture],
    sets: dict[str, Benchmark],
    run: Path,
    budget: TrainConfig = SYSTEM_BUDGET,
    device: str = "cpu",
    drawn: Mapping[str, Any] | None = None,
    begin: Path | None = None,
) -> TrainedSystem:
    """Trains (or resumes) in `run`.

    Args:
        source: of batches; lifts with `lifter`, which validation starts from.
        fit: makes the mixture; called once a run.
        sets: validation; "score" over them picks the best weights.
        drawn: how `source` draws, to be kept with the settings.
        begin: run of the same system and lifter; a new run begins with its averaged weights and its noise.

    Raises:
        InputError: the folder holds a run of another system or with other settings, or `begin` does.
    """
    settings = {**to_dict(name, config), "drawn": dict(drawn or {})}
    if begin is not None:
        _same(begin, settings, lifter)
    _claim(run, settings, lifter)
    if begin is not None and not (run / NOISE_FILE).exists():
        shutil.copy(begin / NOISE_FILE, run / NOISE_FILE)
    lift = lift_rows if config.sampling.flip else lift_rows_once
    lifted = {id(b): lift(lifter, b.keypoints) for b in sets.values()}
    if not (run / NOISE_FILE).exists():
        errors = [np.square(lifted[id(b)] - b.target)[:, 1:].mean() for b in sets.values()]
        save_noise(fit(), float(np.sqrt(np.mean(errors))), run / NOISE_FILE)
    process = Process(config.process, *load_noise(run / NOISE_FILE))
    base = figures_of(lambda bench: lifted[id(bench)], sets)
    _write(run / "lifted.json", base)

    def draw(g: torch.Generator) -> dict[str, Tensor]:
        # One number a step, so that all systems of a seed see the same poses, whatever noise each needs.
        step = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=g)))
        batch = source.draw(budget.batch, step)
        count = len(batch["truth"])
        return {**batch, "noise": process.draw(count, step), "u": torch.rand(count, generator=step)}

    def validate(model: nn.Module) -> dict[str, float]:
        refiner = SystemRefiner(model, process, quick(config.sampling, process), device, rows=512)
        return figures_of(lambda bench: refine_rows(refiner, bench, lifted[id(bench)]), sets)

    torch.manual_seed(budget.seed)
    network = build_network(config, lifter)
    if begin is not None:
        begin_with(network, begin, run)
    SystemRefiner(network, process, config.sampling, device)  # what cannot run is not worth the training
    trainer = Trainer(network, draw, system_loss(config.loss, process), validate, budget, run, device)
    return TrainedSystem(name, config, trainer.run(), process, lifter)


def train_on_mocap(
    name: str,
    config: SystemConfig,
    data: Path,
    lifter_folder: Path,
    folds: Path,
    run: Path,
    budget: TrainConfig = SYSTEM_BUDGET,
    device: str = "cpu",
    begin: Path | None = None,
) -> TrainedSystem:
    """`train_system` on the mocap17 files of a folder, poses drawn and lifted as the shipped refiner's.

    Args:
        folds: folder of the two lifters that each leave out half of the people (fold0, fold1); trained
            there if absent, with one seed: the lifters underneath are the same for all systems and seeds.
        begin: run folder whose averaged weights a new run begins with.
    """
    lifter = load_lifter(lifter_folder)
    fold_lifters = [
        train_lifter(data, folds / f"fold{i}", FOLD_BUDGET, leave_out_fold=i, device=device) for i in (0, 1)
    ]
    augment = REFINER_AUGMENT if config.mirror else replace(REFINER_AUGMENT, mirror=0.0)
    source = OutOfFold(data, fold_lifters, copy.deepcopy(lifter), SHIPPED_SHARE, augment, device)
    components = DiffusionConfig(components=config.process.components)
    return train_system(
        name, config, source, lifter, lambda: fit_errors(source, components, budget.seed),
        validation_sets(data, VALIDATION_STRIDE), run, budget, device,
        {"shipped_share": SHIPPED_SHARE, "augment": asdict(augment)}, begin,
    )  # fmt: skip


def quick(sampling: SamplingConfig, process: Process) -> SamplingConfig:
    """How validation runs a system: one hypothesis, few calls, without drawn noise on the way."""
    calls = min(sampling.calls, VALIDATION_CALLS, process.enter)
    sampler = "ddim" if sampling.sampler == "ddpm" or calls % 2 == 0 else sampling.sampler
    return replace(sampling, sampler=sampler, calls=calls, hypotheses=1, churn=0.0)


def refine_rows(refiner: SystemRefiner, bench: Benchmark, lifted: np.ndarray) -> np.ndarray:
    """(R, 17, 3) mean of the hypotheses; a row's noise hangs on its number."""
    keys = row_keys(len(lifted))
    return refiner.sample(bench.keypoints, np.ones(lifted.shape[:2], bool), lifted, keys).mean(axis=1)


@torch.no_grad()
def lift_rows_once(model: nn.Module, keypoints: np.ndarray) -> np.ndarray:
    """As `train_lifter.lift_rows`, without the mirror image."""
    from ..lifter.normalise import normalise_keypoints

    rows = torch.as_tensor(keypoints, dtype=torch.float32)
    return model(normalise_keypoints(rows, torch.ones(rows.shape[:2], dtype=torch.bool))).numpy()


def load_system(run: Path, device: str = "cpu") -> TrainedSystem:
    """The best weights of a run folder. Raises InputError if it holds no trained system, or a damaged one."""
    missing = [f for f in (SYSTEM_FILE, LIFTER_FILE, NOISE_FILE, "best.pt") if not (run / f).is_file()]
    if missing:
        raise InputError(f"{run}: no trained system here ({', '.join(missing)} missing); see `posefix train`")
    try:
        name, config = from_dict(json.loads((run / SYSTEM_FILE).read_text(encoding="utf-8")))
        lifter = load_lifter_file(run / LIFTER_FILE)
        network = build_network(config, lifter)
        network.load_state_dict(torch.load(run / "best.pt", map_location="cpu", weights_only=True))
        process = Process(config.process, *load_noise(run / NOISE_FILE))
    except InputError:
        raise
    except Exception as error:  # json, torch and safetensors errors alike mean an unusable folder
        raise InputError(f"{run}: cannot be loaded ({error}); train it again") from error
    return TrainedSystem(name, config, network.eval().to(device), process, lifter.to(device))


def load_lifter(folder: Path) -> GraFormer:
    """A lifter from its run folder (best.pt) or from a folder of weights (lifter.safetensors).

    Raises InputError if it holds neither.
    """
    if (folder / LIFTER_FILE).is_file():
        return load_lifter_file(folder / LIFTER_FILE)
    if not (folder / "best.pt").is_file():
        raise InputError(
            f"{folder}: no trained lifter (best.pt or {LIFTER_FILE}); "
            f"run `posefix train lifter --run {folder}` first"
        )
    return load_network(folder)


def load_lifter_file(path: Path) -> GraFormer:
    """A GraFormer of a safetensors file, as `export_lifter` and `train_system` write it."""
    with safe_open(str(path), "pt") as file:
        config = GraFormerConfig(**json.loads((file.metadata() or {})["config"]))
    model = GraFormer(config)
    model.load_state_dict(load_file(str(path)))
    return model.eval()


def save_noise(mixture: Mixture, lifter_error: float, path: Path) -> None:
    """What `Process` was fitted to, as a safetensors file."""
    parts = (mixture.weights, mixture.means, mixture.factors)
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in zip(MIXTURE_KEYS, parts, strict=True)}
    save_file(tensors | {"lifter_error": torch.tensor([lifter_error])}, str(path))


def load_noise(path: Path) -> tuple[Mixture, float]:
    """The inverse of `save_noise`."""
    tensors = load_file(str(path))
    return Mixture(*(tensors[key].numpy() for key in MIXTURE_KEYS)), float(tensors["lifter_error"])


def _claim(run: Path, settings: dict[str, Any], lifter: GraFormer) -> None:
    """Makes the folder this run's, or holds it against what it was begun with."""
    run.mkdir(parents=True, exist_ok=True)
    if not (run / SYSTEM_FILE).exists():
        if (run / "last.pt").exists() or (run / "best.pt").exists():
            raise InputError(f"{run}: holds a run of something else; give another --run folder")
        tensors = {k: v.cpu().contiguous() for k, v in lifter.state_dict().items()}
        save_file(tensors, str(run / LIFTER_FILE), {"config": json.dumps(asdict(lifter.config))})
        _write(run / SYSTEM_FILE, settings)
        return
    _same(run, settings, lifter)


def _same(run: Path, settings: dict[str, Any], lifter: GraFormer) -> None:
    """Raises InputError where a folder holds no run, or one of other settings or on another lifter."""
    if not (run / SYSTEM_FILE).is_file():
        raise InputError(f"{run}: no trained system here ({SYSTEM_FILE} missing); see `posefix train`")
    # Through JSON, which knows no tuples.
    if json.loads((run / SYSTEM_FILE).read_text(encoding="utf-8")) != json.loads(json.dumps(settings)):
        raise InputError(
            f"{run}: holds a run with other settings ({SYSTEM_FILE}); give another folder or remove it"
        )
    known, tensors = load_file(str(run / LIFTER_FILE)), lifter.state_dict()
    if known.keys() != tensors.keys() or not all(torch.equal(known[k], tensors[k].cpu()) for k in tensors):
        raise InputError(f"{run}: was begun with another lifter; give another folder or that --lifter")


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
