"""Poses pulled towards the rays of their own 2D, with the camera solved from the 2D itself.

A network's pose need not project onto the keypoints it was made from. Where they agree but for a little, the
2D is the better witness across the view, so x and y move; where they disagree a lot, the 2D is taken for
noise and the pose stays. No true root, intrinsics or distance is needed: pelvis-centred, box-scaled keypoints
(u, v) of a pinhole camera obey, to first order in depth over distance,

    x = S u + S r u z + t_x z + c_x,    y = S v + S r v z + t_y z + c_y,

with S the size of the box at the root, r the inverse distance, t the tilt of the ray to the person and c the
root's own error: six unknowns, linear least squares over 17 joints, robustly reweighted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
FRAME_PERCENTILE = 80
_RIDGE = 1e-4  # keeps the solution small when few joints are seen


@dataclass(frozen=True)
class PullConfig:
    """How far x and y go to the rays. Chosen on val; 0 switches it off."""

    most: float = 0.0  # share of the way for a joint that agrees
    joint_m: float = 0.03  # metres of disagreement at which a joint goes half of that
    frame_m: float = 0.015  # the same for the pose as a whole, by its FRAME_PERCENTILE
    refined: float = 0.0  # share of the network's own 2D in the rays: where the keypoints err, it errs less


def pull_to_rays(
    poses: Floats, keypoints: Floats, config: PullConfig, refined: Floats | None = None
) -> Floats:
    """(n, H, 17, 3) metres relative to Hip, camera axes -> the same, x and y pulled to the keypoints' rays.

    Args:
        keypoints: (n, 17, 3) normalised u, v, observed (`lifter.normalise`); hidden joints neither count nor move.
        refined: (n, 17, 2) u, v as the network has them; needed where `config.refined` is not 0.
    """
    if config.most == 0:
        return poses
    n, h = poses.shape[:2]
    flat = poses.reshape(n * h, 17, 3).astype(np.float64)
    points = keypoints[..., :2].astype(np.float64)
    if refined is not None:
        points += config.refined * (refined - points)
    uv = np.repeat(points, h, axis=0)
    seen = np.repeat(keypoints[..., 2].astype(np.float64), h, axis=0)
    rays, off, agree = robust_rays(flat, uv, seen, config.joint_m)
    # One wild joint shall not speak for the frame. Hidden ones are off by nothing and say nothing.
    seen_off = np.where((seen > 0) | ~seen.any(axis=1, keepdims=True), off, np.nan)
    frame = np.nanpercentile(seen_off, FRAME_PERCENTILE, axis=1)[:, None]
    share = config.most * agree / (1 + (frame / config.frame_m) ** 2)
    flat[..., :2] += share[..., None] * (rays - flat[..., :2])
    flat -= flat[:, :1]
    return flat.reshape(poses.shape).astype(poses.dtype)


def robust_rays(poses: Floats, uv: Floats, seen: Floats, scale_m: float) -> tuple[Floats, Floats, Floats]:
    """`fit_rays` twice, the second time with less weight on what disagrees: one wild joint shall not turn the camera.

    Args:
        seen: (n, 17) 0 or 1. scale_m: metres of disagreement at which a joint counts half.

    Returns:
        The rays (n, 17, 2); every joint's distance from its ray (n, 17); what each still counts (n, 17).
    """
    rays, off, agree = poses[..., :2], np.zeros_like(seen), seen
    for _ in range(2):
        rays = fit_rays(poses, uv, agree)
        off = np.linalg.norm(rays - poses[..., :2], axis=-1)
        agree = seen / (1 + (off / scale_m) ** 2)
    return rays, off, agree


def fit_rays(poses: Floats, uv: Floats, weights: Floats) -> Floats:
    """Where the rays meet the poses' depths: (n, 17, 3) metres, (n, 17, 2), (n, 17) -> (n, 17, 2) metres."""
    z = poses[..., 2]
    zero, one = np.zeros_like(z), np.ones_like(z)
    u, v = uv[..., 0], uv[..., 1]
    rows_x = np.stack([u, u * z, z, zero, one, zero], axis=-1)  # (n, 17, 6)
    rows_y = np.stack([v, v * z, zero, z, zero, one], axis=-1)
    a = np.concatenate([rows_x, rows_y], axis=1)  # (n, 34, 6)
    b = np.concatenate([poses[..., 0], poses[..., 1]], axis=1)[..., None]  # (n, 34, 1)
    weighted = (a * np.concatenate([weights, weights], axis=1)[..., None]).swapaxes(1, 2)  # (n, 6, 34)
    solution = np.linalg.solve(weighted @ a + _RIDGE * np.eye(6), weighted @ b)
    fitted = (a @ solution)[..., 0]
    return np.stack([fitted[:, :17], fitted[:, 17:]], axis=-1)
