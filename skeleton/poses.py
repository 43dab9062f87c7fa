"""What flows through posefix: frames, 2D poses, 3D poses, people.

Every stage takes and gives these frozen records; arrays are checked once, here, at the border.

Frames of reference
    2D: pixels of the upright frame, x right, y down, origin at the top-left pixel's corner.
    3D: metres, relative to the Hip joint, camera axes: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .layouts import H36M17, get_layout

FloatArray = npt.NDArray[np.float32]
Status = Literal["detected", "interpolated", "missing"]


def _floats(value: npt.ArrayLike, shape: tuple[int, ...], what: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")
    return array


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded video frame.

    Attributes:
        index: number of the frame in its source, from 0; skipped corrupt frames keep their number.
        time_s: presentation time from the container, seconds from the source's start.
        image: (H, W, 3) uint8, BGR, upright (phone rotation already applied).
    """

    index: int
    time_s: float
    image: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"Frame.image: expected (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}"
            )


@dataclass(frozen=True, slots=True)
class Pose2D:
    """One person's keypoints in one frame, in any named layout.

    Attributes:
        keypoints: (J, 2) float32, pixels of the upright frame; NaN where a joint has no position at all.
        scores: (J,) float32 in 0..1.
        layout: name of the joint layout (see `posefix.skeleton.layouts`).
        box: (4,) x0, y0, x1, y1 pixels, or None.
        heatmaps: (J, h, w) detector heatmaps, or None.
        heatmap_box: (4,) x0, y0, x1, y1 pixels: what the heatmaps cover, each value at the middle of its
            cell; None: `box`.

    Raises:
        ValueError: a shape does not fit the layout.
    """

    keypoints: FloatArray
    scores: FloatArray
    layout: str = H36M17.name
    box: FloatArray | None = None
    heatmaps: FloatArray | None = None
    heatmap_box: FloatArray | None = None

    def __post_init__(self) -> None:
        joints = len(get_layout(self.layout).joints)
        object.__setattr__(self, "keypoints", _floats(self.keypoints, (joints, 2), "Pose2D.keypoints"))
        object.__setattr__(self, "scores", _floats(self.scores, (joints,), "Pose2D.scores"))
        if self.box is not None:
            object.__setattr__(self, "box", _floats(self.box, (4,), "Pose2D.box"))
        if self.heatmap_box is not None:
            object.__setattr__(self, "heatmap_box", _floats(self.heatmap_box, (4,), "Pose2D.heatmap_box"))


@dataclass(frozen=True, slots=True)
class Pose3D:
    """One person's Human3.6M-17 skeleton in one frame.

    Attributes:
        joints: (17, 3) float32, metres relative to Hip, camera axes (x right, y down, z forward);
            NaN rows for joints that were hidden for longer than the gap limit.
        std: (17,) float32, metres: how far each joint is likely to be off (docs/uncertainty.md); NaN like `joints`.

    Raises:
        ValueError: a shape is not (17, 3) or (17,).
    """

    joints: FloatArray
    std: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "joints", _floats(self.joints, (17, 3), "Pose3D.joints"))
        object.__setattr__(self, "std", _floats(self.std, (17,), "Pose3D.std"))


@dataclass(frozen=True, slots=True)
class Person:
    """One person in one frame: identity, how the row came about, and the poses (None when missing).

    `pose2d` is always in the Human3.6M-17 layout here. `raw3d` is what `pose3d` was before it was smoothed over time,
    None where nothing is smoothed.
    """

    id: int
    status: Status
    pose2d: Pose2D | None = None
    pose3d: Pose3D | None = None
    raw3d: Pose3D | None = None


@dataclass(frozen=True, slots=True)
class FramePoses:
    """Everybody in one frame; what sinks and renderer take."""

    index: int
    time_s: float
    people: tuple[Person, ...] = ()
