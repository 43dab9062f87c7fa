"""MPI-INF-3DHP's test set: reader and protocol.

The file is P-STMO's data_test_3dhp.npz, converted once by `posefix data convert`. Its member `data` goes sequence
(TS1 … TS6) -> data_2d (T, 17, 2) pixels, data_3d (T, 17, 3) millimetres in camera axes, valid (T,). 2,929 frames
are valid.

Which 3D that is changes the figures: P-STMO takes `univ_annot3` (every actor scaled to one skeleton), D3DP
`annot3` (true sizes). The file does not say; `posefix data convert --annotation` keeps it with it.

Joints, ours <- theirs: Hip <- pelvis, Spine <- spine, Thorax <- neck, Neck <- head, Head <- head top; limbs the
same. It is a renaming: all 17 are used, and none is computed.

Figures (the data set's evaluation script, as P-STMO and later work use it): poses root-aligned on the pelvis;
MPJPE over 17 joints; PCK strictly below 150 mm and AUC over 0, 5, …, 150 mm over 14 joints: without pelvis,
spine and head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton.errors import InputError
from ..protocol import Benchmark
from .scoring import Scoring
from .tree import load_tree

FILE, TRAIN_FILE = "data_test_3dhp.npz", "data_train_3dhp.npz"
THEIRS = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""Of the data set's 17 joints, the one that is our 0, 1, …, 16."""

_NOT_COUNTED = (7, 9)  # Spine and Neck (their "head"); Hip is the root and never counts
SCORING = Scoring(
    near_joints=tuple(j for j in range(17) if j not in _NOT_COUNTED),
    actions=tuple(f"TS{i}" for i in range(1, 7)),
    rows=2929,
)
VALID_FRAMES = {"TS1": 603, "TS2": 540, "TS3": 505, "TS4": 553, "TS5": 276, "TS6": 452}
_OUTDOORS = ("TS5", "TS6")


def read_mpi_inf_3dhp(place: Path, stride: int = 1) -> Benchmark:
    """The valid frames of the test set, with its exact 2D.

    Args:
        place: the converted file, or the folder that holds data_test_3dhp.npz.
        stride: every how-manyth valid frame.

    Returns:
        Benchmark; `action` is the sequence. Its `cameras` names the annotation where the file does.

    Raises:
        InputError: no such file, or not in this form (says what is wrong).
    """
    path = place / FILE if place.is_dir() else place
    tree = load_tree(path)
    data = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(data, dict) or not data:
        raise InputError(f"{path}: not the test set of MPI-INF-3DHP: it has no `data`")
    annotation = tree.get("annotation", "annotation unknown")
    parts = [_sequence(name, data[name], path, stride) for name in data]
    keypoints, points, sizes, names = (np.concatenate([p[i] for p in parts]) for i in range(4))
    return Benchmark(
        keypoints=keypoints,
        image_size=sizes,
        target=points - points[:, :1],
        action=names,
        camera=np.zeros(len(names), dtype=np.int64),
        frame=np.arange(len(names)),
        exact=keypoints,
        target_camera=points,
        data="3dhp",
        split="test",
        cameras=f"own, {annotation}",
        input="gt",
        stride=stride,
    )


def _sequence(name: str, entry: Any, path: Path, stride: int) -> tuple[np.ndarray, ...]:
    """Pixels (n, 17, 2), camera metres (n, 17, 3), image sizes (n, 2) and the name n times."""
    try:
        pixels, points, valid = (
            np.asarray(entry[key], np.float64) for key in ("data_2d", "data_3d", "valid")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {name}: expected data_2d, data_3d and valid ({error})") from error
    n = len(valid.ravel())
    if pixels.shape[:2] != (n, 17) or pixels.shape[2:] not in ((2,), (3,)) or points.shape != (n, 17, 3):
        raise InputError(
            f"{path}: {name}: expected data_2d ({n}, 17, 2) and data_3d ({n}, 17, 3), "
            f"found {pixels.shape} and {points.shape}"
        )
    rows = np.flatnonzero(valid.ravel() > 0)[::stride]
    size = (1920.0, 1080.0) if name in _OUTDOORS else (2048.0, 2048.0)
    return (
        pixels[rows][:, THEIRS, :2],
        points[rows][:, THEIRS] / 1000.0,
        np.tile(np.array(size), (len(rows), 1)),
        np.repeat(name, len(rows)),
    )


def read_mpi_inf_3dhp_train(place: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """P-STMO's training file, converted: per person pixels (N, 17, 2) and root-relative metres (N, 17, 3), float32.

    Its member `data` goes "S1 Seq1" -> list of one -> camera -> data_2d, data_3d, as in the test file.

    Raises:
        InputError: no such file, or not in this form.
    """
    path = place / TRAIN_FILE if place.is_dir() else place
    tree = load_tree(path)
    data = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(data, dict) or not data:
        raise InputError(f"{path}: not the training set of MPI-INF-3DHP: it has no `data`")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, sequence in data.items():
        try:
            cameras = sequence[0] if isinstance(sequence, list) else sequence
            for camera in cameras.values():
                pixels, points = (np.asarray(camera[key], np.float32) for key in ("data_2d", "data_3d"))
                if points.shape[1:] != (17, 3) or pixels.shape[:2] != points.shape[:2]:
                    raise ValueError(f"shapes {pixels.shape} and {points.shape}")
                metres = points[:, THEIRS] / 1000.0
                rows = (pixels[:, THEIRS, :2], metres - metres[:, :1])
                parts.setdefault(name.split(" ")[0], []).append(rows)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{path}: {name}: expected cameras with data_2d and data_3d ({error})"
            ) from error
    joined = {person: tuple(np.concatenate(a) for a in zip(*p, strict=True)) for person, p in parts.items()}
    return {person: (pixels, points) for person, (pixels, points) in joined.items()}
