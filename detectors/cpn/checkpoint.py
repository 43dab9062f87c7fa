"""CPN's weights in files: the layout of `pytorch-cpn`, read without running anything that is in the file."""

from __future__ import annotations

import hashlib
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ...skeleton.errors import WeightsError
from .network import CPN, SIZES

PREFIX = "module."  # what torch.nn.DataParallel puts before every name
CONVERT = (
    'if you trust where it is from, convert it: python -c "import torch; '
    "c = torch.load('{path}', weights_only=False, map_location='cpu'); "
    "torch.save({{'state_dict': c['state_dict']}}, 'cpn.pth')\""
)


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


def read_tensors(path: Path, flag: str) -> tuple[Mapping[str, Any], str]:
    """The dictionary in a PyTorch or safetensors file, and the file's SHA-256.

    Args:
        flag: the option that named the file, for messages.

    Raises:
        WeightsError: no such file, no weights, or a pickle that holds more than tensors and plain values.
    """
    where = f"{flag} {path}"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path), digest
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise WeightsError(
            f"{where}: {problem}; give the path of a .pth.tar, .pth or .safetensors"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{where}: not loaded, it holds more than tensors and could run code, or it is no PyTorch file; "
            + CONVERT.format(path=path)
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{where}: cannot be read as weights; is the file whole?") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{where}: expected a dictionary of tensors, found {type(content).__name__}")
    return content, digest


def read_checkpoint(path: Path, flag: str = "--pose-weights") -> Checkpoint:
    """The weights in a file: `{"state_dict": {"module.resnet...": tensor}, ...}`, or the tensors alone.

    Raises:
        WeightsError: see `read_tensors`.
    """
    content, digest = read_tensors(path, flag)
    tensors = content.get("state_dict", content)
    if not isinstance(tensors, Mapping) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise WeightsError(f'{flag} {path}: expected tensors by name, or them under "state_dict"')
    named = re.search("|".join(SIZES), path.name)
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    size, line = meta.get("size"), meta.get("calibration")
    return Checkpoint(
        state={str(k).removeprefix(PREFIX): v for k, v in tensors.items()},
        size=size if size in SIZES else named[0] if named else None,
        calibration=_line(line),
        sha256=digest,
    )


def _line(value: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 2 or not all(math.isfinite(v) for v in value):
        return None
    return float(value[0]), float(value[1])


def load_into(model: CPN, checkpoint: Checkpoint, where: str) -> None:
    """Puts the weights into a network. Raises WeightsError that says what does not fit."""
    expected = model.state_dict()
    # PyTorch 0.4.0, which wrote the public files, did not count batches.
    needed = {k for k in expected if not k.endswith("num_batches_tracked")}
    missing, extra = needed - checkpoint.state.keys(), checkpoint.state.keys() - expected.keys()
    shapes = [k for k in needed - missing if checkpoint.state[k].shape != expected[k].shape]
    for names, problem in ((missing, "lacks"), (extra, "has besides"), (shapes, "has in other shapes")):
        if names:
            raise WeightsError(
                f"{where}: not CPN on ResNet-50 with 17 joints: it {problem} {len(names)} of its "
                f"{len(needed)} tensors, e.g. {min(names)}"
            )
    model.load_state_dict(checkpoint.state)


def write_checkpoint(
    path: Path, model: CPN, size: str, epoch: int, calibration: tuple[float, float] | None
) -> None:
    """Writes the weights in the layout of `pytorch-cpn`; it passes over what stands under "meta"."""
    state = {PREFIX + k: v.detach().cpu() for k, v in model.state_dict().items()}
    meta: dict[str, Any] = {"size": size}
    if calibration is not None:
        meta["calibration"] = list(calibration)
    torch.save({"epoch": epoch, "state_dict": state, "meta": meta}, path)
