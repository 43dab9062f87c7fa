"""How much posefix adds to its detector: ratios of times taken in one run on one machine.

    python benchmarks/speed.py [--video FILE] [--seconds 20] [--repeats 3] [--cores 2] [--json FILE]

    detector        detecting in every decoded frame of a 1080p clip; decoding and loading not counted
    posefix, N      everything from opening the clip to closing its files, networks' loading included, with
                    N hypotheses and the default settings otherwise
    lifter+refiner  milliseconds a frame of the 3D alone, on the CPU

Every measurement runs in a process of its own; they take turns, and the median over the repeats is given.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from clips import scaled_clip, source_or_sample
from command import run, write_json
from posefix.detectors import create_detector
from posefix.pipeline.reader import open_source
from posefix.pipeline.settings import DeviceName, Settings
from posefix.skeleton import Pose2D, to_h36m17
from posefix.skeleton.errors import PosefixError
from rich.console import Console
from rich.table import Table

SIZE = (1920, 1080)
HYPOTHESES = (1, 5)
MOST_RATIO = {1: 1.5, 5: 3.0}
MOST_MS = {1: 8.0, 5: 25.0}
WARM_UP = 20  # poses before the clock starts


def time_detector(clip: Path, device: str) -> tuple[float, int]:
    """(seconds in the detector, frames)."""
    detector, spent, count = create_detector("mediapipe", device), 0.0, 0
    with open_source(clip) as frames:
        for frame in frames:
            began = time.perf_counter()
            detector.detect(frame)
            spent += time.perf_counter() - began
            count += 1
    detector.close()
    return spent, count


def time_posefix(clip: Path, device: DeviceName, hypotheses: int) -> tuple[float, int]:
    """(wall seconds of the whole run, frames)."""
    from posefix.pipeline.run import run_video

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(output=Path(folder), hypotheses=hypotheses, device=device, overwrite=True)
        began = time.perf_counter()
        summary = run_video(str(clip), settings)
        return time.perf_counter() - began, summary.read


def time_networks(clip: Path, hypotheses: int, poses: int) -> tuple[float, int]:
    """(seconds of lifter and refiner on the CPU, poses), on the detector's poses of the clip."""
    from posefix.pipeline.estimate import PoseEstimator

    found = some_poses(clip, 30)
    estimator = PoseEstimator.load(device="cpu", hypotheses=hypotheses)
    batch = Settings().batch_size
    spent = 0.0
    for begin in range(-WARM_UP, poses, batch):
        keys = [(WARM_UP + begin + k, 0) for k in range(batch)]
        began = time.perf_counter()
        estimator([found[frame % len(found)] for frame, _ in keys], keys)
        spent = spent + time.perf_counter() - began if begin >= 0 else 0.0
    estimator.close()
    return spent, len(range(-WARM_UP, poses, batch)) * batch - len(range(-WARM_UP, 0, batch)) * batch


def some_poses(clip: Path, frames: int) -> list[Pose2D]:
    """The poses found in the first frames of the clip. Raises PosefixError when there are none."""
    detector = create_detector("mediapipe")
    with open_source(clip, max_frames=frames) as reader:
        poses = [to_h36m17(pose) for frame in reader for pose in detector.detect(frame)[:1]]
    detector.close()
    if not poses:
        raise PosefixError(f"{clip}: no person found; measure with another --video")
    return poses


def _alone(cores: int | None, work: Any, *arguments: Any) -> Any:
    """The function's result, from a fresh process that may use so many cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_keep_to, initargs=(cores,)) as pool:
        return pool.submit(work, *arguments).result()


def _keep_to(cores: int | None) -> None:
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def measure(clip: Path, repeats: int, device: DeviceName, cores: int | None, poses: int) -> dict[str, Any]:
    """All figures; times in seconds or milliseconds a frame, medians over the repeats."""
    detector: list[float] = []
    whole: dict[int, list[float]] = {n: [] for n in HYPOTHESES}
    networks: dict[int, list[float]] = {n: [] for n in HYPOTHESES}
    frames = 0
    for _ in range(repeats):
        seconds, frames = _alone(cores, time_detector, clip, device)
        detector.append(seconds)
        for n in HYPOTHESES:
            whole[n].append(_alone(cores, time_posefix, clip, device, n)[0])
            spent, count = _alone(cores, time_networks, clip, n, poses)
            networks[n].append(1000 * spent / count)
    # Turn by turn, so that a machine that slows down slows both.
    ratios = {n: statistics.median(np.divide(whole[n], detector).tolist()) for n in HYPOTHESES}
    return {
        "frames": frames,
        "repeats": repeats,
        "cores": cores or os.cpu_count(),
        "device": device,
        "machine": f"{platform.machine()}, {platform.system()}",
        "detector": {"seconds": statistics.median(detector), "fps": frames / statistics.median(detector)},
        "posefix": {
            str(n): {
                "seconds": statistics.median(whole[n]),
                "fps": frames / statistics.median(whole[n]),
                "ratio": ratios[n],
                "at_most": MOST_RATIO[n],
            }
            for n in HYPOTHESES
        },
        "lifter_refiner_ms": {
            str(n): {"ms": statistics.median(networks[n]), "at_most": MOST_MS[n]} for n in HYPOTHESES
        },
    }


def print_table(report: dict[str, Any]) -> None:
    """The figures, each beside what it may be."""
    title = (
        f"{SIZE[0]}x{SIZE[1]}, {report['frames']} frames, {report['cores']} cores, {report['device']}; "
        "1 and 5 hypotheses"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("what", no_wrap=True)
    for heading in ("frames/s", "ratio", "ms a frame", "at most", "holds"):
        table.add_column(heading, justify="right")
    table.add_row("detector alone", f"{report['detector']['fps']:.1f}", "1.00", "", "", "")
    for n, row in report["posefix"].items():
        holds = "yes" if row["ratio"] <= row["at_most"] else "NO"
        figures = (f"{row['fps']:.1f}", f"{row['ratio']:.2f}", "", f"{row['at_most']:g}", holds)
        table.add_row(f"posefix, {n}", *figures)
    for n, row in report["lifter_refiner_ms"].items():
        holds = "yes" if row["ms"] <= row["at_most"] else "NO"
        table.add_row(f"lifter + refiner, {n}", "", "", f"{row['ms']:.1f}", f"{row['at_most']:g}", holds)
    Console().print(table)


def speed(
    *,
    video: Path | None = None,
    seconds: float = 20.0,
    repeats: int = 3,
    cores: int | None = 2,
    device: DeviceName = "cpu",
    poses: int = 200,
    json: Path | None = None,
) -> None:
    """Measure how much posefix adds to its detector.

    Args:
        video: clip with a person, looped and scaled to 1080p; by default the drawn sample.
        seconds: length of the 1080p clip.
        repeats: how often everything is measured.
        cores: processor cores to use (on systems that can be told); all with 0.
        device: where the networks run in the whole posefix.
        poses: poses to time lifter and refiner on.
        json: also write the figures to this file.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = source_or_sample(video, Path(folder))
        clip = scaled_clip(source, Path(folder) / "clip_1080p.mp4", round(30 * seconds), SIZE)
        report = measure(clip, repeats, device, cores or None, poses)
    report["video"] = video.name if video else "sample"
    print_table(report)
    write_json(report, json)


if __name__ == "__main__":
    run(speed)
