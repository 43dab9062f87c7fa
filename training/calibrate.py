"""`posefix train calibration`: J_std of the refiner's weights, fitted on the `val` people (`refiner/uncertainty.py`).

Exact and detector-like 2D, lab and wild cameras; in their own bodies and in strange ones (`strange.py`), which count
as people of their own; once with every joint observed and once with some hidden at random. Deterministic.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..lifter import Lifter
from ..lifter.graformer import GraFormer, Lift
from ..lifter.runtime import TorchNetwork
from ..pipeline.settings import Settings
from ..refiner.config import DiffusionConfig
from ..refiner.denoisers import CceCag
from ..refiner.mixture import Mixture
from ..refiner.refine import SOURCE, Refiner
from ..refiner.reproject import PullConfig
from ..refiner.uncertainty import JOINTS, PREDICTORS, SpreadConfig, interval
from ..skeleton import H36M17
from ..skeleton.errors import InputError
from .protocol import Benchmark, Cameras, row_keys
from .train_refiner import refiner_of

Floats = npt.NDArray[np.floating]
STRIDE, HIDDEN_STRIDE = 40, 64  # every how-manyth frame where four cameras see it
CAMERAS: tuple[tuple[Cameras, int], ...] = (("lab", 4), ("wild", 1))  # and how many see a frame
ROWS = 64  # frames a network call holds
MOST_HIDDEN = 6  # joints of a pose, never the Hip
LEVEL = 0.8  # the share of cases that is met exactly, over all joints
OWN_SHARE = 0.5  # see `own_levels`
_FLOOR_M = 0.002
_PAIR = np.minimum(np.arange(JOINTS), H36M17.flip_order)  # left and right of a joint are one case


@dataclass(frozen=True, eq=False)
class Samples:
    """n poses of several people.

    Attributes:
        logs: (n, 17, P) the predictors, in the order of `PREDICTORS`. error: (n, 17) metres.
        observed: (n, 17) bool. person: (n,) whose poses they are, by number.
    """

    logs: Floats
    error: Floats
    observed: npt.NDArray[np.bool_]
    person: npt.NDArray[np.int64]

    def __getitem__(self, rows: npt.NDArray) -> Samples:
        return Samples(self.logs[rows], self.error[rows], self.observed[rows], self.person[rows])

    @property
    def weight(self) -> Floats:
        """(n,) people count alike, however many poses they have."""
        return 1 / np.bincount(self.person)[self.person]


def hide_joints(count: int, seed: int) -> npt.NDArray[np.bool_]:
    """(count, 17) bool, observed or not: one to `MOST_HIDDEN` joints hidden in every pose."""
    rng = np.random.default_rng(seed)
    order = rng.random((count, JOINTS - 1)).argsort(axis=1).argsort(axis=1)
    hidden = order < rng.integers(1, MOST_HIDDEN + 1, count)[:, None]
    return np.concatenate([np.ones((count, 1), bool), ~hidden], axis=1)


def observe(
    refiner: Refiner, lifter: Lifter, bench: Benchmark, observed: npt.NDArray[np.bool_], person: int
) -> Samples:
    """What the refiner says of a benchmark and how wrong it is. observed: (R, 17) bool."""
    lifted = lifter(bench.keypoints, observed)
    keys = row_keys(len(bench), person)
    poses, logs = refiner.predictors(bench.keypoints, observed, lifted, keys)
    columns = [np.broadcast_to(logs[name], observed.shape) for name in PREDICTORS]
    error = np.linalg.norm(poses - bench.target, axis=-1)
    return Samples(np.stack(columns, axis=-1), error, observed, np.full(len(bench), person))


def join(parts: list[Samples]) -> Samples:
    """All poses of several."""
    names = ("logs", "error", "observed", "person")
    return Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def collect(
    refiner: Refiner, lifter: Lifter, data: Path, stride: int = STRIDE, hidden_stride: int = HIDDEN_STRIDE
) -> Samples:
    """Poses of the `val` people in their own and in strange bodies, whole and with hidden joints, by both cameras."""
    from .train_lifter import validation_sets

    parts, people = [], {}
    kinds = itertools.product((False, True), CAMERAS, ((stride, True), (hidden_stride, False)))
    for strange, (cameras, views), (step, whole) in kinds:
        for name, bench in validation_sets(data, step * views // 4, strange, cameras).items():
            person = people.setdefault((name.rsplit("_", 1)[0], strange), len(people))
            shape = len(bench), JOINTS
            observed = np.ones(shape, bool) if whole else hide_joints(len(bench), seed=person)
            parts.append(observe(refiner, lifter, bench, observed, person))
    return join(parts)


def calibrate(refiner: Refiner, lifter: Lifter, data: Path) -> SpreadConfig:
    """The calibration of a refiner on the `val` people below `data`. Raises InputError: no such data."""
    if refiner.hypotheses < 2:
        raise InputError(f"--hypotheses {refiner.hypotheses}: expected 2 or more; one has no spread")
    return fit(collect(refiner, lifter, data))


def calibrate_network(
    network: CceCag,
    mixture: Mixture,
    diffusion: DiffusionConfig,
    pull: PullConfig,
    lifter: GraFormer,
    data: Path,
    device: str,
) -> SpreadConfig:
    """The same for networks fresh from training, with the settings that they are exported with."""
    refiner = refiner_of(network, mixture, diffusion, device, Settings.hypotheses, pull, ROWS)
    return calibrate(refiner, Lifter(TorchNetwork(Lift(lifter), device), {}, rows=ROWS), data)


def fit(samples: Samples) -> SpreadConfig:
    """Exponents by least squares on the logarithm of the error; joints' levels by the 80 % distance."""
    exponents = fit_exponents(samples)
    base = samples.logs @ exponents  # (n, 17)
    seen = samples.observed
    whole = seen & seen.all(axis=1, keepdims=True)
    joint = spread_levels(samples, base)
    joint = joint + own_levels(samples, base + joint, whole)
    weights = np.where(whole & (np.arange(JOINTS) > 0), samples.weight[:, None], 0)
    joint = joint + _log_excess(samples.error, base + joint, weights)
    hidden = np.maximum(own_levels(samples, base + joint, ~seen), 0)
    final = base + joint + hidden * ~seen
    weights = np.broadcast_to(samples.weight[:, None], seen.shape)
    doubt = _by_pair(lambda j: _gap(final[:, j], ~seen[:, j], weights[:, j]))
    hidden[0] = joint[0] = doubt[0] = 0
    return SpreadConfig(
        tuple(joint), tuple(hidden), tuple(np.maximum(doubt, 0)),
        **{name: float(v) for name, v in zip(PREDICTORS, exponents, strict=True)},
    )  # fmt: skip


