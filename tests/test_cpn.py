"""detectors/cpn/: the published network, its checkpoints, pictures, decoding, and the detector built of them."""

from __future__ import annotations

import hashlib
import os

import cv2
import numpy as np
import pytest
import torch
from posefix.detectors import DetectorOptions, create_detector
from posefix.detectors.cpn import detector as detector_module
from posefix.detectors.cpn.checkpoint import Checkpoint, load_into, read_checkpoint, write_checkpoint
from posefix.detectors.cpn.decode import calibrated, decode, flip_averaged
from posefix.detectors.cpn.network import CPN, SIZES
from posefix.detectors.cpn.pictures import MEAN, cut, frame_to_picture, normalise, part_around
from posefix.skeleton import COCO17, Frame
from posefix.skeleton.errors import DeviceError, InputError, WeightsError

# Of pytorch-cpn's CPN50 for 17 joints: tensors without the batch counters, and a digest of "name (shape)" lines.
PUBLISHED_TENSORS, PUBLISHED_PARAMETERS = 488, 27_407_594
PUBLISHED_DIGEST = "645fdf7ad265e5b17ea703a2a63d12bb407d8cf066f944bc9530d5d6f8d54d5e"
RED, GREEN, BLUE = (111, 151), (150, 201), (189, 251)  # where the frame's spots are, x and y


@pytest.fixture(scope="module")
def network() -> CPN:
    """CPN with random weights; statistics of batch normalisation that are not the initial ones."""
    torch.manual_seed(0)
    model = CPN().eval()
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
    return model


@pytest.fixture(scope="module")
def public_file(network, tmp_path_factory):
    """As pytorch-cpn's train.py and PyTorch 0.4.0 write it: no batch counters, the old file format."""
    state = {f"module.{k}": v for k, v in network.state_dict().items() if "num_batches" not in k}
    content = {"epoch": 32, "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 5e-4}]}}
    path = tmp_path_factory.mktemp("cpn") / "CPN50_384x288.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


# Network


def test_layers_are_those_of_the_published_code():
    with torch.device("meta"):
        model = CPN()
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if "num_batches" not in k}
    assert shapes["resnet.layer1.0.conv1.weight"] == (64, 64, 1, 1)
    assert shapes["resnet.layer4.2.bn3.running_var"] == (2048,)
    assert shapes["global_net.laterals.0.0.weight"] == (256, 2048, 1, 1)
    assert shapes["global_net.upsamples.2.1.bias"] == (256,)
    assert shapes["global_net.predict.3.5.weight"] == (17,)
    assert shapes["refine_net.cascade.0.2.downsample.0.weight"] == (256, 256, 1, 1)
    assert shapes["refine_net.final_predict.0.conv1.weight"] == (128, 1024, 1, 1)
    assert shapes["refine_net.final_predict.1.weight"] == (17, 256, 3, 3)
    assert len(shapes) == PUBLISHED_TENSORS
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED_PARAMETERS
    text = "\n".join(f"{k} {v}" for k, v in sorted(shapes.items()))
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED_DIGEST


