"""`posefix train refiner`: the diffusion refiner on out-of-fold errors of lifter and detector."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..lifter.graformer import GraFormer
from ..lifter.normalise import flip_average
from ..lifter.runtime import TorchNetwork
from ..refiner.config import DiffusionConfig
from ..refiner.denoisers import CceCag
from ..refiner.diffusion import centre_root, denoise, mask_hidden
from ..refiner.graphs import GuideGraph, StepGraph
from ..refiner.mixture import Mixture, fit
from ..refiner.refine import Refiner
from ..refiner.reproject import PullConfig, pull_to_rays
from ..refiner.schedules import shipped_levels
from ..skeleton import H36M17
from ..skeleton.metrics import mpjpe, p_mpjpe
from .augment import AugmentConfig, PosePool
from .loop import Batch, TrainConfig, Trainer, begin_with, claim
from .pool import build_pool, fold_of, training_sequences
from .protocol import Benchmark
from .train_lifter import VALIDATION_STRIDE, figures_of, lift_rows, validation_sets

# What ships was trained in six runs (`cli.SHIPPED_RUNS`), each begun with the averaged weights of the one before;
# those after the second with its budget but for samples and seeds, the last two with `BOTH_STEPS`, the last with
# `FAR_AUGMENT`.
FIRST_BUDGET = TrainConfig(samples=1_500_000, batch=256, lr=7e-4, warmup=150, validate_every=150_000)
SECOND_BUDGET = TrainConfig(
    samples=700_000, batch=256, lr=8e-4, warmup=100, validate_every=100_000, optimiser="muon"
)
# The lifter and its folds see AugmentConfig(); the refiner also bodies beyond it, on which they err as on strangers.
REFINER_AUGMENT = AugmentConfig(odd_body=0.5, other_skeleton=0.3)
FAR_AUGMENT = replace(REFINER_AUGMENT, far_body=0.5)
MIXTURE_SAMPLES = 8_192
SHIPPED_SHARE = 0.75
TRUSTS = (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
PULLS = (PullConfig(), *(
    PullConfig(most, 0.06, frame, refined)
    for most in (0.5, 0.8) for frame in (0.012, 0.018, 0.03) for refined in (0.0, 1.0)
))  # fmt: skip
HARMLESS = 0.025  # what a val figure may be worse than the lifter's: a millimetre
CHOICE_STRIDE = 24
STRANGE_STRIDE = 24
STRANGE = "_strange"
Predict = Literal["error", "pose", "previous"]
JOINTS = len(H36M17.joints)


@dataclass(frozen=True)
class RefinerLossConfig:
    rollout: float = 0.35  # share of samples that continue from the network's own first step
    both_steps: bool = False  # instead, every sample trains that first step and the one after it
    any_step: float = 0.25  # share of the others noised to any step; the rest to where run time may enter
    earliest_start: int = 25
    weight_2d: float = 0.2  # of the 2D error (normalised units) beside the 3D error (metres)
    # Share of samples whose training points lie between the truth and the lifted pose, as at run time; the others
    # lie around the truth with drawn errors alone (DiffPose), which teaches to mistrust the start.
    bridge: float = 1.0


BOTH_STEPS = RefinerLossConfig(both_steps=True, any_step=0.1)


class OutOfFold:
    """Draws batches whose lifted poses come from the lifter that never saw the person.

    Args:
        lifters: index f was trained without fold f.
        shipped: the lifter of run time, and `share` of the samples that it lifts instead. It has seen
            the recordings, though not these bodies, limbs and views; its errors have run time's size.
    """

    def __init__(
        self,
        data: Path,
        lifters: Sequence[nn.Module],
        shipped: nn.Module,
        share: float,
        augment: AugmentConfig,
        device: str,
    ):
        sequences = training_sequences(data)
        self.pools: list[PosePool] = [
            build_pool([s for s in sequences if fold_of(s.subject) == fold]) for fold in (0, 1)
        ]
        self.lifters = [m.eval().requires_grad_(False).to(device) for m in lifters]
        self.shipped, self.share = shipped.eval().requires_grad_(False).to(device), share
        self.augment, self.device = augment, device

    def draw(
        self, count: int, g: torch.Generator, share: float | None = None, augment: AugmentConfig | None = None
    ) -> dict[str, Tensor]:
        """`PosePool.draw` plus "start" and "truth" (B, 17, 5) and "observed" (B, 17, 1)."""
        share = self.share if share is None else share
        augment = augment or self.augment
        halves = []
        for pool, lifter in zip(self.pools, self.lifters, strict=True):
            batch = pool.draw(count // 2, augment, g)
            x = batch["input"]
            cut = round(len(x) * (1 - share))
            lifted = torch.cat([self._lift(lifter, x[:cut]), self._lift(self.shipped, x[cut:])])
            observed = x[..., 2:]
            truth = torch.cat([batch["exact"] * observed, batch["target"]], dim=-1)
            start = torch.cat([x[..., :2], lifted], dim=-1)
            halves.append({**batch, "start": start, "truth": truth, "observed": observed})
        return {key: torch.cat([half[key] for half in halves]) for key in halves[0]}

    def _lift(self, lifter: nn.Module, x: Tensor) -> Tensor:
        if not len(x):
            return torch.empty(0, JOINTS, 3)
        with torch.no_grad(), torch.autocast(torch.device(self.device).type, torch.bfloat16):
            return flip_average(lifter, x.to(self.device)).float().cpu()


def fit_errors(source: OutOfFold, config: DiffusionConfig, seed: int) -> Mixture:
    """The mixture over start errors of fully observed poses."""
    g = torch.Generator().manual_seed(seed)
    everyday = AugmentConfig(mirror=source.augment.mirror)
    errors = []
    while sum(map(len, errors)) < MIXTURE_SAMPLES:
        batch = source.draw(1024, g, 0.0, everyday)  # strangers' errors only, in everyday bodies
        whole = (batch["observed"].amin(dim=(1, 2)) > 0) & (batch["weight"].amin(dim=1) > 0)
        errors.append((batch["start"] - batch["truth"])[whole])
    return fit(torch.cat(errors).numpy(), config.components, seed)


class Previous(CceCag):
    """The same network, its answer taken as h_{k-1} (CCE+CAG equation 5), turned into the unit error that implies."""

    def __init__(self, steps: int):
        super().__init__()
        self.levels: Tensor
        self.register_buffer("levels", torch.from_numpy(shipped_levels(steps)).float(), persistent=False)

    def forward(self, state: Tensor, k: Tensor, guidance: Tensor) -> Tensor:
        k_ = k.long()
        fall = self.levels[k_] - self.levels[k_ - 1]
        return (state - super().forward(state, k, guidance)) / fall[:, None, None, None]

    def loss_share(self, k: Tensor) -> Tensor:
        """(B,) -> (B, 1, 1): of the clean state's error, what it is in h_{k-1}; times 20, about 1 in the middle."""
        return (20 * (1 - self.levels[k - 1] / self.levels[k]))[:, None, None]


