"""Shipped networks at run time: onnxruntime on the CPU, torch on CUDA and MPS; NumPy in and out.

A weights folder holds, for every network, NAME.onnx (CPU) and the safetensors file it was written from,
and `manifest.json` with their SHA-256. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from ..skeleton.digest import sha256
from ..skeleton.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float32]
MANIFEST = "manifest.json"


class Network(Protocol):
    """A network as a function of float32 arrays."""

    def __call__(self, *inputs: Array) -> list[Array]: ...


def weights_folder(folder: str | Path | None = None) -> Path:
    """The folder given, or the one that ships with posefix. Raises WeightsError if it has no manifest."""
    path = Path(folder) if folder is not None else Path(str(resources.files("posefix.weights")))
    if not (path / MANIFEST).is_file():
        raise WeightsError(
            f"{path}: no weights here ({MANIFEST} is missing); reinstall posefix or name another"
        )
    return path


def checked_file(folder: Path, name: str) -> tuple[Path, str]:
    """A weights file and its SHA-256, held against the manifest. Raises WeightsError when absent or damaged."""
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"][name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / MANIFEST}: does not list {name}; reinstall posefix") from error
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{path}: weights file is missing; reinstall posefix")
    try:
        found = sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: weights file cannot be read ({error.strerror})") from error
    if found != expected:
        raise WeightsError(
            f"{path}: weights file is damaged (SHA-256 {found[:12]}…, expected {expected[:12]}…); reinstall posefix"
        )
    return path, found


class OnnxNetwork:
    """A .onnx file on the CPU through onnxruntime."""

    def __init__(self, path: Path, threads: int = 0):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle workers must not burn the cores that the detector needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base but this
            raise WeightsError(f"{path}: onnxruntime cannot load it ({error})") from error
        self.names = [i.name for i in self.session.get_inputs()]

    def __call__(self, *inputs: Array) -> list[Array]:
        return cast("list[Array]", self.session.run(None, dict(zip(self.names, inputs, strict=True))))


class TorchNetwork:
    """A torch module on any device, fed from NumPy."""

    def __init__(self, module: nn.Module, device: str):
        self.module, self.device = module.eval().requires_grad_(False).to(device), device

    def __call__(self, *inputs: Array) -> list[Array]:
        import torch

        with torch.inference_mode():
            out = self.module(*(torch.from_numpy(np.ascontiguousarray(x)).to(self.device) for x in inputs))
        return [y.cpu().numpy() for y in (out if isinstance(out, tuple) else (out,))]


def default_rows(device: str) -> int:
    """Frames a network call holds."""
    return 8 if device == "cpu" else 16


def chunks(count: int, rows: int, pad: bool) -> Iterator[tuple[slice, npt.NDArray[np.int64]]]:
    """Where each call's results go, and which rows it takes: at most `rows`.

    With `pad` always `rows`, the last call filled up with repeats. The same frame must give the same
    numbers whatever it is batched with: onnxruntime on the CPU does so at any size (tests hold it to
    that), GPU libraries only at one fixed size.
    """
    for begin in range(0, count, rows):
        end = min(begin + rows, count)
        yield slice(begin, end), np.arange(begin, begin + rows if pad else end).clip(max=count - 1)


def open_network(
    folder: Path, name: str, device: str, build: Callable[[Path], nn.Module], source: str, threads: int = 0
) -> tuple[Network, dict[str, str]]:
    """The network NAME on a device, and {file: SHA-256} of what was loaded.

    Args:
        build: makes the torch module from the safetensors file `source`; used off the CPU only.

    Raises:
        WeightsError: file missing, damaged or unreadable.
    """
    if device == "cpu":
        path, digest = checked_file(folder, f"{name}.onnx")
        return OnnxNetwork(path, threads), {path.name: digest}
    path, digest = checked_file(folder, source)
    try:
        module = build(path)
    except Exception as error:  # safetensors, torch and json errors alike mean an unusable file
        raise WeightsError(f"{path}: cannot be loaded ({error})") from error
    return TorchNetwork(module, device), {path.name: digest}
