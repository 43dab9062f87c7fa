"""What smoothing over time does: to errors and jitter, to fast motion, to a joint that jumps for one frame.

    python benchmarks/smoothing.py --data DIR [--split val] [--json FILE]

On motion capture at its 30 frames/s, or at a half and a third of them (`--every 2`), one lab camera a sequence:
    error, acceleration  of lifted and refined 2D of the simulated detector, over all joints, relative to Hip
    kept                 of exact motion, in which all that changes is loss: for wrists and ankles within 0.25 s of the
                         frames in which they are fastest (1 %), what is left of the largest distance between two of
                         their places, and of their peak speed; mean, and 5th percentile
    jump                 what is left of 0.2 m in a single frame of a joint at rest with 5 mm of noise; largest frame
The parameters in `pipeline/smoothing.py` were chosen with the split `val` of CMU and HDM05.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from command import run, write_json
from posefix.pipeline.smoothing import KERNELS, LIVE, OneEuro, Smoother
from posefix.skeleton import H36M17, FramePoses, Person, Pose2D, Pose3D
from posefix.skeleton.errors import InputError
from posefix.training.mocap import load_mocap
from posefix.training.protocol import lab_view, simulate_detector
from rich.console import Console
from rich.progress import track
from rich.table import Table

FILES = ("mocap17_cmu.npz", "mocap17_hdm05.npz")
FPS, SHORTEST = 30.0, 15
FAST = [H36M17.joints.index(s + j) for s in "LR" for j in ("Wrist", "Ankle")]
FASTEST, AROUND_S = 99.0, 0.25
JUMP_M, NOISE_M = 0.2, 0.005

#: times (n,), poses (n, 17, 3) metres, J_std (n, 17) metres, pixels (n, 17, 2) -> poses
Filter = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def filters() -> dict[str, Filter]:
    """Every setting for files, and those of the webcam."""
    named: dict[str, Filter] = {name: _of_files(name) for name in KERNELS}
    return {**named, **{f"live {name}": _live(preset) for name, preset in LIVE.items() if preset}}


def _of_files(how: str) -> Filter:
    def smooth(times: np.ndarray, poses: np.ndarray, std: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        smoother, out = Smoother(how), []
        for k, time_s in enumerate(times):
            person = Person(
                0, "detected", Pose2D(pixels[k], np.ones(17, np.float32)), Pose3D(poses[k], std[k])
            )
            out += smoother.push((None, FramePoses(k, float(time_s), (person,))))
        people = [row.people[0] for _, row in out + smoother.finish()]
        return np.stack([p.pose3d.joints for p in people if p.pose3d is not None])

    return smooth


def _live(preset: Sequence[float]) -> Filter:
    def smooth(times: np.ndarray, poses: np.ndarray, std: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        euro = OneEuro(*preset)
        return np.stack([euro.push(float(time_s), pose) for time_s, pose in zip(times, poses, strict=True)])

    return smooth


def clips(data: Path, split: str, max_frames: int, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Exact poses (n, 17, 3) relative to Hip, camera metres, and exact pixels (n, 17, 2) of each sequence."""
    for file in FILES:
        for number, sequence in enumerate(load_mocap(data / file).split(split)):
            world = sequence.world64()[:max_frames]
            if len(world) >= SHORTEST:
                view, begin = lab_view(world), len(world) * (number % 4)
                points = view.points[begin : begin + len(world)]
                pixels = view.pixels[begin : begin + len(world)]
                yield (points - points[:, :1])[::every], pixels[::every]


