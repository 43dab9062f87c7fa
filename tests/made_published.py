"""What the tests of the published datasets share."""

from __future__ import annotations

import json

import numpy as np
from posefix.pipeline.cli import call


def body(n: int, joints: int, seed: int = 0) -> np.ndarray:
    """(n, joints, 3) points in the middle of the room, about as large as a person; world metres."""
    rng = np.random.default_rng(seed)
    return rng.uniform([-0.5, -0.5, 0.1], [0.5, 0.5, 1.8], (n, joints, 3)).astype(np.float32)


def assert_networks_run(dataset, folder) -> None:
    """`posefix eval` measures the shipped networks on the dataset in this folder."""
    out = folder / f"{dataset}.json"
    words = ["eval", "--dataset", dataset, "--data", str(folder), "--max-rows", "3", "--json", str(out), "-q"]
    assert call([*words, "--device", "cpu"]) == 0
    report = json.loads(out.read_text())
    assert report["lifted"]["mpjpe"] > 0 and report["refined"]["p_mpjpe"] > 0
