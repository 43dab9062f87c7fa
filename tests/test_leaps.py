"""pipeline/leaps.py: who leaps, and who only moves fast."""

from __future__ import annotations

import numpy as np
import pytest
from made_people import standing
from posefix.pipeline.leaps import LEAP_M, LEAP_M_S, is_leap, pixels_a_metre_2d
from posefix.pipeline.refine import LIMBS, TRAINED_LIMBS_M
from posefix.skeleton import H36M17
from posefix.training.mocap import load_mocap

TALL_M = 1.75
TRUNK = [H36M17.joints.index(j) for j in ("LShoulder", "RShoulder", "LHip", "RHip")]
KNEES = [H36M17.joints.index(j) for j in ("LKnee", "RKnee")]
ENDS = [H36M17.joints.index(s + j) for s in "LR" for j in ("Elbow", "Wrist", "Knee", "Ankle")]
STEP_S = 1 / 30


def figure(x_m: float = 0.0, height: float = 200.0) -> np.ndarray:
    """(17, 2) px: somebody of 1.75 m who stands at x metres and is `height` pixels tall."""
    return standing(300 + x_m * height / TALL_M, height=height).keypoints


def only(points: np.ndarray, joints: list[int]) -> np.ndarray:
    """Those joints; the others are hidden."""
    return np.where(np.isin(np.arange(17), joints)[:, None], points, np.nan)


@pytest.mark.parametrize("height", [60.0, 200.0, 900.0])
@pytest.mark.parametrize("seconds", [0.0, STEP_S, 0.1, 0.25])
def test_a_leap_is_far_and_fast(height, seconds):
    limit = max(LEAP_M, LEAP_M_S * seconds)
    for share, leapt in ((0.8, False), (1.25, True)):
        assert is_leap(figure(height=height), figure(share * limit, height), seconds) == leapt
        assert is_leap(figure(share * limit, height), figure(height=height), seconds) == leapt


def test_up_and_down_count_as_much():
    assert is_leap(figure(), figure() + np.array((0, 100)), STEP_S)
    assert not is_leap(figure(), figure() + np.array((0, 40)), STEP_S)


def test_limbs_do_not_leap():
    kicked = figure()
    kicked[ENDS] += (200, -100)
    assert not is_leap(figure(), kicked, STEP_S)
    far = [H36M17.joints.index(j) for j in ("Head", "Neck", "Spine", "LWrist", "RWrist", "LAnkle", "RAnkle")]
    kicked = figure()
    kicked[far] += (200, -100)  # most of what is seen
    trunk = [H36M17.joints.index(j) for j in ("Hip", "Thorax")] + TRUNK
    assert not is_leap(only(figure(), trunk + far), only(kicked, trunk + far), STEP_S)


def test_sides_mixed_up_and_upside_down_are_no_leaps():
    wide = figure() * (3.0, 1.0)  # shoulders as wide as somebody is tall
    assert not is_leap(wide, wide[H36M17.flip_order], STEP_S)
    turned = 2 * figure()[[*TRUNK]].mean(axis=0) - figure()
    assert not is_leap(figure(), turned, STEP_S)


def test_one_joint_far_off_does_not_hide_a_leap():
    wild = figure()
    wild[H36M17.joints.index("LAnkle")] += (3000, 0)
    assert is_leap(wild, figure(1.0), STEP_S) and is_leap(figure(1.0), wild, STEP_S)


def test_what_is_seen_both_times_counts():
    arms = [*TRUNK[:2], *ENDS]
    assert is_leap(only(figure(), arms), figure(1.0), STEP_S)
    assert not is_leap(
        only(figure(), arms), figure(0.1), STEP_S
    )  # not from the middle of arms to that of all
    legs = [*TRUNK[2:], *KNEES]
    assert is_leap(only(figure(), legs), only(figure(1.0), [*TRUNK[:2], *KNEES]), STEP_S)
    assert not is_leap(only(figure(), legs), only(figure(0.1), [*TRUNK[:2], *KNEES]), STEP_S)


def test_what_cannot_be_told_is_no_leap():
    nobody = np.full((17, 2), np.nan)
    assert not is_leap(nobody, figure(), STEP_S) and not is_leap(figure(), nobody, STEP_S)
    assert not is_leap(only(figure(), TRUNK[:2]), only(figure(5.0), TRUNK[2:]), STEP_S)
    assert np.isnan(pixels_a_metre_2d(only(figure(), TRUNK[:2])))
    point = np.zeros((17, 2))  # of no size at all
    assert not is_leap(point, point, STEP_S)


def test_sizes_of_real_poses_from_all_sides(shared_dir):
    rng, shares = np.random.default_rng(0), []
    for source in ("cmu", "hdm05"):
        for sequence in load_mocap(shared_dir / "data" / f"mocap17_{source}.npz").split("val"):
            edges = (
                np.linalg.norm(sequence.relative[:, a] - sequence.relative[:, b], axis=1) for a, b in LIMBS
            )
            stature = sum(float(np.median(edge)) for edge in edges) / TRAINED_LIMBS_M  # of 1.75 m
            for pose in sequence.relative[::30].astype(np.float64):
                turn, tilt = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-5, 35))
                across = pose[:, :2] @ (np.cos(turn), -np.sin(turn))
                away = pose[:, :2] @ (np.sin(turn), np.cos(turn))
                down = -pose[:, 2] * np.cos(tilt) + away * np.sin(tilt)
                shares.append(pixels_a_metre_2d(100 * np.stack([across, down], axis=1)) / 100 / stature)
    assert len(shares) > 200
    assert np.percentile(shares, 1) > 0.7 and np.percentile(shares, 99) < 1.25
    assert np.median(shares) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("every", [1, 3])
def test_nobody_in_motion_capture_leaps(shared_dir, every):
    """Runs, hops, jumps and kicks at 30 and 10 frames/s, seen from the front and the side, by far."""
    checked = 0
    for source in ("cmu", "hdm05"):
        for sequence in load_mocap(shared_dir / "data" / f"mocap17_{source}.npz").split("val"):
            world = (sequence.relative + sequence.root[:, None])[::every].astype(np.float64)
            speed = np.linalg.norm(np.diff(world[:, 0], axis=0), axis=1)
            for k in np.argsort(speed)[-3:]:  # where the hip is fastest
                for side in (0, 1):
                    a, b = (200 * world[i][:, [side, 2]] * (1, -1) for i in (k, k + 1))
                    assert not is_leap(a, a + 1.5 * (b - a), every * STEP_S), (sequence.name, k)
                    checked += 1
    assert checked > 100
