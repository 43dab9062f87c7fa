"""A real person's joints in other programs' file formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from posefix.skeleton import get_layout
from real_person import PIXELS, WORLD, joints

FRAMES = len(PIXELS)


def person(layout: str) -> np.ndarray:
    """(4, J, 3) x, y, score in a layout."""
    return joints(get_layout(layout).joints)


def openpose(folder: Path, poses: np.ndarray, numbers: tuple[int, ...] = (0, 1, 2, 3)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, pose in zip(numbers, poses, strict=False):
        people = [{"person_id": [-1], "pose_keypoints_2d": pose.ravel().tolist(), "face_keypoints_2d": []}]
        text = json.dumps({"version": 1.3, "people": people})
        (folder / f"clip_{number:012d}_keypoints.json").write_text(text)
    return folder


def alphapose(path: Path, poses: np.ndarray, idx: int | None = 1, shift: float = 0.0) -> list[dict]:
    """Entries as AlphaPose writes them, in one file."""
    entries = []
    for k, pose in enumerate(poses):
        entry = {
            "image_id": f"{k}.jpg",
            "category_id": 1,
            "keypoints": (pose + np.array([shift, 0, 0])).ravel().tolist(),
        }
        entries.append(
            {**entry, "score": 2.9, "box": [0, 0, 9, 9], **({"idx": idx} if idx is not None else {})}
        )
    path.write_text(json.dumps(entries))
    return entries


def instance(pose: np.ndarray) -> dict:
    keypoints, scores = pose[:, :-1].tolist(), pose[:, -1].tolist()
    return {"keypoints": keypoints, "keypoint_scores": scores, "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9}


def mmpose(path: Path, poses: np.ndarray, demo: bool = False) -> Path:
    """As the inferencer writes it, or as the demo does."""
    frames = [{"frame_id": k + demo, "instances": [instance(pose)]} for k, pose in enumerate(poses)]
    path.write_text(json.dumps({"meta_info": {}, "instance_info": frames} if demo else frames))
    return path


def landmarks(pose: np.ndarray, scale: tuple[float, float] = (1, 1)) -> list[dict[str, float]]:
    x, y = (pose[:, :2] / scale).T
    return [
        dict(zip("xyz", (a, b, 0.0), strict=True), visibility=s)
        for a, b, s in zip(x, y, pose[:, 2], strict=True)
    ]


def world_landmarks(pose: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip("xyz", row, strict=True), visibility=1.0) for row in pose.tolist()]


def trc(path: Path, names: tuple[str, ...], points: np.ndarray, unit: str = "m", rate: float = 60.0) -> Path:
    """(T, markers, 3) in OpenSim's axes, in `unit`, as Pose2Sim writes it."""
    head = (
        "DataRate",
        "CameraRate",
        "NumFrames",
        "NumMarkers",
        "Units",
        "OrigDataRate",
        "OrigDataStartFrame",
    )
    values = (rate, rate, len(points), len(names), unit, rate, 0)
    lines = [f"PathFileType\t4\t(X/Y/Z)\t{path.name}", "\t".join(head), "\t".join(map(str, values))]
    lines.append("Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t")
    lines.append("\t\t" + "\t".join(f"{axis}{k}" for k in range(1, len(names) + 1) for axis in "XYZ"))
    for t, row in enumerate(points):
        cells = ["" if np.isnan(v) else f"{v:.6f}" for v in row.ravel()]
        lines.append("\t".join([str(t), f"{t / rate:.5f}", *cells]))
    path.write_text("\n".join(lines) + "\n")
    return path


def opensim_markers(layout: str, scale: float = 1.0) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and (4, markers, 3) of the person's world landmarks, y up, 1 m above the floor."""
    blaze = get_layout("blazepose33").joints
    names = tuple(n for n in get_layout(layout).joints if n in blaze)
    points = WORLD[:, [blaze.index(n) for n in names]] * [1, -1, -1] + [0.3, 1.0, 0.2]
    return names, points * scale
