"""A results folder made without a run: known motion, known gaps, a video whose frames tell their number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from conftest import frame_level
from posefix.pipeline.sinks import Csv2DSink, Csv3DSink, VideoSink
from posefix.skeleton import H36M17, FramePoses, Person, Pose2D, Pose3D

FPS = 25.0
SIZE = (120, 160)  # of the made clip, width and height
MISSING = range(10, 14)
INTERPOLATED = range(14, 16)
HIDDEN = ("LWrist", range(20, 25))

_STANDING = {
    "Hip": (0, 0, 0), "RHip": (-0.13, 0, 0), "RKnee": (-0.13, 0.45, 0), "RAnkle": (-0.13, 0.88, 0),
    "LHip": (0.13, 0, 0), "LKnee": (0.13, 0.45, 0), "LAnkle": (0.13, 0.88, 0), "Spine": (0, -0.25, 0),
    "Thorax": (0, -0.5, 0), "Neck": (0, -0.58, 0), "Head": (0, -0.7, 0), "LShoulder": (0.18, -0.48, 0),
    "LElbow": (0.2, -0.2, 0), "LWrist": (0.2, 0.05, 0), "RShoulder": (-0.18, -0.48, 0),
    "RElbow": (-0.2, -0.2, 0), "RWrist": (-0.2, 0.05, 0),
}  # fmt: skip


def index(joint: str) -> int:
    return H36M17.joints.index(joint)


def standing() -> np.ndarray:
    """(17, 3): somebody who stands upright and faces the camera, so that forward is -z."""
    return np.array([_STANDING[joint] for joint in H36M17.joints], np.float32)


def pose_at(frame: int, person: int = 0) -> np.ndarray:
    """(17, 3): standing, the right leg and both hands swinging; every person in their own time."""
    joints = standing()
    swing = np.sin(2 * np.pi * frame / 20 + person)
    joints[index("RKnee")] += (0, -0.05 * swing, -0.2 * swing)
    joints[index("RAnkle")] += (0, -0.05 * swing, -0.3 * swing)
    joints[index("LWrist")] += (0.1 * swing, 0, -0.1)
    joints[index("RWrist")] += (-0.3 * (person > 0), -0.5 * (person > 0), -0.1 * swing)
    return joints


def person_at(frame: int, number: int) -> Person:
    if number == 0 and frame in MISSING:
        return Person(0, "missing")
    joints = pose_at(frame, number)
    std = np.full(17, 0.02 + 0.01 * number, np.float32)
    pixels = joints[:, :2] * 60 + (40 + 45 * (number > 0), 70)
    if frame in HIDDEN[1] and number == 0:
        joints[index(HIDDEN[0])] = np.nan
        pixels[index(HIDDEN[0])] = np.nan
    status = "interpolated" if number == 0 and frame in INTERPOLATED else "detected"
    scores = np.linspace(0.5, 1, 17, dtype=np.float32)
    return Person(number, status, Pose2D(pixels, scores), Pose3D(joints, std))


def make_run(
    folder: Path, *, name: str = "clip", frames: int = 40, people: tuple[int, ...] = (0,), video: bool = True
) -> Path:
    """Writes NAME_3d.csv, NAME_2d.csv, NAME_run.json and, if wanted, NAME_pose.mp4. Returns the folder.

    Person 0 is missing, interpolated and without a wrist for a while; others come in at frame 5.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Csv3DSink(folder / f"{name}_3d.csv") as three, Csv2DSink(folder / f"{name}_2d.csv") as two:
        for k in range(frames):
            there = tuple(person_at(k, p) for p in people if p == 0 or k >= 5)
            poses = FramePoses(k, k / FPS, there)
            three.write(poses)
            two.write(poses)
    record = {
        "posefix": "0.0", "source": {"width": SIZE[0], "height": SIZE[1]},
        "settings": {"height": 1.75, "hypotheses": 5, "refine": True}, "detector": {"name": "made"},
    }  # fmt: skip
    (folder / f"{name}_run.json").write_text(json.dumps(record), encoding="utf-8")
    if video:
        make_video(folder / f"{name}_pose.mp4", frames)
    return folder


def make_video(path: Path, frames: int) -> None:
    """As the rendered one is laid out: the picture, grey of `frame_level`, and right of it a white square."""
    width, height = SIZE
    with VideoSink(path, FPS) as sink:
        for k in range(frames):
            image = np.full((height, width + height, 3), 255, np.uint8)
            image[:, :width] = frame_level(k)
            sink.write(image, k / FPS)
