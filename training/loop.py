"""One training loop for every network: warm-up and cosine decay, EMA, checkpoints that resume."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..pipeline.interrupt import Interrupt
from ..skeleton.errors import InputError
from .machine import record_machine
from .optimisers import OptimiserName, make_optimiser

Batch = Mapping[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class TrainConfig:
    """The budget and how it is spent. Raises InputError: samples for less than one step."""

    samples: int = 1_000_000
    batch: int = 512
    lr: float = 7e-4
    warmup: int = 600  # steps
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    validate_every: int = 150_000  # samples
    patience: int = 12  # validations without a better one before it stops
    bfloat16: bool = True
    horizon: int | None = None  # samples at which the cosine would end; `samples` if None
    cooldown_from: int | None = None  # samples after which the rate falls in a straight line to its end
    optimiser: OptimiserName = "adamw"

    def __post_init__(self) -> None:
        if self.samples < self.batch:
            raise InputError(f"--samples {self.samples}: expected at least a batch, {self.batch}")

    @property
    def steps(self) -> int:
        return self.samples // self.batch


BEGUN = "begun.json"
#: In run folders, beside config.json with the budget: all else that makes a run what it is.
SETTINGS_FILES = ("lifter.json", "refiner.json", "rows.json", "system.json", "cpn.json")


def claim(
    run: Path, name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Writes a new run's settings to `name` in its folder, or holds a begun run's against them.

    A run begun before there was such a file goes on without one; one begun before there was one of the keys of a part
    had its value in `defaults` (part: key: value). Raises InputError: other settings, or another kind of run there.
    """
    if other := [f for f in SETTINGS_FILES if f != name and (run / f).is_file()]:
        raise InputError(f"{run}: holds a run of something else ({other[0]}); give another --run folder")
    path, told = run / name, json.loads(json.dumps(settings))  # through JSON, which knows no tuples
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        for part, values in json.loads(json.dumps(defaults or {})).items():
            if isinstance(known.get(part), dict):
                known[part] = values | known[part]
        if changed := sorted(k for k in known.keys() | told.keys() if known.get(k) != told.get(k)):
            raise InputError(
                f"{run}: holds a run with other settings ({name}: {', '.join(changed)}); "
                "give another folder or remove it"
            )
    elif not (run / "last.pt").is_file():
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def begin_with(network: nn.Module, before: Path, run: Path) -> None:
    """Gives a new run's network the averaged weights of a finished one, and notes in `run` what that one had seen.

    Raises InputError: another network there.
    """
    try:
        network.load_state_dict(torch.load(before / "best.pt", map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise InputError(f"--begin {before}: holds another network than this run's") from error
    run.mkdir(parents=True, exist_ok=True)
    begun = {"run": before.name, "samples": samples_seen(before)}
    (run / BEGUN).write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")


def samples_seen(run: Path) -> int:
    """Training samples behind a run's network: its budget and that of the runs it was begun with."""
    own = json.loads((run / "config.json").read_text(encoding="utf-8"))["samples"]
    before = run / BEGUN
    return own + (json.loads(before.read_text(encoding="utf-8"))["samples"] if before.is_file() else 0)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak, or the straight line of a cooldown."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.cooldown_from is not None and step >= (turn := config.cooldown_from // config.batch):
        left = 1 - (step - turn) / max(1, config.steps - turn)
        return learning_rate(replace(config, cooldown_from=None), turn) * max(left, 0.01)
    end = (config.horizon or config.samples) // config.batch
    done = (step - config.warmup) / max(1, end - config.warmup)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Trainer(Generic[Network]):
    """Runs `loss(model, batch)` over `draw(generator)` until the budget is spent or `validate` stalls.

    Args:
        validate: EMA model -> figures; "score" (lower is better) picks `best`.
        folder: the run directory: config.json, log.jsonl, last.pt (resumes), best.pt (EMA weights), and at the end
            machine.json.
    """

    def __init__(
        self,
        model: Network,
        draw: Callable[[torch.Generator], Batch],
        loss: Callable[[Network, Batch], Tensor],
        validate: Callable[[Network], dict[str, float]],
        config: TrainConfig,
        folder: Path,
        device: str = "cpu",
    ):
        self.model, self.draw, self.loss, self.validate = model.to(device), draw, loss, validate
        self.config, self.folder, self.device = config, folder, device
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimiser = make_optimiser(config.optimiser, self.model, config.lr, config.weight_decay)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step, self.best, self.stalled, self.seconds = 0, float("inf"), 0, 0.0
        self.norms: list[float] = []  # gradient norms since the last validation

    def run(self, report: Callable[[dict[str, Any]], None] = lambda row: print(row, flush=True)) -> Network:
        """Trains (or resumes) to the end and returns the best EMA model.

        Ctrl-C and SIGTERM end it after the step at hand, which is kept; a second one at once, and what came after the
        last validation is lost. Raises KeyboardInterrupt then.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        config = self.config
        every = max(1, config.validate_every // config.batch)
        started, running, since = time.monotonic() - self.seconds, 0.0, self.step
        with Interrupt().listening() as asked:
            while self.step < config.steps and self.stalled < config.patience:
                running += self._step()
                if self.step % every == 0 or self.step == config.steps:
                    self.seconds = time.monotonic() - started
                    figures = self.validate(self.ema)
                    report(self._record(figures, running / (self.step - since)))
                    running, since = 0.0, self.step
                if asked.signal is not None and self.step < config.steps:
                    self.seconds = time.monotonic() - started
                    self._save()
                    raise KeyboardInterrupt
        record_machine(self.folder, self.device, self.seconds)
        best = self.folder / "best.pt"
        self.ema.load_state_dict(torch.load(best, map_location=self.device, weights_only=True))
        return self.ema

    def _step(self) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        batch = {k: v.to(self.device) for k, v in self.draw(self.generator).items()}
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.config.bfloat16):
            loss = self.loss(self.model, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.norms.append(float(norm))
        self.optimiser.step()
        self.step += 1
        # A young average must not remember the random start.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for slow, fast in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        return float(loss.detach())

    def _record(self, figures: dict[str, float], loss: float) -> dict[str, Any]:
        better = figures["score"] < self.best
        self.stalled = 0 if better else self.stalled + 1
        if better:
            self.best = figures["score"]
            torch.save(self.ema.state_dict(), self.folder / "best.pt")
        row = {
            "samples": self.step * self.config.batch, "loss": loss, "gradient": max(self.norms), **figures,
            "best": self.best, "seconds": round(self.seconds, 1),
        }  # fmt: skip
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        self.norms.clear()
        self._save()
        return row

    def _save(self) -> None:
        """Writes last.pt, all that a run goes on from."""
        state = {
            "config": asdict(self.config), "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(),
            "step": self.step, "best": self.best, "stalled": self.stalled, "seconds": self.seconds,
        }  # fmt: skip
        part = self.folder / "last.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "last.pt")

    def _resume(self) -> None:
        last = self.folder / "last.pt"
        if not last.exists():
            text = json.dumps(asdict(self.config), indent=2)
            (self.folder / "config.json").write_text(text + "\n", encoding="utf-8")
            return
        try:
            state = torch.load(last, map_location=self.device, weights_only=True)
            begun = TrainConfig(**state["config"])
        except Exception as error:  # torch's, pickle's and zip's errors alike mean an unusable file
            raise InputError(f"{last}: damaged, or no checkpoint; remove it to begin anew") from error
        if begun != self.config:
            raise InputError(
                f"{self.folder}: holds a run with other settings; give another --run folder or remove it"
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise InputError(
                f"{self.folder}: holds another network's run; give another --run folder"
            ) from error
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self.best = state["step"], state["best"]
        self.stalled, self.seconds = state["stalled"], state["seconds"]
