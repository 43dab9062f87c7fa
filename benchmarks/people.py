"""What eight people in a frame cost in lifter and refiner, against one, in one run on one machine.

    python benchmarks/people.py [--repeats 30] [--device cpu] [--json FILE]

Times are those of one frame's poses, as the pipeline hands them over when frames come one by one, and of a batch of
eight frames; networks loaded, default settings. One and eight take turns, and the medians are compared. On the CPU
several people are computed side by side, so the ratio falls with the cores there are; the figures name their number.

What it would be with other numbers of cores is told by the processor time of one thread for a core's share of the
people, which does not depend on what else the machine does: eight people on c free cores take as long as ceil(8 / c)
on one, if memory keeps up.
"""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from command import run, write_json
from posefix.pipeline.estimate import PoseEstimator, usable_cores
from posefix.pipeline.settings import Settings
from posefix.skeleton import Pose2D
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import InputError

PEOPLE = (1, 8)
FRAMES = (1, 8)  # at once
MOST_RATIO = 2.5
WARM_UP = 3
SHARES = {8: 1, 4: 2, 3: 3, 2: 4, 1: 8}  # cores -> people of eight that the busiest one has


def made_poses(count: int, seed: int) -> list[Pose2D]:
    """Poses of people, of whom the numbers do not matter: the networks take as long for any."""
    rng = np.random.default_rng(seed)
    return [
        Pose2D(rng.uniform(0, 500, (17, 2)).astype(np.float32), np.full(17, 0.9, np.float32))
        for _ in range(count)
    ]


def times_ms(estimator: PoseEstimator, frames: int, repeats: int) -> dict[int, float]:
    """People in a frame -> milliseconds a frame, the median; the two take turns."""
    spent: dict[int, list[float]] = {people: [] for people in PEOPLE}
    for k in range(WARM_UP + repeats):
        for people in PEOPLE:
            poses = made_poses(people * frames, k)
            keys = [(k + frame, person) for frame in range(frames) for person in range(people)]
            began = time.perf_counter()
            estimator(poses, keys)
            if k >= WARM_UP:
                spent[people].append(1000 * (time.perf_counter() - began) / frames)
    return {people: statistics.median(values) for people, values in spent.items()}


def one_thread_ms(estimator: PoseEstimator, repeats: int) -> dict[int, float]:
    """People in a frame -> milliseconds of processor time in one thread, the median; they take turns."""
    spent: dict[int, list[float]] = {count: [] for count in SHARES.values()}
    threads, estimator.threads = estimator.threads, 1
    for k in range(WARM_UP + repeats):
        for count, times in spent.items():
            poses, keys = made_poses(count, k), [(k, person) for person in range(count)]
            began = time.process_time()
            estimator(poses, keys)
            times += [1000 * (time.process_time() - began)] if k >= WARM_UP else []
    estimator.threads = threads
    return {count: statistics.median(times) for count, times in spent.items()}


def people(
    *,
    repeats: int = 30,
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Path | None = None,
) -> None:
    """Measure what eight people cost against one.

    Args:
        repeats: measurements of each.
        device: where the networks run.
        json: also write the figures to this file.
    """
    if repeats < 1:
        raise InputError(f"--repeats {repeats}: expected 1 or more")
    where = resolve_device(device)
    estimator = PoseEstimator.load(where, batch_size=Settings.batch_size)
    report: dict[str, Any] = {
        "device": where, "cores": usable_cores(), "machine": platform.processor() or platform.machine(),
        "repeats": repeats, "at_most": MOST_RATIO,
    }  # fmt: skip
    for frames in FRAMES:
        one, many = times_ms(estimator, frames, repeats).values()
        ratio = many / one
        report[f"frames_{frames}"] = {"one_ms": one, "eight_ms": many, "ratio": ratio}
        print(
            f"{frames} frame{'s' * (frames > 1)} at once: one person {one:.1f} ms a frame, eight {many:.1f} ms, "
            f"ratio {ratio:.2f}"
        )
    if where == "cpu":
        report["one_thread_ms"] = single = one_thread_ms(estimator, repeats)
        report["ratio_by_cores"] = {cores: single[share] / single[1] for cores, share in SHARES.items()}
        told = ", ".join(f"{count} {ms:.1f} ms" for count, ms in single.items())
        print(f"processor time of one thread by people: {told}")
        told = ", ".join(f"{cores}: {ratio:.2f}" for cores, ratio in report["ratio_by_cores"].items())
        print(f"so eight against one by free cores: {told}")
    estimator.close()
    holds = "holds" if report["frames_1"]["ratio"] <= MOST_RATIO else "does NOT hold"
    print(f"{where}, {report['cores']} cores; one frame at once, ratio at most {MOST_RATIO}: {holds}")
    write_json(report, json)


if __name__ == "__main__":
    run(people)
