"""detectors/crops.py, decode.py and pose_presets.py: crops, decoding, presets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from posefix.detectors.crops import Crop
from posefix.detectors.decode import decode_heatmaps, decode_simcc
from posefix.detectors.onnx_detector import read_answers
from posefix.detectors.pose_presets import PRESETS, find_preset, recognise
from posefix.skeleton.errors import InputError

SIZE = (192, 256)


def gaussian(x: float, y: float, size: tuple[int, int] = (48, 64), sigma: float = 2.0) -> np.ndarray:
    """(h, w) with its peak of 1 at (x, y)."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


# Crops


def test_a_box_is_padded_and_widened_about_its_middle():
    tall, wide = Crop.around([100, 200, 140, 400], SIZE, 1.25), Crop.around([0, 0, 300, 30], SIZE, 1.25)
    assert (tall.left, tall.top, tall.width, tall.height) == pytest.approx((26.25, 175, 187.5, 250))
    assert (wide.width, wide.height) == pytest.approx((375, 500))
    assert (wide.left + wide.width / 2, wide.top + wide.height / 2) == pytest.approx((150, 15))


@given(
    x=st.floats(-50, 2000), y=st.floats(-50, 2000), w=st.floats(1, 900), h=st.floats(1, 900),
    cell=st.tuples(st.floats(0, 47), st.floats(0, 63)), unbiased=st.booleans(),
)  # fmt: skip
def test_heatmap_box_and_places_agree_on_every_cell(x, y, w, h, cell, unbiased):
    crop = Crop.around([x, y, x + w, y + h], SIZE, unbiased=unbiased)
    x0, y0, x1, y1 = crop.heatmap_box((48, 64))
    middle = [x0 + (cell[0] + 0.5) / 48 * (x1 - x0), y0 + (cell[1] + 0.5) / 64 * (y1 - y0)]
    np.testing.assert_allclose(crop.to_frame(cell, (48, 64)), middle, rtol=1e-4, atol=0.02)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("spot", [(120.5, 260.5), (310.5, 420.5), (222.0, 301.0)])
def test_a_spot_comes_back_to_its_place_through_the_warped_picture(unbiased, spot):
    frame = np.repeat((255 * gaussian(spot[0] - 0.5, spot[1] - 0.5, (500, 600), 6))[..., None], 3, axis=2)
    crop = Crop.around([50, 180, 350, 500], SIZE, unbiased=unbiased)
    seen = crop.cut(frame.astype(np.uint8))[..., 0].astype(float)
    assert seen.shape == (256, 192)
    rows, columns = np.mgrid[:256, :192]
    place = [(columns * seen).sum() / seen.sum(), (rows * seen).sum() / seen.sum()]
    np.testing.assert_allclose(crop.to_frame(place, SIZE), spot, atol=0.1)


def test_a_frame_of_the_networks_size_goes_in_as_it_is():
    frame = np.random.default_rng(0).integers(0, 255, (256, 192, 3)).astype(np.uint8)
    np.testing.assert_array_equal(Crop.around([0, 0, 192, 256], SIZE, padding=1).cut(frame), frame)


def test_what_lies_beyond_the_frame_is_black():
    cut = Crop.around([-200, -200, 10, 10], SIZE).cut(np.full((50, 50, 3), 200, np.uint8))
    assert (cut[:40] == 0).all() and cut.max() == 200


# Heatmaps


@given(st.floats(6, 41), st.floats(6, 57))
def test_the_peak_is_found_between_cells(x, y):
    places, _ = decode_heatmaps(gaussian(x, y)[None, None])
    np.testing.assert_allclose(places[0, 0], [x, y], atol=0.02)


def test_every_joint_of_everybody_has_its_own_peak_and_the_maximum_as_score():
    peaks = np.array([[[20.3, 30.4], [10.7, 5.6], [7, 9]], [[40, 50], [12.5, 33.1], [24, 24]]])
    heights = np.array([[0.9, 0.2, 0.5], [0.3, 0.8, 0.7]])
    maps = np.array([[gaussian(*p) for p in person] for person in peaks]) * heights[..., None, None]
    places, scores = decode_heatmaps(maps.astype(np.float32))
    np.testing.assert_allclose(places, peaks, atol=0.02)
    np.testing.assert_allclose(scores, maps.max(axis=(2, 3)), rtol=1e-6)


def test_heatmaps_are_left_as_they_are():
    maps = gaussian(9, 9)[None, None]
    before = maps.copy()
    decode_heatmaps(maps)
    np.testing.assert_array_equal(maps, before)


def test_peaks_on_the_border_stay_there():
    for x, y in ((0, 0), (47, 63), (0, 63), (47, 20)):
        places, _ = decode_heatmaps(gaussian(x, y)[None, None])
        np.testing.assert_allclose(places[0, 0], [x, y], atol=1e-3)


