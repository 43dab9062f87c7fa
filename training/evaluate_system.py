"""`posefix eval --system NAME --run DIR`: any system of the comparison as stages that `evaluate` scores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..lifter.graformer import GraFormer
from ..lifter.normalise import flip_average, normalise_keypoints
from ..refiner.system_refiner import SamplingConfig
from ..skeleton.digest import sha256
from ..skeleton.errors import InputError
from .evaluate import Advance, Floats, Load, Stage, StageName, stages_of
from .protocol import Benchmark
from .systems import SYSTEMS
from .train_system import load_lifter, load_system

SPEED_FRAMES, WARM_UP = 40, 5


class RunLifter:
    """A lifter of a run folder as the pipeline's: (n, 17, 2) px, (n, 17) bool -> (n, 17, 3) metres."""

    def __init__(self, network: GraFormer, flip: bool, device: str):
        self.network, self.flip, self.device = network.eval().to(device), flip, device

    def __call__(self, keypoints: Floats, observed: np.ndarray) -> Floats:
        points = torch.as_tensor(np.asarray(keypoints, np.float32))
        x = normalise_keypoints(points, torch.as_tensor(observed)).to(self.device)
        with torch.inference_mode():
            out = flip_average(self.network, x) if self.flip else self.network(x)
        return out.cpu().numpy()


def prepare_system(
    system: str | None, run: Path | None, options: Mapping[str, Any], seed: int, device: str
) -> Load:
    """See `evaluate.prepare`. Raises InputError: no such system or run, or options that it does not have."""
    if system != "graformer" and system not in SYSTEMS:
        raise InputError(f"--system {system}: choose from posefix, graformer, {', '.join(SYSTEMS)}")
    if run is None:
        raise InputError(f"--system {system}: --run names its run folder")
    if system == "graformer":
        return _prepare_lifter(run, options, device)
    trained = load_system(run, device)
    if trained.name != system:
        raise InputError(f"{run}: holds the system {trained.name}, not {system}")
    sampling = chosen_sampling(trained.config.sampling, options, seed)
    refiner = trained.refiner(sampling, device)
    lifter = RunLifter(trained.lifter, sampling.flip, device)
    how = {"system": system, "run": str(run), "device": device, **asdict(sampling)}

    def load(stage: StageName, advance: Advance):
        return stages_of(stage, lifter, refiner, advance), _digests(run), how

    return load


def _prepare_lifter(run: Path, options: Mapping[str, Any], device: str) -> Load:
    extra = [name for name, value in options.items() if value is not None and name != "flip"]
    if extra:
        raise InputError(f"--{extra[0]}: graformer has no such option")
    flip = options.get("flip") is not False
    lifter = RunLifter(load_lifter(run), flip, device)
    how = {"system": "graformer", "run": str(run), "device": device, "flip": flip}

    def load(stage: StageName, advance: Advance):
        if stage == "refined":
            raise InputError("--stage refined: graformer is the lifter alone")
        return stages_of("lifted", lifter, None, advance), _digests(run), how

    return load


def chosen_sampling(trained: SamplingConfig, options: Mapping[str, Any], seed: int) -> SamplingConfig:
    """How to run: what the system was trained with, but for the options given ("steps" are network calls)."""
    names = {"steps": "calls"}
    given = {names.get(key, key): value for key, value in options.items() if value is not None}
    return replace(trained, seed=seed, **given)


def measure_speed(stages: Mapping[str, Stage], benchmark: Benchmark, device: str) -> dict[str, Any]:
    """Frames a second of the last stage, with all before it, one frame at a time."""
    stage = stages.get("refined") or stages["lifted"]
    rows = np.linspace(0, len(benchmark) - 1, WARM_UP + SPEED_FRAMES).round().astype(int)
    times = []
    for row in rows:
        begun = time.perf_counter()
        stage(benchmark.keypoints[row : row + 1], benchmark.image_size[row : row + 1])
        times.append(time.perf_counter() - begun)
    return {
        "frames_per_second": 1 / float(np.median(times[WARM_UP:])),
        "batch": 1,
        "frames": SPEED_FRAMES,
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _digests(run: Path) -> dict[str, str]:
    files = [run / name for name in ("best.pt", "lifter.safetensors", "noise.safetensors")]
    return {f.name: sha256(f) for f in files if f.is_file()}