def estimated(exact: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses and J_std that posefix gives for pixels of the simulated detector."""
    from posefix.pipeline.estimate import PoseEstimator

    pixels, estimator = simulate_detector(np.concatenate(exact)), PoseEstimator.load("cpu")
    found: list[Pose3D | None] = []
    for k in track(range(0, len(pixels), 64), "poses", console=Console(stderr=True), transient=True):
        some = [Pose2D(p, np.ones(17, np.float32)) for p in pixels[k : k + 64]]
        found += estimator(some, [(k + i, 0) for i in range(len(some))])
    estimator.close()
    joints = np.stack([pose.joints for pose in found if pose is not None]).astype(np.float64)
    std = np.stack([pose.std for pose in found if pose is not None]).astype(np.float64)
    ends = np.cumsum([len(p) for p in exact])[:-1]
    return list(zip(np.split(joints, ends), np.split(std, ends), strict=True))


def acceleration(poses: np.ndarray, fps: float) -> np.ndarray:
    """(n - 2, J) m/s^2 of (n, J, 3) metres."""
    return np.linalg.norm(np.diff(poses, 2, axis=0), axis=2) * fps**2


def speeds(poses: np.ndarray, fps: float) -> np.ndarray:
    """(n, J) m/s"""
    return np.linalg.norm(np.gradient(poses, axis=0), axis=2) * fps


def kept(truth: np.ndarray, smooth: np.ndarray, fps: float, fast: float) -> list[tuple[float, float]]:
    """Shares of extent and of peak speed around every frame in which a wrist or an ankle is faster than `fast`, m/s."""
    before, after, shares = speeds(truth, fps), speeds(smooth, fps), []
    for frame, joint in zip(*np.nonzero(before[:, FAST] > fast), strict=True):
        part, j = slice(max(0, frame - round(AROUND_S * fps)), frame + round(AROUND_S * fps) + 1), FAST[joint]
        extents = [
            np.linalg.norm(p[part, None, j] - p[None, part, j], axis=-1).max() for p in (truth, smooth)
        ]
        shares.append((extents[1] / extents[0], after[part, j].max() / before[part, j].max()))
    return shares


def jump(smooth: Filter, fps: float, repeats: int = 10) -> float:
    """What is left of a joint's jump in one frame, as a share of it; mean of the repeats."""
    rng, n = np.random.default_rng(0), 31
    times, std, pixels = np.arange(n) / fps, np.full((n, 17), 0.05), np.tile(np.arange(34.0), (n, 1))
    left = []
    for _ in range(repeats):
        still = rng.normal(0, NOISE_M, (n, 17, 3))
        jumped = still.copy()
        jumped[n // 2, FAST[0], 0] += JUMP_M
        both = [smooth(times, poses, std, pixels.reshape(n, 17, 2)) for poses in (jumped, still)]
        left.append(np.linalg.norm(both[0] - both[1], axis=2).max() / JUMP_M)
    return float(np.mean(left))


def measure(smooth: Filter, exact: list, found: list, fps: float, fast: float) -> dict[str, float]:
    """One filter's figures."""
    errors, jitter, shares = [], [], []
    for (truth, pixels), (poses, std) in zip(exact, found, strict=True):
        times = np.arange(len(truth)) / fps
        out = smooth(times, poses, std, pixels)
        errors.append(np.linalg.norm(out - truth, axis=2).ravel())
        jitter.append(acceleration(out, fps).ravel())
        shares += kept(truth, smooth(times, truth, std, pixels), fps, fast)
    extent, speed = np.array(shares).T
    return {
        "mpjpe_mm": 1000 * float(np.concatenate(errors).mean()),
        "acceleration_m_s2": float(np.concatenate(jitter).mean()),
        "extent_kept": float(extent.mean()),
        "extent_kept_p5": float(np.percentile(extent, 5)),
        "peak_speed_kept": float(speed.mean()),
        "peak_speed_kept_p5": float(np.percentile(speed, 5)),
        "jump_left": jump(smooth, fps),
    }


def smoothing(
    *, data: Path, split: str = "val", every: int = 1, max_frames: int = 400, json: Path | None = None
) -> dict[str, Any]:
    """Measure what smoothing over time does.

    Args:
        data: folder of mocap17_cmu.npz and mocap17_hdm05.npz.
        split: whose motion.
        every: take every so many-th frame.
        max_frames: of a sequence, before that.
        json: also write the figures to this file.
    """
    if every < 1 or max_frames < SHORTEST:
        raise InputError(f"--every and --max-frames: expected 1 and {SHORTEST} or more")
    fps = FPS / every
    exact = list(clips(data, split, max_frames, every))
    found = estimated([pixels for _, pixels in exact])
    # A frame counts by its fastest wrist or ankle.
    fast = float(
        np.percentile(np.concatenate([speeds(t, fps)[:, FAST].max(axis=1) for t, _ in exact]), FASTEST)
    )
    true = float(np.concatenate([acceleration(t, fps).ravel() for t, _ in exact]).mean())
    rows = {name: measure(smooth, exact, found, fps, fast) for name, smooth in filters().items()}
    table = Table(
        title=f"{split}, {fps:g} frames/s; true acceleration {true:.1f} m/s²; fast: above {fast:.1f} m/s"
    )
    for column in (
        "",
        "MPJPE, mm",
        "acceleration, m/s²",
        "extent kept, %",
        "peak speed kept, %",
        "jump left, %",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        pairs = [
            f"{100 * row[k]:.1f} ({100 * row[f'{k}_p5']:.1f})" for k in ("extent_kept", "peak_speed_kept")
        ]
        first = f"{row['mpjpe_mm']:.1f}", f"{row['acceleration_m_s2']:.1f}"
        table.add_row(name, *first, *pairs, f"{100 * row['jump_left']:.1f}")
    Console().print(table)
    frames = sum(len(truth) for truth, _ in exact)
    settings = {"split": split, "every": every, "max_frames": max_frames, "fps": fps}
    report = {"frames": frames, "fast_m_s": fast, "acceleration_true_m_s2": true, "filters": rows}
    report["settings"] = settings
    write_json(report, json)
    return report


if __name__ == "__main__":
    run(smoothing)
