"""How much a detector's 2D suffers when people are small: why `posefix` warns below 100 pixels.

    python benchmarks/small_people.py --videos DIR [--detector mediapipe] [--frames 30] [--json FILE]

Frames of two clips of one man (`balance_cam01.mp4`, `balance_cam03.mp4`) are reduced until he would be so many pixels
tall upright, and the detector sees both. Measured over the 12 limb joints is the distance between both answers in
per cent of his stature, mean over frames and clips, and the share of frames in which he is found at all. Reducing is
kind: a small person in a real video also has the noise and the compression of a small part of the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from balance import CLIPS, DEFAULT_VIDEOS, LIMBS, Choice
from command import run, write_json
from posefix.detectors.base import create_detector
from posefix.pipeline.reader import open_source
from posefix.skeleton import Frame
from posefix.skeleton.convert import to_h36m17
from posefix.skeleton.errors import InputError

STATURE_PX = 880  # of the man in both clips, by `posefix.pipeline.advice`
SIZES_PX = (300, 200, 150, 120, 100, 80, 60, 40)


def limbs_2d(frames: list[Frame], choice: Choice, scale: float) -> np.ndarray:
    """(n, 12, 2) pixels of the frames before they were reduced by `scale`; NaN where nobody is found."""
    detector = create_detector(choice.name, "cpu", choice.options)
    found = np.full((len(frames), len(LIMBS), 2), np.nan)
    for k, frame in enumerate(frames):
        image = frame.image
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        poses = detector.detect(Frame(frame.index, frame.time_s, np.asarray(image, np.uint8)))
        if poses:  # the man in front is the largest
            man = max(poses, key=lambda pose: np.ptp(pose.keypoints, axis=0).prod())
            found[k] = to_h36m17(man).keypoints[LIMBS] / scale
    detector.close()
    return found


def small_people(
    *, videos: Path = DEFAULT_VIDEOS, detector: str = "mediapipe", frames: int = 30, json: Path | None = None
) -> None:
    """Measure how the 2D of small people differs from that of large ones.

    Parameters
    ----------
    videos
        Folder with balance_cam01.mp4 and balance_cam03.mp4.
    detector
        As in real_video.py: a name and its options, in quotes.
    frames
        Of each clip, every second one.
    json
        File for the figures.
    """
    if frames < 1:
        raise InputError(f"--frames {frames}: expected 1 or more")
    choice = Choice.read(detector)
    apart: dict[int, list[np.ndarray]] = {size: [] for size in SIZES_PX}
    for clip in CLIPS:
        with open_source(str(videos / f"{clip}.mp4"), max_frames=2 * frames) as reader:
            shown = list(reader)[::2]
        whole = limbs_2d(shown, choice, 1.0)
        for size in SIZES_PX:
            reduced = limbs_2d(shown, choice, size / STATURE_PX)
            apart[size].append(100 * np.linalg.norm(reduced - whole, axis=2).mean(axis=1) / STATURE_PX)
    report: dict[str, Any] = {"detector": detector, "stature_px": STATURE_PX, "sizes": {}}
    print(f"{detector}\n{'pixels tall':>11} {'found':>7} {'2D moves, % of stature':>23}")
    for size, parts in apart.items():
        values = np.concatenate(parts)
        found, moved = float(np.isfinite(values).mean()), float(np.nanmean(values))
        print(f"{size:>11} {100 * found:>5.0f} % {moved:>23.2f}")
        report["sizes"][size] = {"found": round(found, 4), "moved_percent": round(moved, 3)}
    write_json(report, json)


if __name__ == "__main__":
    run(small_people)
