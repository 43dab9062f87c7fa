"""Pinhole cameras: where they look, what they see. Pure numpy, float64.

Frames of reference
    world: metres, right handed, z up.
    camera: metres, x right, y down, z forward (OpenCV); `x_cam = R (X_world - C)`, the rows of R are the
        camera's axes in the world.
    image: pixels, x right, y down; `f * (x / z, y / z) + c`.

Every function works on any number of leading axes, by numpy broadcasting.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_UP = np.array([0.0, 0.0, 1.0])


def _check_last(array: Array, size: int, what: str) -> Array:
    if array.ndim < 1 or array.shape[-1] != size:
        raise ValueError(f"{what}: expected shape (..., {size}), got {array.shape}")
    return array


def _unit(vector: Array, what: str) -> Array:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    if np.any(length < 1e-12):
        raise ValueError(f"look_at: {what}")
    return vector / length


def look_at(position: npt.ArrayLike, target: npt.ArrayLike, roll: npt.ArrayLike = 0.0) -> Array:
    """Rotation of a camera at `position` that looks at `target`, upright but for `roll`.

    z = unit(target - position), x = unit(z × up), y = z × x; a roll ρ then turns the image axes:
    x' = cos ρ x + sin ρ y, y' = -sin ρ x + cos ρ y.

    Args:
        position: (..., 3) camera centre, world metres.
        target: (..., 3) point that falls on the principal point, world metres.
        roll: (...) radians about the viewing axis.

    Returns:
        (..., 3, 3) world to camera rotation, rows x, y, z.

    Raises:
        ValueError: a shape is not (..., 3), target and position coincide, or the camera looks straight
            up or down (upright has no meaning there).
    """
    centre = _check_last(np.asarray(position, dtype=np.float64), 3, "look_at: position")
    aim = _check_last(np.asarray(target, dtype=np.float64), 3, "look_at: target")
    z = _unit(aim - centre, "position and target coincide")
    x = _unit(np.cross(z, _UP), "the camera looks straight up or down, so upright is undefined")
    y = np.cross(z, x)
    angle = np.asarray(roll, dtype=np.float64)[..., None]
    cos, sin = np.cos(angle), np.sin(angle)
    rolled = np.broadcast_arrays(cos * x + sin * y, -sin * x + cos * y, z)
    return np.stack(rolled, axis=-2)


def world_to_camera(points: npt.ArrayLike, rotation: npt.ArrayLike, position: npt.ArrayLike) -> Array:
    """World points in camera axes: R (X - C).

    Args:
        points: (..., J, 3) world metres.
        rotation: (..., 3, 3) from `look_at`.
        position: (..., 3) camera centre, world metres.

    Returns:
        (..., J, 3) camera metres.

    Raises:
        ValueError: a shape does not fit.
    """
    world = _check_last(np.asarray(points, dtype=np.float64), 3, "world_to_camera: points")
    centre = _check_last(np.asarray(position, dtype=np.float64), 3, "world_to_camera: position")
    turn = np.asarray(rotation, dtype=np.float64)
    if turn.shape[-2:] != (3, 3):
        raise ValueError(f"world_to_camera: rotation: expected shape (..., 3, 3), got {turn.shape}")
    return (world - centre[..., None, :]) @ np.swapaxes(turn, -1, -2)


def camera_to_world(points: npt.ArrayLike, rotation: npt.ArrayLike, position: npt.ArrayLike) -> Array:
    """Inverse of `world_to_camera`: R^T x + C. Same shapes, (..., J, 3) world metres out."""
    camera = _check_last(np.asarray(points, dtype=np.float64), 3, "camera_to_world: points")
    centre = _check_last(np.asarray(position, dtype=np.float64), 3, "camera_to_world: position")
    return camera @ np.asarray(rotation, dtype=np.float64) + centre[..., None, :]


def project(points: npt.ArrayLike, focal: npt.ArrayLike, centre: npt.ArrayLike) -> Array:
    """Pixels of camera points: f · (x/z, y/z) + c, without lens distortion.

    Args:
        points: (..., J, 3) camera metres.
        focal: (...) focal length, pixels (square pixels).
        centre: (..., 2) principal point, pixels.

    Returns:
        (..., J, 2) pixels. Points behind the camera (z < 0) come out mirrored; mind z where that can be.

    Raises:
        ValueError: a shape does not fit.
    """
    camera = _check_last(np.asarray(points, dtype=np.float64), 3, "project: points")
    middle = _check_last(np.asarray(centre, dtype=np.float64), 2, "project: centre")
    f = np.asarray(focal, dtype=np.float64)[..., None, None]
    return f * (camera[..., :2] / camera[..., 2:]) + middle[..., None, :]