def test_scores_are_cut_to_0_and_1_and_nothing_is_nan():
    maps = np.stack(
        [3 * gaussian(5, 6), -gaussian(5, 6), np.full((64, 48), np.nan), np.full((64, 48), np.inf)]
    )
    places, scores = decode_heatmaps(maps[None].astype(np.float32))
    assert scores[0].tolist() == [1, 0, 0, 0]
    assert np.isfinite(places).all()
    np.testing.assert_allclose(places[0, 0], (5, 6), atol=0.02)


# SimCC


def test_simcc_takes_each_axis_apart_and_the_lower_peak_as_score():
    x, y = np.zeros((2, 3, 384), np.float32), np.zeros((2, 3, 512), np.float32)
    x[0, 0, 100], y[0, 0, 400] = 0.9, 0.6
    x[1, 2, 383], y[1, 2, 0] = 0.2, 7.0
    x[1, 1], y[1, 1, 3] = -1, 0.5
    places, scores = decode_simcc(x, y)
    assert places[0, 0].tolist() == [100, 400] and places[1, 2].tolist() == [383, 0]
    np.testing.assert_allclose([scores[0, 0], scores[1, 2], scores[1, 1], scores[0, 1]], [0.6, 0.2, 0, 0])


# What is read off a network


@pytest.mark.parametrize(
    ("shapes", "names", "outputs", "joints", "cells", "last"),
    [
        ([(1, 17, 64, 48)], ["heatmap"], (0,), 17, (0.25, 0.25), False),
        ([(1, 64, 48, 17)], ["heatmap"], (0,), 17, (0.25, 0.25), True),
        ([(1, 17), (1, 26, 64, 48)], ["argmax", "conv"], (1,), 26, (0.25, 0.25), False),  # Paddle's export
        ([(1, 133, 384), (1, 133, 512)], ["simcc_x", "simcc_y"], (0, 1), 133, (2, 2), False),
        ([(1, 17, 512), (1, 17, 384)], ["a", "b"], (1, 0), 17, (2, 2), False),
    ],
)
def test_answers_are_told_by_shape(shapes, names, outputs, joints, cells, last):
    answers = read_answers(shapes, names, SIZE)
    assert answers is not None
    assert (answers.outputs, answers.joints, answers.cells, answers.channels_last) == (
        outputs, joints, cells, last,
    )  # fmt: skip


def test_of_a_square_simcc_the_names_tell_the_axes():
    answers = read_answers([(1, 17, 512), (1, 17, 512)], ["simcc_y", "simcc_x"], (256, 256))
    assert answers is not None and answers.outputs == (1, 0)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 56, 8400)],  # a one-stage network
        [(1, 17, 3)],  # coordinates
        [(1, 17, 64, 40)],  # another aspect
        [(1, 17, 100), (1, 17, 100)],
        [(1, 17, 96), (1, 17, 128)],  # coarser than pixels
        [],
    ],
)
def test_other_answers_are_refused(shapes):
    assert read_answers(shapes, ["o"] * len(shapes), SIZE) is None


# Presets


@pytest.mark.parametrize(
    ("size", "last", "dtype", "cells", "simcc", "name"),
    [
        ((192, 256), False, np.float32, (0.25, 0.25), False, "hrnet"),
        ((288, 384), False, np.float16, (0.25, 0.25), False, "hrnet"),
        ((96, 128), False, np.float32, (0.25, 0.25), False, "hrnet"),
        ((192, 256), False, np.float32, (2, 2), True, "rtmpose"),
        ((288, 384), False, np.float32, (3, 3), True, "rtmpose"),
        ((192, 256), True, np.float32, (0.25, 0.25), False, None),
        ((192, 256), False, np.uint8, (0.25, 0.25), False, None),
        ((192, 256), False, np.float32, (0.5, 0.5), False, None),
        ((200, 200), False, np.float32, (0.25, 0.25), False, None),
        ((192, 256), False, np.float32, (1, 1), True, None),
    ],
)
def test_presets_are_recognised(size, last, dtype, cells, simcc, name):
    found = recognise(size, last, dtype, cells, simcc)
    assert (found and found.name) == name


def test_unknown_presets_list_the_choices():
    with pytest.raises(InputError, match=r"--pose-preset imagenet: .*rtmpose.*hrnet.*udp.*rgb-255.*bgr-255"):
        find_preset("imagenet")


@pytest.mark.parametrize(
    ("name", "blue"),
    [
        ("hrnet", [-123.675 / 58.395, -116.28 / 57.12, (255 - 103.53) / 57.375]),
        ("rgb-1", [0, 0, 1]),
        ("rgb-255", [0, 0, 255]),
        ("bgr-255", [255, 0, 0]),
    ],
)
def test_normalisation_of_a_blue_picture(name, blue):
    picture = np.zeros((1, 2, 2, 3), np.uint8)
    picture[..., 0] = 255  # OpenCV's order: blue first
    out = PRESETS[name].normalise(picture)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, 1, 1], blue, rtol=1e-5)
