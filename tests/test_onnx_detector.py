"""The ONNX detector: wiring with tiny made networks, bad files, and the real networks on real clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from posefix.detectors import DetectorOptions, create_detector
from posefix.detectors.onnx_detector import OnnxDetector
from posefix.detectors.onnx_session import OnnxModel
from posefix.detectors.person_boxes import Boxes
from posefix.pipeline.cli import call
from posefix.pipeline.settings import Settings
from posefix.skeleton import BLAZEPOSE33, COCO17, Frame
from posefix.skeleton.errors import DeviceError, InputError, WeightsError

RED, GREEN, BLUE = (111, 151), (150, 201), (189, 251)  # where the picture's spots are, x and y


def detector(pose: Path, det: Path | None = None, preset: str | None = None) -> OnnxDetector:
    return OnnxDetector("cpu", DetectorOptions(str(pose), det and str(det), preset))


def spots() -> Frame:
    """Black, 300 x 400, with a sharp disc of each colour."""
    image = np.zeros((400, 300, 3), np.uint8)
    rows, columns = np.mgrid[:400, :300] + 0.5
    for channel, (x, y) in enumerate((BLUE, GREEN, RED)):  # OpenCV's order
        image[(columns - x) ** 2 + (rows - y) ** 2 <= 8**2, channel] = 255
    return Frame(0, 0.0, image)


def check(pose) -> None:
    """Joint j sits on the spot of colour j % 3, of radius 8."""
    for joint, place in enumerate(pose.keypoints):
        assert np.linalg.norm(place - (RED, GREEN, BLUE)[joint % 3]) < 8, f"joint {joint}"


# Wiring


@pytest.mark.parametrize("channels_last", [False, True])
def test_heatmaps_of_either_layout_give_joints_in_pixels_of_the_frame(tmp_path, channels_last):
    net = tiny_onnx.heatmap_net(tmp_path / "net.onnx", channels_last=channels_last)
    found = detector(net, preset="hrnet" if channels_last else None)
    (pose,) = found.detect(spots())
    assert found.preset.name == "hrnet" and pose.layout == found.layout == "coco17"
    check(pose)
    np.testing.assert_allclose(pose.scores, 1)
    np.testing.assert_array_equal(pose.box, [0, 0, 300, 400])
    found.close()
    found.close()  # twice does no harm


def test_heatmaps_are_handed_on_with_the_box_they_cover(tmp_path):
    (pose,) = detector(tiny_onnx.heatmap_net(tmp_path / "net.onnx")).detect(spots())
    assert pose.heatmaps.shape == (17, 64, 48)
    x0, y0, x1, y1 = pose.heatmap_box
    for joint in range(3):
        row, column = divmod(int(pose.heatmaps[joint].argmax()), 48)
        middle = [x0 + (column + 0.5) / 48 * (x1 - x0), y0 + (row + 0.5) / 64 * (y1 - y0)]
        cell = (x1 - x0) / 48
        assert np.abs(pose.keypoints[joint] - middle).max() <= 0.26 * cell


def test_simcc_is_decoded_whatever_the_order_of_its_outputs(tmp_path):
    found = detector(tiny_onnx.simcc_net(tmp_path / "net.onnx"))
    (pose,) = found.detect(spots())
    assert found.preset.name == "rtmpose" and pose.heatmaps is None
    for joint, place in enumerate(pose.keypoints):  # the first of equal columns and rows: a disc's edge
        want = np.array((RED, GREEN, BLUE)[joint % 3])
        assert (np.abs(place - want) < [10, 10]).all()


def test_presets_change_the_order_of_the_channels(tmp_path):
    net = tiny_onnx.heatmap_net(tmp_path / "net.onnx", bytes_in=True)
    (rgb,) = detector(net, preset="rgb-255").detect(spots())
    (bgr,) = detector(net, preset="bgr-255").detect(spots())
    check(rgb)
    np.testing.assert_allclose(bgr.keypoints[0], rgb.keypoints[2])
    assert np.linalg.norm(bgr.keypoints[0] - rgb.keypoints[0]) > 100


@pytest.mark.parametrize(("joints", "layout", "kept"), [(26, "halpe26", 26), (133, "coco17", 17)])
def test_the_number_of_joints_tells_the_layout(tmp_path, joints, layout, kept):
    found = detector(tiny_onnx.heatmap_net(tmp_path / "net.onnx", joints=joints))
    (pose,) = found.detect(spots())
    assert found.layout == pose.layout == layout
    assert pose.keypoints.shape == (kept, 2) and pose.heatmaps.shape[0] == kept
    check(pose)


@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_every_box_of_a_person_gives_a_pose_the_largest_first(tmp_path, batch):
    # The frame goes into the 64 x 64 letterbox at 64 / 400; label 1 is no person, 0.2 no good score.
    boxes = np.array([[45, 90, 250, 310], [40, 60, 260, 340], [30, 50, 290, 390], [0, 300, 300, 400]])
    rows = [[*box * 64 / 400, score] for box, score in zip(boxes, (0.9, 0.2, 0.95, 0.8), strict=True)]
    rows.append([*np.array([60, 100, 100, 160]) * 64 / 400, 0.5])
    det = tiny_onnx.rtmdet_net(tmp_path / "det.onnx", rows, [0, 0, 0, 1, 0])
    found = detector(tiny_onnx.heatmap_net(tmp_path / "net.onnx", batch=batch), det)
    poses = found.detect(spots())
    # the first box lies in the third and covers half of it
    assert [tuple(np.round(p.box)) for p in poses] == [(30, 50, 290, 390), (60, 100, 100, 160)]
    check(poses[0])
    alone = detector(tiny_onnx.heatmap_net(tmp_path / "one.onnx", batch=1), det).detect(spots())
    for a, b in zip(poses, alone, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert sorted(found.weights) == ["det-model/det.onnx", "pose-model/net.onnx"]


def test_a_limb_that_the_next_box_cuts_off_is_still_found(tmp_path):
    rows = [[*np.array([60, 90, 220, 340]) * 64 / 400, 0.9]]
    det = tiny_onnx.rtmdet_net(tmp_path / "det.onnx", rows, [0])
    found = detector(tiny_onnx.heatmap_net(tmp_path / "net.onnx"), det)
    check(found.detect(spots())[0])
    # The padded crop of this one begins below the red spot.
    found._boxes = lambda image: Boxes(np.array([[120, 205, 195, 256]], np.float32), np.ones(1, np.float32))
    alone = detector(tiny_onnx.heatmap_net(tmp_path / "net2.onnx"), det)
    alone._boxes = found._boxes
    assert alone.detect(spots())[0].keypoints[0][1] > RED[1] + 8
    pose = found.detect(spots())[0]
    check(pose)
    np.testing.assert_array_equal(pose.box, [120, 205, 195, 256])  # the detector's word is passed on as it is


def test_a_network_of_a_fixed_batch_gives_as_many_answers_as_pictures(tmp_path):
    model = OnnxModel(tiny_onnx.heatmap_net(tmp_path / "net.onnx", batch=3))
    pictures = np.random.default_rng(0).random((5, 256, 192, 3)).astype(np.float32)
    (maps,) = model.run(pictures)
    assert maps.shape == (5, 17, 64, 48)
    cells = pictures.reshape(5, 64, 4, 48, 4, 3).mean(axis=(2, 4))  # (n, h, 4, w, 4, 3) -> (n, h, w, 3)
    np.testing.assert_allclose(maps[:, 1], cells[..., 1], atol=1e-5)


def test_nobody_in_black_or_tiny_frames_and_without_boxes(tmp_path):
    net = tiny_onnx.heatmap_net(tmp_path / "net.onnx")
    black = Frame(0, 0.0, np.zeros((400, 300, 3), np.uint8))
    assert detector(net).detect(black) == []  # normalised black is negative: no joint anywhere
    assert detector(net).detect(Frame(0, 0.0, np.full((8, 300, 3), 255, np.uint8))) == []
    empty = tiny_onnx.rtmdet_net(tmp_path / "det.onnx", [[0, 0, 60, 60, 0.1]], [0])
    assert detector(net, empty).detect(spots()) == []


# Bad files and options


def nothing(tmp_path: Path) -> Path:
    return tmp_path / "nothing.onnx"


def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.onnx"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    return path


def two_inputs(tmp_path: Path) -> Path:
    return tiny_onnx.two_inputs_net(tmp_path / "two.onnx")


def open_size(tmp_path: Path) -> Path:
    return tiny_onnx.constant_net(tmp_path / "open.onnx", {"y": np.zeros((1, 3), np.float32)}, ("h", "w"))


def coordinates(tmp_path: Path) -> Path:
    return tiny_onnx.constant_net(tmp_path / "xy.onnx", {"xy": np.zeros((1, 17, 3), np.float32)})


def breaks(tmp_path: Path) -> Path:
    return tiny_onnx.broken_net(tmp_path / "broken.onnx")


def fourteen(tmp_path: Path) -> Path:
    return tiny_onnx.heatmap_net(tmp_path / "14.onnx", joints=14)


def unknown(tmp_path: Path) -> Path:
    return tiny_onnx.heatmap_net(tmp_path / "u.onnx", size=(100, 200))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (nothing, WeightsError, r"nothing\.onnx: no such file; give the path of an \.onnx file"),
        (lambda folder: folder, WeightsError, r"directory; give the path"),
        (text, WeightsError, r"text\.onnx: onnxruntime cannot load it"),
        (two_inputs, WeightsError, r"expected one picture \(n, 3, h, w\).*found a \[1, 4\].*, b \[1, 4\]"),
        (open_size, WeightsError, r"size of its input is open; export it with a fixed size, or.*--det-model"),
        (coordinates, WeightsError, r"xy \(1, 17, 3\)\) are neither heatmaps .* nor SimCC"),
        (breaks, WeightsError, r"the network fails on its input \(.*Reshape"),
        (fourteen, WeightsError, r"answers 14 joints .*posefix knows 17 \(COCO\), 26 \(Halpe\) and 133"),
        (unknown, InputError, r"--pose-preset, one of: rtmpose \(.*\); hrnet .*; udp .*; rgb-255"),
    ],
    ids=["missing", "folder", "text", "inputs", "open", "outputs", "breaks", "joints", "normalisation"],
)
def test_bad_pose_models_give_one_clear_line(tmp_path, make, error, message):
    with pytest.raises(error, match=message) as caught:
        detector(make(tmp_path))
    assert "--pose-model" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, r"--det-model .*nothing\.onnx: no such file"),
        (text, r"--det-model .*onnxruntime cannot load it"),
        (coordinates, r"--det-model .*xy \(1, 17, 3\)\) are those of no person detector .*RTMDet.*YOLOX"),
    ],
)
def test_bad_person_detectors_give_one_clear_line(tmp_path, make, message):
    with pytest.raises(WeightsError, match=message):
        detector(tiny_onnx.heatmap_net(tmp_path / "net.onnx"), make(tmp_path))


def test_bytes_and_means_do_not_go_together(tmp_path):
    net = tiny_onnx.heatmap_net(tmp_path / "net.onnx", bytes_in=True)
    with pytest.raises(InputError, match=r"--pose-preset"):
        detector(net)
    with pytest.raises(InputError, match=r"takes bytes, so --pose-preset hrnet cannot be right; use rgb-255"):
        detector(net, preset="hrnet")


def test_a_pose_model_must_be_named():
    with pytest.raises(InputError, match=r"needs --pose-model FILE"):
        create_detector("onnx")


@pytest.mark.parametrize("option", ["pose_model", "det_model", "pose_preset"])
def test_other_detectors_refuse_the_options(option):
    flag = "--" + option.replace("_", "-")
    with pytest.raises(InputError, match=rf"^{flag}: .*'mediapipe'.*add --detector .*\bonnx$"):
        Settings(**{option: "x"})


def test_cuda_is_refused_where_onnxruntime_has_none(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    net = str(tiny_onnx.heatmap_net(tmp_path / "net.onnx"))
    with pytest.raises(DeviceError, match=r"--device cuda: .*onnxruntime-gpu.*--device cpu"):
        OnnxDetector("cuda", DetectorOptions(net))
    for device in ("auto", "mps", "cpu"):
        assert OnnxDetector(device, DetectorOptions(net)).device == "cpu"


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys, make_video):
    words = [str(make_video()), "-o", str(tmp_path / "out"), "--detector", "onnx", "--device", "cpu"]
    assert call([*words, "--pose-model", str(tmp_path / "no.onnx")]) == WeightsError.exit_code
    lines = capsys.readouterr().err.strip().splitlines()
    assert (
        len(lines) == 1 and lines[0].startswith("posefix: error: --pose-model") and "no such file" in lines[0]
    )
    assert not (tmp_path / "out").exists()


# The real networks


@pytest.fixture(scope="module")
def models(shared_dir: Path) -> dict[str, Path]:
    names = {
        "pose": "pp_tinypose_256x192_coco17.onnx",
        "rtmdet": "rtmdet_nano_320_person.onnx",
        "yolox": "yolox_nano_416_coco.onnx",
    }
    paths = {key: shared_dir / "weights" / name for key, name in names.items()}
    if not all(path.is_file() for path in paths.values()):
        pytest.skip("no ONNX files beside the clips")
    return paths


@pytest.mark.parametrize("det", ["rtmdet", "yolox"])
def test_real_networks_agree_with_mediapipe_within_3_percent_of_the_box(shared_dir, models, det):
    """Median over the joints that both are sure of; measured: 1.3 % (RTMDet), 1.3 % (YOLOX)."""
    from posefix.pipeline.reader import open_source

    with open_source(str(shared_dir / "videos" / "balance_cam01.mp4"), max_frames=1) as frames:
        frame = next(frames)
    found = detector(models["pose"], models[det])
    mediapipe = create_detector("mediapipe")
    pose, (other,) = found.detect(frame)[0], mediapipe.detect(frame)
    mediapipe.close()
    rows = [BLAZEPOSE33.joints.index(name) for name in COCO17.joints]
    sure = (pose.scores > 0.5) & (other.scores[rows] > 0.5)
    assert sure.sum() >= 12
    side = (pose.box[2:] - pose.box[:2]).max()
    apart = np.linalg.norm(pose.keypoints - other.keypoints[rows], axis=1)[sure] / side
    assert np.median(apart) < 0.03, f"{np.median(apart):.4f}"
    assert pose.heatmaps.shape == (17, 64, 48) and found.preset.name == "hrnet"


def test_a_real_clip_through_the_command(tmp_path, shared_dir, models):
    clip = shared_dir / "videos" / "balance_cam01.mp4"
    words = [
        str(clip),
        "-o",
        str(tmp_path),
        "--detector",
        "onnx",
        "--max-frames",
        "20",
        "--device",
        "cpu",
        "-q",
    ]
    words += ["--pose-model", str(models["pose"]), "--det-model", str(models["rtmdet"]), "--no-render"]
    assert call(words) == 0
    record = json.loads((tmp_path / "balance_cam01_run.json").read_text())
    assert record["frames"]["detected"] == 20
    assert record["detector"] == {"name": "onnx", "layout": "coco17", "device": "cpu"}
    assert record["settings"]["pose_model"] == str(models["pose"])
    digest = record["weights_sha256"]["det-model/rtmdet_nano_320_person.onnx"]
    assert digest.startswith("4720eda18a18402e") and "lifter.onnx" in record["weights_sha256"]
    table = [line.split(",") for line in (tmp_path / "balance_cam01_3d.csv").read_text().splitlines()[1:]]
    assert [int(cells[0]) for cells in table if cells[2] == "0"] == list(range(20))
