"""Poses pulled to the rays of their 2D."""

from dataclasses import replace

import numpy as np
import pytest
from posefix.refiner.reproject import PullConfig, fit_rays, pull_to_rays

PULL = PullConfig(most=1.0, joint_m=0.03, frame_m=0.03)


def a_scene(count: int = 6, distance: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Root-relative poses (n, 17, 3) and their exact normalised keypoints (n, 17, 3), off the optical axis."""
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.3, (count, 17, 3))
    poses -= poses[:, :1]
    camera = poses + np.array([0.6, -0.3, distance])
    uv = camera[..., :2] / camera[..., 2:]
    uv -= uv[:, :1]
    uv /= np.ptp(uv, axis=1).max(axis=-1)[:, None, None] / 2
    return poses, np.concatenate([uv, np.ones((count, 17, 1))], axis=-1)


def test_true_poses_lie_on_their_rays() -> None:
    poses, keypoints = a_scene()
    rays = fit_rays(poses, keypoints[..., :2], np.ones((6, 17)))
    assert np.abs(rays - poses[..., :2]).max() < 0.006  # first order in depth over distance
    moved = pull_to_rays(poses[:, None], keypoints, PULL)[:, 0]
    assert np.abs(moved - poses).max() < 0.012


def test_errors_across_the_view_shrink_and_depth_stays() -> None:
    poses, keypoints = a_scene()
    wrong = poses + np.random.default_rng(1).normal(0, 0.012, poses.shape)
    wrong -= wrong[:, :1]
    moved = pull_to_rays(wrong[:, None], keypoints, PULL)[:, 0]
    before, after = (np.abs(p[..., :2] - poses[..., :2]).mean() for p in (wrong, moved))
    assert after < 0.75 * before
    assert np.allclose(moved[..., 2], wrong[..., 2])


def test_a_wild_keypoint_moves_nothing_much() -> None:
    poses, keypoints = a_scene()
    keypoints[:, 13, :2] += 0.8  # about 0.5 m
    moved = pull_to_rays(poses[:, None], keypoints, PULL)[:, 0]
    assert np.abs(moved - poses).max() < 0.03


def test_hidden_joints_neither_count_nor_move() -> None:
    poses, keypoints = a_scene()
    keypoints[:, 13] = 0
    moved = pull_to_rays(poses[:, None] + 0.0, keypoints, PULL)[:, 0]
    shift = moved[:, 13] - poses[:, 13]
    assert np.abs(shift).max() < 0.012  # only the root's own shift
    other = keypoints.copy()
    other[:, 13, :2] = 5.0
    assert np.allclose(pull_to_rays(poses[:, None], other, PULL), moved[:, None])


def test_off_by_default_and_the_same_for_every_batch() -> None:
    poses, keypoints = a_scene()
    many = np.stack([poses, poses + 0.01], axis=1).astype(np.float32)
    assert pull_to_rays(many, keypoints, PullConfig()) is many
    whole = pull_to_rays(many, keypoints, PULL)
    parts = [pull_to_rays(many[i : i + 1], keypoints[i : i + 1], PULL) for i in range(6)]
    assert whole.dtype == np.float32
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_few_joints_are_no_trouble(seen) -> None:
    poses, keypoints = a_scene()
    keypoints[:, seen:] = 0
    assert np.isfinite(pull_to_rays(poses[:, None], keypoints, PULL)).all()


def test_rays_of_the_networks_own_2d_can_be_pulled_to_instead() -> None:
    poses, keypoints = a_scene()
    wrong = keypoints.copy()
    wrong[:, 5, :2] += 0.08  # a keypoint that errs, and a network that knows better
    own = replace(PULL, refined=1.0)
    exact = keypoints[..., :2]
    moved = pull_to_rays(poses[:, None], wrong, own, exact)
    assert np.allclose(moved, pull_to_rays(poses[:, None], keypoints, PULL))
    plain = pull_to_rays(poses[:, None], wrong, PULL)
    assert np.allclose(pull_to_rays(poses[:, None], wrong, PULL, exact), plain)
    assert not np.allclose(moved, plain, atol=1e-4)
