"""How hypotheses become one pose: plain mean, or weighted by how well each agrees with its own 2D.

    python benchmarks/averaging.py --data DIR [--json FILE]

On `val` people, lab cameras, with the shipped weights and other spreads of the drawn starts. A hypothesis is
weighted by exp(-e / (0.2 mean e)), e its mean distance across the view from the rays of the 2D, with camera and
root solved from the 2D itself by linear least squares (`refiner/reproject.py`); the true root is never used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from command import run, write_json
from posefix.lifter import Lifter
from posefix.refiner.refine import Refiner
from posefix.refiner.uncertainty import off_the_rays
from posefix.skeleton.metrics import mpjpe
from posefix.training.protocol import Benchmark, row_keys
from posefix.training.train_lifter import validation_sets

Floats = npt.NDArray[np.floating]
SPREADS = (0.0, 0.5, 1.0, 1.5)
SHARPNESS = 0.2


def weighted_mean(poses: Floats, off: Floats) -> Floats:
    """(n, H, 17, 3), (n, H) -> (n, 17, 3): those that agree with the 2D count more."""
    weight = np.exp(-(off - off.min(axis=1, keepdims=True)) / (SHARPNESS * off.mean(axis=1, keepdims=True)))
    weight /= weight.sum(axis=1, keepdims=True)
    return (weight[..., None, None] * poses).sum(axis=1)


def errors(refiner: Refiner, bench: Benchmark, lifted: Floats) -> dict[str, float]:
    """MPJPE (mm) of one drawn hypothesis, of the plain mean and of the weighted one."""
    observed = np.ones(lifted.shape[:2], bool)
    drawn, keypoints, _ = refiner.answers(bench.keypoints, observed, lifted, row_keys(len(lifted)))
    n, h = drawn.shape[:2]
    off = off_the_rays(drawn.reshape(n * h, 17, 3), np.repeat(keypoints, h, axis=0)).reshape(n, h)
    weighted = weighted_mean(drawn, off)
    poses = {"one drawn": drawn[:, 0], "mean of five": drawn.mean(axis=1), "weighted by the rays": weighted}
    return {name: mpjpe(pose, bench.target) for name, pose in poses.items()}


def averaging(*, data: Path, stride: int = 72, json: Path | None = None) -> dict[str, Any]:
    """Measure on val how hypotheses should be averaged.

    Args:
        data: folder of the mocap17 files.
        stride: of the val frames.
        json: also write the figures to this file.
    """
    lifter, refiner = Lifter.load(), Refiner.load(hypotheses=5, rows=64)
    sets = validation_sets(data, stride)
    lifted = {
        name: lifter(bench.keypoints, np.ones(bench.keypoints.shape[:2], bool))
        for name, bench in sets.items()
    }
    report: dict[str, Any] = {"spreads": {}, "settings": {"split": "val", "cameras": "lab", "stride": stride}}
    for spread in SPREADS:
        refiner.noise_scale = np.float32(spread * refiner.levels[refiner.config.start])
        rows = {name: errors(refiner, bench, lifted[name]) for name, bench in sets.items()}
        kinds = {kind: [row for name, row in rows.items() if name.endswith(kind)] for kind in ("gt", "det")}
        report["spreads"][str(spread)] = {
            kind: {name: float(np.mean([row[name] for row in group])) for name in group[0]}
            for kind, group in kinds.items()
        }
        print(spread, report["spreads"][str(spread)], flush=True)
    write_json(report, json)
    return report


if __name__ == "__main__":
    run(averaging)
