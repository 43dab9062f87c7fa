"""Training on the published data sets' own training parts: their cameras, their 2D, their people.

    h36m       S1, S5, S6, S7, S8, four cameras, exact ("gt") or CPN ("det") 2D
    3dhp       P-STMO's data_train_3dhp.npz, exact 2D
    humaneva   Train parts of S1, S2, S3, three cameras, exact 2D

Nothing is augmented but by mirror images. The best weights are picked on rows of the training people, never on
the test part (as P-STMO's code, for one, does).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...lifter.graformer import GraFormer
from ...lifter.normalise import frame_of, normalise_keypoints
from ...refiner.config import DiffusionConfig
from ...skeleton import H36M17
from ...skeleton.errors import InputError
from ..augment import AugmentConfig
from ..loop import TrainConfig
from ..protocol import Benchmark
from ..systems import SystemConfig
from ..train_lifter import FOLD_BUDGET, LIFTER_BUDGET, run_lifter
from ..train_refiner import SHIPPED_SHARE, OutOfFold, fit_errors
from ..train_system import SYSTEM_BUDGET, TrainedSystem, load_lifter, train_system
from .human36m import TRAIN_SUBJECTS, read_human36m
from .humaneva import SUBJECTS, read_humaneva
from .mpi_inf_3dhp import read_mpi_inf_3dhp_train

VALIDATION_ROWS = 2000
ROWS_FILE = "rows.json"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What one person was recorded as.

    Attributes:
        keypoints, exact: (N, 17, 2) float32 pixels: the 2D given, and the true joints'.
        target: (N, 17, 3) float32 metres relative to Hip, camera axes.
    """

    keypoints: Floats
    exact: Floats
    target: Floats


def load_rows(dataset: str, data: Path, input: str = "gt") -> dict[str, Rows]:
    """The training part of a data set, by person.

    Raises:
        InputError: files missing or not right, or 2D that the data set does not have.
    """
    if dataset != "h36m" and input != "gt":
        raise InputError(f"--dataset {dataset} is trained on exact 2D only; leave out --input")
    if dataset == "h36m":
        # One at a time: all at once, in float64, would not fit into a small machine.
        return {s: _rows(read_human36m(data, input, subjects=(s,), split="train")) for s in TRAIN_SUBJECTS}
    if dataset == "3dhp":
        return {name: Rows(k, k, t) for name, (k, t) in read_mpi_inf_3dhp_train(data).items()}
    if dataset == "humaneva":
        return {s: _rows(read_humaneva(data, input, subjects=(s,), part="Train")) for s in SUBJECTS}
    raise InputError(f"--dataset {dataset}: expected h36m, 3dhp or humaneva")


def _rows(bench: Benchmark) -> Rows:
    return Rows(*(a.astype(np.float32) for a in (bench.keypoints, bench.exact, bench.target)))


def fold_of_person(people: Sequence[str], person: str) -> int:
    """0 or 1: people take turns."""
    return sorted(people).index(person) % 2


class PairPool:
    """Draws batches like `PosePool.draw` from recorded rows."""

    def __init__(self, rows: Sequence[Rows], mirror: bool = True):
        if not rows:
            raise InputError("no people to train on")
        self.rows, self.mirror = list(rows), mirror
        self.ends = torch.tensor([len(r.target) for r in self.rows]).cumsum(0)

    def draw(self, count: int, config: AugmentConfig | None, g: torch.Generator) -> dict[str, Tensor]:
        """See `PosePool.draw`; `config` changes nothing, recordings are taken as they are."""
        index = torch.randint(int(self.ends[-1]), (count,), generator=g)
        person = torch.searchsorted(self.ends, index, right=True)
        first = torch.cat([torch.zeros(1, dtype=torch.int64), self.ends[:-1]])
        row = (index - first[person]).numpy()
        picked = [
            torch.from_numpy(
                np.stack([getattr(self.rows[p], k)[r] for p, r in zip(person, row, strict=True)])
            )
            for k in ("keypoints", "exact", "target")
        ]
        if self.mirror:
            turned = (torch.rand(count, generator=g) < 0.5)[:, None, None]
            picked = [torch.where(turned, _mirrored(a), a) for a in picked]
        keypoints, exact, target = picked
        observed = torch.ones(count, 17, dtype=torch.bool)
        centre, half = frame_of(keypoints, observed)
        return {
            "input": normalise_keypoints(keypoints, observed),
            "target": target,
            "weight": torch.ones(count, 17),
            "exact": (exact - centre) / half,
        }


