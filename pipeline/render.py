"""Drawing, pure: (frame, poses, places) -> one picture. Left the frame with the 2D poses, right the 3D skeletons.

Left limbs are blue, right ones orange, the rest light grey (Okabe and Ito's colours, told apart by colour-blind
eyes). Of several people each has a colour and a number; left limbs are lighter, right ones darker. How sure the
detector is shows in the overlay: unsure limbs fade and thin out, unsure joints are hollow. Interpolated poses are
dashed. The view of the 3D panel is in `view3d.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.layouts import H36M17, Layout
from ..skeleton.poses import Frame, FramePoses, Person
from .placing import Places
from .strokes import CENTRE, INK, LEFT, PEOPLE, RIGHT, WARNING, Colour, Image, disc, limb, mix, text, text_box
from .view3d import Figure, View3D

_SURE, _UNSURE = 0.6, 0.1
_MOST_STATUSES = 6
_SPACING_M = 1.15  # between people without places
_LEFT_OF, _RIGHT_OF = ((255, 255, 255), 0.45), (INK, 0.55)  # somebody's colour, mixed: how much of it is left


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """How the picture looks.

    Attributes:
        max_height: pixels; larger frames are scaled down to it.
        min_height: pixels that small frames are scaled up to, as far as `max_upscale` allows.
        max_upscale: limit of that.
        yaw_deg, pitch_deg: how far the 3D view is turned and raised against the camera's.
        height_m: stature the 3D panel is laid out for (the ground lies a leg's length below the hip).
    """

    max_height: int = 720
    min_height: int = 360
    max_upscale: float = 2.0
    yaw_deg: float = 35.0
    pitch_deg: float = 14.0
    height_m: float = 1.75


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where things go for frames of one size: canvas height, picture rectangle, left panel's width."""

    height: int
    left: int
    x: int
    y: int
    width: int
    rows: int


class Renderer:
    """Draws frames and poses side by side.

    The picture's size depends on the frame's size only, so a video gives pictures of one size: the scaled
    frame plus a square as high as it.
    """

    def __init__(self, layout: Layout = H36M17, settings: RenderSettings | None = None) -> None:
        self.layout = layout
        self.settings = settings or RenderSettings()
        self._views: dict[tuple[int, float, bool], View3D] = {}

    def draw(self, frame: Frame, poses: FramePoses, places: Places | None = None) -> Image:
        """One picture, (H, W, 3) uint8 BGR with even H and W, at most `max_height` high.

        Args:
            places: where people stand in the 3D panel; None: one in the middle, several side by side.
        """
        rows, columns = frame.image.shape[:2]
        plan = _plan(rows, columns, self.settings)
        several = places is not None or len(poses.people) > 1
        places = places or _side_by_side(poses.people)
        canvas = np.empty((plan.height, plan.left + plan.height, 3), np.uint8)
        picture = canvas[plan.y : plan.y + plan.rows, plan.x : plan.x + plan.width]
        if (plan.rows, plan.width) != (plan.height, plan.left):
            canvas[:, : plan.left] = INK
        _scale_into(frame.image, picture)
        scale = np.array([plan.width / columns, plan.rows / rows])
        figures: list[Figure] = []
        for person in poses.people:
            sides, name = self._sides(person.id if several else None), f"#{person.id}" if several else ""
            self._overlay(picture, person, scale, sides, name)
            if person.pose3d is not None and person.status != "missing":
                at = places.at.get(person.id, (0.0, 0.0))
                figures.append(Figure(person.pose3d, sides, at, person.status == "interpolated", name))
        view = self._view(plan.height, places.half_m, several)
        view.draw(canvas[:, plan.left :], figures, self.layout, _absent(poses, several))
        _caption(canvas[:, : plan.left], frame, poses, several)
        return canvas

    def _sides(self, number: int | None) -> list[Colour]:
        """Every joint's colour; of somebody in particular, or of the only one."""
        left, right, centre = LEFT, RIGHT, CENTRE
        if number is not None:
            centre = PEOPLE[number % len(PEOPLE)]
            left, right = mix(centre, *_LEFT_OF), mix(centre, *_RIGHT_OF)
        joints = range(len(self.layout.joints))
        return [
            left if j in self.layout.left else right if j in self.layout.right else centre for j in joints
        ]

    def _view(self, size: int, half_m: float, several: bool) -> View3D:
        key = (size, half_m, several)
        if key not in self._views:
            if len(self._views) > 16:  # images of many sizes
                self._views.clear()
            s = self.settings
            one = (("left", LEFT), ("right", RIGHT), ("middle", CENTRE))
            grey = (150, 150, 150)
            shades = (("left: light", mix(grey, *_LEFT_OF)), ("right: dark", mix(grey, INK, 0.75)))
            legend = (*shades, ("places are guessed", grey)) if several else one
            self._views[key] = View3D(size, half_m, s.yaw_deg, s.pitch_deg, s.height_m, legend)
        return self._views[key]

    def _overlay(
        self, image: Image, person: Person, scale: npt.NDArray, sides: list[Colour], name: str
    ) -> None:
        pose = person.pose2d
        if pose is None or person.status == "missing":
            return
        # Pixels are counted from the corner of the top-left one, drawing counts from its centre.
        points = pose.keypoints.astype(np.float64) * scale - 0.5
        seen = np.asarray(np.isfinite(points).all(axis=1))
        if not seen.any():
            return
        sure = np.clip((np.nan_to_num(pose.scores) - _UNSURE) / (_SURE - _UNSURE), 0.0, 1.0)
        extent = np.ptp(points[seen], axis=0).max()
        width = float(np.clip(extent / 70, 1.4, max(1.4, image.shape[0] / 130)))
        dashed = person.status == "interpolated"
        order = sorted(self.layout.edges, key=lambda edge: sides[edge[1]] != sides[0])
        for a, b in order:
            if seen[a] and seen[b]:
                s = float(min(sure[a], sure[b]))
                limb(
                    image,
                    points[a],
                    points[b],
                    sides[b],
                    width * (0.5 + 0.5 * s),
                    0.35 + 0.65 * s,
                    dashed,
                )
        for j in np.flatnonzero(seen).tolist():
            disc(image, points[j], width * 1.15, sides[j], hollow=dashed or sure[j] < 0.5)
        if name:
            top = points[seen][points[seen][:, 1].argmin()]
            text(image, name, (top[0] + 2 * width, top[1] - 3 * width), 1.3 * _font(image), sides[0])


def _plan(rows: int, columns: int, settings: RenderSettings) -> _Plan:
    wanted = min(max(rows, settings.min_height), settings.max_height)
    scale = min(wanted / rows, settings.max_upscale, 2560 / columns)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    # Text and the 3D panel need some room, whatever the frame.
    canvas = min(settings.max_height, max(height, 160))
    canvas += canvas % 2
    left = max(width, canvas // 2)
    left += left % 2
    # An odd pixel is better scaled away than framed in black.
    width, height = (left if left - width == 1 else width), (canvas if canvas - height == 1 else height)
    return _Plan(canvas, left, (left - width) // 2, (canvas - height) // 2, width, height)


def _scale_into(image: Image, target: Image) -> None:
    rows, columns = target.shape[:2]
    if image.shape == target.shape:
        target[:] = image
        return
    # INTER_AREA is fast at exactly one half and slow otherwise; the rest is gentle enough for linear.
    while rows <= 0.6 * image.shape[0] and min(image.shape[:2]) >= 4:
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        half = (even.shape[1] // 2, even.shape[0] // 2)
        image = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    cv2.resize(image, (columns, rows), dst=target, interpolation=cv2.INTER_LINEAR)


def _font(image: Image) -> float:
    return max(0.34, min(0.6, image.shape[0] / 1100))


def _side_by_side(people: Sequence[Person]) -> Places:
    middle = (len(people) - 1) / 2
    at = {p.id: ((k - middle) * _SPACING_M, 0.0) for k, p in enumerate(people)}
    return Places(max(View3D.HALF_M, 0.6 + 0.6 * len(people)), at)


def _absent(poses: FramePoses, several: bool) -> list[str]:
    """Of whom nothing can be drawn in 3D, and why; never an older pose instead."""
    why = {"missing": "missing", "detected": "hips hidden", "interpolated": "hips hidden"}
    words = [
        f"{f'#{p.id}' if several else 'no 3D pose'}: {why[p.status]}"
        for p in poses.people
        if p.pose3d is None or p.status == "missing"
    ]
    return words[:_MOST_STATUSES] if poses.people else ["no 3D pose: missing"]


def _caption(panel: Image, frame: Frame, poses: FramePoses, several: bool) -> None:
    """Frame number and time; then, honestly, everybody's status."""
    size = _font(panel)
    y = text_box(panel, f"frame {frame.index}   {frame.time_s:.2f} s", 0, (235, 235, 235), size)
    if not poses.people:
        text_box(panel, "no person: missing", y, WARNING, size)
    for person in poses.people[:_MOST_STATUSES]:
        name = f"person {person.id}: " if several else ""
        colour = (200, 200, 200) if person.status == "detected" else WARNING
        y = text_box(panel, f"{name}{person.status}", y, colour, size)
