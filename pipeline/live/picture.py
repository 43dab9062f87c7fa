"""What is drawn over the rendered picture: figures, switches, the keys, and what the viewer must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...skeleton import Frame, FramePoses, Person
from ..strokes import WARNING, Colour, Image, mix, text
from .controls import HELP, State

_WORDS: Colour = (225, 225, 225)
_DIM: Colour = (170, 170, 170)
_RED: Colour = (60, 60, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Status:
    """What the words say.

    Attributes:
        fps, latency_ms: of the last seconds.
        smooth: how strongly the 3D is smoothed. refined: whether the refiner runs.
        recorded_s: how long a recording goes on, None where none does.
        notes: lines for the middle of the picture; they dim it.
        hint: a line that is no trouble, e.g. where a recording went.
    """

    fps: float
    latency_ms: float
    smooth: str
    refined: bool
    recorded_s: float | None = None
    notes: tuple[str, ...] = ()
    hint: str = ""


def mirrored(frame: Frame, poses: FramePoses) -> tuple[Frame, FramePoses]:
    """Frame and poses as in a mirror. Joints keep their names: a left hand stays one."""
    width = frame.image.shape[1]
    image = np.asarray(cv2.flip(frame.image, 1), np.uint8)
    people = tuple(_mirrored(person, width) for person in poses.people)
    return Frame(frame.index, frame.time_s, image), replace(poses, people=people)


def _mirrored(person: Person, width: int) -> Person:
    flat, deep = person.pose2d, person.pose3d
    if flat is not None:
        box = None if flat.box is None else np.array([width, 0, width, 0]) + flat.box[[2, 1, 0, 3]] * _BOX
        keypoints = np.array([width, 0], np.float32) + flat.keypoints * _FLAT
        flat = replace(flat, keypoints=keypoints, box=box, heatmaps=None, heatmap_box=None)
    if deep is not None:
        deep = replace(deep, joints=deep.joints * _DEEP)
    return replace(person, pose2d=flat, pose3d=deep)


_FLAT, _DEEP = np.array([-1, 1], np.float32), np.array([-1, 1, 1], np.float32)
_BOX = np.array([-1, 1, -1, 1], np.float32)


def draw_status(image: Image, status: Status, state: State) -> None:
    """Words over a rendered picture (frame at the left, the square 3D panel at the right), in place."""
    height, width = image.shape[:2]
    left = width - height
    size = max(0.36, min(0.55, height / 1150))
    notes = (*status.notes, *(["paused: p goes on"] if state.paused else []))
    if notes:
        _in_the_middle(image[:, :left], notes, 1.25 * size)
    _figures(image[:, left:], status, state, size)
    if status.recorded_s is not None:
        _recording(image[:, :left], status.recorded_s, size)
    lines = _wrapped([f"{key} {what}" for key, what in HELP.items()], left, size) if state.help else []
    if status.hint:
        lines.insert(0, status.hint)
    _at_bottom(image[:, :left], lines, size)


def _figures(panel: Image, status: Status, state: State, size: float) -> None:
    """Rate, latency and switches at the top of the 3D panel."""
    step = round(46 * size)
    first = f"{status.fps:.1f} frames/s   latency {status.latency_ms:.0f} ms"
    text(panel, first, (12, step), size, _WORDS)
    words = [f"refine {'on' if status.refined else 'off'}", f"smooth {status.smooth}"]
    words += ["mirrored"] if state.mirror else []
    text(panel, "   ".join(words), (12, 2 * step), size, _DIM)


def _recording(panel: Image, seconds: float, size: float) -> None:
    """A red dot and how long it goes on, at the top right of the frame."""
    words = f"REC {int(seconds) // 60}:{int(seconds) % 60:02d}"
    (width, high), _ = cv2.getTextSize(words, _FONT, 1.2 * size, 1)
    x, y = panel.shape[1] - width - 12, round(46 * size)
    cv2.circle(panel, (x - high, y - high // 2), high // 2 + 1, _RED, -1, cv2.LINE_AA)
    text(panel, words, (x, y), 1.2 * size, _WORDS)


def _wrapped(parts: Sequence[str], width: int, size: float) -> list[str]:
    """The parts in as few lines as the width holds."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}    {part}" if lines else part
        if lines and cv2.getTextSize(longer, _FONT, size, 1)[0][0] <= width - 24:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _at_bottom(panel: Image, lines: Sequence[str], size: float) -> None:
    """Lines on a darkened strip along the lower edge."""
    if not lines:
        return
    step = round(42 * size)
    strip = panel[max(0, panel.shape[0] - step * len(lines) - step // 2) :]
    np.right_shift(strip, 1, out=strip)
    np.subtract(strip, strip >> 2, out=strip)
    for k, words in enumerate(lines):
        y = panel.shape[0] - step * (len(lines) - 1 - k) - step // 2
        cv2.putText(panel, words, (12, y), _FONT, size, _WORDS, 1, cv2.LINE_AA)


def _in_the_middle(panel: Image, lines: Sequence[str], size: float) -> None:
    """Dims the frame and says something across it."""
    np.right_shift(panel, 1, out=panel)
    high = cv2.getTextSize("p", _FONT, size, 1)[0][1]
    band = round(1.2 * high * (len(lines) + 1))
    middle = panel[max(0, panel.shape[0] // 2 - band) : panel.shape[0] // 2 + band]
    np.right_shift(middle, 2, out=middle)
    for k, words in enumerate(lines):
        fits = min(1.0, (panel.shape[1] - 16) / max(1, cv2.getTextSize(words, _FONT, size, 1)[0][0]))
        (width, high), _ = cv2.getTextSize(words, _FONT, size * fits, 1)
        y = panel.shape[0] / 2 + (k - (len(lines) - 1) / 2) * 2.2 * high
        text(panel, words, ((panel.shape[1] - width) / 2, y), size * fits, WARNING)


def waiting_picture(words: str, size: tuple[int, int] = (1120, 480)) -> Image:
    """(H, W, 3) BGR: words on a dark ground, before the first frame."""
    image = np.full((size[1], size[0], 3), mix((38, 32, 28), (0, 0, 0), 0.9), np.uint8)
    _in_the_middle(image, [words], 0.8)
    return image
