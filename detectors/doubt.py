"""What heatmaps say of how sure a detector is, put on the scale of scores: one number for each joint downstream.

A score tells how high a heatmap is, not how wide. A joint that cannot be seen well has a wide one, or one with
several peaks: its second moments about the place that was decoded are the joint's 2D uncertainty.

    s      standard deviation of the heatmap about the place, along an axis, pixels of the frame
    blur   what of it the network would draw for a joint without any doubt: 1/32 of the map's height
    d      sqrt(s^2 - blur^2) as a share of the longer side of the person's box
    score  the lower of the detector's own and a line in log d from 0.8 at 1.7 % to 0.1 at 13 %, cut to 0..1

1.7 % is the noise of the least sure joints that the refiner was trained with, and 0.8 is where J_std begins to rise;
log J_std, being linear in the score, is then linear in log d. 13 % is where the same line meets PP-TinyPose's own
scores: on four clips without a reference, with and without rectangles painted over joints, their medians are 0.81,
0.60, 0.35 and 0.18 where d is about 1.7, 3.3, 6.5 and 12 %, and the line gives 0.79, 0.57, 0.34 and 0.13. How far the
joints lie from MediaPipe's rank-correlates with the lower of both a little better (0.54) than with the score (0.52).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..skeleton import Pose2D
from ..skeleton.convert import to_h36m17
from ..skeleton.poses import FloatArray

FLOOR = 0.1  # of a heatmap's highest value: what is lower is the network's noise
BLUR = (
    1 / 32
)  # of the map's height: sigma of the Gaussians that networks learn to draw, 2 of 64 cells or 3 of 96
PADDING = 1.25  # the map's longer side against that of the person's box
SURE, LOST = 0.017, 0.13  # d at which the score is
SURE_SCORE, LOST_SCORE = 0.8, 0.1  # these


def _cut(floor: float) -> float:
    """By how much a Gaussian becomes narrower when `floor` of its height is taken off its foot."""
    depth = -np.log(floor)
    return float(np.sqrt(1 - floor * depth**2 / 2 / (1 - floor - floor * depth)))


def heatmap_spread(pose: Pose2D) -> FloatArray:
    """(J,) pixels of the frame: standard deviation s of the heatmaps about the pose's keypoints, along an axis.

    A Gaussian has its own sigma. NaN for joints that have no place, or nothing positive in their heatmap.
    Raises ValueError: the pose has no heatmaps, or no box for them.
    """
    box = _box(pose)
    if pose.heatmaps is None or box is None:
        raise ValueError("heatmap_spread: the pose has no heatmaps, or no box for them")
    maps = np.nan_to_num(pose.heatmaps, nan=0.0, posinf=0.0, neginf=0.0)  # (J, h, w)
    mass = np.maximum(maps - FLOOR * maps.max(axis=(1, 2), keepdims=True), 0)
    mass *= maps > 0
    h, w = maps.shape[1:]
    x = box[0] + (np.arange(w) + 0.5) * (box[2] - box[0]) / w
    y = box[1] + (np.arange(h) + 0.5) * (box[3] - box[1]) / h
    off_x = (x - pose.keypoints[:, :1]) ** 2  # (J, w)
    off_y = (y - pose.keypoints[:, 1:]) ** 2  # (J, h)
    moments = (mass.sum(axis=1) * off_x).sum(axis=1) + (mass.sum(axis=2) * off_y).sum(axis=1)
    total = mass.sum(axis=(1, 2))
    total = np.where(total > 0, total, np.nan)
    return (np.sqrt(moments / (2 * total)) / _cut(FLOOR)).astype(np.float32)


def as_h36m17(poses: Iterable[Pose2D]) -> list[Pose2D]:
    """A frame's detections as all that follows takes them: heatmaps' doubt in the scores, Human3.6M-17 joints."""
    return [to_h36m17(with_doubt(pose)) for pose in poses]


def with_doubt(pose: Pose2D) -> Pose2D:
    """The pose with scores lowered where its heatmaps are wide; as it is where it has none."""
    box = _box(pose)
    if pose.heatmaps is None or box is None:
        return pose
    width, height = box[2] - box[0], box[3] - box[1]
    excess = np.sqrt(np.maximum(heatmap_spread(pose) ** 2 - (BLUR * height) ** 2, 0))
    share = excess * PADDING / max(width, height)
    # NaN, where the heatmap tells nothing, leaves the score alone.
    return replace(pose, scores=np.fmin(pose.scores, score_of(share)))


def score_of(share: FloatArray) -> FloatArray:
    """Scores 0..1 for 2D standard deviations d, shares of the longer side of the person's box; NaN for NaN."""
    slope = (SURE_SCORE - LOST_SCORE) / np.log(LOST / SURE)
    return np.clip(SURE_SCORE - slope * np.log(np.maximum(share, 1e-6) / SURE), 0, 1).astype(np.float32)


def _box(pose: Pose2D) -> FloatArray | None:
    return pose.heatmap_box if pose.heatmap_box is not None else pose.box
