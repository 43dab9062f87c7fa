"""The lifter as the pipeline calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .runtime import Array, Network, chunks, default_rows, open_network, weights_folder

if TYPE_CHECKING:
    from torch import nn

SOURCE = "lifter.safetensors"


def build_lift(path: Path) -> nn.Module:
    """`graformer.Lift` with the weights of a safetensors file."""
    import json

    from safetensors import safe_open
    from safetensors.torch import load_file

    from .graformer import GraFormer, GraFormerConfig, Lift

    with safe_open(str(path), "pt") as file:
        config = GraFormerConfig(**json.loads((file.metadata() or {})["config"]))
    network = GraFormer(config)
    network.load_state_dict(load_file(str(path)))
    return Lift(network).eval()


class Lifter:
    """2D -> first 3D.

    `lifter(keypoints, observed)` takes (n, 17, 2) pixels and (n, 17) bool and gives (n, 17, 3) metres
    relative to Hip, camera axes, averaged over the pose and its mirror image.
    """

    def __init__(self, network: Network, weights: dict[str, str], rows: int = 8, pad: bool = False):
        self.network, self.weights, self.rows, self.pad = network, weights, rows, pad

    @classmethod
    def load(
        cls, device: str = "cpu", weights: str | Path | None = None, rows: int | None = None, threads: int = 0
    ) -> Lifter:
        """Loads the shipped weights, or those of a folder. Raises WeightsError.

        Args:
            rows: frames a network call holds (see `runtime.chunks`).
        """
        network, digests = open_network(
            weights_folder(weights), "lifter", device, build_lift, SOURCE, threads
        )
        return cls(network, digests, rows or default_rows(device), pad=device != "cpu")

    def __call__(self, keypoints: npt.ArrayLike, observed: npt.ArrayLike) -> Array:
        """(n, 17, 2) px; (n, 17) bool, hidden joints' keypoints are ignored -> (n, 17, 3) metres.

        Raises:
            ValueError: a shape does not fit.
        """
        seen = np.asarray(observed, np.float32)
        points = np.asarray(keypoints, np.float32)
        if points.shape != (len(points), 17, 2) or seen.shape != points.shape[:2]:
            raise ValueError(
                f"Lifter: expected keypoints (n, 17, 2) and observed (n, 17), got {points.shape} and {seen.shape}"
            )
        points = np.where(seen[..., None] > 0, points, 0).astype(np.float32)
        out = np.empty((*points.shape[:2], 3), np.float32)
        for where, part in chunks(len(points), self.rows, self.pad):
            out[where] = self.network(points[part], seen[part])[0][: where.stop - where.start]
        return out
