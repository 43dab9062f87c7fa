"""detectors/box_memory.py: boxes are widened by where the same person was a moment ago."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.detectors.box_memory import BoxMemory, iou
from posefix.skeleton import Frame, Pose2D


def frame(time_s: float, size: tuple[int, int] = (100, 200)) -> Frame:
    return Frame(0, time_s, np.zeros((size[1], size[0], 3), np.uint8))


def person(x0: float, y0: float, x1: float, y1: float, far: float | None = None) -> Pose2D:
    """Sure joints on the corners of a box; joint 16 at `far`, unsure."""
    keypoints = np.tile(np.array([[x0, y0], [x1, y1]], np.float32), (9, 1))[:17]
    scores = np.full(17, 0.9)
    if far is not None:
        keypoints[16], scores[16] = far, 0.2
    return Pose2D(keypoints, scores, "coco17")


def widened(boxes, poses, time_s=0.1, size=(100, 200)) -> list[list[float]]:
    memory = BoxMemory()
    memory.remember(poses, frame(0.0))
    return memory.widen(np.array(boxes, np.float32), frame(time_s, size)).tolist()


def test_overlap_of_boxes():
    a = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 1, 0], [0, 0, 0]], atol=1e-6)


def test_a_box_is_joined_with_the_last_extent_of_its_person():
    assert widened([[10, 20, 50, 100]], [person(5, 30, 40, 120)]) == [[5, 20, 50, 120]]


def test_unsure_joints_do_not_count():
    assert widened([[10, 20, 50, 100]], [person(10, 20, 50, 90, far=199)]) == [[10, 20, 50, 100]]


@pytest.mark.parametrize(
    ("time_s", "size"),
    [(0.6, (100, 200)), (-0.1, (100, 200)), (0.1, (100, 201))],
    ids=["late", "back", "cut"],
)
def test_old_extents_and_those_of_other_pictures_are_forgotten(time_s, size):
    assert widened([[10, 20, 50, 100]], [person(5, 30, 40, 120)], time_s, size) == [[10, 20, 50, 100]]


def test_neighbours_keep_their_own():
    # The second box overlaps the person enough, but the first does so better.
    boxes = [[10, 20, 50, 100], [15, 20, 60, 100], [70, 20, 90, 100]]
    assert widened(boxes, [person(8, 20, 50, 100)]) == [[8, 20, 50, 100], *boxes[1:]]


def test_nobody_before_or_now_changes_nothing():
    assert widened([[10, 20, 50, 100]], []) == [[10, 20, 50, 100]]
    assert widened(np.zeros((0, 4)), [person(5, 30, 40, 120)]) == []


def test_what_is_remembered_can_be_kept_and_given_to_another():
    first, other, fresh = BoxMemory(), BoxMemory(), BoxMemory()
    other.from_bytes(first.to_bytes())
    boxes = np.array([[10, 20, 50, 100]], np.float32)
    assert other.widen(boxes, frame(0.1)).tolist() == boxes.tolist()  # nothing
    first.remember([person(5, 30, 40, 120), person(60, 0, 90, 90)], frame(0.0))
    other.from_bytes(first.to_bytes())
    assert other.to_bytes() == first.to_bytes()
    assert other.widen(boxes, frame(0.1)).tolist() == [[5, 20, 50, 120]]
    assert other.widen(boxes, frame(0.1, (300, 200))).tolist() == boxes.tolist()  # another picture
    assert fresh.widen(boxes, frame(0.1)).tolist() == boxes.tolist()
