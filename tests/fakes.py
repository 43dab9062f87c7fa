"""Stand-ins for the slow parts, and tiny clips, for the tests of the running program."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from posefix.detectors import base
from posefix.skeleton import Frame, Pose2D, Pose3D


class FakeDetector:
    """Sees a person wherever the picture is not black; the pose depends on the picture alone."""

    name, layout, device = "fake", "h36m17", "cpu"

    def __init__(self, device: str = "cpu") -> None:
        self.closed = False
        self.weights: dict[str, str] = {}

    def detect(self, frame: Frame) -> list[Pose2D]:
        level = float(frame.image.mean())
        if level < 20:
            return []
        j = np.arange(17)
        keypoints = np.stack([level / 4 + 2 * j, 60 - level / 8 - j], 1)
        return [Pose2D(keypoints, np.full(17, 0.9), box=np.array([0, 0, 60, 60]))]

    def close(self) -> None:
        self.closed = True


class FakeEstimator:
    """A 3D pose from each 2D pose and its key alone, like the real one."""

    def __init__(self) -> None:
        self.weights = {"lifter.onnx": "0" * 64}
        self.calls: list[int] = []

    def __call__(self, poses, keys):
        self.calls.append(len(poses))
        return [self._one(pose, key) for pose, key in zip(poses, keys, strict=True)]

    def _one(self, pose: Pose2D, key: tuple[int, int]) -> Pose3D:
        noise = np.random.default_rng(key).normal(0, 0.01, (17, 3))
        joints = np.column_stack([pose.keypoints / 100, np.zeros(17)]) + noise
        return Pose3D(joints - joints[0], np.full(17, 0.02))

    def close(self) -> None:
        pass


def install_detector(monkeypatch) -> None:
    """Registers the detector `fake`."""
    entry = base._Entry(__name__, "FakeDetector", "pip install fake", one_person=True)
    monkeypatch.setitem(base._REGISTRY, "fake", entry)


def install_fakes(monkeypatch) -> FakeEstimator:
    """Registers the detector `fake` and lets runs use a FakeEstimator, which is returned."""
    install_detector(monkeypatch)
    estimator = FakeEstimator()
    from posefix.pipeline import run

    monkeypatch.setattr(run, "load_estimator", lambda settings, device: estimator)
    return estimator


def write_clip(path: Path, levels: list[int], size: tuple[int, int] = (64, 48), fps: float = 30.0) -> Path:
    """A video whose frame k is grey of levels[k]; 0 is "nobody there" for the fake detector."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    for level in levels:
        writer.write(np.full((size[1], size[0], 3), level, np.uint8))
    writer.release()
    return path


def install_slow_fakes(seconds: float) -> None:
    """For a process of its own: fakes for good, with so many seconds spent on every frame."""
    install_fakes(pytest.MonkeyPatch())
    detect = FakeDetector.detect

    def slow(self: FakeDetector, frame: Frame) -> list[Pose2D]:
        time.sleep(seconds)
        return detect(self, frame)

    FakeDetector.detect = slow
