"""J_std: how far a joint of the refined pose is likely to be from the truth, calibrated on `val` people.

The spread of the hypotheses alone is too small, and the same for exact and for noisy 2D. The calibration takes
it as one of five predictors, all in metres and all known at run time:

    spread      of the joint's hypotheses;
    correction  of the joint: how far the refiner moved it from its lifted place;
    pose_moved  the same for the whole pose, root mean square over the joints;
    rays        how far, on average over the observed joints, the pose is from the rays of its own 2D
                (`reproject.robust_rays`): small where the 2D is exact, large where it is noisy;
    reach       how far the joint is from Hip: an outstretched arm is harder than a folded one.

    log J_std = joint_j + spread * log(spread_j) + correction * log(correction_j) + ...
                + hidden_j                     for a joint that is not observed
                + doubt_j * doubt(score_j)     for an observed one that the detector was not sure of.

What the number means: J_std is the root mean square distance to the truth. The distance is taken for that of an
isotropic 3D Student t with `FREEDOM` degrees of freedom, a Gaussian whose size is itself known only roughly, so
that in 80 % of cases the joint is at most `interval(0.8)` = 1.16 times J_std away from the truth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..lifter.runtime import Array
from ..skeleton import H36M17
from .reproject import Floats, robust_rays

JOINTS = len(H36M17.joints)
# Degrees of freedom of the Student t; chosen on val, where it meets the 50, 80 and 95 % distances alike.
FREEDOM = 5
PREDICTORS = ("spread", "correction", "pose_moved", "rays", "reach")
KEY = "uncertainty"  # in the metadata of refiner.safetensors
_PER_JOINT = ("joint", "hidden", "doubt")
_FLOOR_M = 0.002  # of a predictor, before its logarithm
_RAY_SCALE_M = 0.03  # disagreement at which a joint's 2D counts half


@dataclass(frozen=True)
class SpreadConfig:
    """The calibration; `training/calibrate.py` fits it. Raises ValueError: a value makes no sense."""

    joint: tuple[float, ...]  # (17,) of the logarithm of metres; Hip's is not used
    hidden: tuple[float, ...]  # (17,) 0 or more, added where the joint is not observed
    doubt: tuple[float, ...]  # (17,) 0 or more, added in full where the score is `unseen` or less
    spread: float  # exponents of the predictors
    correction: float
    pose_moved: float
    rays: float
    reach: float = 0.0  # older weights have none
    sure: float = 0.8  # score from which a joint counts as seen: nothing is added
    unseen: float = 0.1  # score at which it is as uncertain as a hidden one

    def __post_init__(self) -> None:
        for name in _PER_JOINT:
            value = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, value)
            if len(value) != JOINTS:
                raise ValueError(f"SpreadConfig.{name}: expected {JOINTS} numbers, got {len(value)}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise ValueError(f"SpreadConfig.{field.name}: expected finite numbers")
        if min(*self.hidden, *self.doubt) < 0:
            raise ValueError("SpreadConfig: hidden and doubt raise the std; expected 0 or more")
        if not 0 <= self.unseen < self.sure:
            raise ValueError(f"SpreadConfig: expected 0 <= unseen < sure, got {self.unseen}, {self.sure}")


def to_json(config: SpreadConfig) -> str:
    """As it stands in the metadata of refiner.safetensors."""
    return json.dumps(asdict(config))


def from_metadata(metadata: Mapping[str, str]) -> SpreadConfig | None:
    """The calibration that weights carry, None where they carry none.

    Raises:
        TypeError, ValueError: unknown or missing keys, or values that make no sense.
    """
    return SpreadConfig(**json.loads(metadata[KEY])) if KEY in metadata else None


def interval(level: float) -> float:
    """Q: in that share of cases (0.8, say) a joint is at most Q * J_std away from the truth."""
    from scipy.stats import f  # slow to import, and a pose needs it not

    return float(np.sqrt(f.ppf(level, 3, FREEDOM) * (FREEDOM - 2) / FREEDOM))


def predictors(spread: Floats, refined: Floats, lifted: Floats, keypoints: Floats) -> dict[str, Floats]:
    """Logarithms of what J_std is made from, each (n, 17) or (n, 1); every frame by itself.

    Args:
        spread: (n, 17) metres. refined, lifted: (n, 17, 3) metres relative to Hip, camera axes.
        keypoints: (n, 17, 3) normalised u, v, observed (`lifter.normalise`).
    """
    moved = np.linalg.norm(refined.astype(np.float64) - lifted, axis=-1)
    values = {
        "spread": spread,
        "correction": moved,
        "pose_moved": np.sqrt((moved[:, 1:] ** 2).mean(axis=1, keepdims=True)),
        "rays": off_the_rays(refined, keypoints)[:, None],
        "reach": np.linalg.norm(refined.astype(np.float64), axis=-1),
    }
    return {name: np.log(np.maximum(v, _FLOOR_M)) for name, v in values.items()}


def off_the_rays(poses: Floats, keypoints: Floats) -> Floats:
    """(n,) metres: mean distance across the view of observed joints from the rays of their 2D; 0 with none."""
    pose, uv, seen = (v.astype(np.float64) for v in (poses, keypoints[..., :2], keypoints[..., 2]))
    _, off, _ = robust_rays(pose, uv, seen, _RAY_SCALE_M)
    return (off * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def doubt_of(scores: npt.ArrayLike, config: SpreadConfig) -> Floats:
    """0 for scores of `sure` and more, 1 for those of `unseen` and less (and NaN), in between a straight line."""
    values = np.nan_to_num(np.asarray(scores, np.float64), nan=0.0)
    return np.clip((config.sure - values) / (config.sure - config.unseen), 0.0, 1.0)


def calibrated(
    logs: Mapping[str, Floats],
    observed: npt.ArrayLike,
    config: SpreadConfig,
    scores: npt.ArrayLike | None = None,
) -> Array:
    """(n, 17) J_std, metres: 0 for Hip, the origin; NaN where the spread is NaN (one hypothesis).

    Args:
        logs: of `predictors`. observed: (n, 17) bool.
        scores: (n, 17) the detector's, 0 to 1; None: sure of every observed joint. Of hidden joints not used.
    """
    seen = np.asarray(observed, bool)
    doubt: Any = 0.0 if scores is None else doubt_of(scores, config)
    log_std = np.array(config.joint) + np.where(seen, np.array(config.doubt) * doubt, np.array(config.hidden))
    for name in PREDICTORS:
        log_std = log_std + getattr(config, name) * logs[name]
    std = np.exp(log_std)
    std[:, 0] = np.where(np.isnan(std[:, 0]), np.nan, 0.0)
    return std.astype(np.float32)
