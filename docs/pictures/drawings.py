"""The drawings of the documentation: the coordinate frames, and the house of docs/architecture.md.

python docs/pictures/drawings.py            # writes frames.svg and house.svg beside this file
python docs/pictures/drawings.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from posefix.skeleton import H36M17

INK, PALE, ACCENT = "#263238", "#90a4ae", "#1565c0"
LEFT, RIGHT, MIDDLE = "#3f9fe0", "#f08c00", "#78909c"

# A person who faces the camera, as posefix gives it: metres relative to Hip, x right, y down, z forward.
_STANDING = np.array([
    [0, 0, 0], [-0.13, 0, 0], [-0.15, 0.44, -0.03], [-0.16, 0.88, 0.02], [0.13, 0, 0], [0.18, 0.43, -0.08],
    [0.22, 0.86, -0.02], [0, -0.24, -0.01], [0, -0.49, -0.02], [0, -0.60, -0.04], [0, -0.72, -0.02],
    [0.17, -0.45, 0], [0.40, -0.30, -0.05], [0.56, -0.48, -0.16], [-0.17, -0.45, 0], [-0.24, -0.17, 0.02],
    [-0.26, 0.07, -0.06],
])  # fmt: skip
_AT = np.array([0.25, -0.05, 3.4])  # where the person's hip is, metres from the camera
_CORNERS = np.array([[-1, -1.25, 0], [1, -1.25, 0], [1, 1.25, 0], [-1, 1.25, 0]])
_PICTURE_Z, _PICTURE = 1.45, 0.46  # how far from the camera the picture is drawn, and its half width


def oblique(points: np.ndarray) -> np.ndarray:
    """(..., 3) camera axes -> (..., 2) on the paper: z runs to the right and a little up, x towards the reader."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([1.12 * z + 0.68 * x, -y + 0.16 * z - 0.30 * x], axis=-1)


def _arrow(axis: Axes, start: np.ndarray, end: np.ndarray, label: str, colour: str = ACCENT) -> None:
    a, b = oblique(start), oblique(end)
    ends = (float(a[0]), float(a[1])), (float(b[0]), float(b[1]))
    axis.add_patch(
        FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=11, color=colour, lw=1.6, zorder=6)
    )
    at = a + (b - a) * (1 + 0.13 / np.linalg.norm(b - a))
    axis.text(
        at[0], at[1], label, color=colour, ha="center", va="center", fontsize=11, weight="bold", zorder=7
    )


def _axes3(axis: Axes, origin: np.ndarray, size: float) -> None:
    for k, name in enumerate("xyz"):
        _arrow(axis, origin, origin + size * np.eye(3)[k], name)


def _skeleton(axis: Axes, joints: np.ndarray, width: float) -> None:
    flat = oblique(joints)
    for parent, child in H36M17.edges:
        colour = LEFT if child in H36M17.left else RIGHT if child in H36M17.right else MIDDLE
        axis.plot(*flat[[parent, child]].T, color=colour, lw=width, solid_capstyle="round", zorder=4)


