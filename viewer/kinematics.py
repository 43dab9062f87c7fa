"""Joint angles and speeds from positions: pure numpy, the same for the page and for the figures.

The definitions are written out in docs/viewer.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..skeleton.layouts import H36M17
from .tables import Array

Vectors = npt.NDArray[np.float64]
_INDEX = {name: k for k, name in enumerate(H36M17.joints)}
_STEP_M = 1e-4
# A limb nearer than this to the axis it should turn about has no flexion to speak of (sine of 15 degrees).
_LEAST_SAGITTAL = 0.26


@dataclass(frozen=True, slots=True)
class Angle:
    """One angle: `measure` maps the positions of `joints`, (n, len(joints), 3), to (n,) degrees."""

    name: str
    joints: tuple[str, ...]
    measure: Callable[[Vectors], Vectors]


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def hinge(points: Vectors) -> Vectors:
    """180° minus the angle at the middle one of three points, (n, 3, 3) -> (n,): 0 is straight."""
    a, b = _unit(points[:, 0] - points[:, 1]), _unit(points[:, 2] - points[:, 1])
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), -(a * b).sum(axis=1)))


def ball(points: Vectors) -> Vectors:
    """Flexion of a limb against the trunk, seen from the side; (n, 6, 3) -> (n,) in -90..270.

    Points: limb's start, limb's end, Hip, Thorax, and the left and right joint that give the trunk's width.
    0 hangs along the trunk, 90 points forward, 180 up, negative backward. NaN where the limb points sideways.
    """
    start, end, hip, thorax, left, right = np.moveaxis(points, 1, 0)  # (n, 6, 3) -> 6 x (n, 3)
    up = _unit(thorax - hip)
    side = left - right
    side = _unit(side - (side * up).sum(axis=1, keepdims=True) * up)
    forward = np.cross(side, up)  # right-handed, as the camera's axes are
    limb = _unit(end - start)
    ahead, down = (limb * forward).sum(axis=1), -(limb * up).sum(axis=1)
    degrees = (np.degrees(np.arctan2(ahead, down)) + 90) % 360 - 90
    return np.where(np.hypot(ahead, down) < _LEAST_SAGITTAL, np.nan, degrees)


def _angles() -> dict[str, Angle]:
    found: dict[str, Angle] = {}
    for side in "LR":
        trunk = ("Hip", "Thorax")
        hips, shoulders = ("LHip", "RHip"), ("LShoulder", "RShoulder")
        for name, points, measure in (
            ("Knee", ("Hip", "Knee", "Ankle"), hinge),
            ("Elbow", ("Shoulder", "Elbow", "Wrist"), hinge),
        ):
            found[side + name] = Angle(side + name, tuple(side + p for p in points), measure)
        found[f"{side}Hip"] = Angle(f"{side}Hip", (f"{side}Hip", f"{side}Knee", *trunk, *hips), ball)
        found[f"{side}Shoulder"] = Angle(
            f"{side}Shoulder", (f"{side}Shoulder", f"{side}Elbow", *trunk, *shoulders), ball
        )
    return found


ANGLES = _angles()
"""Flexion angles by the name of the joint that bends: L and R of Knee, Elbow, Hip, Shoulder."""


def angles(joints: Array, std: Array, name: str) -> tuple[Array, Array]:
    """An angle and its spread, degrees: (T, 17, 3) and (T, 17) metres -> (T,), (T,); NaN where unknown.

    The spread is of first order: every coordinate of every joint involved is taken to stray on its own by
    J_std / √3, as J_std counts all three directions together.
    """
    angle = ANGLES[name]
    at = [_INDEX[joint] for joint in angle.joints]
    points = joints[:, at].astype(np.float64)  # (T, k, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = angle.measure(points)
        variance = np.zeros(len(points))
        for joint in sorted(set(at)):
            same = [k for k, other in enumerate(at) if other == joint]  # a joint may play two parts
            for axis in range(3):
                step = np.zeros((len(at), 3))
                step[same, axis] = _STEP_M
                turn = angle.measure(points + step) - angle.measure(points - step)
                slope = ((turn + 180) % 360 - 180) / (2 * _STEP_M)
                variance += slope**2 * std[:, joint].astype(np.float64) ** 2 / 3
    return value.astype(np.float32), np.sqrt(variance).astype(np.float32)


def speeds(joints: Array, times: npt.NDArray[np.float64]) -> Array:
    """Speed relative to the Hip, m/s: (T, 17, 3) metres, (T,) seconds -> (T, 17).

    Distance between the frames before and after, by the time between them; NaN where one of the three frames
    has no position, and at both ends.
    """
    found = np.full(joints.shape[:2], np.nan, np.float32)
    if len(times) < 3:
        return found
    apart = np.linalg.norm(joints[2:].astype(np.float64) - joints[:-2], axis=2)
    known = np.isfinite(joints[1:-1]).all(axis=2)
    elapsed = (times[2:] - times[:-2])[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        found[1:-1] = np.where(known & (elapsed > 0), apart / elapsed, np.nan)
    return found
