"""2D poses to refined 3D poses: lifter and refiner behind one call."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..lifter import Lifter
from ..refiner import Refiner
from ..skeleton import H36M17, Pose2D, Pose3D
from ..skeleton.poses import FloatArray

#: The stature, metres, that the shipped weights take people for; `height_m` scales from it.
TRAINED_HEIGHT_M = 1.75
MAX_THREADS = 8
_RHIP, _LHIP = H36M17.joints.index("RHip"), H36M17.joints.index("LHip")

#: number of a pose, its keypoints with a Hip, and what of it is there; see `with_root`
Rooted = tuple[int, FloatArray, np.ndarray]
Poses = Sequence[Pose2D]
Keys = Sequence[tuple[int, int]]


class PoseEstimator:
    """Lifts and refines poses of the Human3.6M-17 layout.

    Poses are computed independently of each other, so how they are batched does not change a number.

    Args:
        threads: batches computed side by side where frames have several people: one for each person at most, as
            the other cores are the detector's and the encoder's.
    """

    def __init__(
        self, lifter: Lifter, refiner: Refiner | None, height_m: float, batch_size: int, threads: int = 1
    ) -> None:
        self.lifter: Lifter | None = lifter
        self.refiner = refiner
        self.scale, self.batch_size = np.float32(height_m / TRAINED_HEIGHT_M), batch_size
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.weights: dict[str, str] = {**lifter.weights, **(refiner.weights if refiner else {})}

    @classmethod
    def load(
        cls, device: str = "cpu", steps: int = 2, hypotheses: int = 5, seed: int = 0,
        height_m: float = TRAINED_HEIGHT_M, refine: bool = True, batch_size: int = 16,
        weights: str | Path | None = None,
    ) -> PoseEstimator:  # fmt: skip
        """Loads the shipped weights, or those of a folder.

        Args:
            device: "cpu", "cuda", "mps" or a torch device name.
            batch_size: poses handed to the networks at once.

        Raises:
            WeightsError: a weights file is missing or damaged.
        """
        # One thread a network: in the pipeline the other cores are the detector's and the encoder's.
        lifter = Lifter.load(device, weights, threads=1)
        refiner = Refiner.load(device, steps, hypotheses, seed, weights, threads=1) if refine else None
        return cls(lifter, refiner, height_m, batch_size, usable_cores() if device == "cpu" else 1)

    def __call__(self, poses: Poses, keys: Keys) -> list[Pose3D | None]:
        """3D poses in the order given.

        Args:
            poses: Human3.6M-17, pixels; NaN keypoints are hidden joints.
            keys: (frame index, person id) of each pose: what the refiner's draws depend on.

        Returns:
            Metres relative to Hip, camera axes, NaN where a joint was hidden; None for a pose without
            hips, which has nothing to be relative to.
        """
        if self.lifter is None:
            raise ValueError("PoseEstimator: is closed")
        out: list[Pose3D | None] = [None] * len(poses)
        rooted = [(i, *with_root(p.keypoints)) for i, p in enumerate(poses)]
        usable = [row for row in rooted if row[2][0]]
        people = max(Counter(keys[row[0]][0] for row in usable).values(), default=1)
        parts = max(1, min(self.threads, people))
        size = min(self.batch_size, -(-len(usable) // parts) or 1)
        batches = [usable[begin : begin + size] for begin in range(0, len(usable), size)]
        for batch, found in zip(batches, self._all(batches, poses, keys, parts), strict=True):
            for row, pose in zip(batch, found, strict=True):
                out[row[0]] = pose
        return out

    def _all(self, batches: list[list[Rooted]], poses: Poses, keys: Keys, parts: int) -> list[list[Pose3D]]:
        if parts == 1 or len(batches) == 1:
            return [self._batch(batch, poses, keys) for batch in batches]
        self._pool = self._pool or ThreadPoolExecutor(self.threads)
        return list(self._pool.map(lambda batch: self._batch(batch, poses, keys), batches))

    def _batch(self, rows: list[Rooted], poses: Poses, keys: Keys) -> list[Pose3D]:
        points = np.stack([row[1] for row in rows])
        seen = np.stack([row[2] for row in rows])
        names = [keys[row[0]] for row in rows]
        scores = np.stack([poses[row[0]].scores for row in rows])
        joints, std = self.refined(points, seen, names, scores)
        return [
            Pose3D(np.where(mask[:, None], pose, np.nan), np.where(mask, spread, np.nan))
            for mask, pose, spread in zip(seen, joints, std, strict=True)
        ]

    def refined(
        self, points: FloatArray, seen: np.ndarray, keys: list[tuple[int, int]], scores: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """All joints, those that were not seen too, and how sure they are.

        Args:
            points: (n, 17, 2) px. seen: (n, 17) bool, with the Hip. keys: as of the call.
            scores: (n, 17) the detector's, 0 to 1.

        Returns:
            (n, 17, 3) metres relative to Hip, camera axes, and (n, 17) J_std, metres; NaN without a refiner.
        """
        joints = self.first(points, seen, keys)
        std = np.full(seen.shape, np.nan, np.float32)
        if self.refiner:
            joints, std = self.refiner(points, seen, joints, keys, scores)
        return joints * self.scale, std * self.scale

    def first(self, points: FloatArray, seen: np.ndarray, keys: list[tuple[int, int]]) -> FloatArray:
        """The 3D that is refined: (n, 17, 2) px, (n, 17) bool -> (n, 17, 3) metres of a TRAINED_HEIGHT_M person."""
        assert self.lifter is not None
        return self.lifter(points, seen)

    def close(self) -> None:
        """Frees the networks."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
        self.lifter = self.refiner = None


def usable_cores() -> int:
    """Cores that this process may use, at most MAX_THREADS."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        count = os.cpu_count() or 1
    return min(count, MAX_THREADS)


def with_root(keypoints: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Keypoints (17, 2) with a Hip wherever one hip was seen, and (17,) bool of what is there."""
    points = keypoints.copy()
    seen = np.asarray(np.isfinite(points).all(axis=1))
    hips = [j for j in (_RHIP, _LHIP) if seen[j]]
    if not seen[0] and hips:
        points[0], seen[0] = points[hips].mean(axis=0), True
    return points, seen
