"""The systems that posefix is measured against, by name: what each is made of, and its options.

    regressor   DiffPose's Table 4, baseline A: its denoiser corrects the lifted pose once
    stacked     the same, baseline B: as many denoisers in a row as `diffpose` makes network calls
    diffpose    Gong et al. 2023, one frame
    diffupose   Choi et al. 2022
    e533        Li, Li and Sun: DiffPose's denoiser, cosine schedule, EDM's sampler
    cce         Jiang and Chen 2024 without context guidance
    cce-cag     Jiang and Chen 2024

`graformer`, the lifter alone, is trained by `train_lifter`; `posefix` is what ships. All systems here share
the lifter underneath, the poses drawn, the loop, the optimiser and the budget; a `SystemConfig` is all that
tells them apart. Where a paper and its code differ, the docstring of the network or of `refiner.process`
says which was taken. For all of them it was the text's mixture and draws, without which hypotheses would be
identical, and the code's sizes; for DiffPose the code's noise as target, for CCE equation 5's h_{k-1}.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from torch import nn

from ..lifter.graformer import GraFormer
from ..refiner.cce_paper import CceConfig, PublishedCce
from ..refiner.diffpose import DiffPose, DiffPoseConfig, Stacked
from ..refiner.diffupose import DiffuPose, DiffuPoseConfig
from ..refiner.process import ProcessConfig
from ..refiner.system_refiner import SamplingConfig
from ..skeleton.errors import InputError

NetworkConfig = DiffPoseConfig | DiffuPoseConfig | CceConfig
Config = TypeVar("Config")


@dataclass(frozen=True)
class SystemLossConfig:
    """What training makes small."""

    kind: Literal["mse", "l1", "mpjpe"] = "mse"
    weight_2d: float = 1.0  # of u and v beside x, y, z
    limbs: bool = (
        False  # DiffuPose's joint weights: 1 trunk and hips, 2 knees, elbows, nose, 4 wrists, ankles
    )


@dataclass(frozen=True)
class SystemConfig:
    """A system. `mirror`: train on mirror images, too (its run-time half is `sampling.flip`)."""

    network: NetworkConfig = field(default_factory=DiffPoseConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    loss: SystemLossConfig = field(default_factory=SystemLossConfig)
    mirror: bool = True


_REGRESSOR = SystemConfig(
    process=ProcessConfig(noise="none", steps=1, components=1),
    sampling=SamplingConfig(calls=1, hypotheses=1),
    # Regressed poses are scored by MPJPE and may be trained for it, as the lifter is.
    loss=SystemLossConfig("mpjpe", weight_2d=0.2),
)
_CCE_PROCESS, _TWO_CALLS = ProcessConfig(target="previous"), SamplingConfig(calls=2)

SYSTEMS: dict[str, SystemConfig] = {
    "regressor": _REGRESSOR,
    "stacked": replace(_REGRESSOR, network=DiffPoseConfig(stack=5)),
    "diffpose": SystemConfig(),  # five calls, five hypotheses: the text's
    "diffupose": SystemConfig(
        DiffuPoseConfig(),
        # The code stays within 1 m a coordinate; raised hands are further from the hip than that.
        ProcessConfig("gaussian", "cosine", steps=100, components=1, scale_2d=0.0, start="noise", clamp=1.25),
        SamplingConfig("ddpm", calls=100, hypotheses=10),
        SystemLossConfig("l1", weight_2d=0.8, limbs=True),
    ),
    "e533": SystemConfig(
        DiffPoseConfig(channels=128, layers=4),
        ProcessConfig(schedule="cosine"),
        SamplingConfig("heun", calls=5),
    ),
    "cce": SystemConfig(CceConfig(guided=False), _CCE_PROCESS, _TWO_CALLS),
    "cce-cag": SystemConfig(CceConfig(), _CCE_PROCESS, _TWO_CALLS),
}

# Option of the command line -> (part of the configuration, its field).
OPTIONS: dict[str, tuple[str, str]] = {
    "noise": ("process", "noise"),
    "components": ("process", "components"),
    "diffusion_steps": ("process", "steps"),
    "schedule": ("process", "schedule"),
    "spread": ("process", "spread"),
    "target": ("process", "target"),
    "sampler": ("sampling", "sampler"),
    "ddim_steps": ("sampling", "calls"),
    "hypotheses": ("sampling", "hypotheses"),
    "churn": ("sampling", "churn"),
    "loss": ("loss", "kind"),
    "guide": ("network", "guided"),
    "stack": ("network", "stack"),
    "channels": ("network", "channels"),
}


def system_of(name: str) -> SystemConfig:
    """A system's settings by name. Raises InputError if there is none of that name."""
    if name not in SYSTEMS:
        raise InputError(f"system {name!r}: choose from {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def with_options(name: str, options: Mapping[str, Any]) -> SystemConfig:
    """The named system with options of the command line; those that are None stay as they are.

    Raises InputError: an option that the system does not have, or a value that makes no sense.
    """
    config = system_of(name)
    for option, value in options.items():
        if value is None:
            continue
        if option == "flip":
            config = replace(config, mirror=value, sampling=replace(config.sampling, flip=value))
            continue
        flag = f"--{option.replace('_', '-')}"
        if option not in OPTIONS or not _applies(config, option):
            raise InputError(f"{flag}: {name} has no such option")
        part, key = OPTIONS[option]
        config = replace(config, **{part: replace(getattr(config, part), **{key: value})})
    _check(name, config)
    return config


def _applies(config: SystemConfig, option: str) -> bool:
    part, key = OPTIONS[option]
    if option == "stack":
        return config.process.noise == "none"
    if option == "loss":
        return True
    if config.process.noise == "none" and part in ("process", "sampling"):
        return False
    if option in ("noise", "spread") and config.process.start == "noise":
        return False
    return any(f.name == key for f in fields(getattr(config, part)))


def _check(name: str, config: SystemConfig) -> None:
    process, width = config.process, config.network.channels
    if not 16 <= width <= 1024 or width % 8:
        raise InputError(f"--channels {width}: expected a multiple of 8 from 16 to 1024")
    if isinstance(config.network, DiffPoseConfig) and not 1 <= config.network.stack <= 50:
        raise InputError(f"--stack {config.network.stack}: expected 1 to 50")
    if name not in ("regressor", "stacked") and process.noise == "none":
        raise InputError(f"--noise none: for regressors; {name} takes mixture or gaussian")
    if config.loss.kind == "mpjpe" and process.start == "noise":
        raise InputError(f"--loss mpjpe: {name} learns noise; take mse or l1")


def build_network(config: SystemConfig, lifter: GraFormer) -> nn.Module:
    """An untrained network. `lifter`: source of DiffPose's context; copied, not trained."""
    if isinstance(config.network, CceConfig):
        return PublishedCce(config.network)
    if isinstance(config.network, DiffuPoseConfig):
        return DiffuPose(config.network)
    if config.process.noise == "none":
        return Stacked(config.network, lifter)
    return DiffPose(config.network, lifter)


def to_dict(name: str, config: SystemConfig) -> dict[str, Any]:
    """Settings as JSON takes them: {"system": name, ...}."""
    return {"system": name, **asdict(config)}


def from_dict(values: Mapping[str, Any]) -> tuple[str, SystemConfig]:
    """The inverse of `to_dict`; "drawn", a note on the poses, may be there. Raises InputError: other keys."""
    if "system" not in values:
        raise InputError("system settings: the key 'system' is missing")
    name = values["system"]
    parts = {key: value for key, value in values.items() if key not in ("system", "drawn")}
    known = type(system_of(name).network)
    return name, _read(SystemConfig, parts, {"network": known})


def _read(kind: type[Config], values: Mapping[str, Any], chosen: Mapping[str, type] | None = None) -> Config:
    hints = typing.get_type_hints(kind)
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(values) ^ names:
        raise InputError(f"{kind.__name__}: unknown or missing settings: {', '.join(sorted(unknown))}")
    out = {}
    for key, value in values.items():
        inner = (chosen or {}).get(key, hints[key])
        if is_dataclass(inner) and not isinstance(inner, types.UnionType):
            value = _read(typing.cast(type, inner), value)
        out[key] = value
    return kind(**out)
