"""Where a detector's PyTorch network runs."""

from __future__ import annotations

import torch

from ..skeleton.errors import DeviceError


def torch_device(device: str) -> str:
    """ "cpu", "cuda" or "mps" of what is asked for; "auto": the fastest that PyTorch has.

    Raises:
        DeviceError: PyTorch does not have it.
    """
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available, "cpu": lambda: True}
    if device == "auto":
        return next(name for name, has in there.items() if has())
    if device not in there or not there[device]():
        raise DeviceError(f"--device {device}: PyTorch does not have it here; use --device cpu")
    return device