def _mirrored(points: Tensor) -> Tensor:
    """(B, 17, d) as in a mirror: x changes its sign, left and right change places."""
    return points[:, H36M17.flip_order] * torch.tensor([-1.0, *[1.0] * (points.shape[-1] - 1)])


class PairSource(OutOfFold):
    """`OutOfFold` on recorded rows: each half of the people is lifted by the lifter that never saw it."""

    def __init__(
        self, halves: Sequence[PairPool], lifters: Sequence[nn.Module], shipped: nn.Module, device: str
    ):
        self.pools = list(halves)  # pyright: ignore[reportAttributeAccessIssue]
        self.lifters = [m.eval().requires_grad_(False).to(device) for m in lifters]
        self.shipped = shipped.eval().requires_grad_(False).to(device)
        self.share, self.augment, self.device = SHIPPED_SHARE, AugmentConfig(), device


def validation_rows(rows: dict[str, Rows], dataset: str) -> dict[str, Benchmark]:
    """Rows of the training people, evenly spread, as a benchmark."""
    each = max(1, VALIDATION_ROWS // len(rows))
    parts = []
    for r in rows.values():
        chosen = np.linspace(0, len(r.target) - 1, min(each, len(r.target))).round().astype(int)
        parts.append((r.keypoints[chosen], r.exact[chosen], r.target[chosen]))
    keypoints, exact, target = (np.concatenate(p).astype(np.float64) for p in zip(*parts, strict=True))
    n = len(target)
    return {
        f"{dataset}_train": Benchmark(
            keypoints=keypoints, image_size=np.zeros((n, 2)), target=target, action=np.repeat("", n),
            camera=np.zeros(n, dtype=np.int64), frame=np.arange(n), exact=exact, target_camera=target,
            data=dataset, split="train", cameras="own", input="", stride=1,
        )
    }  # fmt: skip


def _claim(run: Path, data: dict[str, str]) -> None:
    """Makes the folder a run on this data, or holds it against what it was begun with."""
    begun = run / ROWS_FILE
    known = json.loads(begun.read_text(encoding="utf-8")) if begun.is_file() else None
    if known != data and (known is not None or (run / "last.pt").is_file()):
        raise InputError(f"{run}: holds a run on other data; give another --run folder (and --folds)")
    run.mkdir(parents=True, exist_ok=True)
    begun.write_text(json.dumps(data) + "\n", encoding="utf-8")


def train_lifter_on_rows(
    rows: dict[str, Rows],
    dataset: str,
    input: str,
    run: Path,
    config: TrainConfig = LIFTER_BUDGET,
    leave_out_fold: int | None = None,
    device: str = "cpu",
) -> GraFormer:
    """`train_lifter.train_lifter` on a published data set's training part.

    Raises:
        InputError: the folder holds a run on other data.
    """
    _claim(run, {"dataset": dataset, "input": input})
    people = [p for p in rows if leave_out_fold is None or fold_of_person(list(rows), p) != leave_out_fold]
    pool, sets = PairPool([rows[p] for p in people]), validation_rows(rows, dataset)
    return run_lifter(lambda g: pool.draw(config.batch, None, g), sets, run, config, device)


def train_system_on_rows(
    name: str,
    config: SystemConfig,
    rows: dict[str, Rows],
    dataset: str,
    input: str,
    lifter_folder: Path,
    folds: Path,
    run: Path,
    budget: TrainConfig = SYSTEM_BUDGET,
    device: str = "cpu",
    fold_budget: TrainConfig = FOLD_BUDGET,
) -> TrainedSystem:
    """`train_system.train_on_mocap` on a published data set's training part."""
    lifter = load_lifter(lifter_folder)
    lifters = [
        train_lifter_on_rows(rows, dataset, input, folds / f"fold{i}", fold_budget, i, device) for i in (0, 1)
    ]
    people = list(rows)
    halves = [
        PairPool([rows[p] for p in people if fold_of_person(people, p) == fold], config.mirror)
        for fold in (0, 1)
    ]
    source = PairSource(halves, lifters, copy.deepcopy(lifter), device)
    components = DiffusionConfig(components=config.process.components)
    drawn: dict[str, Any] = {"shipped_share": SHIPPED_SHARE, "dataset": dataset, "input": input}
    return train_system(
        name, config, source, lifter, lambda: fit_errors(source, components, budget.seed),
        validation_rows(rows, dataset), run, budget, device, drawn,
    )  # fmt: skip
