"""Detectors on the two calibrated clips: `real_video.py --detector ...`.

On the frames in which every detector finds the person, for each: the mean distance of its 12 limb joints from the
projected reference, pixels; P-MPJPE of the final poses over these joints, smoothed as by default, mm; the median
time it takes for a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from balance import CLIPS, LIMBS, Choice, Reference, read_reference, smoothed
from posefix.pipeline.estimate import PoseEstimator
from posefix.pipeline.reader import IMAGE_FPS, open_source
from posefix.skeleton import Pose2D
from posefix.skeleton.errors import InputError
from posefix.skeleton.metrics import p_mpjpe
from rich.console import Console
from rich.table import Table


def compare_detectors(
    choices: Sequence[Choice], videos: Path, estimator: PoseEstimator, device: str
) -> dict[str, Any]:
    """The figures of every detector, in the order given; `missing` of those whose package is not installed."""
    clips: list[dict[str, Any]] = []
    missing = {c.label: c.missing for c in choices if c.missing}
    there = [c for c in choices if not c.missing]
    if not there:
        raise InputError(f"no detector is installed; {', '.join(sorted(set(missing.values())))}")
    for clip in CLIPS:
        truth = read_reference(videos, clip)
        found: dict[str, dict[int, Pose2D]] = {}
        spent: dict[str, list[float]] = {}
        for choice in there:
            times = spent[choice.label] = []
            people = choice.detect(videos / f"{clip}.mp4", device, spent_s=times.append)
            # There is one man in front; detectors give the largest box first.
            poses = {frame.index: poses[0] for frame, poses in people if poses}
            found[choice.label] = {k: pose for k, pose in poses.items() if k < len(truth.joints)}
        with open_source(videos / f"{clip}.mp4") as reader:
            fps = reader.info.fps or IMAGE_FPS
        clips.append({"clip": clip, **figures(found, truth, estimator, fps)})
        for label, times in spent.items():
            clips[-1]["detectors"][label]["ms_per_frame"] = 1000 * float(np.median(times))
    print_table(clips, missing)
    return {"clips": clips, "mean": mean_of(clips), "missing": missing}


def figures(
    found: dict[str, dict[int, Pose2D]], truth: Reference, estimator: PoseEstimator, fps: float
) -> dict[str, Any]:
    """One clip's. found: detector -> frame -> pose. Raises InputError: no frame in which all find somebody."""
    frames = sorted(set.intersection(*(set(poses) for poses in found.values())))
    if not frames:
        raise InputError("no frame in which every detector finds somebody, so there is nothing to compare")
    rows = {}
    for label, poses in found.items():
        seen = [poses[k] for k in frames]
        results = estimator(seen, [(k, 0) for k in frames])
        there = [(k, two, three) for k, two, three in zip(frames, seen, results, strict=True) if three]
        lifted, twos, threes = zip(*there, strict=True)
        joints = np.stack([p.joints for p in smoothed(twos, threes, np.array(lifted), fps)])[:, LIMBS]
        whole = np.isfinite(joints).all(axis=(1, 2))
        off = np.linalg.norm(np.stack([p.keypoints for p in seen]) - truth.pixels[frames], axis=-1)
        rows[label] = {
            "frames_with_pose_percent": 100 * len(poses) / len(truth.joints),
            "error_2d_px": float(np.nanmean(off[:, LIMBS])),
            "p_mpjpe_12_limbs_mm": p_mpjpe(joints[whole], truth.joints[list(lifted)][whole][:, LIMBS]),
        }
    return {"frames": len(truth.joints), "frames_scored": len(frames), "detectors": rows}


def mean_of(clips: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the clips, for each detector."""
    return {
        label: {key: float(np.mean([c["detectors"][label][key] for c in clips])) for key in row}
        for label, row in clips[0]["detectors"].items()
    }


def print_table(clips: Sequence[dict[str, Any]], missing: dict[str, str]) -> None:
    """Every detector and clip, and the means."""
    table = Table(title="detectors, final poses", title_justify="left")
    for column in ("detector", "clip", "2D px", "P-MPJPE mm", "ms a frame", "frames with a pose %"):
        table.add_column(column, justify="left" if column in ("detector", "clip") else "right")
    for label, mean in mean_of(clips).items():
        for name, row in [*((c["clip"], c["detectors"][label]) for c in clips), ("mean", mean)]:
            keys = ("error_2d_px", "p_mpjpe_12_limbs_mm", "ms_per_frame", "frames_with_pose_percent")
            table.add_row(label, name, *(f"{row[key]:.1f}" for key in keys))
    Console().print(table)
    for label, command in missing.items():
        print(f"{label}: not installed; {command}")
