"""OpenPose: a folder of `NAME_000000000012_keypoints.json`, one file a frame (`--write_json`).

    {"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, ...]}, ...]}

Pixels; (0, 0, 0) is a joint that was not found. Others, Pose2Sim say, write the same with 26 or 17 joints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...skeleton.errors import InputError
from ..sources import natural_key
from .clip import KeypointClip, Sight
from .joints import ReadOptions, flat_points, observed, recognise
from .json_text import as_dict, as_list, as_person, load_json

_NUMBER = re.compile(r"^(.*?)(\d+)(?:_keypoints)?$")


def is_openpose(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def from_openpose(path: Path, options: ReadOptions, content: Any = None) -> KeypointClip:
    """Reads a folder of files, or one file as a clip of one frame.

    Raises:
        InputError: no such files, files of several clips, people of several layouts, or broken content.
    """
    files = _numbered(path) if path.is_dir() else {0: path}
    frames: dict[int, list[Sight]] = {}
    layouts: dict[str, str] = {}
    for number, file in files.items():
        loaded = load_json(file) if content is None else content
        people = as_list(as_dict(loaded, str(file)).get("people"), f"{file}: people")
        sights = []
        for k, person in enumerate(people):
            sight, layout = _sight(as_dict(person, f"{file}: person {k}"), options, f"{file}: person {k}")
            layouts.setdefault(layout, str(file))
            sights.append(sight)
        frames[number] = sights
    if len(layouts) > 1:
        (a, first), (b, second) = list(layouts.items())[:2]
        raise InputError(f"{path}: mixes layouts: {a} in {first}, {b} in {second}; one clip has one layout")
    layout = next(iter(layouts), options.layout or "body25")
    first, last = min(files), max(files)
    lost = last - first + 1 - len(files)
    warnings = (f"{path}: {lost} frames between {first} and {last} have no file",) if lost else ()
    return KeypointClip("openpose", layout, frames, last + 1, warnings=warnings)


def _numbered(folder: Path) -> dict[int, Path]:
    """Frame number -> file. Files without numbers are counted in their natural order."""
    files = sorted((p for p in folder.glob("*.json") if p.name[0] != "."), key=natural_key)
    if not files:
        raise InputError(f"{folder}: holds no .json files; name a folder of OpenPose's --write_json")
    found = [_NUMBER.match(p.stem) for p in files]
    if not all(found):
        return dict(enumerate(files))
    names = sorted({m.group(1) for m in found if m})
    if len(names) > 1:
        raise InputError(
            f"{folder}: holds files of several clips ({names[0]}..., {names[1]}...); one folder each, please"
        )
    numbered: dict[int, Path] = {}
    for number, file in ((int(m.group(2)), p) for m, p in zip(found, files, strict=True) if m):
        if number in numbered:
            raise InputError(
                f"{folder}: {numbered[number].name} and {file.name} are both frame {number}; keep one"
            )
        numbered[number] = file
    return numbered


def _sight(person: dict[str, Any], options: ReadOptions, where: str) -> tuple[Sight, str]:
    key = "pose_keypoints_2d" if "pose_keypoints_2d" in person else "pose_keypoints"  # before version 1.2
    if key not in person:
        raise InputError(f"{where}: has no pose_keypoints_2d; is it an OpenPose file?")
    points = flat_points(person[key], 3, where)  # (J, 3)
    layout, take = recognise(len(points), options.layout, where)
    number = as_person(person["person_id"], where) if person.get("person_id") else None
    keypoints, scores = observed(points[:take, :2], points[:take, 2])
    return Sight(keypoints, scores, id=number), layout
