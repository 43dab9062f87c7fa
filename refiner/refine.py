"""The refiner as the pipeline calls it: hypotheses, their mean, their spread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..lifter.runtime import (
    Array,
    Network,
    checked_file,
    chunks,
    default_rows,
    open_network,
    weights_folder,
)
from ..skeleton import H36M17
from ..skeleton.errors import WeightsError
from .config import DiffusionConfig
from .mixture import SIZE, Mixture
from .reproject import Floats, PullConfig, pull_to_rays
from .samplers import ddim
from .schedules import ddim_steps, shipped_levels
from .uncertainty import SpreadConfig, calibrated, from_metadata, predictors

if TYPE_CHECKING:
    from torch import nn

    from .denoisers import CceCag

SOURCE = "refiner.safetensors"
ORDER = H36M17.flip_order
MIRROR_STATE = np.array([-1, 1, -1, 1, 1], np.float32)
MIXTURE_KEYS = ("mixture.weights", "mixture.means", "mixture.factors")


def build_network(path: Path) -> CceCag:
    """`denoisers.CceCag` with the weights of a safetensors file."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    from .denoisers import CceCag, CceCagConfig

    with safe_open(str(path), "pt") as file:
        config = CceCagConfig(**json.loads((file.metadata() or {})["config"]))
    network = CceCag(config)
    network.load_state_dict({k: v for k, v in load_file(str(path)).items() if k not in MIXTURE_KEYS})
    return network.eval()


def load_settings(path: Path) -> tuple[Mixture, DiffusionConfig, PullConfig]:
    """The fitted mixture and the settings that ship with it, of a safetensors file."""
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        weights, means, factors = (file.get_tensor(k) for k in MIXTURE_KEYS)
        metadata = file.metadata() or {}
    config, pull = (
        DiffusionConfig(**json.loads(metadata["diffusion"])),
        PullConfig(**json.loads(metadata["pull"])),
    )
    return Mixture(weights, means, factors), config, pull


def load_spread(path: Path) -> SpreadConfig | None:
    """The calibration of J_std in a safetensors file; None where it has none. Raises TypeError, ValueError."""
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        return from_metadata(file.metadata() or {})


def draw_noise(mixture: Mixture, hypotheses: int, seed: int, key: npt.ArrayLike) -> Array:
    """(H, 17, 5) start errors of one person in one frame; the same whatever the batch.

    Drawn in antithetic pairs (n, -n), so that their mean wanders less than the hypotheses do; an odd
    last one starts without noise, exactly at the lifter's pose.
    """
    frame, person = (int(v) for v in np.asarray(key))
    noise = np.zeros((hypotheses, 17, 5), np.float32)
    pairs = hypotheses // 2
    if pairs:
        rng = np.random.default_rng([seed, person, frame])
        component = mixture.pick(rng.random(pairs))
        drawn = mixture.centred(component, rng.standard_normal((pairs, SIZE)).astype(np.float32))
        noise[0 : 2 * pairs : 2], noise[1 : 2 * pairs : 2] = drawn, -drawn
    return noise


def mean_and_spread(hypotheses: Array) -> tuple[Array, Array]:
    """(n, H, 17, 3) -> (n, 17, 3) mean and (n, 17) standard deviation, metres; NaN with one hypothesis."""
    mean = hypotheses.mean(axis=1)
    count = hypotheses.shape[1]
    if count < 2:
        return mean, np.full(mean.shape[:2], np.nan, np.float32)
    squared = ((hypotheses - mean[:, None]) ** 2).sum(axis=-1).sum(axis=1) / (count - 1)
    return mean, np.sqrt(squared).astype(np.float32)


class Answers(NamedTuple):
    """What the refiner says of n frames.

    Attributes:
        hypotheses: (n, H, 17, 3) metres relative to Hip, camera axes; flip-averaged, trusted, pulled.
        keypoints: (n, 17, 3) the 2D as it was given: normalised u, v, observed.
        refined: (n, 17, 2) the 2D as the network leaves it: normalised u, v, mean of the hypotheses.
    """

    hypotheses: Array
    keypoints: Array
    refined: Array