class MixtureNoise:
    """The mixture as torch draws for training."""

    def __init__(self, mixture: Mixture):
        self.weights = torch.from_numpy(mixture.weights)
        self.factors = torch.from_numpy(mixture.factors)

    def draw(self, count: int, g: torch.Generator) -> Tensor:
        """(count, 17, 5) centred noise."""
        m = torch.multinomial(self.weights, count, replacement=True, generator=g)
        vectors = (self.factors[m] @ torch.randn(count, JOINTS * 5, 1, generator=g))[..., 0]
        uv, xyz = vectors[:, :34].reshape(count, 17, 2), vectors[:, 34:].reshape(count, 17, 3)
        return torch.cat([uv, xyz], dim=-1)


class RefinerLoss:
    """Loss over a batch of `OutOfFold.draw` with "noise" and "u" (B, 4) added: 3D MPJPE (m) + weighted 2D error."""

    def __init__(self, config: RefinerLossConfig, diffusion: DiffusionConfig):
        self.config, self.diffusion = config, diffusion
        self.levels = s_of = torch.from_numpy(shipped_levels(diffusion.steps)).float()
        # The step that halves the level: where two-step DDIM goes from k.
        self.halfway = (s_of[None, :] - s_of[:, None] / 2).abs().argmin(dim=1).clamp_min(1)

    def __call__(self, model: CceCag, batch: Batch) -> Tensor:
        place = batch["truth"].device
        self.levels, self.halfway = self.levels.to(place), self.halfway.to(place)
        guidance = model.guidance(batch["input"])
        state, k = self._noised(batch)
        if not self.config.both_steps:
            state, k = self._rolled_out(model, batch, state, k, guidance)
        clean = self._clean(model, state, k, guidance, batch["observed"])
        size = self._size(model, batch, clean, k)
        if not self.config.both_steps:
            return size
        state, k = self._stepped(state, clean.detach(), k)
        again = self._clean(model, state, k, guidance, batch["observed"])
        return (size + self._size(model, batch, again, k)) / 2

    def _noised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, 17, 5) h_k and (B,) k."""
        drawn, truth, u = batch["noise"], batch["truth"], batch["u"]
        between = (u[:, 3] < self.config.bridge)[:, None, None]
        error = torch.where(between, batch["start"] - truth + self.diffusion.spread * drawn, drawn)
        error = centre_root(mask_hidden(error, batch["observed"]))
        low = torch.where(u[:, 0] < self.config.any_step, 1, self.config.earliest_start)
        k = low + (u[:, 1] * (self.diffusion.steps + 1 - low)).floor().long()
        return truth + self.levels[k][:, None, None] * error, k

    def _clean(self, model: CceCag, state: Tensor, k: Tensor, guidance: Tensor, observed: Tensor) -> Tensor:
        """(B, 17, 5): the clean state that the network believes in."""
        level, predict = self.levels[k], self.diffusion.predict
        answer = denoise(model, state[:, None], k.float(), level, guidance, observed[:, None], predict)
        return answer[:, 0].float()

    def _stepped(self, state: Tensor, clean: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """DDIM's step to half the level, and its k."""
        after = self.halfway[k]
        return clean + (state - clean) * (self.levels[after] / self.levels[k])[:, None, None], after

    def _rolled_out(self, model: CceCag, batch: Batch, state: Tensor, k: Tensor, guidance: Tensor):
        """Some go on from the network's own first step: that, not the truth's neighbourhood, is what the
        second step sees at run time."""
        roll = torch.nonzero(batch["u"][:, 2] < self.config.rollout)[:, 0]
        if not len(roll):
            return state, k
        with torch.no_grad():
            clean = self._clean(model, state[roll], k[roll], guidance[roll], batch["observed"][roll])
        after, step = self._stepped(state[roll], clean, k[roll])
        return state.index_copy(0, roll, after), k.index_copy(0, roll, step)

    def _size(self, model: CceCag, batch: Batch, clean: Tensor, k: Tensor) -> Tensor:
        """Of the error that is left in what the network answered at step k."""
        truth, observed, w = batch["truth"], batch["observed"][..., 0], batch["weight"]
        if isinstance(model, Previous):
            clean = truth + (clean - truth) * model.loss_share(k)
        e3 = ((clean[..., 2:] - truth[..., 2:]).norm(dim=-1) * w).sum() / w.sum()
        e2 = ((clean[..., :2] - truth[..., :2]).norm(dim=-1) * observed).sum() / observed.sum()
        return e3 + self.config.weight_2d * e2


