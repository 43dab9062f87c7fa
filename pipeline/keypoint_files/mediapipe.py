"""MediaPipe landmarks as JSON: a list of frames, however the results were dumped.

    [[{"x": 0.5, "y": 0.4, "z": -0.1, "visibility": 0.9}, ... 33], null, ...]
    [{"landmarks": [...], "world_landmarks": [...], "timestamp_ms": 33}, ...]
    [{"pose_landmarks": [[... 33], [... 33]], "pose_world_landmarks": [...]}, ...]      several people

Keys may be in camel case. A landmark is an object or a list x, y, z, visibility; 33 of them may be wrapped as
`{"landmark": [...]}`, as protobuf's MessageToDict does it. Landmarks are shares of width and height, or pixels. World
landmarks are metres in camera axes, as posefix's own, and are taken as 3D. The z of the other landmarks is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import Array, ReadOptions, numbers, observed, recognise, to_17
from .json_text import as_list

_IMAGE = ("landmarks", "pose_landmarks", "poseLandmarks", "landmark")
_WORLD = ("world_landmarks", "pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks")
_TIMES = {"timestamp_ms": 1e-3, "timestampMs": 1e-3, "timestamp_s": 1.0, "time_s": 1.0}


def is_mediapipe(content: Any) -> bool:
    if not isinstance(content, list):
        return False
    first = next((frame for frame in content if frame), None)
    if isinstance(first, dict):
        return bool({*_IMAGE, *_WORLD} & set(first))
    while isinstance(first, list) and first and isinstance(first[0], list):
        if isinstance(first[0][0] if first[0] else None, (int, float)):
            return len(first) == 33
        first = first[0]
    return isinstance(first, list) and bool(first) and isinstance(first[0], dict) and "x" in first[0]


def from_mediapipe(path: Path, options: ReadOptions, content: Any) -> KeypointClip:
    """Reads landmarks, and world landmarks where they are there.

    Raises:
        InputError: not 33 landmarks, world landmarks alone in some frames, or broken content.
    """
    entries = as_list(content, str(path))
    found: dict[int, list[tuple[Array, Array | None]]] = {}
    times: dict[int, float] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: frame {number}"
        if isinstance(entry, dict):
            for key, unit in _TIMES.items():
                if key in entry:
                    time = numbers(entry[key], f"{where}: {key}")
                    if time.shape or not np.isfinite(time):
                        raise InputError(f"{where}: {key}: expected a number")
                    times[number] = float(time) * unit
        people = _people(entry, where)
        if people:
            found[number] = people
    if not found:
        raise InputError(f"{path}: holds nobody; was anyone found?")
    if times and len(times) != len(entries):
        raise InputError(f"{path}: {len(times)} of {len(entries)} frames have a time; give all or none")
    layout, _ = recognise(33, options.layout, str(path))
    frames = {n: [_sight(p, w, layout) for p, w in people] for n, people in found.items()}
    return KeypointClip("mediapipe", layout, frames, len(entries), times)


def _people(entry: Any, where: str) -> list[tuple[Array, Array | None]]:
    """(33, 4) x, y, z, visibility of everybody in a frame, each with its (33, 4) world landmarks or None."""
    if not entry:
        return []
    world: Any = None
    if isinstance(entry, dict):
        image = next((entry[k] for k in _IMAGE if k in entry), None)
        world = next((entry[k] for k in _WORLD if k in entry), None)
        if not image:
            if world:
                raise InputError(f"{where}: has world landmarks but no landmarks in the picture; keep both")
            return []
        entry = image
    people = _each(entry, where)
    worlds = _each(world, f"{where}, world landmarks") if world else [None] * len(people)
    if len(worlds) != len(people):
        raise InputError(f"{where}: {len(people)} people in landmarks, {len(worlds)} in world landmarks")
    return list(zip(people, worlds, strict=True))


def _each(value: Any, where: str) -> list[Array]:
    """The people of one frame: a list of 33 landmarks is one person, a list of such lists several."""
    items = [_plain(item) for item in as_list(_plain(value), where)]
    if not items:
        return []
    several = isinstance(items[0], list) and bool(items[0]) and isinstance(items[0][0], (dict, list))
    return [_landmarks(person, where) for person in (items if several else [items])]


def _plain(value: Any) -> Any:
    """The list inside of `MessageToDict(results.pose_landmarks)`; anything else as it is."""
    return value["landmark"] if isinstance(value, dict) and "landmark" in value else value


def _landmarks(person: Any, where: str) -> Array:
    items = as_list(person, where)
    if len(items) != 33:
        raise InputError(f"{where}: {len(items)} landmarks, but MediaPipe's pose has 33")
    rows = []
    for k, item in enumerate(items):
        if isinstance(item, dict):
            rows.append([item.get("x"), item.get("y"), item.get("z"), item.get("visibility", 1.0)])
        else:
            values = as_list(item, f"{where}, landmark {k}")
            if not 2 <= len(values) <= 5:
                raise InputError(
                    f"{where}, landmark {k}: expected x, y, z, visibility, got {len(values)} numbers"
                )
            rows.append(
                [*values[:2], values[2] if len(values) > 2 else None, values[3] if len(values) > 3 else 1.0]
            )
    return numbers(rows, where)  # (33, 4)


def _sight(landmarks: Array, world: Array | None, layout: str) -> Sight:
    keypoints, scores = observed(landmarks[:, :2], landmarks[:, 3])
    return Sight(keypoints, scores, None if world is None else to_17(world[:, :3], layout))
