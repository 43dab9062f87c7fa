"""Where networks run."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version

from .errors import DeviceError


def _is_cpu_build() -> bool:
    """Whether PyTorch's version says that it knows the CPU only: spares a slow import."""
    with contextlib.suppress(PackageNotFoundError):
        return version("torch").endswith("+cpu")
    return False


def resolve_device(device: str) -> str:
    """The device to use: "cpu", "cuda" or "mps".

    Raises:
        DeviceError: CUDA or MPS was asked for and is not there.
    """
    if device == "cpu" or (device == "auto" and _is_cpu_build()):
        return "cpu"
    import torch  # slow to import: only where it decides

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if device == "cuda" and not cuda:
        if torch.version.cuda is None:
            reason = "this PyTorch is built without CUDA; install a CUDA build (pytorch.org/get-started)"
        else:
            reason = "PyTorch finds no usable NVIDIA GPU; check nvidia-smi and the driver"
        raise DeviceError(f"--device cuda: {reason}, or use --device cpu")
    if device == "mps" and not mps:
        raise DeviceError("--device mps: needs a Mac with Apple silicon and PyTorch for it; use --device cpu")
    return device