def train_refiner(
    data: Path,
    run: Path,
    lifter: GraFormer,
    fold_lifters: Sequence[GraFormer],
    config: TrainConfig = FIRST_BUDGET,
    loss_config: RefinerLossConfig | None = None,
    shipped_share: float = SHIPPED_SHARE,
    augment: AugmentConfig = REFINER_AUGMENT,
    predict: Predict = "error",
    device: str = "cpu",
    begin: Path | None = None,
) -> tuple[CceCag, Mixture, DiffusionConfig]:
    """Trains (or resumes) in `run`; returns the best EMA network, the fitted mixture and the diffusion's settings.

    Args:
        lifter: the shipped one, for validation: there the refiner starts from what it will see.
        fold_lifters: index f was trained without fold f.
        shipped_share: of the training poses that the shipped lifter lifts (see `OutOfFold`).
        begin: run whose averaged weights a new run begins with.
    """
    diffusion = DiffusionConfig(predict="pose" if predict == "pose" else "error")
    losses = loss_config or RefinerLossConfig()
    claim(run, "refiner.json", {
        "predict": predict, "loss": asdict(losses), "augment": asdict(augment), "shipped_share": shipped_share,
        "diffusion": asdict(diffusion),
    }, {"augment": asdict(AugmentConfig()), "loss": asdict(RefinerLossConfig())})  # fmt: skip
    # A copy: the source takes it to the device, validation lifts where it is.
    source = OutOfFold(data, fold_lifters, copy.deepcopy(lifter), shipped_share, augment, device)
    mixture = fit_errors(source, diffusion, config.seed)
    noise = MixtureNoise(mixture)
    sets = named_sets(data, VALIDATION_STRIDE, STRANGE_STRIDE)
    lifted = {id(b): lift_rows(lifter, b.keypoints) for b in sets.values()}

    def draw(g: torch.Generator) -> dict[str, Tensor]:
        batch = source.draw(config.batch, g)
        return {**batch, "noise": noise.draw(config.batch, g), "u": torch.rand(config.batch, 4, generator=g)}

    def sample(refiner: Refiner, bench: Benchmark) -> np.ndarray:
        d = lifted[id(bench)]
        keys = np.zeros((len(d), 2), np.int64)  # one hypothesis draws nothing
        return refiner.sample(bench.keypoints, np.ones(d.shape[:2]), d, keys)

    def validate(model: CceCag) -> dict[str, float]:
        refiner = refiner_of(model, mixture, diffusion, device)
        return figures_of(lambda bench: sample(refiner, bench)[:, 0], sets)

    torch.manual_seed(config.seed)
    model = Previous(diffusion.steps) if predict == "previous" else CceCag()
    if model.guide is not None:
        model.guide.start_from(lifter)
    if begin is not None:
        begin_with(model, begin, run)
    trainer = Trainer(
        model, draw, RefinerLoss(losses, diffusion), validate, config, run, device,
    )  # fmt: skip
    base = figures_of(lambda b: lifted[id(b)], sets)
    run.mkdir(parents=True, exist_ok=True)
    (run / "lifted.json").write_text(json.dumps(base, indent=2) + "\n", encoding="utf-8")
    return trainer.run(), mixture, diffusion


