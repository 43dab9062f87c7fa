"""HumanEva-I in VideoPose3D's form, converted once by `posefix data convert`: reader and protocol.

The folder holds
    data_3d_humaneva15.npz          positions_3d: "Validate/S1" -> "Walking 1 chunk0" -> (T, 15, 3) world metres
    data_2d_humaneva15_gt.npz       positions_2d: the same -> 3 cameras × (T, 15, 2) pixels
    data_2d_humaneva15_NAME.npz     the same from a detector
at 60 frames per second, images of 640×480. Trained on Train, tested on Validate.

Protocol: P-MPJPE over 15 joints, a figure for each action and subject; the last line is the mean of Walking and
Jog (VideoPose3D), Box is shown beside them (DiffuPose).

Joints, ours <- theirs: Hip <- pelvis, Thorax <- thorax, Head <- head, limbs the same. Spine and Neck do not exist
there: the networks, which want 17 joints, get them in 2D from their neighbours (`SPINE`, `NECK`), and no figure
counts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton.cameras import world_to_camera
from ...skeleton.errors import InputError
from ..protocol import Benchmark
from .human36m_cameras import pose_of_camera
from .scoring import Scoring
from .tree import check_layout, load_tree

THEIRS = {
    0: 0,
    1: 11,
    2: 12,
    3: 13,
    4: 8,
    5: 9,
    6: 10,
    8: 1,
    10: 14,
    11: 2,
    12: 3,
    13: 4,
    14: 5,
    15: 6,
    16: 7,
}
"""Our joint -> theirs."""

SPINE, NECK = 0.40, 0.54
"""Spine as a share of the way Hip -> Thorax, Neck of Thorax -> Head: medians over the
mocap17 training people."""

SIZE = (640.0, 480.0)
ACTIONS = ("Walking", "Jog", "Box")
SUBJECTS = ("S1", "S2", "S3")

# Camera to world quaternions (w, x, y, z) and centres in millimetres of C1, C2, C3, as VideoPose3D lists them.
_CAMERAS = {
    "S1": (
        ((0.424207, -0.4983646, -0.5802981, 0.4847012), (4062.227, 663.2477, 1528.397)),
        ((0.6503354, -0.7481602, -0.0919284, 0.0941766), (844.8131, -3805.2092, 1504.9929)),
        ((0.0664734, -0.0690535, 0.7416416, -0.6639132), (-797.67377, 3916.3174, 1433.6602)),
    ),
    "S2": (
        ((0.4214752, -0.4961493, -0.5838273, 0.4851187), (4112.9121, 626.4929, 1545.2988)),
        ((0.6501393, -0.7476588, -0.0954617, 0.0959808), (923.5740, -3877.9243, 1504.5518)),
        ((0.0699353, -0.0712403, 0.7421637, -0.662742), (-781.4915, 3838.8853, 1444.9929)),
    ),
    "S3": (
        ((0.424207, -0.4983646, -0.5802981, 0.4847012), (4062.2271, 663.2477, 1528.3970)),
        ((0.6503354, -0.7481602, -0.0919284, 0.0941766), (844.8131, -3805.2092, 1504.9929)),
        ((0.0664734, -0.0690535, 0.7416416, -0.6639132), (-797.6738, 3916.3174, 1433.6602)),
    ),
}

SCORING = Scoring(
    joints=tuple(THEIRS),
    near_joints=tuple(THEIRS),
    mean_of="actions",
    actions=tuple(f"{action} {subject}" for action in ACTIONS for subject in SUBJECTS),
    shown_only=tuple(f"Box {subject}" for subject in SUBJECTS),
)


def read_humaneva(
    folder: Path,
    input: str = "gt",
    stride: int = 1,
    actions: tuple[str, ...] = ACTIONS,
    subjects: tuple[str, ...] = SUBJECTS,
    part: str = "Validate",
) -> Benchmark:
    """The rows of HumanEva-I's protocol: the Validate parts of S1, S2 and S3; or of a training part.

    Args:
        folder: where the converted files are.
        input: "gt", or the ending of a detector's 2D file.
        stride: every how-manyth frame of each recording.
        actions: which of "Walking", "Jog", "Box", "Gestures", "ThrowCatch"; those that are there.
        subjects: whose recordings.
        part: "Validate" or "Train".

    Returns:
        Benchmark; `action` is "Walking S1" and so on. Spine and Neck of `target` are filled in, not measured.

    Raises:
        InputError: a file, a camera or all recordings are missing, or an array has another shape.
    """
    poses_file = folder / "data_3d_humaneva15.npz"
    points_file = folder / f"data_2d_humaneva15_{input}.npz"
    check_layout(points_file, "humaneva15")
    poses, points = _part(poses_file, "positions_3d", part), _part(points_file, "positions_2d", part)
    parts: list[tuple[np.ndarray, ...]] = []
    frames = 0
    for subject in subjects:
        for recording, world in poses.get(f"{part}/{subject}", {}).items():
            action = recording.split(" ")[0]
            if action not in actions:
                continue
            where = f"{part}/{subject}, {recording}"
            cameras = points.get(f"{part}/{subject}", {}).get(recording)
            if cameras is None or len(cameras) != 3:
                raise InputError(f"{points_file}: {where}: expected 2D of 3 cameras")
            for k, seen in enumerate(cameras):
                if seen is not None:
                    rows = _rows(world, seen, subject, k, f"{points_file}: {where}, camera {k}")
                    picked = [r[::stride] for r in rows]
                    n = len(picked[0])
                    label = np.repeat(f"{action} {subject}", n)
                    parts.append((*picked, label, np.full(n, k), np.arange(frames, frames + n)))
            frames += len(world)
    if not parts:
        raise InputError(
            f"{poses_file}: no recordings of {', '.join(actions)} of {part}/{', '.join(subjects)}"
        )
    keypoints, camera_points, label, camera, frame = (np.concatenate([p[i] for p in parts]) for i in range(5))
    return Benchmark(
        keypoints=keypoints,
        image_size=np.tile(np.array(SIZE), (len(keypoints), 1)),
        target=camera_points - camera_points[:, :1],
        action=label,
        camera=camera,
        frame=frame,
        exact=keypoints if input == "gt" else np.full_like(keypoints, np.nan),
        target_camera=camera_points,
        data="humaneva",
        split=part,
        cameras="own",
        input=input,
        stride=stride,
    )


def to_h36m17(points: np.ndarray) -> np.ndarray:
    """(n, 15, d) of HumanEva -> (n, 17, d) of Human3.6M, Spine and Neck from their neighbours."""
    out = np.empty((len(points), 17, points.shape[-1]))
    for ours, theirs in THEIRS.items():
        out[:, ours] = points[:, theirs]
    out[:, 7] = out[:, 0] + SPINE * (out[:, 8] - out[:, 0])
    out[:, 9] = out[:, 8] + NECK * (out[:, 10] - out[:, 8])
    return out


def _part(path: Path, key: str, part_name: str) -> dict[str, Any]:
    tree = load_tree(
        path, lambda keys: keys[0] == key and (len(keys) < 2 or keys[1].startswith(f"{part_name}/"))
    )
    part = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(part, dict):
        raise InputError(f"{path}: not HumanEva-I: it has no {key}")
    return part


def _rows(world: Any, seen: Any, subject: str, camera: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (T, 17, 2) and camera metres (T, 17, 3) of one recording in one camera."""
    poses, pixels = np.asarray(world, np.float64), np.asarray(seen, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (15, 3):
        raise InputError(f"{where}: expected 3D of shape (T, 15, 3), found {poses.shape}")
    if pixels.ndim != 3 or pixels.shape[1] != 15 or pixels.shape[2] < 2 or len(pixels) < len(poses):
        raise InputError(f"{where}: expected shape ({len(poses)} or more, 15, 2), found {pixels.shape}")
    rotation, centre = pose_of_camera(*_CAMERAS[subject][camera])
    return to_h36m17(pixels[: len(poses), :, :2]), world_to_camera(to_h36m17(poses), rotation, centre)
