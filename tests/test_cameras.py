"""Cameras: axes, signs and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from posefix.skeleton.cameras import camera_to_world, look_at, project, world_to_camera

vectors = arrays(np.float64, 3, elements=st.floats(-10, 10))


def test_axes_are_right_down_forward():
    # A level camera at the origin looks along world +y: world +x is on its right, world up is image up.
    rotation = look_at([0, 0, 0], [0, 3, 0])
    np.testing.assert_allclose(rotation, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-15)


def test_target_falls_on_the_principal_point_and_up_is_up():
    position, target = np.array([3.0, -2.0, 1.6]), np.array([0.5, 0.2, 1.0])
    points = np.stack([target, target + np.array([0, 0, 0.5])])
    camera = world_to_camera(points, look_at(position, target), position)
    pixels = project(camera, 1000.0, (320.0, 240.0))
    np.testing.assert_allclose(camera[0], [0, 0, np.linalg.norm(target - position)], atol=1e-12)
    np.testing.assert_allclose(pixels[0], [320, 240], atol=1e-9)
    assert pixels[1, 0] == pytest.approx(320)
    assert pixels[1, 1] < 240


def test_positive_roll_turns_x_towards_y():
    plain, rolled = look_at([0, 0, 0], [0, 1, 0]), look_at([0, 0, 0], [0, 1, 0], np.pi / 2)
    np.testing.assert_allclose(rolled[0], plain[1], atol=1e-15)
    np.testing.assert_allclose(rolled[1], -plain[0], atol=1e-15)
    np.testing.assert_allclose(rolled[2], plain[2], atol=1e-15)


def test_many_cameras_equal_one_at_a_time():
    rng = np.random.default_rng(0)
    position, target, points = (
        rng.normal(size=(6, 3)) + 5,
        rng.normal(size=(6, 3)),
        rng.normal(size=(6, 17, 3)),
    )
    roll, focal, centre = rng.normal(size=6), rng.uniform(500, 2000, 6), rng.uniform(0, 500, (6, 2))
    many = project(world_to_camera(points, look_at(position, target, roll), position), focal, centre)
    for i in range(6):
        rotation = look_at(position[i], target[i], roll[i])
        one = project(world_to_camera(points[i], rotation, position[i]), focal[i], centre[i])
        np.testing.assert_allclose(many[i], one, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(position=vectors, target=vectors, roll=st.floats(-3.2, 3.2), point=vectors)
def test_rotation_is_proper_and_invertible(position, target, roll, point):
    sight = target - position
    assume(np.linalg.norm(sight[:2]) > 1e-2)
    rotation = look_at(position, target, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    back = camera_to_world(world_to_camera(point[None], rotation, position), rotation, position)
    np.testing.assert_allclose(back[0], point, atol=1e-9)


@pytest.mark.parametrize(
    ("position", "target", "message"),
    [
        ([1, 1, 1], [1, 1, 1], "coincide"),
        ([0, 0, 0], [0, 0, 2], "straight up or down"),
        ([0, 0], [0, 0, 2], r"expected shape \(\.\.\., 3\), got \(2,\)"),
    ],
)
def test_impossible_cameras_are_refused(position, target, message):
    with pytest.raises(ValueError, match=message):
        look_at(position, target)


def test_wrong_point_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(\.\.\., 3\), got \(17, 2\)"):
        project(np.zeros((17, 2)), 1000.0, (0.0, 0.0))
    with pytest.raises(ValueError, match=r"rotation: expected shape \(\.\.\., 3, 3\), got \(3,\)"):
        world_to_camera(np.zeros((17, 3)), np.zeros(3), np.zeros(3))