def named_sets(data: Path, stride: int, strange_stride: int) -> dict[str, Benchmark]:
    """`val` people in their own and, as NAME_strange, in strange bodies."""
    strange = validation_sets(data, strange_stride, strange=True)
    return validation_sets(data, stride) | {f"{k}{STRANGE}": b for k, b in strange.items()}


def choose(
    network: CceCag,
    mixture: Mixture,
    diffusion: DiffusionConfig,
    lifter: GraFormer,
    data: Path,
    run: Path,
    device: str,
) -> tuple[DiffusionConfig, PullConfig]:
    """Trust and pull, chosen on val people in their own and in strange bodies.

    Of the settings that make no figure of any set worse than the lifter's by more than HARMLESS, the one with
    the best mean change over all sets; where there are none, the one whose worst figure is best. All are
    written to choices.json.

    Every set counts alike, because of the two `val` people one is so like those of `train` that the lifter
    errs little on him, and gains with every bit of correction that is not followed; the other, and everybody
    in a strange body, gains with every bit that is. Who comes next is a stranger.
    """
    sets = named_sets(data, CHOICE_STRIDE, CHOICE_STRIDE)
    lifted = {k: lift_rows(lifter, b.keypoints) for k, b in sets.items()}
    base = {k: np.array(both_errors(lifted[k], b)) for k, b in sets.items()}
    refiner = refiner_of(network, mixture, diffusion, device)
    moved = {
        k: refiner.answers(
            b.keypoints, np.ones(lifted[k].shape[:2]), lifted[k], np.zeros((len(b), 2), np.int64)
        )
        for k, b in sets.items()
    }
    rows = []
    for trust, pull in itertools.product(TRUSTS, PULLS):
        change = {}
        for k, b in sets.items():
            free, keypoints, refined = moved[k]
            poses = lifted[k][:, None] + np.float32(trust) * (free - lifted[k][:, None])
            pulled = pull_to_rays(poses, keypoints, pull, refined)
            change[k] = list(both_errors(pulled[:, 0], b) / base[k] - 1)
        values = np.array(list(change.values()))
        rows.append({
            "trust": trust, **asdict(pull), "worst": float(values.max()), "mean": float(values.mean()),
            "change": change,
        })  # fmt: skip
    (run / "choices.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    harmless = [row for row in rows if row["worst"] <= HARMLESS]
    best = min(harmless, key=lambda row: row["mean"]) if harmless else min(rows, key=lambda row: row["worst"])
    pull = PullConfig(*(best[f.name] for f in fields(PullConfig)))
    return replace(diffusion, trust=best["trust"]), pull


def both_errors(poses: np.ndarray, bench: Benchmark) -> np.ndarray:
    """(2,) MPJPE and P-MPJPE, mm."""
    return np.array([mpjpe(poses, bench.target), p_mpjpe(poses, bench.target)])


def refiner_of(
    model: CceCag,
    mixture: Mixture,
    diffusion: DiffusionConfig,
    device: str,
    hypotheses: int = 1,
    pull: PullConfig | None = None,
    rows: int = 256,
) -> Refiner:
    """A network in training as the run-time refiner, in big batches."""
    guide, step = TorchNetwork(GuideGraph(model), device), TorchNetwork(StepGraph(model, diffusion), device)
    return Refiner(guide, step, mixture, diffusion, pull, hypotheses=hypotheses, rows=rows)


def load_network(folder: Path) -> GraFormer:
    """The best GraFormer of a lifter run."""
    model = GraFormer()
    model.load_state_dict(torch.load(folder / "best.pt", map_location="cpu", weights_only=True))
    return model.eval()
