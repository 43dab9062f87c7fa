"""Validation people in bodies unlike any they were recorded with.

Weights that fit the few recorded bodies must not be worse on others. Motion stays, bones change: by factors
beyond those of the augmentation, the same left and right, one body a sequence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .augment import from_bones, to_bones
from .mocap import Mocap

_LIMBS = ((1, 4), (2, 5), (3, 6), (12, 15), (13, 16))
_SHOULDERS, _TRUNK = (11, 14), (7, 8, 9, 10)


def strange_bodies(mocap: Mocap, split: str, seed: int = 5) -> Mocap:
    """The split's sequences; limbs times 0.7 to 1.2, shoulders 0.55 to 1.25, trunks 0.75 to 1.15."""
    rng = np.random.default_rng(seed)
    changed = []
    for sequence in mocap.split(split):
        factor = np.ones(17, np.float32)
        for pair in _LIMBS:
            factor[list(pair)] = rng.choice([0.7, 0.8, 1.2])
        factor[list(_SHOULDERS)] = rng.choice([0.55, 0.7, 1.25])
        for joint in _TRUNK:
            factor[joint] = rng.choice([0.75, 0.85, 1.15])
        directions, lengths = to_bones(torch.from_numpy(sequence.relative))
        pose = from_bones(directions, lengths * torch.from_numpy(factor)).numpy()
        changed.append(replace(sequence, pose=(pose / sequence.scale).round().astype(np.int16)))
    return replace(mocap, name=f"{mocap.name}_strange", sequences=tuple(changed))
