"""A small folder as COCO's: pictures of discs where the joints are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def dots(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture k (240, 200, 3), dark, and 17 places (17, 2) px, each with a grey disc of its own brightness."""
    g = np.random.default_rng(k)
    columns, rows = np.meshgrid(np.arange(5), np.arange(4))
    grid = np.stack([30 + 35 * columns.ravel(), 30 + 55 * rows.ravel()], axis=1)[:17]
    places = (grid + g.integers(-6, 7, (17, 2))).astype(np.float32)
    image = np.full((240, 200, 3), 10, np.uint8)
    for j, place in enumerate(places):
        cv2.circle(image, tuple(place.astype(int).tolist()), 5, (90 + 9 * j,) * 3, -1)
    return image, places


def coco_folder(root: Path) -> Path:
    """Twelve pictures with one person each; joint 3 is hidden (1), joint 4 not labelled (0)."""
    (root / "annotations").mkdir(parents=True)
    (root / "images" / "made").mkdir(parents=True)
    content: dict = {"images": [], "annotations": []}
    for k in range(12):
        image, places = dots(k)
        cv2.imwrite(str(root / "images" / "made" / f"{k}.png"), image)
        content["images"].append({"id": 100 + k, "file_name": f"{k}.png"})
        seen = np.full(17, 2)
        seen[3], seen[4] = 1, 0
        keypoints = np.column_stack([places, seen]).ravel().tolist()
        content["annotations"].append(
            {"image_id": 100 + k, "bbox": [10, 10, 180, 220], "keypoints": keypoints}
        )
    (root / "annotations" / "person_keypoints_made.json").write_text(json.dumps(content))
    return root


def edit(folder: Path, change) -> None:
    path = folder / "annotations" / "person_keypoints_made.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
