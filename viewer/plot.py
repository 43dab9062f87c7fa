"""Figures of positions, angles and speeds over time, with the spread as a band and holes as holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..skeleton.errors import InputError, OutputError
from ..skeleton.layouts import H36M17
from .kinematics import ANGLES, angles, speeds
from .motion import MISSING, Motion, Track
from .tables import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

What = Literal["position", "angle", "speed"]
FORMATS = (".png", ".svg", ".pdf")

# Okabe and Ito's colours, as everywhere in posefix: left blue, right orange, the middle grey.
_COLOURS = {
    "left": ("#0072b2", "#56b4e9", "#003f63"), "right": ("#d55e00", "#e69f00", "#7d3700"),
    "centre": ("#4d4d4d", "#8c8c8c", "#1a1a1a"),
}  # fmt: skip
_LINES = ("-", "--", "-.", ":")
_AXES = ("x, right [m]", "y, down [m]", "z, away [m]")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: (T,) values and (T,) spread, NaN where unknown."""

    joint: str
    value: Array
    spread: Array


def parse_joints(text: str, what: What) -> list[str]:
    """Joint names from "RKnee,LKnee".

    Raises:
        InputError: an unknown name, or a joint that has no angle.
    """
    there = list(ANGLES) if what == "angle" else list(H36M17.joints)
    by_small = {name.lower(): name for name in there}
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.lower() not in by_small:
            near = get_close_matches(word.lower(), by_small, n=1)
            guess = f"did you mean {by_small[near[0]]}? There" if near else "there"
            kind = "angle at the joint" if what == "angle" else "joint"
            raise InputError(f"--joints: there is no {kind} {word!r}; {guess} are: {', '.join(there)}")
        found.append(by_small[word.lower()])
    if not found:
        raise InputError(f"--joints: names no joint; there are: {', '.join(there)}")
    return list(dict.fromkeys(found))


def draw(motion: Motion, track: Track, joints: Sequence[str], what: What, title: str) -> Figure:
    """The figure: for positions one panel each for x, y and z, else one panel.

    Raises:
        InputError: none of the joints has a value in any frame.
    """
    from matplotlib.figure import Figure

    panels = _panels(motion, track, joints, what)
    if not any(np.isfinite(curve.value).any() for _, curves in panels for curve in curves):
        raise InputError(f"there is no {what} of {', '.join(joints)} in any frame of person {track.id}")
    figure = Figure(figsize=(9, 2.2 + 1.9 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    styles = _styles(joints)
    for axis, (label, curves) in zip(axes, panels, strict=True):
        for curve in curves:
            _line(axis, motion, curve, *styles[curve.joint])
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        _shade_gaps(axis, motion, track)
        if label.startswith("y,"):
            axis.invert_yaxis()  # y points down: so that up is up
    axes[-1].set_xlabel("time [s]")
    band = any(np.isfinite(curve.spread).any() for _, curves in panels for curve in curves)
    if band:
        title += "   (band: ± J_std" + (", carried over to degrees)" if what == "angle" else ")")
    axes[0].set_title(title, fontsize=11, loc="left", parse_math=False)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9, frameon=False
    )
    return figure


def _shade_gaps(axis: Axes, motion: Motion, track: Track) -> None:
    """Grey where the person was not seen; the time axis is the whole clip's."""
    times = motion.times
    unseen = np.concatenate([[False], track.status >= MISSING, [False]])
    starts, ends = np.flatnonzero(unseen[1:] & ~unseen[:-1]), np.flatnonzero(~unseen[1:] & unseen[:-1])
    for start, end in zip(starts, ends, strict=True):
        axis.axvspan(times[start], times[min(end, len(times) - 1)], color="0.5", alpha=0.15, linewidth=0)
    margin = max(0.01 * (times[-1] - times[0]), 1e-3)
    axis.set_xlim(times[0] - margin, times[-1] + margin)


def save(figure: Figure, path: Path) -> None:
    """Writes PNG, SVG or PDF by the name's ending; the same data give the same bytes.

    Raises:
        InputError: another ending. OutputError: the file cannot be written.
    """
    import matplotlib

    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path}: figures are written as {', '.join(FORMATS)}; choose one of these endings")
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[ending]
    try:
        with matplotlib.rc_context({"svg.hashsalt": "posefix", "svg.fonttype": "none"}):
            figure.savefig(path, dpi=150, metadata=undated)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); see -o") from None


def _panels(motion: Motion, track: Track, joints: Sequence[str], what: What) -> list[tuple[str, list[Curve]]]:
    if what == "angle":
        curves = [Curve(joint, *angles(track.joints, track.std, joint)) for joint in joints]
        return [("flexion [°]", curves)]
    places = [H36M17.joints.index(joint) for joint in joints]
    if what == "speed":
        speed = speeds(track.joints, motion.times)
        unknown = np.full(
            len(motion.times), np.nan, np.float32
        )  # J_std says nothing about two frames together
        return [
            ("speed relative to hip [m/s]", [Curve(H36M17.joints[j], speed[:, j], unknown) for j in places])
        ]
    return [
        (label, [Curve(H36M17.joints[j], track.joints[:, j, k], track.std[:, j]) for j in places])
        for k, label in enumerate(_AXES)
    ]


def _styles(joints: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour by side; further joints of a side in other shades and dashes."""
    used = {"left": 0, "right": 0, "centre": 0}
    styles = {}
    for joint in joints:
        index = H36M17.joints.index(joint)
        side = "left" if index in H36M17.left else "right" if index in H36M17.right else "centre"
        colours = _COLOURS[side]
        styles[joint] = (colours[used[side] % len(colours)], _LINES[used[side] % len(_LINES)])
        used[side] += 1
    return styles


def _line(axis: Axes, motion: Motion, curve: Curve, colour: str, dash: str) -> None:
    low, high = curve.value - curve.spread, curve.value + curve.spread
    axis.fill_between(motion.times, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(motion.times, curve.value, color=colour, linestyle=dash, linewidth=1.4, label=curve.joint)
    # A frame alone between two holes makes no line.
    known = np.isfinite(np.concatenate([[np.nan], curve.value, [np.nan]]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if alone.any():
        axis.plot(motion.times[alone], curve.value[alone], ".", color=colour, markersize=3)