class Refiner:
    """First 3D -> better 3D with uncertainty.

    Args:
        guide, step: `graphs.GuideGraph` and `graphs.StepGraph` as functions of arrays.
        pull: the last step, `reproject.pull_to_rays`.
        spread: calibration of the uncertainty; None gives the plain spread of the hypotheses.
        steps: DDIM steps, 1 to K. hypotheses: N, at least 1. seed: of the drawn start errors.
        rows, pad: frames a network call holds (see `lifter.runtime.chunks`).
    """

    def __init__(
        self, guide: Network, step: Network, mixture: Mixture, config: DiffusionConfig,
        pull: PullConfig | None = None, spread: SpreadConfig | None = None,
        *, steps: int = 2, hypotheses: int = 5, seed: int = 0, rows: int = 8, pad: bool = False,
    ):  # fmt: skip
        if hypotheses < 1:
            raise ValueError(f"hypotheses: expected at least 1, got {hypotheses}")
        self.guide, self.step, self.mixture, self.config = guide, step, mixture, config
        self.pull, self.spread = pull or PullConfig(), spread
        self.levels = shipped_levels(config.steps)
        self.visited = ddim_steps(self.levels, steps, config.start)
        self.noise_scale = np.float32(config.spread * self.levels[config.start])
        self.hypotheses, self.seed, self.rows, self.pad = hypotheses, seed, rows, pad
        self.weights: dict[str, str] = {}

    @classmethod
    def load(
        cls, device: str = "cpu", steps: int = 2, hypotheses: int = 5, seed: int = 0,
        weights: str | Path | None = None, rows: int | None = None, threads: int = 0,
    ) -> Refiner:  # fmt: skip
        """Loads the shipped weights, or those of a folder. Raises WeightsError, ValueError."""
        folder = weights_folder(weights)

        def guide_of(path: Path) -> nn.Module:
            from .graphs import GuideGraph

            return GuideGraph(build_network(path))

        def step_of(path: Path) -> nn.Module:
            from .graphs import StepGraph

            return StepGraph(build_network(path), config)

        source, digest = checked_file(folder, SOURCE)
        try:
            (mixture, config, pull), spread = load_settings(source), load_spread(source)
        except Exception as error:  # any failure of the file's reader means an unusable file
            raise WeightsError(f"{source}: cannot be loaded ({error}); reinstall posefix") from error
        guide, one = open_network(folder, "refiner_guide", device, guide_of, SOURCE, threads)
        step, two = open_network(folder, "refiner_step", device, step_of, SOURCE, threads)
        refiner = cls(
            guide, step, mixture, config, pull, spread,
            steps=steps, hypotheses=hypotheses, seed=seed,
            rows=rows or default_rows(device), pad=device != "cpu",
        )  # fmt: skip
        refiner.weights = {SOURCE: digest, **one, **two}
        return refiner

    def __call__(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike,
        scores: npt.ArrayLike | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Refined poses and how sure they are.

        Args:
            keypoints: (n, 17, 2) pixels. observed: (n, 17) bool; a hidden joint's keypoint is ignored.
            lifted: (n, 17, 3) the lifter's poses, metres relative to Hip, camera axes.
            keys: (n, 2) int, frame index and person: what the noise is drawn by.
            scores: (n, 17) the detector's, 0 to 1; without, observed joints count as surely seen.

        Returns:
            (n, 17, 3) mean of the hypotheses, metres relative to Hip, camera axes; and (n, 17) J_std,
            metres: the root mean square distance to the truth that is to be expected of that joint
            (`uncertainty`); in 80 % of cases it is at most `uncertainty.interval(0.8)` = 1.16 J_std.
            Weights without a calibration give the spread of the hypotheses instead (root of the mean
            squared distance from their mean). NaN with one hypothesis.
        """
        answers = self.answers(keypoints, observed, lifted, keys)
        mean, spread = mean_and_spread(answers.hypotheses)
        if self.spread is None or self.hypotheses < 2:
            return mean, spread
        logs = predictors(spread, mean, np.asarray(lifted, np.float32), answers.keypoints)
        return mean, calibrated(logs, observed, self.spread, scores)

    def sample(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike
    ) -> Array:
        """(n, H, 17, 3): every hypothesis, flip-averaged. Arguments as of the call."""
        return self.answers(keypoints, observed, lifted, keys).hypotheses

    def predictors(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike
    ) -> tuple[Array, dict[str, Floats]]:
        """(n, 17, 3) refined poses and what J_std is made from (`uncertainty.predictors`). Arguments as of the call."""
        answers = self.answers(keypoints, observed, lifted, keys)
        mean, spread = mean_and_spread(answers.hypotheses)
        return mean, predictors(spread, mean, np.asarray(lifted, np.float32), answers.keypoints)

    def answers(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike
    ) -> Answers:
        """The hypotheses and the 2D that goes with them. Arguments as of the call. Raises ValueError: wrong shapes."""
        seen = np.asarray(observed, np.float32)
        points = np.where(seen[..., None] > 0, np.asarray(keypoints, np.float32), 0).astype(np.float32)
        poses, names = np.asarray(lifted, np.float32), np.asarray(keys)
        n = len(points)
        if (
            points.shape != (n, 17, 2)
            or seen.shape != (n, 17)
            or poses.shape != (n, 17, 3)
            or len(names) != n
        ):
            raise ValueError(
                "Refiner: expected keypoints (n, 17, 2), observed (n, 17), lifted (n, 17, 3), keys (n, 2), "
                f"got {points.shape}, {seen.shape}, {poses.shape}, {names.shape}"
            )
        shapes = ((n, self.hypotheses, 17, 3), (n, 17, 3), (n, 17, 2))
        out = Answers(*(np.empty(shape, np.float32) for shape in shapes))
        for where, part in chunks(n, self.rows, self.pad):
            noise = np.stack([draw_noise(self.mixture, self.hypotheses, self.seed, names[j]) for j in part])
            chunk = self._sample(points[part], seen[part], poses[part], noise * self.noise_scale)
            for whole, values in zip(out, chunk, strict=True):
                whole[where] = values[: where.stop - where.start]
        return out

    def _sample(self, points: Array, seen: Array, lifted: Array, noise: Array) -> Answers:
        g = len(points)
        normalised, guidance = self.guide(points, seen)
        start = np.concatenate([normalised[..., :2], lifted], axis=-1)  # (G, 17, 5)
        state = start[:, None] + noise  # (G, H, 17, 5)
        state[..., :2] *= seen[:, None, :, None]
        state[..., 2:] -= state[..., :1, 2:]
        state = np.concatenate([state, state[:, :, ORDER] * MIRROR_STATE])  # (2G, H, 17, 5)
        both = np.concatenate([seen, seen[:, ORDER]])

        def step(h: Array, k: int) -> Array:
            at = np.array([k], np.float32), np.array([self.levels[k]], np.float32)
            return self.step(h, *at, guidance, both)[0]

        out = ddim(step, state, self.levels, self.visited)
        out = (out[:g] + out[g:, :, ORDER] * MIRROR_STATE) / 2
        refined, poses = out[..., :2].mean(axis=1), out[..., 2:]
        correction = poses.mean(axis=1, keepdims=True) - lifted[:, None]
        poses = poses - np.float32(1 - self.config.trust) * correction
        return Answers(pull_to_rays(poses, normalised, self.pull, refined), normalised, refined)
