"""The published test sets by name, for `posefix eval --dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ...skeleton.errors import InputError
from ..protocol import Benchmark
from . import human36m, humaneva, mpi_inf_3dhp
from .scoring import Scoring

Dataset = Literal["mocap17", "h36m", "3dhp", "humaneva"]


def load_published(
    dataset: str,
    data: Sequence[Path],
    split: str = "test",
    cameras: str = "lab",
    input: str = "gt",
    keypoints: str | None = None,
    stride: int | None = None,
) -> tuple[Benchmark, Scoring]:
    """A published test set and how it is scored.

    Args:
        dataset: "h36m", "3dhp" or "humaneva".
        data: the folder with its converted files (3dhp: or the file); one.
        split, cameras: only the defaults make sense; anything else is refused.
        input: "gt", or "det" for Human3.6M's CPN 2D.
        keypoints: ending of another 2D file of h36m or humaneva, instead of `input`.
        stride: every how-manyth frame; None for all, as the protocols have it.

    Raises:
        InputError: an option that this dataset does not have, or a file that is not there or not right.
    """
    step = 1 if stride is None else stride
    if len(data) != 1:
        raise InputError(f"--data: --dataset {dataset} takes one folder, got {len(data)}")
    if not data[0].exists():
        raise InputError(
            f"{data[0]}: no such folder; --data names where the converted files of {dataset} are"
        )
    if step < 1:
        raise InputError(f"stride: expected at least 1, got {stride}")
    if (split, cameras) != ("test", "lab"):
        raise InputError(
            f"--dataset {dataset} has its own test set and cameras; leave out --split and --cameras"
        )
    if dataset == "3dhp" and (input != "gt" or keypoints):
        raise InputError("--dataset 3dhp has exact 2D only; leave out --input and --keypoints")
    if dataset == "humaneva" and input != "gt":
        raise InputError("--dataset humaneva: name the 2D file with --keypoints instead of --input det")
    if dataset == "h36m":
        benchmark, scoring = human36m.read_human36m(data[0], keypoints or input, step), human36m.SCORING
    elif dataset == "3dhp":
        benchmark, scoring = mpi_inf_3dhp.read_mpi_inf_3dhp(data[0], step), mpi_inf_3dhp.SCORING
    elif dataset == "humaneva":
        benchmark, scoring = humaneva.read_humaneva(data[0], keypoints or input, step), humaneva.SCORING
    else:
        raise InputError(f"--dataset {dataset}: expected h36m, 3dhp or humaneva")
    for name, values in (("2D", benchmark.keypoints), ("3D", benchmark.target)):
        if not np.isfinite(values).all():
            raise InputError(f"{data[0]}: {dataset}: the {name} has values that are not finite")
    return benchmark, scoring
