"""AlphaPose: one JSON file for all frames, a list of people.

    [{"image_id": "12.jpg", "keypoints": [x, y, score, ...], "score": 2.9, "box": [...], "idx": 1}, ...]

Pixels. The number in `image_id` is the frame's; `idx` is the person, where tracking was on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import ReadOptions, flat_points, observed, recognise
from .json_text import as_dict, as_list, as_person

_DIGITS = re.compile(r"(\d+)\D*$")


def is_alphapose(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and {"image_id", "keypoints"} <= set(content[0])
    )


def from_alphapose(path: Path, options: ReadOptions, content: Any) -> KeypointClip:
    """Reads AlphaPose's results (its default, COCO-like form).

    Raises:
        InputError: image names without numbers, people of several layouts, or broken content.
    """
    frames: dict[int, list[Sight]] = {}
    layouts: dict[str, str] = {}
    for k, entry in enumerate(as_list(content, str(path))):
        where = f"{path}: entry {k}"
        person = as_dict(entry, where)
        if not {"image_id", "keypoints"} <= set(person):
            raise InputError(f"{where}: has no image_id or no keypoints; is it an AlphaPose file?")
        points = flat_points(person["keypoints"], 3, where)  # (J, 3)
        layout, take = recognise(len(points), options.layout, where)
        layouts.setdefault(layout, where)
        keypoints, scores = observed(points[:take, :2], points[:take, 2])
        number = as_person(person["idx"], f"{where}: idx") if person.get("idx") not in (None, []) else None
        frames.setdefault(_frame(person["image_id"], where), []).append(Sight(keypoints, scores, id=number))
    if not frames:
        raise InputError(f"{path}: holds nobody; was anyone found?")
    if len(layouts) > 1:
        (a, first), (b, second) = list(layouts.items())[:2]
        raise InputError(f"{path}: mixes layouts: {a} in {first}, {b} in {second}; one clip has one layout")
    return KeypointClip("alphapose", next(iter(layouts)), dict(sorted(frames.items())), max(frames) + 1)


def _frame(image_id: Any, where: str) -> int:
    """The number in "12.jpg", "take_0012.png" or 12."""
    if isinstance(image_id, int) and image_id >= 0:
        return image_id
    stem = str(image_id).rsplit("/", 1)[-1]
    found = _DIGITS.search(stem.rsplit(".", 1)[0] if "." in stem else stem)
    if not found or len(found.group(1)) > 100:
        raise InputError(
            f"{where}: image_id {str(image_id)[:100]!r} has no number, so nothing tells the order of frames"
        )
    return int(found.group(1))
