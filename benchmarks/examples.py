"""Draws example frames before and after refinement, beside the truth.

    python benchmarks/examples.py --data DIR --picture docs/pictures/examples.png

The frames are those a quarter, a half and three quarters into the benchmark, whatever their errors: none is
chosen by how well it came out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from command import run
from posefix.pipeline.settings import DeviceName
from posefix.skeleton import H36M17
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import InputError
from posefix.skeleton.metrics import mpjpe
from posefix.training.evaluate import prepare
from posefix.training.mocap import load_mocap
from posefix.training.protocol import Benchmark, make_benchmark

Floats = npt.NDArray[np.floating]
PLACES = (0.25, 0.5, 0.75)
VIEW_DEG = 60.0  # turned about the vertical: errors in depth show


def side_view(pose: Floats) -> Floats:
    """(17, 3) camera axes -> (17, 2): to the right and up, from VIEW_DEG beside the camera."""
    angle = np.deg2rad(VIEW_DEG)
    return np.stack([np.cos(angle) * pose[:, 0] + np.sin(angle) * pose[:, 2], -pose[:, 1]], axis=-1)


def chosen_rows(benchmark: Benchmark) -> list[int]:
    """Rows at PLACES of the benchmark."""
    return [int(place * (len(benchmark) - 1)) for place in PLACES]


def examples(
    *,
    data: Path,
    picture: Path,
    file: str = "mocap17_cmu",
    split: Literal["val", "test"] = "test",
    input: Literal["gt", "det"] = "gt",
    weights: Path | None = None,
    device: DeviceName = "auto",
) -> None:
    """Draw example frames.

    Args:
        data: folder of the mocap17 files.
        picture: where to.
        file: which of them.
        split: of the people.
        input: exact 2D or the simulated detector's.
        weights: folder of posefix's weights; by default the shipped ones.
        device: where the networks run.
    """
    if not picture.absolute().parent.is_dir():
        raise InputError(f"{picture}: its folder does not exist")
    benchmark = make_benchmark(load_mocap(data / f"{file}.npz"), split, "lab", input)
    stages, *_ = prepare("posefix", weights, {}, 0, resolve_device(device))("both", lambda rows: None)
    rows = chosen_rows(benchmark)
    points, sizes = benchmark.keypoints[rows], benchmark.image_size[rows]
    poses = {name: np.asarray(stage(points, sizes)) for name, stage in stages.items()}
    draw(points, benchmark.target[rows], poses, picture)
    print(f"Written: {picture}")


def draw(points: Floats, truth: Floats, poses: dict[str, Floats], picture: Path) -> None:
    """One row a frame: its 2D, then every stage's pose over the truth, from the side, with its error."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = 1 + len(poses)
    figure, axes = plt.subplots(
        len(points), columns, figsize=(2.6 * columns, 2.8 * len(points)), squeeze=False, layout="constrained"
    )
    titles = {"lifted": "before", "refined": "after"}
    for i, row in enumerate(axes):
        bones(row[0], points[i] * np.array([1, -1]), "tab:blue", "2D")
        for axis, (name, pose) in zip(row[1:], poses.items(), strict=True):
            bones(axis, side_view(truth[i]), "0.7", "truth")
            bones(axis, side_view(pose[i]), "tab:orange", titles.get(name, name))
            error = mpjpe(pose[i : i + 1], truth[i : i + 1])
            axis.set_title(f"{titles.get(name, name)}: {error:.0f} mm", fontsize=9)
        row[0].set_title("what it sees", fontsize=9)
        for axis in row:
            axis.set_aspect("equal")
            axis.axis("off")
    handles, labels = axes[0][-1].get_legend_handles_labels()
    figure.legend(
        handles, [labels[0], "posefix"], fontsize=8, frameon=False, ncols=2, loc="outside lower center"
    )
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def bones(axis: Any, points: Floats, colour: str, label: str) -> None:
    """A skeleton of (17, 2) points; left bones thinner."""
    for n, (a, b) in enumerate(H36M17.edges):
        width = 1.2 if b in H36M17.left else 2.2
        axis.plot(*points[[a, b]].T, color=colour, linewidth=width, label=None if n else label)


if __name__ == "__main__":
    run(examples)