def frames() -> Figure:
    """Camera, picture and person, with the axes of each."""
    figure = Figure(figsize=(9, 3.42))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(aspect="equal", xlim=(-0.75, 6.6), ylim=(-1.2, 1.6))
    axis.axis("off")
    zero = np.zeros(3)
    picture = _CORNERS * _PICTURE + [0, 0, _PICTURE_Z]
    for corner in picture:
        axis.plot(*oblique(np.stack([zero, corner])).T, color=PALE, lw=0.8, zorder=1)
    axis.add_patch(Polygon(oblique(picture), facecolor="#eceff1", edgecolor=INK, lw=1.2, zorder=2))
    person = _STANDING + _AT
    _skeleton(axis, person, 4)
    _skeleton(axis, person / person[:, 2:] * _PICTURE_Z, 1.6)  # its projection
    axis.plot(*oblique(zero), "o", color=INK, ms=9, zorder=5)
    _axes3(axis, zero, 0.42)
    _axes3(axis, _AT, 0.5)
    axis.plot(*oblique(_AT), "o", color="white", mec=INK, ms=7, zorder=8)
    corner = picture[0]
    _arrow(axis, corner, corner + 0.42 * np.array([1, 0, 0]), "x", INK)
    _arrow(axis, corner, corner + 0.42 * np.array([0, 1, 0]), "y", INK)
    axis.plot(*oblique(corner), "o", color=INK, ms=4, zorder=6)

    def note(x: float, y: float, head: str, text: str) -> None:
        axis.text(x, y, head, fontsize=11, weight="bold", color=INK, va="top")
        axis.text(x, y - 0.19, text, fontsize=9.5, color=INK, va="top", linespacing=1.35)

    note(-0.65, -0.66, "camera", "x right, y down, z forward")
    note(0.55, 1.5, "NAME_2d.csv: pixels", "from the corner of the top-left pixel")
    note(4.75, 1.35, "NAME_3d.csv: metres", "from the Hip, along the\ncamera's axes, wherever\nthe person is")
    note(4.75, -0.42, "left and right", "are the person's own:")
    axis.text(4.75, -0.84, "left", color=LEFT, fontsize=9.5, weight="bold", va="top")
    axis.text(5.15, -0.84, "right", color=RIGHT, fontsize=9.5, weight="bold", va="top")
    return figure


# room -> (x, y, width, height on the paper, what it does). A room stands on those it may import from.
HOUSE: dict[str, tuple[float, float, float, float, str]] = {
    "skeleton": (0, 0, 6.6, 1.1, "what a pose is: layouts, records,\nconversions, cameras, metrics, errors"),
    "weights": (6.6, 0, 3.4, 1.1, "files of the networks"),
    "detectors": (0, 1.1, 4.2, 2, "frame → people in 2D"),
    "lifter": (4.2, 1.1, 5.8, 1, "2D → first 3D"),
    "refiner": (4.2, 2.1, 5.8, 1, "first 3D → better 3D, and how sure"),
    "pipeline": (
        0, 3.1, 10, 1.1, "the running program: read, join the stages, draw, write;\ncommand line, files, cameras",
    ),
    "viewer": (0.6, 4.2, 8.8, 0.9, "a page and figures of finished results"),
    "demos": (0, 5.1, 10, 1.25, "short programs; the drawn sample"),
    "training": (
        11, 0, 4, 4.2,
        "data, augmentation, loops,\nevaluation: uses the rooms\non its left; nobody comes\nhere at run time",
    ),
}  # fmt: skip
_FILL = {"pipeline": "#cfe3f5", "training": "#f3efe6", "demos": "#f6d9c8", "viewer": "#fbeee6"}


def house() -> Figure:
    """The rooms as in docs/architecture.md."""
    figure = Figure(figsize=(9, 4.05))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.35, 15.35), ylim=(-0.15, 6.5))
    axis.axis("off")
    for name, (x, y, w, h, text) in HOUSE.items():
        style = {"facecolor": _FILL.get(name, "#e8eef1"), "edgecolor": INK, "lw": 1.3}
        if name == "demos":  # the roof
            axis.add_patch(Polygon([(x - 0.25, y), (x + w / 2, y + h), (x + w + 0.25, y)], **style))
        elif name == "training":
            axis.add_patch(Rectangle((x, y), w, h, linestyle="--", **style))
            axis.add_patch(
                Polygon([(x, y + h), (x + w, y + h), (x + w, y + h + 0.5)], linestyle="--", **style)
            )
        else:
            axis.add_patch(Rectangle((x, y), w, h, **style))
        top = y + (0.42 if name == "demos" else 0.5) * h + 0.13 * (text.count("\n") + 1)
        axis.text(x + w / 2, top, name, ha="center", va="center", fontsize=12, weight="bold", color=INK)
        axis.text(
            x + w / 2, top - 0.17, text, ha="center", va="top", fontsize=8.6, color=INK, linespacing=1.25
        )
    axis.add_patch(
        FancyArrowPatch((11, 2), (10.05, 2), arrowstyle="-|>", mutation_scale=12, color=INK, ls="--")
    )
    return figure


def main(folder: Path) -> None:
    """Writes both drawings; the same matplotlib gives the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "posefix", "svg.fonttype": "path"}):
        for name, figure in (("frames", frames()), ("house", house())):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