def fit_exponents(samples: Samples) -> Floats:
    """(P,) of the predictors; every joint, seen or hidden, has a level of its own beside them."""
    n = len(samples.error)
    target = np.log(np.maximum(samples.error[:, 1:], _FLOOR_M))
    levels = np.tile(np.eye(JOINTS - 1), (n, 1))  # (n * 16, 16)
    hidden = levels * ~samples.observed[:, 1:].reshape(-1, 1)
    predictors = samples.logs[:, 1:].reshape(n * (JOINTS - 1), -1)
    columns = np.concatenate([predictors, levels, hidden], axis=1)
    weights = np.repeat(samples.weight, JOINTS - 1)[:, None]
    # The ridge is for joints that were never hidden.
    normal = columns.T @ (weights * columns) + 1e-6 * np.eye(columns.shape[1])
    return np.linalg.solve(normal, columns.T @ (weights * target.reshape(-1, 1)))[: len(PREDICTORS), 0]


def spread_levels(samples: Samples, base: Floats) -> Floats:
    """(17,) joints' levels as their mean spread tells them: joints that spread widely err widely.

    A joint's spread varies little and noisily from frame to frame (exponent far below 1), but much and
    reliably from joint to joint (near 1).
    """
    weights = samples.observed * samples.weight[:, None]
    means = [
        (values * weights).sum(axis=0) / weights.sum(axis=0)
        for values in (samples.logs[..., 0], np.log(np.maximum(samples.error, _FLOOR_M)), base)
    ]
    spread, error, told = (np.array([v[j == _PAIR].mean() for j in _PAIR]) for v in means)
    slope, level = np.polyfit(spread[1:], error[1:], 1)
    return level + slope * spread - told


def own_levels(samples: Samples, log_std: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """(17,) by how much each joint's std is too small (log), mean over people; half of what sets it apart.

    People differ: measured with one person left out, the joints' own levels fit the other worse than the
    levels of `spread_levels` do. `OWN_SHARE` of the difference is believed.
    """
    excess = []
    for person in np.unique(samples.person):
        rows = samples.person == person
        error, std, weights = samples.error[rows], log_std[rows], where[rows].astype(float)
        excess.append(_by_pair(lambda j, e=error, s=std, w=weights: _log_excess(e[:, j], s[:, j], w[:, j])))
    own = np.mean(excess, axis=0)
    mean = own[1:].mean()
    return mean + OWN_SHARE * (own - mean)


def _by_pair(level: Callable[[npt.NDArray[np.int64]], float]) -> Floats:
    """(17,) a number for every joint, of left and right together; 0 for Hip."""
    return np.array([level(np.flatnonzero(_PAIR[j] == _PAIR)) if j else 0.0 for j in range(JOINTS)])


def _log_excess(error: Floats, log_std: Floats, weight: Floats) -> float:
    """Log of the factor by which std must grow to cover the error in `LEVEL` of the cases; 0 without cases."""
    ratio = np.log(np.maximum(error, 1e-9)) - log_std
    return _quantile(ratio, weight, LEVEL) - float(np.log(interval(LEVEL))) if weight.any() else 0.0


def _gap(log_std: Floats, hidden: npt.NDArray[np.bool_], weight: Floats) -> float:
    """By how much the std of hidden cases exceeds that of seen ones (log of medians); 0 without either."""
    if hidden.all() or not hidden.any():
        return 0.0
    return _quantile(log_std, weight * hidden, 0.5) - _quantile(log_std, weight * ~hidden, 0.5)


def _quantile(values: Floats, weights: Floats, level: float) -> float:
    """The value that a share `level` of the weight does not exceed; weights as `values`, not all 0."""
    order = values.ravel().argsort(kind="stable")
    total = weights.ravel()[order].cumsum()
    return float(values.ravel()[order][np.searchsorted(total, level * total[-1])])


def train_calibration(*, data: Path, weights: Path, hypotheses: int = Settings.hypotheses) -> None:
    """Fit J_std anew for weights that are there already, and write it into their refiner.safetensors.

    Args:
        data: folder with the mocap17 files (see docs/training.md).
        weights: folder of the weights, as `--export` writes them.
        hypotheses: poses drawn per frame; the default is that of `posefix`.
    """
    from .export import write_spread

    if not data.is_dir():
        raise InputError(f"{data}: no such folder; --data names the folder of the mocap17 .npz files")
    Settings(hypotheses=hypotheses)  # the same limits
    refiner = Refiner.load(hypotheses=hypotheses, weights=weights, rows=ROWS)
    config = calibrate(refiner, Lifter.load(weights=weights, rows=ROWS), data)
    write_spread(config, weights)
    print(f"calibration: {weights / SOURCE}")
