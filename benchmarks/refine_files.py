"""Keypoint files that hold 3D: as it is, refined, and made anew from the file's own 2D.

    python benchmarks/refine_files.py --videos DIR [--cache DIR] [--json FILE]

The two calibrated clips, seen by MediaPipe, whose landmarks and world landmarks are written as the JSON that
`posefix refine` reads; smoothed as it smooths by default. Then the triangulated reference itself as 3D without any 2D,
as it is and with 3 cm of noise in every coordinate, not smoothed: what the refiner does to good and to noisy 3D.
P-MPJPE over the 12 limb joints, mm, over the frames in which everything is there.
"""

from __future__ import annotations

import json as json_format
import tempfile
from pathlib import Path

import numpy as np
from balance import CLIPS, DEFAULT_VIDEOS, LIMBS, read_reference
from command import run, write_json
from posefix.pipeline.cli import call
from posefix.pipeline.reader import IMAGE_FPS, open_source
from posefix.skeleton.errors import PosefixError
from posefix.skeleton.metrics import p_mpjpe
from posefix.viewer import read_motion
from real_video import Detections, as_poses, limbs, load_or_detect
from rich.console import Console
from rich.table import Table

WAYS = {"refined": [], "lifted and refined (--lift)": ["--lift"]}
NOISE_M = 0.03


def write_landmarks(found: Detections, path: Path) -> None:
    """One object a frame, null where nobody is found; the 2D in pixels."""
    frames = []
    for k in range(len(found.found)):
        flat = np.column_stack([found.kp[k], np.zeros(33), found.score[k]])  # (33, 4) x, y, z, visibility
        solid = np.column_stack([found.world[k], found.score[k]])
        whole = np.isfinite(flat).all() and np.isfinite(solid).all()
        frames.append({"landmarks": flat.tolist(), "world_landmarks": solid.tolist()} if whole else None)
    path.write_text(json_format.dumps(frames), encoding="utf-8")


def refined(path: Path, size: tuple[int, int], fps: float, options: list[str]) -> np.ndarray:
    """(n, 12, 3) limb joints of `posefix refine`, metres; NaN where one is missing. Raises PosefixError."""
    folder = path.with_name("out")
    words = ["refine", str(path), "-o", str(folder), "--overwrite", "--quiet", "--device", "cpu"]
    if call([*words, "--size", f"{size[0]}x{size[1]}", "--fps", f"{fps:g}", *options]) != 0:
        raise PosefixError(f"{path.name}: `posefix refine` failed")
    return read_motion(folder / f"{path.stem}_3d.csv").person(0).joints[:, LIMBS]


def measure(videos: Path, clip: str, cache: Path | None) -> dict[str, float]:
    """One clip's errors, mm."""
    video, truth = videos / f"{clip}.mp4", read_reference(videos, clip)
    found = load_or_detect(video, cache)
    n = min(len(found.found), len(truth.joints))
    with open_source(str(video)) as frames:
        size, fps = (frames.info.width, frames.info.height), frames.info.fps or IMAGE_FPS
    poses = {"MediaPipe's world landmarks": limbs(as_poses(found.world))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{clip}.json"
        write_landmarks(found, path)
        for name, options in WAYS.items():
            poses[name] = refined(path, size, fps, options)
        for name, noise in (("reference", 0.0), ("reference with noise", NOISE_M)):
            solid = truth.joints + np.random.default_rng(0).normal(0, noise, truth.joints.shape)
            path = Path(folder) / f"{clip}.npz"
            np.savez(path, positions_3d=solid.astype(np.float32), layout="h36m17", fps=fps)
            poses[name] = solid[:, LIMBS]
            poses[f"{name}, refined"] = refined(path, size, fps, ["--smooth", "off"])
    whole = np.all([np.isfinite(p[:n]).all(axis=(1, 2)) for p in poses.values()], axis=0)
    target = truth.joints[:n][whole][:, LIMBS]
    return {name: p_mpjpe(p[:n][whole], target) for name, p in poses.items()}


def refine_files(
    *, videos: Path = DEFAULT_VIDEOS, cache: Path | None = None, json: Path | None = None
) -> dict:
    """Measure `posefix refine` on files with 3D.

    Args:
        videos: folder with balance_cam01.mp4, balance_cam03.mp4 and balance_gt.npz.
        cache: folder that keeps the 2D detections, as of real_video.py.
        json: also write the figures to this file.
    """
    report = {clip: measure(videos, clip, cache) for clip in CLIPS}
    table = Table("P-MPJPE over the 12 limb joints, mm", *CLIPS)
    for name in next(iter(report.values())):
        table.add_row(name, *(f"{report[clip][name]:.1f}" for clip in CLIPS))
    Console().print(table)
    write_json(report, json)
    return report


if __name__ == "__main__":
    run(refine_files)
