"""Are visible joints dragged along when others are hidden, and does `J_std` tell the hidden ones?

    python benchmarks/occlusion.py [--videos DIR] [--detector "NAME [--pose-model FILE ...]"] [--json FILE]

The two calibrated clips of `real_video.py`, once as they are and once for every limb and size with a rectangle
painted over that limb, in every frame, where the reference says it is. Then all of posefix but the rendering: the
detector, hidden joints and gaps, lifter, refiner. Measured over the 12 joints of the limbs:
    P-MPJPE   of the joints that no rectangle covers, aligned by these alone, against the same joints of the same
              frames of the clip as it is;
    seen      how many of the covered joints the detector still calls seen (a score of 0.1 or more);
    J_std     of the covered joints against the visible ones of the same frames, and against the same joints of the
              clip as it is. posefix leaves joints that were not seen out of its CSV; here they count, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from balance import CLIPS, DEFAULT_VIDEOS, LIMBS, Choice, Reference, read_reference
from command import run, write_json
from detector_tables import average
from posefix.pipeline.batches import as_written
from posefix.pipeline.estimate import PoseEstimator, with_root
from posefix.pipeline.people import row_maker
from posefix.skeleton import H36M17, Frame, FramePoses
from posefix.skeleton.errors import InputError, PosefixError
from posefix.skeleton.metrics import p_mpjpe
from rich.console import Console
from rich.table import Table

COVERED = {name: tuple(map(H36M17.joints.index, pair)) for name, pair in {
    "right forearm": ("RElbow", "RWrist"), "left forearm": ("LElbow", "LWrist"), "right shin": ("RKnee", "RAnkle"),
}.items()}  # fmt: skip
MARGINS = (0.04, 0.08)  # of the person's larger side, around both joints
MOST_RISE_PERCENT = 10.0
FEWEST = 6  # visible joints that a frame needs: fewer do not tell how to align it


@dataclass(frozen=True)
class Cover:
    """Rectangles over a limb, one a frame.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 pixels. colour: BGR, the same in all frames.
    """

    boxes: np.ndarray
    colour: tuple[int, int, int]

    @classmethod
    def over(cls, pixels: np.ndarray, joints: Sequence[int], margin: float, seed: int) -> Cover:
        """Over joints of (n, 17, 2) pixels, grown on every side by a share of the person's larger side."""
        grow = margin * np.ptp(pixels, axis=1).max(axis=1)[:, None]  # (n, 1)
        limb = pixels[:, list(joints)]
        boxes = np.concatenate([limb.min(axis=1) - grow, limb.max(axis=1) + grow], axis=1)
        blue, green, red = (int(v) for v in np.random.default_rng(seed).integers(0, 256, 3))
        return cls(boxes, (blue, green, red))

    def paint(self, frame: Frame) -> Frame:
        """The frame with its rectangle; unchanged beyond the last one."""
        if frame.index >= len(self.boxes):
            return frame
        height, width = frame.image.shape[:2]
        x0, y0, x1, y1 = self.boxes[frame.index].round().astype(int).clip(0, (width, height, width, height))
        image = frame.image.copy()
        image[y0:y1, x0:x1] = self.colour
        return replace(frame, image=image)

    def covers(self, pixels: np.ndarray) -> np.ndarray:
        """(n, J) bool: which of (n, J, 2) pixels lie under the rectangles."""
        low, high = self.boxes[:, None, :2], self.boxes[:, None, 2:]
        return np.asarray(((pixels >= low) & (pixels <= high)).all(axis=2))


@dataclass(frozen=True)
class Poses:
    """What posefix makes of n frames; NaN and False where nobody was found.

    Attributes:
        joints: (n, 12, 3) metres. std: (n, 12) metres. seen: (n, 12) bool, what the detector calls so.
    """

    joints: np.ndarray
    std: np.ndarray
    seen: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(n,) bool"""
        return np.asarray(np.isfinite(self.joints).all(axis=(1, 2)))


def poses_of(
    choice: Choice, path: Path, estimator: PoseEstimator, count: int, cover: Cover | None, device: str
) -> Poses:
    """The person of a clip's first `count` frames, as posefix finds them."""
    change = cover.paint if cover else lambda frame: frame
    people = choice.detect(path, device, change, most=count)
    rows = [row for _, row in row_maker("largest", choice.sees_one).make(people, 0)]
    made = Poses(
        np.full((count, len(LIMBS), 3), np.nan),
        np.full((count, len(LIMBS)), np.nan),
        np.zeros((count, len(LIMBS)), bool),
    )
    for row in rows[:count]:
        _fill(made, row, estimator)
    return made


def _fill(made: Poses, row: FramePoses, estimator: PoseEstimator) -> None:
    poses = [p for person in row.people if (p := as_written(person).pose2d) is not None]
    if not poses:
        return
    points, seen = with_root(poses[0].keypoints)
    if seen[0]:
        joints, std = estimator.refined(points[None], seen[None], [(row.index, 0)], poses[0].scores[None])
        made.joints[row.index], made.std[row.index] = joints[0, LIMBS], std[0, LIMBS]
        made.seen[row.index] = seen[LIMBS]


