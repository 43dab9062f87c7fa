"""What trained a run, kept in its folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from pathlib import Path

import torch


def record_machine(run: Path, device: str, seconds: float) -> None:
    """Writes machine.json: device, its name, threads, cores, PyTorch, seconds of training."""
    place = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    values = {
        "device": device, "name": place, "threads": torch.get_num_threads(), "cores": os.cpu_count(),
        "torch": torch.__version__, "train_seconds": round(seconds, 1),
    }  # fmt: skip
    (run / "machine.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def processor_name() -> str:
    """The processor's name where the system tells it, else its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
