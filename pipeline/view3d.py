"""The 3D panel: skeletons seen from a fixed three-quarter view above a fixed ground grid.

One person's hip stays in the middle of the panel, as 3D is relative to it; several stand where `placing.py` puts
them. The ground lies where the feet of somebody standing are, and does not move with the pose, so crouching, jumping
and sitting show as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.layouts import Layout
from ..skeleton.poses import Pose3D
from .strokes import WARNING, Colour, Image, disc, halo, limb, line, mix, text

_PAPER: Colour = (38, 32, 28)
_GRID: Colour = (112, 100, 90)
_SHADOW: Colour = (26, 21, 18)
_STATURE_M = 1.75
_GROUND_M = 0.93  # below the hip, for that stature
_DISTANCE_M = 4.6
_LIMB_M, _JOINT_M = 0.026, 0.019
_HALO_SAYS = ("halo: likely error", (150, 150, 150))


@dataclass(frozen=True, slots=True)
class Figure:
    """A skeleton to draw.

    Attributes:
        pose: what. sides: colour of each joint and of the limb that ends there.
        at: metres across (to the right) and away from the viewer. dashed: interpolated. name: said at the feet.
    """

    pose: Pose3D
    sides: Sequence[Colour]
    at: tuple[float, float] = (0.0, 0.0)
    dashed: bool = False
    name: str = ""


class View3D:
    """A square panel of `size` pixels.

    Args:
        size: pixels. half_m: half the width shown, metres of a person of 1.75 m.
        yaw_deg, pitch_deg: turn and rise of the view against the camera's.
        height_m: stature the view is laid out for.
        legend: words and their colours, in the corner; where uncertainty is drawn, what that means comes to it.
    """

    HALF_M = 1.28  # for one person, arms spread

    def __init__(
        self, size: int, half_m: float, yaw_deg: float, pitch_deg: float, height_m: float,
        legend: Sequence[tuple[str, Colour]] = (),
    ) -> None:  # fmt: skip
        self.size = size
        self._unit = height_m / _STATURE_M
        yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(pitch_deg)
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        rise = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        self._rotation = rise @ turn
        self._half = half_m * self._unit
        self._distance = max(_DISTANCE_M * self._unit, 2.4 * self._half)
        self._focal = size / 2 / self._half * self._distance
        self._ground = _GROUND_M * self._unit
        self._legend_top = 0.94 * size - 44 * _font(size)  # pixels; names stay above the legend
        self._background = self._paint_background()
        self._legend = tuple(legend)

    def project(
        self, points: npt.NDArray, at: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[npt.NDArray, npt.NDArray]:
        """(n, 3) metres relative to the hip, which is `at` -> ((n, 2) panel pixels, (n,) metres from the viewer)."""
        view = (np.asarray(points, dtype=np.float64) + np.array([at[0], 0.0, at[1]])) @ self._rotation.T
        depth = np.maximum(view[:, 2] + self._distance, 0.2 * self._distance)
        centre = self.size / 2
        x = view[:, 0] * self._focal / depth + centre
        # A little above the middle, so that raised hands stay in the panel.
        y = (view[:, 1] + 0.08 * self._unit) * self._focal / depth + centre
        return np.stack([x, y], axis=1), depth

    def draw(
        self, panel: Image, figures: Sequence[Figure], layout: Layout, absent: Sequence[str] = ()
    ) -> None:
        """Fills the panel, (size, size, 3) BGR: ground, everybody's shadow, the legend, the skeletons, far ones first.

        Around each joint a halo of radius `std`, to scale: how far off it may well be. NaN: none.

        Args:
            absent: of whom there is no 3D here, and why, in words.
        """
        panel[:] = self._background
        for figure in figures:
            self._shadow(panel, figure, layout)
        unsure = any(np.isfinite(figure.pose.std).any() for figure in figures)
        self._write_legend(panel, (*self._legend, _HALO_SAYS) if unsure else self._legend)
        for figure in sorted(figures, key=lambda f: -self._away(f)):
            self._skeleton(panel, figure, layout)
            if figure.name:
                at, _ = self.project(np.array([[0.0, 1.12 * self._ground, 0.0]]), figure.at)
                where = at[0, 0], min(at[0, 1], self._legend_top)
                text(panel, figure.name, where, _font(self.size), figure.sides[0])
        self._write_absent(panel, absent, alone=not figures)

    def _away(self, figure: Figure) -> float:
        """Metres from the viewer to a figure's hip."""
        return float(self.project(np.zeros((1, 3)), figure.at)[1][0])

    def _shadow(self, panel: Image, figure: Figure, layout: Layout) -> None:
        fallen = figure.pose.joints.astype(np.float64)
        fallen[:, 1] = np.where(np.isfinite(fallen[:, 1]), self._ground, np.nan)
        points, _ = self.project(fallen, figure.at)
        known = np.asarray(np.isfinite(points).all(axis=1))
        width = 1.8 * _LIMB_M * self._unit * self._focal / self._distance
        for a, b in layout.edges:
            if known[a] and known[b]:
                line(panel, points[a], points[b], _SHADOW, width)

    def _skeleton(self, panel: Image, figure: Figure, layout: Layout) -> None:
        pose, sides, dashed = figure.pose, figure.sides, figure.dashed
        points, depth = self.project(pose.joints, figure.at)
        known = np.asarray(np.isfinite(points).all(axis=1))
        pixels = self._unit * self._focal / np.where(known, depth, 1.0)
        away = (depth - self._away(figure)) / self._unit
        colours = [_shade(sides[j], away[j]) if known[j] else sides[j] for j in range(len(sides))]
        spread = np.nan_to_num(pose.std) / self._unit * pixels
        for j in np.flatnonzero(known & (spread > 1.2 * _JOINT_M * pixels)).tolist():
            # Beneath the limbs, dim: how far off the joint may well be.
            halo(panel, points[j], min(spread[j], self.size / 4), sides[j])
        parts = [((depth[a] + depth[b]) / 2, a, b) for a, b in layout.edges if known[a] and known[b]]
        parts += [(depth[j] - 0.02, j, j) for j in np.flatnonzero(known).tolist()]
        for _, a, b in sorted(parts, reverse=True):
            if a == b:
                disc(panel, points[a], _JOINT_M * pixels[a], colours[a], hollow=dashed)
            else:
                width = _LIMB_M * (pixels[a] + pixels[b]) / 2
                shade = _shade(sides[b], (away[a] + away[b]) / 2)
                limb(panel, points[a], points[b], shade, width, dashed=dashed, outline=_PAPER)

    def _paint_background(self) -> Image:
        image = np.full((self.size, self.size, 3), _PAPER, np.uint8)
        reach = self._half / self._unit
        step = 0.25 if reach < 2 else 0.5
        ticks = np.arange(-round(reach / step), round(reach / step) + 1) * step
        steps = np.linspace(-reach, reach, 49)
        for tick in ticks:
            for start, end in pairwise(steps):
                for ends in ([(tick, start), (tick, end)], [(start, tick), (end, tick)]):
                    self._grid_line(image, np.array(ends), reach, strong=abs(tick % (2 * step)) < 1e-6)
        return image

    def _grid_line(self, image: Image, ends: npt.NDArray, reach: float, strong: bool) -> None:
        fade = 1 - np.hypot(*ends.mean(axis=0)) / reach
        if fade <= 0:
            return
        ground = np.stack([ends[:, 0], np.full(2, _GROUND_M), ends[:, 1]], axis=1) * self._unit
        points, _ = self.project(ground)
        colour = mix(_GRID, _PAPER, min(1.0, 1.5 * fade) * (1.0 if strong else 0.45))
        a, b = (tuple(int(v) for v in np.round(p * 16)) for p in points)
        cv2.line(image, a, b, colour, 1, cv2.LINE_AA, 4)

    def _write_absent(self, panel: Image, absent: Sequence[str], alone: bool) -> None:
        size = _font(self.size) * (1.2 if alone else 1.0)
        y = self.size * (0.45 if alone else 0.05)
        for words in absent:
            (width, height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
            text(panel, words, ((self.size - width) / 2 if alone else self.size * 0.03, y), size, WARNING)
            y += 1.8 * height

    def _write_legend(self, panel: Image, legend: Sequence[tuple[str, Colour]]) -> None:
        """In one line, in two where it is too long; over shadows, which would swallow it."""
        size = _font(self.size)
        left = x = self.size * 0.03
        widths = [cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] for words, _ in legend]
        gap, lines = 30 * size, [0.965, 0.965 - 44 * size / self.size]
        y = lines.pop(-1 if left + sum(widths) + gap * len(widths) > self.size else 0)
        for (words, colour), width in zip(legend, widths, strict=True):
            if x + width > self.size and lines:
                x, y = left, lines.pop()
            text(panel, words, (x, y * self.size), size, mix(colour, _PAPER, 0.9))
            x += width + gap


def _shade(colour: Colour, away: float) -> Colour:
    """Nearer is brighter."""
    return mix(colour, _PAPER, min(1.0, max(0.45, 0.8 - 0.45 * float(away))))


def _font(size: int) -> float:
    return max(0.32, min(0.55, size / 1300))
