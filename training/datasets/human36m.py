"""Human3.6M in VideoPose3D's form, converted once by `posefix data convert`: poses, cameras, test protocol.

The folder holds
    data_3d_h36m.npz                       positions_3d: subject -> recording -> (T, 32, 3) world metres, z up
    data_2d_h36m_gt.npz                    positions_2d: subject -> recording -> 4 cameras × (T, 17 or 32, 2) pixels
    data_2d_h36m_cpn_ft_h36m_dbb.npz       the same from CPN, tuned on Human3.6M (17 joints)
at 50 frames per second. A recording is an action and the number of its take ("Walking 1", "Walking").

Protocol 1 and 2 of the literature (VideoPose3D): S9 and S11, all frames, all four cameras; each action's mean
over both subjects and takes, then the mean of the 15 actions. MPJPE root-aligned over 17 joints, the root
included; P-MPJPE with scale. S11's take "Directions" is damaged: VideoPose3D's file is without it, and where
another has it, it is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...skeleton.cameras import world_to_camera
from ...skeleton.errors import InputError
from ..mocap import Sequence
from ..protocol import Benchmark
from .human36m_cameras import LENSES, SUBJECTS, human36m_camera, project_with_lens
from .scoring import Scoring
from .to_mocap17 import MotionConfig, make_sequence, resample
from .tree import check_layout, load_tree

JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Which of the 32 joints are Human3.6M-17, in its order."""

TEST_SUBJECTS = ("S9", "S11")
DAMAGED = ("S11", "Directions")
TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether",
)  # fmt: skip
FPS = 50.0
DETECTORS = {"gt": "gt", "det": "cpn_ft_h36m_dbb"}
SCORING = Scoring(mean_of="actions", actions=ACTIONS, rows=543_344)


def read_human36m(
    folder: Path,
    input: str = "gt",
    stride: int = 1,
    subjects: tuple[str, ...] = TEST_SUBJECTS,
    split: str = "test",
) -> Benchmark:
    """The rows of Human3.6M's protocol.

    Args:
        folder: where the converted files are.
        input: "gt" (projected, with the lens's distortion), "det" (CPN) or the ending of another 2D file.
        stride: every how-manyth frame of each recording.
        subjects: whose recordings.
        split: what to call them.

    Returns:
        Benchmark, recording by recording and camera by camera.

    Raises:
        InputError: a file, a subject or a recording is missing, or an array has another shape (says which).
    """
    poses_file = folder / "data_3d_h36m.npz"
    points_file = folder / f"data_2d_h36m_{DETECTORS.get(input, input)}.npz"
    poses = _part(poses_file, "positions_3d", subjects)
    check_layout(points_file, "h36m")
    points = _part(points_file, "positions_2d", subjects)
    parts: list[dict[str, Any]] = []
    count = 0
    for subject in subjects:
        for recording, raw in poses[subject].items():
            where = f"{subject}, {recording}"
            world = _world(raw, poses_file, where)[::stride]
            cameras = points[subject].get(recording)
            if cameras is None or len(cameras) != len(LENSES):
                found = "none" if cameras is None else str(len(cameras))
                raise InputError(f"{points_file}: {where}: expected 2D of 4 cameras, found {found}")
            for k, seen in enumerate(cameras):
                pixels = _pixels(seen, len(raw), points_file, f"{where}, camera {k}")[::stride]
                camera_points = world_to_camera(world, *human36m_camera(subject, k))
                parts.append(
                    {
                        "pixels": pixels,
                        "exact": project_with_lens(camera_points, LENSES[k]),
                        "camera_points": camera_points,
                        "size": np.tile(np.array(LENSES[k].size, dtype=np.float64), (len(world), 1)),
                        "action": np.repeat(recording.split(" ")[0], len(world)),
                        "camera": np.full(len(world), k),
                        "frame": np.arange(count, count + len(world)),
                    }
                )
            count += len(world)
    if not parts:
        raise InputError(f"{poses_file}: no recordings of {', '.join(subjects)}")
    rows = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    return Benchmark(
        keypoints=rows["pixels"],
        image_size=rows["size"],
        target=rows["camera_points"] - rows["camera_points"][:, :1],
        action=rows["action"],
        camera=rows["camera"],
        frame=rows["frame"],
        exact=rows["exact"],
        target_camera=rows["camera_points"],
        data="h36m",
        split=split,
        cameras="own",
        input=input,
        stride=stride,
    )


def human36m_sequences(path: Path, split: str) -> list[Sequence]:
    """Human3.6M's poses as mocap17 sequences, 50 brought to 30 frames per second: to train on with our cameras.

    Args:
        path: the converted data_3d_h36m.npz.
        split: "train" for S1, S5, S6, S7, S8; "test" for S9 and S11.

    Raises:
        InputError: another split, or not this file.
    """
    if split not in ("train", "test"):
        raise InputError(f"--split {split}: Human3.6M has train (S1, S5, S6, S7, S8) and test (S9, S11)")
    poses = _part(path, "positions_3d", TRAIN_SUBJECTS if split == "train" else TEST_SUBJECTS)
    return [
        make_sequence(
            f"h36m_{subject}_{recording.replace(' ', '_')}",
            resample(_world(raw, path, f"{subject}, {recording}"), FPS),
            MotionConfig(
                source="h36m", subject=f"h36m_{subject}", action=recording.split(" ")[0], split=split
            ),
        )
        for subject, recordings in poses.items()
        for recording, raw in recordings.items()
    ]


def _part(path: Path, key: str, subjects: tuple[str, ...]) -> dict[str, Any]:
    """The entry `key`, of the subjects asked for alone."""
    unknown = [s for s in subjects if s not in SUBJECTS]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no cameras are known; Human3.6M has {', '.join(SUBJECTS)}")
    tree = load_tree(path, lambda keys: keys[0] == key and (len(keys) < 2 or keys[1] in subjects))
    part = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(part, dict):
        raise InputError(f"{path}: not Human3.6M: it has no {key}")
    missing = [s for s in subjects if s not in part]
    if missing:
        raise InputError(f"{path}: it lacks {', '.join(missing)}")
    part.get(DAMAGED[0], {}).pop(DAMAGED[1], None)
    return part


def _world(raw: Any, path: Path, where: str) -> npt.NDArray[np.float64]:
    """(T, 17, 3) world metres of one recording."""
    poses = np.asarray(raw, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] not in ((32, 3), (17, 3)):
        raise InputError(f"{path}: {where}: expected shape (T, 32, 3), found {poses.shape}")
    return poses[:, JOINTS] if poses.shape[1] == 32 else poses


def _pixels(seen: Any, frames: int, path: Path, where: str) -> npt.NDArray[np.float64]:
    """(T, 17, 2) pixels, cut to the length of the motion capture: some videos run on."""
    points = np.asarray(seen, dtype=np.float64)
    if points.ndim != 3 or points.shape[1] not in (32, 17) or points.shape[2] < 2 or len(points) < frames:
        raise InputError(f"{path}: {where}: expected shape ({frames} or more, 17, 2), found {points.shape}")
    points = points[:frames, :, :2]
    return points[:, JOINTS] if points.shape[1] == 32 else points
