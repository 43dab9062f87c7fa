"""From numbers in a file to joints: which layout they are, which are unobserved, and 3D as Human3.6M-17."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...skeleton import H36M17, get_layout
from ...skeleton.cameras import project
from ...skeleton.convert import TO_H36M17
from ...skeleton.errors import InputError
from ...skeleton.poses import FloatArray
from .clip import KeypointClip

Array = npt.NDArray[np.float64]

#: Joints a person -> (layout, how many of them are its own): whole-body layouts begin with the body.
BY_COUNT = {
    17: ("coco17", 17),
    25: ("body25", 25),
    26: ("halpe26", 26),
    33: ("blazepose33", 33),
    133: ("coco17", 17),
    136: ("halpe26", 26),
}
_OTHER_NAMES = {"coco": "coco17", "human36m17": "h36m17", "h36m": "h36m17", "halpe": "halpe26"}
_OTHER_NAMES |= {"blazepose": "blazepose33", "openpose25": "body25", "human36m": "h36m17"}

#: The camera that 3D without 2D is projected with: it follows the person, Hip in the middle of the picture.
NOMINAL_FOCAL_PX, NOMINAL_DISTANCE_M, NOMINAL_SIZE = 1000.0, 5.0, (1000, 1000)

_LARGEST = 1e7
NORMALISED_BELOW = 4.0  # nobody is four pictures wide, and no person four pixels


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a reader may be told.

    Attributes:
        layout: name of the joint layout; None: recognised.
        size: width, height of the picture in pixels, for files with normalised coordinates.
    """

    layout: str | None = None
    size: tuple[int, int] | None = None


def layout_name(word: str) -> str:
    """The layout that a user means by "COCO-17", "BODY_25", "h36m". Raises InputError that lists the names."""
    plain = "".join(c for c in word.lower() if c.isalnum())
    name = _OTHER_NAMES.get(plain, plain)
    if name not in TO_H36M17:
        raise InputError(f"--layout {word}: unknown; choose from: {', '.join(sorted(TO_H36M17))}")
    return name


def recognise(count: int, named: str | None, where: str, seventeen: str | None = "coco17") -> tuple[str, int]:
    """(layout, how many of the joints to take) of people with `count` joints.

    Args:
        named: the layout the user named. where: for messages, e.g. "file.json, frame 3".
        seventeen: what 17 joints are in this format; None: they must be named.

    Raises:
        InputError: no layout has so many joints, or not the one named.
    """
    if named is not None:
        joints = len(get_layout(named).joints)
        if count != joints and BY_COUNT.get(count, ("", 0))[0] != named:
            raise InputError(f"{where}: {count} joints a person, but --layout {named} has {joints}")
        return named, joints
    if count == 17 and seventeen is None:
        raise InputError(f"{where}: 17 joints may be COCO's or Human3.6M's; add --layout coco17 or h36m17")
    if count == 17 and seventeen is not None:
        return seventeen, 17
    if count not in BY_COUNT:
        known = ", ".join(f"{n} ({layout})" for n, (layout, _) in BY_COUNT.items())
        raise InputError(f"{where}: {count} joints a person fit no layout; known: {known}")
    return BY_COUNT[count]


def numbers(value: Any, where: str) -> Array:
    """A list (of lists) of numbers as an array; null is NaN. Raises InputError on anything else."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected lists of numbers of one length; is the file damaged?") from None
    return bounded(array, where)


def bounded(array: Array, where: str) -> Array:
    """The array, if nothing in it is infinite or beyond all pixels and millimetres. Raises InputError."""
    if (np.abs(np.nan_to_num(array, posinf=np.inf, neginf=-np.inf)) > _LARGEST).any():
        raise InputError(f"{where}: holds a number that is no coordinate, beyond {_LARGEST:g} or infinite")
    return array


def flat_points(value: Any, columns: int, where: str) -> Array:
    """`[x, y, score, x, y, score, ...]` as (J, columns). Raises InputError."""
    array = numbers(value, where)
    if array.ndim != 1 or len(array) == 0 or len(array) % columns:
        raise InputError(f"{where}: expected {columns} numbers a joint, got {array.size} in all")
    return array.reshape(-1, columns)  # (J, columns)


def observed(keypoints: Array, scores: Array) -> tuple[FloatArray, FloatArray]:
    """(J, 2) pixels and (J,) scores as posefix has them: unobserved joints NaN with score 0, others 0..1.

    Unobserved: a coordinate is missing, the score is missing or 0, or the joint lies at (0, 0) exactly,
    which is how most programs write "not found".
    """
    known = np.isfinite(keypoints).all(axis=1) & (np.nan_to_num(scores) > 0)
    there = np.asarray(known & (keypoints != 0).any(axis=1))
    points = np.where(there[:, None], keypoints, np.nan).astype(np.float32)
    return points, np.where(there, np.clip(np.nan_to_num(scores), 0, 1), 0).astype(np.float32)


def in_pixels(clip: KeypointClip, size: tuple[int, int] | None, where: str) -> KeypointClip:
    """The clip in pixels; coordinates that are shares of width and height are told by their size.

    Raises:
        InputError: they are shares, and no size is given; or OpenPose's from -1 to 1.
    """
    people = [sight for found in clip.frames.values() for sight in found]
    largest = [np.nanmax(np.abs(s.keypoints), initial=0) for s in people if s.scores.any()]
    if clip.nominal or not largest or np.median(largest) > NORMALISED_BELOW:
        return clip
    if clip.format == "openpose" and min(np.nanmin(s.keypoints, initial=0) for s in people) < -0.1:
        raise InputError(
            f"{where}: its coordinates run from -1 to 1, which is not read; write pixels: --keypoint_scale 0"
        )
    if size is None:
        raise InputError(
            f"{where}: its coordinates are shares of width and height; add --size WxH of the picture, or --video"
        )
    scale = np.array(size, dtype=np.float32)
    frames = {
        n: [replace(s, keypoints=s.keypoints * scale) for s in found] for n, found in clip.frames.items()
    }
    return replace(clip, frames=frames)


def to_17(points: Array, layout: str) -> FloatArray:
    """(J, 3) metres, camera axes -> (17, 3) relative to Hip, by the weights that the 2D is converted by.

    A joint is NaN where one of its sources is. With one hip unknown the other takes the Hip's place, as in
    the 2D; with both unknown all joints are NaN.
    """
    weights = TO_H36M17[layout]  # (17, J)
    unknown = np.any(~np.isfinite(points), axis=1)  # (J,)
    out = weights @ np.where(unknown[:, None], 0, points)  # (17, 3)
    out[((weights != 0) & unknown).any(axis=1)] = np.nan
    hips = out[[H36M17.joints.index("RHip"), H36M17.joints.index("LHip")]]
    there = hips[np.isfinite(hips).all(axis=1)]
    if not np.isfinite(out[0]).all() and len(there):
        out[0] = there.mean(axis=0)
    return (out - out[0]).astype(np.float32)


def nominal_2d(joints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(17, 3) metres relative to Hip -> (17, 2) pixels of the nominal camera and (17,) scores, 1 where known."""
    centre = np.array(NOMINAL_SIZE) / 2
    pixels = project(joints + np.array([0, 0, NOMINAL_DISTANCE_M]), NOMINAL_FOCAL_PX, centre)
    known = np.asarray(np.isfinite(pixels).all(axis=1))
    return np.where(known[:, None], pixels, np.nan).astype(np.float32), known.astype(np.float32)
