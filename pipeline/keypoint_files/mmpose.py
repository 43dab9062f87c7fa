"""MMPose 1.x: the JSON of its inferencer (`pred_out_dir`) and of its demos (`--save-predictions`).

    inferencer, video   [{"frame_id": 0, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}]
    inferencer, image   [{"keypoints": ..., "keypoint_scores": ...}, ...]
    demo                {"meta_info": {...}, "instance_info": [{"frame_id": 1, "instances": [...]}]}

Pixels; demos count frames from 1. Keypoints of three numbers are 3D, as `human3d` writes it: metres, turned for
display (x' = -x, y' = z, z' = -y of the camera's axes) and put on the ground; they are turned back here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton import H36M17
from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import Array, ReadOptions, nominal_2d, numbers, observed, recognise, to_17
from .json_text import as_dict, as_int, as_list, as_person


def is_mmpose(content: Any) -> bool:
    if isinstance(content, dict):
        return "instance_info" in content
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and ("instances" in first or "keypoint_scores" in first)


def from_mmpose(path: Path, options: ReadOptions, content: Any) -> KeypointClip:
    """Reads 2D or 3D predictions.

    Raises:
        InputError: people of several layouts, some of 2D and some of 3D, or broken content.
    """
    frames: dict[int, list[Sight]] = {}
    kinds: dict[tuple[str, int], str] = {}
    last = -1
    for number, instances in _by_frame(content, path).items():
        last = max(last, number)
        for k, instance in enumerate(instances):
            where = f"{path}: frame {number}, person {k}"
            sight, kind = _sight(as_dict(instance, where), options, where)
            kinds.setdefault(kind, where)
            frames.setdefault(number, []).append(sight)
    if len(kinds) > 1:
        (a, first), (b, second) = list(kinds.items())[:2]
        raise InputError(f"{path}: mixes {a[0]} {a[1]}D ({first}) and {b[0]} {b[1]}D ({second})")
    if not kinds:
        raise InputError(f"{path}: holds nobody; was anyone found?")
    (layout, dimensions), _ = next(iter(kinds.items()))
    three = dimensions == 3
    return KeypointClip("mmpose", H36M17.name if three else layout, frames, last + 1, nominal=three)


def _by_frame(content: Any, path: Path) -> dict[int, list[Any]]:
    """Frame number, from 0 -> its instances."""
    demo = isinstance(content, dict)
    entries = as_list(content["instance_info"] if demo else content, str(path))
    if entries and isinstance(entries[0], dict) and "instances" not in entries[0]:
        return {0: entries}  # of one image
    found: dict[int, list[Any]] = {}
    for k, entry in enumerate(entries):
        where = f"{path}: entry {k}"
        frame = as_dict(entry, where)
        number = as_int(frame["frame_id"], f"{where}: frame_id") - demo if "frame_id" in frame else k
        if number < 0 or number in found:
            raise InputError(f"{where}: frame_id {frame.get('frame_id')} comes twice or is below the first")
        found[number] = as_list(frame.get("instances"), f"{where}: instances")
    return found


def _sight(instance: dict[str, Any], options: ReadOptions, where: str) -> tuple[Sight, tuple[str, int]]:
    points = numbers(instance.get("keypoints"), where)
    points = points[0] if points.ndim == 3 and len(points) == 1 else points  # 3D is wrapped once more
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"{where}: expected keypoints (J, 2) or (J, 3), got {points.shape}")
    scores = numbers(instance.get("keypoint_scores", [1.0] * len(points)), where).ravel()
    if len(scores) != len(points):
        raise InputError(f"{where}: {len(points)} keypoints but {len(scores)} scores")
    number = instance.get("track_id")
    # 10000 is what the demos write where they track nobody.
    person = as_person(number, f"{where}: track_id") if number not in (None, 1e4) else None
    three = points.shape[1] == 3
    layout, take = recognise(len(points), options.layout, where, seventeen="h36m17" if three else "coco17")
    if three:
        joints = to_17(_to_camera(points[:take]), layout)
        keypoints, known = nominal_2d(joints)
        return Sight(keypoints, known, joints, person), (layout, 3)
    keypoints, seen = observed(points[:take], scores[:take])
    return Sight(keypoints, seen, id=person), (layout, 2)


def _to_camera(points: Array) -> Array:
    """(J, 3) as displayed -> camera axes, x right, y down, z forward."""
    return np.stack([-points[:, 0], -points[:, 2], points[:, 1]], axis=1)