@pytest.mark.parametrize("name", SIZES)
def test_every_head_answers_a_quarter_of_the_picture(network, name):
    width, height = SIZES[name]
    assert name == f"{height}x{width}"
    with torch.device("meta"):
        model = CPN(SIZES[name])
        coarse, fine = model(torch.zeros(2, 3, height, width))
    assert [m.shape for m in (*coarse, fine)] == [(2, 17, height // 4, width // 4)] * 5


# Checkpoints


def test_a_public_checkpoint_loads_strictly(public_file, network):
    checkpoint = read_checkpoint(public_file)
    assert checkpoint.size == "384x288" and checkpoint.calibration is None
    assert checkpoint.sha256 == hashlib.sha256(public_file.read_bytes()).hexdigest()
    other = CPN().eval()
    load_into(other, checkpoint, "here")
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_is_written_is_read_back_and_is_in_the_public_layout(tmp_path):
    small = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    path = tmp_path / "any.pth.tar"
    write_checkpoint(path, small, "384x288", 7, (-2.0, 6.0))
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 7 and sorted(content["state_dict"])[0] == "module.0.bias"
    checkpoint = read_checkpoint(path)
    assert (checkpoint.size, checkpoint.calibration) == ("384x288", (-2.0, 6.0))
    assert all(torch.equal(v, checkpoint.state[k]) for k, v in small.state_dict().items())


@pytest.mark.parametrize(
    "meta", [{"size": ["256x192"], "calibration": "ab"}, {"size": "9x9", "calibration": [1.0]}]
)
def test_what_a_file_says_of_itself_is_passed_over_where_it_makes_no_sense(tmp_path, meta):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": meta}, tmp_path / "odd.pth")
    checkpoint = read_checkpoint(tmp_path / "odd.pth")
    assert checkpoint.size is None and checkpoint.calibration is None


class Bomb:
    def __reduce__(self):
        return (os.mkdir, (os.environ["CPN_BOMB"],))


def test_a_pickle_that_runs_code_is_refused_and_told_how_to_convert(tmp_path, monkeypatch):
    monkeypatch.setenv("CPN_BOMB", str(tmp_path / "ran"))
    path = tmp_path / "bomb.pth.tar"
    torch.save({"state_dict": {"module.a": torch.zeros(1)}, "extra": Bomb()}, path)
    with pytest.raises(WeightsError, match=r"--pose-weights .*bomb\.pth\.tar: refused.*convert") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_other_networks_and_other_files_are_one_line(network, tmp_path):
    state = dict(network.state_dict())
    name = "refine_net.final_predict.1.weight"
    for changed, problem in (
        ({k: v for k, v in state.items() if k != name}, rf"lacks 1 of its 488 weights, e\.g\. {name}"),
        ({**state, "resnet.layer3.6.conv1.weight": state[name]}, r"besides 1 .* e\.g\. resnet\.layer3\.6"),
        ({**state, name: torch.zeros(14, 256, 3, 3)}, rf"other shapes 1 .* e\.g\. {name}"),
    ):
        with pytest.raises(WeightsError, match=r"here: not CPN on ResNet-50 with 17 joints.*" + problem):
            load_into(network, Checkpoint(changed, None, None, ""), "here")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pth: "):
        read_checkpoint(tmp_path / "text.pth")
    with pytest.raises(WeightsError, match=r"gone\.pth: no such file"):
        read_checkpoint(tmp_path / "gone.pth")


# Pictures


def test_the_box_grows_and_takes_the_aspect_of_the_picture():
    # 100 x 400 -> 120 x 520; 520 high needs 390 wide
    np.testing.assert_allclose(part_around([100, 100, 200, 500], (192, 256)), [-45, 40, 345, 560])
    np.testing.assert_allclose(part_around([0, 0, 300, 100], (288, 384)), [-30, -190, 330, 290])


def test_a_picture_shows_the_part_and_beyond_the_frame_the_mean_colour():
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:40, 60:70] = (10, 20, 200)  # BGR
    matrix = frame_to_picture([50, 0, 125, 100], (192, 256))
    picture = cut(image, matrix, (192, 256))
    x, y = np.round(matrix[:, :2] @ [65, 30] + matrix[:, 2]).astype(int)
    assert tuple(picture[y, x]) == (10, 20, 200)
    columns = (picture[y].astype(int)[:, 2] > 150).nonzero()[0]
    assert (columns[0], columns[-1]) == (26, 50)  # of 192: 60..70 of 50..125 are 25.6..51.2
    values = normalise(picture[None])
    assert values.shape == (1, 3, 256, 192) and values.dtype == np.float32
    np.testing.assert_allclose(values[0, :, y, x], ([200, 20, 10] - MEAN) / 255, atol=1e-6)  # red first
    assert np.abs(values[0, :, :, 140:]).max() < 0.5 / 255  # right of the frame: nothing


# Decoding


def bump(x: float, y: float, height: float = 255.0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """(h, w) Gaussian about a place in cells."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    return (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.4**2))).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "y", "want"),
    [
        (10.3, 20.0, (10.25, 20.0)),  # a quarter towards the higher neighbour
        (9.7, 20.0, (9.75, 20.0)),
        (10.0, 20.4, (10.0, 20.25)),
        (10.0, 19.6, (10.0, 19.75)),
    ],
)
def test_the_maximum_moves_a_quarter_of_a_cell(x, y, want):
    places, peaks = decode(np.stack([bump(x, y), bump(x, y, 51.0)])[None])
    for place in places[0] * [192, 256]:
        assert np.abs(place - (4 * np.array(want) + 2)).max() <= 1e-3
    np.testing.assert_allclose(
        peaks[0, 0] / peaks[0, 1], 5, rtol=1e-4
    )  # the raw height, whatever the scaling
    assert 0.9 < peaks[0, 0] <= 1


def test_a_joint_in_the_corner_is_drawn_inwards_by_no_more_than_a_cell():
    places, _ = decode(bump(0, 63)[None, None])  # by the border of zeros
    assert np.abs(places[0, 0] * [48, 64] - [0.5, 63.5]).max() <= 1


def test_one_hot_cell_among_a_broad_hill_does_not_win():
    hill = bump(30, 30, 200.0)
    hill[5, 5] = 255
    places, peaks = decode(hill[None, None])
    assert np.abs(places[0, 0] * [48, 64] - [30.5, 30.5]).max() <= 0.26
    assert peaks[0, 0] == pytest.approx(200 / 255, rel=1e-3)


def test_maps_without_a_joint_have_peak_zero_and_a_place_inside():
    maps = np.stack([np.zeros((64, 48)), np.full((64, 48), -3.0), np.full((64, 48), np.nan)])[None]
    places, peaks = decode(maps.astype(np.float32))
    assert (peaks == 0).all() and np.isfinite(places).all() and (places >= 0).all() and (places <= 1).all()
    assert decode(bump(9, 9, 900.0)[None, None])[1][0, 0] == 1  # never above 1


def test_scores_are_the_peaks_or_the_fitted_chance():
    peaks = np.array([0.0, 0.5, 1.0], np.float32)
    assert calibrated(peaks, None) is peaks
    np.testing.assert_allclose(calibrated(peaks, (-2.0, 4.0)), [0.1192, 0.5, 0.8808], atol=1e-4)


class Uneven(torch.nn.Module):
    """Maps from a picture by filters that differ between left and right, and between joints."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = torch.nn.Conv2d(3, 17, 4, 4)

    def forward(self, x):
        return [], self.conv(x)


def test_flip_averaging_is_the_mean_with_the_mirror_image_and_treats_both_sides_alike():
    model, picture = Uneven(), torch.rand(2, 3, 32, 24)
    with torch.no_grad():
        got = flip_averaged(model, picture)
        mirrored = model(picture.flip(3))[1]
        left, right = COCO17.joints.index("LWrist"), COCO17.joints.index("RWrist")
        want = (model(picture)[1][:, left] + mirrored[:, right].flip(2)) / 2
        torch.testing.assert_close(got[:, left], want)
        other = flip_averaged(model, picture.flip(3)).flip(3)[:, COCO17.flip_order]
    torch.testing.assert_close(got, other)


# The detector


@pytest.fixture
def colours(monkeypatch):
    """CPN's maps replaced: joint j's is colour j % 3 of the picture (red, green, blue), a peak of 255 for the full."""

    def heatmaps(model, pictures, device):
        bright = (pictures * 255 + MEAN[None, :, None, None]).clip(0, 255)  # (n, 3, h, w)
        n, _, h, w = bright.shape
        spots = np.where(bright > 150, bright, 0)  # without the mean colour around the frame
        cells = spots.reshape(n, 3, h // 4, 4, w // 4, 4).mean(axis=(3, 5))
        return cells[:, np.arange(17) % 3].astype(np.float32)

    monkeypatch.setattr(detector_module, "heatmaps", heatmaps)


def spots() -> Frame:
    """Black, 300 x 400, with a soft disc of each colour."""
    image = np.zeros((400, 300, 3), np.uint8)
    for channel, (x, y) in enumerate((BLUE, GREEN, RED)):  # OpenCV's order
        layer = np.zeros((400, 300), np.uint8)
        cv2.circle(layer, (x, y), 8, 255, -1)
        image[..., channel] = cv2.GaussianBlur(layer, (7, 7), 0)
    return Frame(0, 0.0, image)


def cpn(file, **options):
    return create_detector("cpn", "cpu", DetectorOptions(pose_weights=str(file), **options))


def test_people_come_with_joints_scores_boxes_and_heatmaps(public_file, colours, tmp_path):
    tiny_onnx = pytest.importorskip("tiny_onnx")
    rows = [
        [*np.array(box) * 64 / 400, score]
        for box, score in (((60, 100, 100, 160), 0.8), ((30, 50, 290, 390), 0.9))
    ]
    det = tiny_onnx.rtmdet_net(tmp_path / "det.onnx", rows, [0, 0])
    found = cpn(public_file, pose_model="256x192", det_model=str(det))
    first, second = found.detect(spots())
    assert [tuple(np.round(p.box)) for p in (first, second)] == [(30, 50, 290, 390), (60, 100, 100, 160)]
    assert first.layout == found.layout == "coco17" and found.device == "cpu"
    for joint, place in enumerate(first.keypoints):
        # half a cell is 3.5 px
        assert np.linalg.norm(place - np.add((RED, GREEN, BLUE)[joint % 3], 0.5)) < 4, f"joint {joint}"
    assert first.scores.min() > 0.8 and first.scores.max() <= 1 and first.heatmaps.shape == (17, 64, 48)
    x0, y0, x1, y1 = first.heatmap_box  # the place of a value: the middle of its cell
    row, column = divmod(int(first.heatmaps[0].argmax()), 48)
    middle = [x0 + (column + 0.5) / 48 * (x1 - x0), y0 + (row + 0.5) / 64 * (y1 - y0)]
    assert np.linalg.norm(np.array(middle) - RED) < 8
    assert sorted(found.weights) == ["det-model/det.onnx", "pose-weights/CPN50_384x288.pth.tar"]
    found.close()
    found.close()  # twice does no harm


def test_without_a_person_detector_the_frame_is_the_box_and_an_empty_one_is_nobody(public_file, colours):
    found = cpn(public_file)
    assert found.size == "384x288"  # by the file's name
    (pose,) = found.detect(spots())
    np.testing.assert_array_equal(pose.box, [0, 0, 300, 400])
    assert pose.heatmaps.shape == (17, 96, 72)
    assert found.detect(Frame(1, 0.1, np.zeros((400, 300, 3), np.uint8))) == []
    assert found.detect(Frame(2, 0.2, np.zeros((8, 300, 3), np.uint8))) == []


def test_the_real_network_runs_the_same_twice(public_file):
    found = cpn(public_file, pose_model="256x192")
    image = np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)
    maps = [found._maps(image[None, :, :, :].repeat(1, axis=0)[:, :64, :64]) for _ in range(2)]
    assert maps[0].shape == (1, 17, 64, 48) and np.isfinite(maps[0]).all()
    np.testing.assert_array_equal(*maps)


def test_options_that_cannot_be_are_one_line(public_file, monkeypatch):
    with pytest.raises(InputError, match=r"--pose-weights FILE.*posefix train cpn"):
        create_detector("cpn", "cpu", DetectorOptions())
    with pytest.raises(InputError, match=r"--pose-model 300x200: for CPN one of 256x192, 384x288"):
        cpn(public_file, pose_model="300x200")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"--device cuda: .*--device cpu"):
        create_detector("cpn", "cuda", DetectorOptions(pose_weights=str(public_file)))
