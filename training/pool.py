"""The shipped weights' training poses: `train` splits only, people apart into folds."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from pathlib import Path

import numpy as np
import torch

from ..skeleton.errors import InputError
from .augment import PosePool
from .mocap import Sequence, load_mocap

TRAIN_FILES = ("mocap17_cmu", "mocap17_cmu2", "mocap17_hdm05", "mocap17_open")
VAL_FILES = ("mocap17_cmu", "mocap17_hdm05")
MORE = "more"
"""Folder beside the files for mocap17 files of one's own; their `train` sequences are trained on, too."""
# People, not files, are kept apart: bd and hdm_bd are one man; "mixed" may hold subject 13.
FOLD_A = frozenset({"cmu01", "cmu_mixed", "cmu13", "hdm_bd", "cmu11", "cmu91"})
# OpenCap has no head markers: Neck and Head are guesses there.
GUESSED = {"opencap": (9, 10)}
# A person's weight grows with this power of his frames, so that long recordings do not drown the rest.
BALANCE = 0.6


def fold_of(subject: str) -> int:
    """0 or 1: which half of the people a subject belongs to."""
    return 0 if subject in FOLD_A else 1


def training_sequences(data: Path) -> list[Sequence]:
    """Every `train` sequence of the files that weights may be trained on, and of those in the folder `more`.

    Raises InputError if one of the former is absent, or one of the latter has no `train` sequences.
    """
    files = [data / f"{name}.npz" for name in TRAIN_FILES] + sorted((data / MORE).glob("*.npz"))
    found = [s for path in files for s in load_mocap(path).split("train")]
    if not found:
        raise InputError(f"{data}: no training sequences; it must hold {', '.join(TRAIN_FILES)} (.npz)")
    return found


def build_pool(sequences: Seq[Sequence]) -> PosePool:
    """Poses at 15 per second (neighbouring frames add nothing), weighted by person."""
    people: dict[str, int] = {}
    for s in sequences:
        people[s.subject] = people.get(s.subject, 0) + len(s)
    poses, heights, weights, joints = [], [], [], []
    for s in sequences:
        rel = s.relative[::2]
        weight = np.ones(17, np.float32)
        weight[list(GUESSED.get(s.source, ()))] = 0
        poses.append(rel)
        heights.append(s.root[::2, 2])
        weights.append(np.full(len(rel), people[s.subject] ** (BALANCE - 1)))
        joints.append(np.broadcast_to(weight, (len(rel), 17)))
    return PosePool(
        torch.from_numpy(np.concatenate(poses)),
        torch.from_numpy(np.concatenate(heights).astype(np.float32)),
        torch.from_numpy(np.concatenate(weights)),
        torch.from_numpy(np.concatenate(joints).copy()),
    )
