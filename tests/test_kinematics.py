"""viewer/kinematics.py: angles of known poses, their spread, speeds; holes stay holes."""

from __future__ import annotations

import numpy as np
import pytest
from made_run import HIDDEN, MISSING, index, make_run, pose_at, standing
from posefix.viewer import ANGLES, angles, read_motion, speeds


def bent(**moved: tuple[float, float, float]) -> np.ndarray:
    """(1, 17, 3): standing, some joints put elsewhere."""
    joints = standing()
    for joint, place in moved.items():
        joints[index(joint)] = place
    return joints[None]


ZERO = np.zeros((1, 17), np.float32)
POSES = {
    # forward is -z, up is -y
    "straight leg": ({}, "RKnee", 0),
    "heel behind": ({"RAnkle": (-0.13, 0.45, 0.43)}, "RKnee", 90),
    "folded": ({"RAnkle": (-0.13, 0.0, 0.0)}, "RKnee", 180),
    "forearm forward": ({"LElbow": (0.18, -0.2, 0), "LWrist": (0.18, -0.2, -0.25)}, "LElbow", 90),
    "standing": ({}, "LHip", 0),
    "thigh forward": ({"LKnee": (0.13, 0, -0.45)}, "LHip", 90),
    "thigh back": ({"LKnee": (0.13, 0.39, 0.225)}, "LHip", -30),
    "arm forward": ({"RElbow": (-0.18, -0.48, -0.28)}, "RShoulder", 90),
    "arm up": ({"RElbow": (-0.18, -0.76, 0)}, "RShoulder", 180),
    "arm up and back": ({"RElbow": (-0.18, -0.68, 0.2)}, "RShoulder", 225),
    "arm sideways": ({"LElbow": (0.46, -0.48, 0)}, "LShoulder", np.nan),
}


@pytest.mark.parametrize("pose", POSES)
def test_angles_of_known_poses(pose):
    moved, name, expected = POSES[pose]
    value, _ = angles(bent(**moved), ZERO, name)
    np.testing.assert_allclose(value, [expected], atol=0.1)


def test_angles_do_not_depend_on_where_the_camera_stands():
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned *= np.sign(np.linalg.det(turned))
    joints = np.stack([pose_at(k) for k in range(20)])
    for name in ANGLES:
        here, _ = angles(joints, np.zeros((20, 17), np.float32), name)
        there, _ = angles((joints @ turned.T).astype(np.float32), np.zeros((20, 17), np.float32), name)
        np.testing.assert_allclose(here, there, atol=0.05)


@pytest.mark.parametrize("name", ["RKnee", "RHip", "LElbow"])
def test_spread_of_angles_is_that_of_shaken_joints(name):
    joints = bent(RAnkle=(-0.13, 0.75, 0.3), LWrist=(0.3, -0.1, -0.2))
    std = np.full((1, 17), 0.01, np.float32)
    _, spread = angles(joints, std, name)
    noise = np.random.default_rng(1).normal(0, 0.01 / np.sqrt(3), (4000, 17, 3))
    shaken, _ = angles((joints + noise).astype(np.float32), np.zeros((4000, 17), np.float32), name)
    assert spread[0] == pytest.approx(shaken.std(), rel=0.06)


def test_hidden_joint_has_no_angle(tmp_path):
    motion = read_motion(make_run(tmp_path / "run", video=False) / "clip_3d.csv")
    track = motion.people[0]
    value, spread = angles(track.joints, track.std, "LElbow")
    unknown = np.isnan(value)
    assert np.flatnonzero(unknown).tolist() == sorted({*MISSING, *HIDDEN[1]})
    assert (np.isnan(spread) == unknown).all()


def test_speed_is_distance_by_time_and_not_across_holes():
    joints = np.zeros((8, 17, 3), np.float32)
    joints[:, 3, 0] = [0, 0.1, 0.2, 0.3, np.nan, 0.5, 0.6, 0.7]
    found = speeds(joints, np.arange(8) / 10)[:, 3]
    np.testing.assert_allclose(found, [np.nan, 1, 1, np.nan, np.nan, np.nan, 1, np.nan], atol=1e-6)
