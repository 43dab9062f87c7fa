"""detectors/person_boxes.py: letterbox, YOLOX's grids, suppression, and both kinds of export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from posefix.detectors.person_boxes import (
    FREE_SIZE,
    PersonBoxes,
    decode_yolox,
    letterbox,
    non_maximum_suppression,
    size_in_name,
    yolox_cells,
)


def test_letterbox_keeps_the_aspect_and_fills_with_grey():
    picture, scale = letterbox(np.full((100, 200, 3), 7, np.uint8), (64, 64))
    assert scale == pytest.approx(0.32) and picture.shape == (64, 64, 3)
    assert (picture[:32] == 7).all() and (picture[32:] == 114).all()
    tall, scale = letterbox(np.full((256, 64, 3), 7, np.uint8), (64, 128))
    assert scale == 0.5 and (tall[:, :32] == 7).all() and (tall[:, 32:] == 114).all()


def test_suppression_keeps_the_best_of_boxes_that_overlap():
    boxes = np.array(
        [[0, 0, 100, 100], [5, 5, 105, 105], [60, 0, 160, 100], [300, 300, 310, 310]], np.float32
    )
    kept = non_maximum_suppression(boxes, np.array([0.5, 0.9, 0.8, 0.4], np.float32))
    assert kept.tolist() == [1, 2, 3]
    assert non_maximum_suppression(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)).tolist() == []


def test_yolox_cells_are_rows_of_each_grid_in_turn():
    cells = yolox_cells((64, 32))
    assert len(cells) == 8 * 4 + 4 * 2 + 2 * 1
    assert cells[9].tolist() == [1, 1, 8] and cells[32 + 5].tolist() == [1, 1, 16]
    assert cells[-1].tolist() == [1, 0, 32]


def yolox_answer(size: tuple[int, int], cell: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """(1, cells, 7) that says, in one cell, "a person at x0, y0, x1, y1"; two classes."""
    cells = yolox_cells(size)
    x, y, stride = cells[cell]
    centre, sides = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], [box[2] - box[0], box[3] - box[1]]
    answer = np.zeros((1, len(cells), 7), np.float32)
    answer[0, cell] = [
        *(np.array(centre) / stride - [x, y]),
        *np.log(np.array(sides) / stride),
        0.9,
        0.8,
        0.1,
    ]
    return answer


@pytest.mark.parametrize("cell", [0, 20, 70, 83])  # on each of the three grids
def test_yolox_boxes_are_decoded_from_their_cells(cell):
    corners, scores = decode_yolox(yolox_answer((64, 64), cell, (10, 12, 40, 60))[0], yolox_cells((64, 64)))
    np.testing.assert_allclose(corners[cell], [10, 12, 40, 60], rtol=1e-4)
    assert scores[cell] == pytest.approx(0.72) and np.delete(scores, cell).max() == 0


def test_yolox_export_gives_boxes_in_pixels_of_the_frame(tmp_path):
    answer = yolox_answer((64, 64), 20, (10, 12, 40, 60))
    answer[0, 3] = [0, 0, 1, 1, 0.9, 0.1, 0.9]  # another class
    net = tiny_onnx.constant_net(tmp_path / "net.onnx", {"output": answer})
    found = PersonBoxes(net)(np.zeros((128, 128, 3), np.uint8))
    np.testing.assert_allclose(found.corners, [[20, 24, 80, 120]], rtol=1e-4)
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-5)


def test_yolox_that_decodes_in_the_network_gives_the_same_boxes(tmp_path):
    """Megvii's export with --decode_in_inference: the same shape, but pixels."""
    raw, cells = yolox_answer((64, 64), 20, (10, 12, 40, 60)), yolox_cells((64, 64))
    pixels = raw.copy()
    pixels[0, :, :2] = (raw[0, :, :2] + cells[:, :2]) * cells[:, 2:]
    pixels[0, :, 2:4] = np.exp(raw[0, :, 2:4]) * cells[:, 2:]
    found = [
        PersonBoxes(tiny_onnx.constant_net(tmp_path / f"{k}.onnx", {"output": answer}))(
            np.zeros((128, 128, 3), np.uint8)
        )
        for k, answer in enumerate((raw, pixels))
    ]
    assert len(found[0].corners) == 1
    np.testing.assert_allclose(found[1].corners, found[0].corners, rtol=1e-4)
    np.testing.assert_allclose(found[1].scores, found[0].scores, rtol=1e-5)


def test_boxes_are_cut_to_the_frame_and_the_largest_comes_first(tmp_path):
    rows = [[2, 2, 12, 30, 0.9], [-20, 10, 50, 90, 0.4], [30, 1, 31, 60, 0.9], [np.nan, 0, 9, 9, 0.9]]
    found = PersonBoxes(tiny_onnx.rtmdet_net(tmp_path / "net.onnx", rows, [0] * 4))(
        np.zeros((64, 64, 3), np.uint8)
    )
    np.testing.assert_allclose(found.corners, [[0, 10, 50, 64], [2, 2, 12, 30]])
    np.testing.assert_allclose(found.scores, [0.4, 0.9])


def test_nobody_gives_no_boxes(tmp_path):
    found = PersonBoxes(tiny_onnx.rtmdet_net(tmp_path / "net.onnx", [], []))(np.zeros((64, 64, 3), np.uint8))
    assert found.corners.shape == (0, 4) and found.scores.shape == (0,)


@pytest.mark.parametrize(
    ("name", "mean"), [("rtmdet.onnx", (-103.53 / 57.375, -123.675 / 58.395)), ("yolox_m.onnx", (0, 0))]
)
def test_normalisation_goes_by_the_kind_of_export(tmp_path, name, mean):
    boxes = PersonBoxes(tiny_onnx.rtmdet_net(tmp_path / name, [], []))
    picture, scale = boxes._picture(np.zeros((32, 32, 3), np.uint8))
    assert picture.shape == (1, 64, 64, 3) and scale == 2
    np.testing.assert_allclose(picture[0, 0, 0, [0, 2]], mean, rtol=1e-5)


def test_yolox_is_told_by_the_names_of_its_weights_whatever_the_file_is_called(tmp_path):
    rtmdet = tiny_onnx.rtmdet_net(tmp_path / "end2end.onnx", [], [])
    assert not PersonBoxes(rtmdet)._raw
    model = tiny_onnx.onnx.load(str(rtmdet))
    head = tiny_onnx.numpy_helper.from_array(
        np.zeros((1, 3, 1, 1), np.float32), "bbox_head.multi_level_conv_obj.0.weight"
    )
    model.graph.initializer.append(head)
    tiny_onnx.onnx.save(model, str(tmp_path / "end2end.onnx"))
    assert PersonBoxes(tmp_path / "end2end.onnx")._raw


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("rtmdet_nano_320-8xb32_coco-person.onnx", 320),
        ("rtmdet_m_640.onnx", 640),
        ("end2end.onnx", FREE_SIZE),
        ("x13204.onnx", FREE_SIZE),
    ],
)
def test_a_free_size_is_taken_from_the_name(name, size):
    assert size_in_name(Path(name)) == size
