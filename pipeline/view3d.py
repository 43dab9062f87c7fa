"""The 3D panel: skeletons seen from a fixed three-quarter view above a fixed ground grid.

The hip stays in the middle of the panel, as 3D is relative to it; the ground lies where the feet of somebody
standing are, and does not move with the pose, so crouching, jumping and sitting show as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.layouts import Layout
from ..skeleton.poses import Person, Pose3D
from .strokes import CENTRE, LEFT, RIGHT, Colour, Image, disc, halo, limb, line, mix, text

_PAPER: Colour = (38, 32, 28)
_GRID: Colour = (112, 100, 90)
_SHADOW: Colour = (26, 21, 18)
_STATURE_M = 1.75
_GROUND_M = 0.93  # below the hip, for that stature
_DISTANCE_M = 4.6
_SPACING_M = 1.15
_LIMB_M, _JOINT_M = 0.026, 0.019


class View3D:
    """A square panel of `size` pixels for up to `people` people next to each other.

    Args:
        size: pixels. people: how many fit side by side (1..MOST_PEOPLE).
        yaw_deg, pitch_deg: turn and rise of the view against the camera's.
        height_m: stature the view is laid out for.
    """

    MOST_PEOPLE = 6

    def __init__(self, size: int, people: int, yaw_deg: float, pitch_deg: float, height_m: float) -> None:
        self.size, self.people = size, people
        self._unit = height_m / _STATURE_M
        yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(pitch_deg)
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        rise = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        self._rotation = rise @ turn
        half = max(1.28, 0.6 + 0.6 * people) * self._unit
        self._distance = _DISTANCE_M * self._unit
        self._focal = size / 2 / half * self._distance
        self._ground = _GROUND_M * self._unit
        self._background = self._paint_background()

    def project(self, points: npt.NDArray, offset_m: float = 0.0) -> tuple[npt.NDArray, npt.NDArray]:
        """(n, 3) metres relative to the hip -> ((n, 2) panel pixels, (n,) metres from the viewer)."""
        view = np.asarray(points, dtype=np.float64) @ self._rotation.T
        depth = np.maximum(view[:, 2] + self._distance, 0.2 * self._distance)
        centre = self.size / 2
        x = (view[:, 0] + offset_m) * self._focal / depth + centre
        # A little above the middle, so that raised hands stay in the panel.
        y = (view[:, 1] + 0.08 * self._unit) * self._focal / depth + centre
        return np.stack([x, y], axis=1), depth

    def draw(self, panel: Image, people: Sequence[Person], layout: Layout, sides: Sequence[Colour]) -> None:
        """Fills the panel, (size, size, 3) BGR: ground, then everybody's shadow, then the skeletons."""
        panel[:] = self._background
        shown = [
            (slot, person, person.pose3d)
            for slot, person in enumerate(people[: self.people])
            if person.pose3d is not None and person.status != "missing"
        ]
        for slot, _, pose in shown:
            self._shadow(panel, pose, self._offset(slot), layout)
        for slot, person, pose in shown:
            self._skeleton(panel, pose, self._offset(slot), layout, sides, person.status == "interpolated")
            if len(people) > 1:
                at, _ = self.project(np.array([[0.0, 1.12 * self._ground, 0.0]]), self._offset(slot))
                text(panel, f"#{person.id}", at[0], _font(self.size))
        if not shown:
            words, size = "no 3D pose: missing", _font(self.size) * 1.2
            (width, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
            text(panel, words, ((self.size - width) / 2, self.size * 0.45), size, (60, 190, 250))

    def _offset(self, slot: int) -> float:
        return (slot - (self.people - 1) / 2) * _SPACING_M * self._unit

    def _shadow(self, panel: Image, pose: Pose3D, offset: float, layout: Layout) -> None:
        fallen = pose.joints.astype(np.float64)
        fallen[:, 1] = np.where(np.isfinite(fallen[:, 1]), self._ground, np.nan)
        points, _ = self.project(fallen, offset)
        known = np.asarray(np.isfinite(points).all(axis=1))
        width = 1.8 * _LIMB_M * self._unit * self._focal / self._distance
        for a, b in layout.edges:
            if known[a] and known[b]:
                line(panel, points[a], points[b], _SHADOW, width)

    def _skeleton(
        self, panel: Image, pose: Pose3D, offset: float, layout: Layout, sides: Sequence[Colour], dashed: bool
    ) -> None:
        points, depth = self.project(pose.joints, offset)
        known = np.asarray(np.isfinite(points).all(axis=1))
        pixels = self._unit * self._focal / np.where(known, depth, 1.0)
        colours = [self._shade(sides[j], depth[j]) if known[j] else sides[j] for j in range(len(sides))]
        spread = np.nan_to_num(pose.std) / self._unit * pixels
        for j in np.flatnonzero(known & (spread > 1.2 * _JOINT_M * pixels)).tolist():
            # Beneath the limbs, dim: how far the hypotheses lie apart.
            halo(panel, points[j], min(spread[j], self.size / 4), mix(sides[j], _PAPER, 0.3))
        parts = [((depth[a] + depth[b]) / 2, a, b) for a, b in layout.edges if known[a] and known[b]]
        parts += [(depth[j] - 0.02, j, j) for j in np.flatnonzero(known).tolist()]
        for _, a, b in sorted(parts, reverse=True):
            if a == b:
                disc(panel, points[a], _JOINT_M * pixels[a], colours[a], hollow=dashed)
            else:
                width = _LIMB_M * (pixels[a] + pixels[b]) / 2
                shade = self._shade(sides[b], (depth[a] + depth[b]) / 2)
                limb(panel, points[a], points[b], shade, width, dashed=dashed, outline=_PAPER)

    def _shade(self, colour: Colour, depth: float) -> Colour:
        """Nearer is brighter."""
        away = (depth - self._distance) / self._unit
        return mix(colour, _PAPER, min(1.0, max(0.45, 0.8 - 0.45 * float(away))))

    def _paint_background(self) -> Image:
        image = np.full((self.size, self.size, 3), _PAPER, np.uint8)
        reach = 1.25 + 0.5 * _SPACING_M * (self.people - 1)
        ticks = np.arange(-round(reach / 0.25), round(reach / 0.25) + 1) * 0.25
        steps = np.linspace(-reach, reach, 49)
        for tick in ticks:
            for start, end in pairwise(steps):
                for ends in ([(tick, start), (tick, end)], [(start, tick), (end, tick)]):
                    self._grid_line(image, np.array(ends), reach, strong=abs(tick % 0.5) < 1e-6)
        self._legend(image)
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

    def _legend(self, image: Image) -> None:
        size = _font(self.size)
        x, y = self.size * 0.03, self.size * 0.965
        for words, colour in (("left", LEFT), ("right", RIGHT), ("middle", CENTRE)):
            text(image, words, (x, y), size, mix(colour, _PAPER, 0.9))
            (width, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
            x += width + 24 * size


def _font(size: int) -> float:
    return max(0.32, min(0.55, size / 1300))
