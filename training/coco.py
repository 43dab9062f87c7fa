"""Folders of COCO keypoints: `annotations/person_keypoints_*.json` and the pictures that it names.

The pictures of `person_keypoints_NAME.json` lie in NAME/, images/NAME/ or images/, as COCO and its imitators have it.
Places are the files', plus half a pixel: COCO counts from the middle of the first pixel, posefix from its corner.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..skeleton import COCO17
from ..skeleton.errors import InputError
from ..skeleton.poses import FloatArray

JOINTS = len(COCO17.joints)
HELD_OUT = 10  # without a file for validation, every tenth picture is
PATTERN = "person_keypoints_*.json"


@dataclass(frozen=True, eq=False)
class Labelled:
    """One person in one picture.

    Attributes:
        image: the picture's file.
        box: (4,) x0, y0, x1, y1 pixels.
        joints: (17, 2) pixels.
        seen: (17,) 0 not labelled, 1 labelled but hidden, 2 visible.
    """

    image: Path
    box: FloatArray
    joints: FloatArray
    seen: FloatArray


def read_coco(folder: Path) -> tuple[list[Labelled], list[Labelled]]:
    """People to train on and to validate on, in the order of the files.

    Files with "val" in their name are for validation, and all others for training; without the first, every tenth
    picture of the others is. Crowds and people without a labelled joint are passed over.

    Raises:
        InputError: no such folder or file, one that is no COCO keypoint file, pictures that are not there.
    """
    if not folder.is_dir():
        raise InputError(f"--coco {folder}: no such folder; it holds annotations/{PATTERN} and the pictures")
    files = sorted((folder / "annotations").glob(PATTERN))
    if not files:
        raise InputError(f"--coco {folder}: no annotations/{PATTERN} in it")
    train: list[Labelled] = []
    val: list[Labelled] = []
    for file in files:
        (val if "val" in file.stem else train).extend(read_file(file, folder))
    if train and not val:
        held = set(sorted({p.image for p in train})[::HELD_OUT])
        train, val = [p for p in train if p.image not in held], [p for p in train if p.image in held]
    if not train or not val:
        raise InputError(
            f"--coco {folder}: {len(train)} labelled people to train on and {len(val)} to validate on; "
            f"one of each is the least"
        )
    return train, val


def read_file(file: Path, folder: Path) -> list[Labelled]:
    """The people of one file. Raises InputError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(k), list) for k in ("images", "annotations")
    ):
        raise InputError(f'{file}: no COCO file: expected the lists "images" and "annotations"')
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    except (KeyError, TypeError) as error:
        raise InputError(f'{file}: every entry of "images" needs an "id" and a "file_name"') from error
    places = _pictures(file, folder, names)
    return list(_people(file, content["annotations"], places))


def _pictures(file: Path, folder: Path, names: Mapping[Any, str]) -> dict[Any, Path]:
    """Where the pictures lie, by id; all must be there."""
    name = file.stem.removeprefix("person_keypoints_")
    places = [folder / name, folder / "images" / name, folder / "images", folder]
    some = list(names.values())[:20]
    root = next((p for p in places if any((p / n).is_file() for n in some)), places[0])
    paths = {k: root / v for k, v in names.items()}
    missing = [p for p in paths.values() if not p.is_file()]
    if missing:
        raise InputError(
            f"{file}: {len(missing)} of its {len(paths)} pictures are missing, e.g. {missing[0]}; "
            f"they belong into {name}/, images/{name}/ or images/"
        )
    return paths


def _people(file: Path, rows: list[Any], places: Mapping[Any, Path]) -> Iterator[Labelled]:
    for k, row in enumerate(rows):
        where = f"{file}: annotation {k}"
        image = row.get("image_id") if isinstance(row, dict) else None
        if not isinstance(image, int | str) or image not in places:
            raise InputError(f'{where}: its "image_id" is none of the pictures')
        values = _numbers(row.get("keypoints"), 3 * JOINTS)
        if values is None:
            raise InputError(
                f'{where}: expected "keypoints" of {3 * JOINTS} numbers: x, y, v for COCO\'s 17 joints'
            )
        table = values.reshape(JOINTS, 3)  # (51,) -> (17, 3)
        seen = table[:, 2]
        if not np.isin(seen, (0, 1, 2)).all():
            raise InputError(f"{where}: a visibility v is neither 0, 1 nor 2")
        if row.get("iscrowd") or not seen.any():
            continue
        joints = table[:, :2] + 0.5
        box = _numbers(row.get("bbox"), 4) if "bbox" in row else _box_of(joints[seen > 0])
        if box is None or min(box[2:]) < 0:
            raise InputError(f'{where}: expected "bbox" of 4 numbers: x, y, width, height')
        corners = np.concatenate([box[:2], box[:2] + box[2:]])  # (4,)
        yield Labelled(places[image], corners, joints, seen)


def _numbers(values: object, count: int) -> FloatArray | None:
    """(count,) finite numbers, or None."""
    if not isinstance(values, list) or len(values) != count:
        return None
    if not all(isinstance(v, int | float) for v in values):
        return None
    array = np.array(values, np.float32)
    return array if np.isfinite(array).all() else None


def _box_of(joints: FloatArray) -> FloatArray:
    """(n, 2) -> x, y, width, height of what they span."""
    low = joints.min(axis=0)
    return np.concatenate([low, joints.max(axis=0) - low])
