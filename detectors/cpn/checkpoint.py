"""CPN's weights in files: the layout of `pytorch-cpn`, read without running anything that is in the file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...skeleton.digest import sha256
from ..checkpoints import fill
from ..checkpoints import read_checkpoint as read_tensors
from .network import CPN, SIZES

PREFIX = "module."  # what torch.nn.DataParallel puts before every name


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        state: the network's tensors by name, without `module.`.
        size: name of the picture's size, one of SIZES; None where neither the file nor its name tells.
        calibration: intercept and slope for `decode.calibrated`, or None.
        sha256: of the file.
    """

    state: dict[str, Tensor]
    size: str | None
    calibration: tuple[float, float] | None
    sha256: str


def read_checkpoint(path: Path, flag: str = "--pose-weights") -> Checkpoint:
    """The weights in a file: `{"state_dict": {"module.resnet...": tensor}, ...}`, or the tensors alone.

    Args:
        flag: the option that named the file, for messages.

    Raises:
        WeightsError: no such file, no weights, or a pickle that could run code; the message says how to convert it.
    """
    tensors, meta = read_tensors(path, f"{flag} {path}")
    named = re.search("|".join(SIZES), path.name)
    size = meta.get("size")
    return Checkpoint(
        state=tensors,
        size=size if isinstance(size, str) and size in SIZES else named[0] if named else None,
        calibration=_line(meta.get("calibration")),
        sha256=sha256(path),
    )


def _line(value: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, float) for v in value):
        return None
    return (value[0], value[1]) if math.isfinite(sum(value)) else None


def load_into(model: CPN, checkpoint: Checkpoint, where: str) -> None:
    """Puts the weights into a network. Raises WeightsError that says what does not fit."""
    fill(model, checkpoint.state, where, "CPN on ResNet-50 with 17 joints", strict=True)


def write_checkpoint(
    path: Path, model: CPN, size: str, epoch: int, calibration: tuple[float, float] | None
) -> None:
    """Writes the weights in the layout of `pytorch-cpn`; it passes over what stands under "meta"."""
    state = {PREFIX + k: v.detach().cpu() for k, v in model.state_dict().items()}
    meta: dict[str, Any] = {"size": size}
    if calibration is not None:
        meta["calibration"] = list(calibration)
    torch.save({"epoch": epoch, "state_dict": state, "meta": meta}, path)