def compare(whole: Poses, hidden: Poses, covered: np.ndarray, truth: Reference) -> dict[str, Any]:
    """The figures of one rectangle. covered: (n, 12) bool."""
    frames = np.flatnonzero(whole.found & hidden.found & ((~covered).sum(axis=1) >= FEWEST))
    under = covered[frames]
    if len(frames) == 0 or not under.any():
        raise PosefixError("no frame with a pose and a covered joint, so there is nothing to measure")
    target = truth.joints[:, LIMBS]

    def error(poses: Poses) -> float:
        clear = [(poses.joints[k, ~covered[k]][None], target[k, ~covered[k]][None]) for k in frames]
        return float(np.mean([p_mpjpe(*pair) for pair in clear]))

    before, after = error(whole), error(hidden)
    std = hidden.std[frames]
    return {
        "frames": len(covered),
        "frames_scored": len(frames),
        "frames_lost_percent": 100 * float((whole.found & ~hidden.found).mean()),
        "visible_p_mpjpe_mm": {"as_it_is": before, "covered": after},
        "rise_percent": 100 * (after / before - 1),
        "covered_joints_a_frame": float(under.sum(axis=1).mean()),
        "covered_still_seen_percent": 100 * float(hidden.seen[frames][under].mean()),
        "visible_called_hidden_percent": 100 * float((~hidden.seen[frames][~under]).mean()),
        "std_mm": {
            "covered": 1000 * float(std[under].mean()),
            "visible": 1000 * float(std[~under].mean()),
            "covered_as_it_is": 1000 * float(whole.std[frames][under].mean()),
        },
    }


def measure(
    choice: Choice, videos: Path, estimator: PoseEstimator, seed: int, device: str, most: int | None
) -> dict[str, Any]:
    """All rectangles of one detector."""
    cases = []
    for number, clip in enumerate(CLIPS):
        truth, path = read_reference(videos, clip), videos / f"{clip}.mp4"
        count = len(truth.joints[:most])
        whole = poses_of(choice, path, estimator, count, None, device)
        for k, (limb, margin) in enumerate(itertools.product(COVERED, MARGINS)):
            key = [seed, number, k]
            cover = Cover.over(
                truth.pixels, COVERED[limb], margin, int(np.random.default_rng(key).integers(2**31))
            )
            hidden = poses_of(choice, path, estimator, count, cover, device)
            figures = compare(whole, hidden, cover.covers(truth.pixels[:, LIMBS])[:count], truth)
            cases.append({"clip": clip, "limb": limb, "margin": margin, **figures})
    return {"mean": average(cases), "cases": cases}


def print_tables(report: dict[str, Any]) -> None:
    """Every rectangle, and the means."""
    for label, found in report["detectors"].items():
        table = Table(title=label, title_justify="left")
        std_columns = ("std covered", "std visible", "std as it is")
        for column in ("hidden", "margin", "as it is", "covered", "rise %", "seen %", *std_columns):
            table.add_column(column, justify="left" if column == "hidden" else "right")
        for case in [*found["cases"], {"clip": "mean", "limb": "", "margin": "", **found["mean"]}]:
            errors, std = case["visible_p_mpjpe_mm"], case["std_mm"]
            table.add_row(
                f"{case['clip'].removeprefix('balance_')} {case['limb']}", f"{case['margin']}",
                *(f"{v:.1f}" for v in errors.values()),
                f"{case['rise_percent']:+.1f}", f"{case['covered_still_seen_percent']:.0f}",
                *(f"{std[k]:.0f}" for k in ("covered", "visible", "covered_as_it_is")),
            )  # fmt: skip
        Console().print(table)


def occlusion(
    *,
    videos: Path = DEFAULT_VIDEOS,
    detector: list[str] | None = None,
    weights: Path | None = None,
    json: Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    max_frames: int | None = None,
) -> dict[str, Any]:
    """Measure what rectangles over single limbs do to the other joints.

    Args:
        videos: folder with balance_cam01.mp4, balance_cam03.mp4 and balance_gt.npz.
        detector: a detector with its options in quotes, as on posefix's command line; may be given several times.
        weights: folder of other weights than the shipped ones.
        json: also write the figures to this file.
        device: where the networks run. seed: of the rectangles' colours.
        max_frames: of every clip, for a quick look.
    """
    choices = [Choice.read(words) for words in detector or ["mediapipe"]]
    if seed < 0 or (max_frames is not None and max_frames < 1):
        raise InputError(f"--seed {seed}, --max-frames {max_frames}: expected 0 or more, and 1 or more")
    estimator = PoseEstimator.load(device, weights=weights)
    report: dict[str, Any] = {
        "detectors": {c.label: measure(c, videos, estimator, seed, device, max_frames) for c in choices},
        "at_most_percent": MOST_RISE_PERCENT,
        "settings": {
            "device": device,
            "seed": seed,
            "margins": list(MARGINS),
            "limbs": list(COVERED),
            "max_frames": max_frames,
        },
    }
    estimator.close()
    print_tables(report)
    for label, found in report["detectors"].items():
        rise, std = found["mean"]["rise_percent"], found["mean"]["std_mm"]
        bar = rise < MOST_RISE_PERCENT and std["covered"] > max(std["visible"], std["covered_as_it_is"])
        holds = "holds" if bar else "does NOT hold"
        print(f"{label}: visible joints {rise:+.1f} %, bar +{MOST_RISE_PERCENT:g} %: {holds}")
    write_json(report, json)
    return report


if __name__ == "__main__":
    run(occlusion)
