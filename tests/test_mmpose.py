"""MMPose: what must hold without it (messages, commands, files); and the real one, see `make test-mmpose`."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import shlex
import subprocess
import sys
import urllib.error
from itertools import chain
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from posefix.detectors import DetectorOptions, create_detector
from posefix.detectors import mmpose_weights as weights_module
from posefix.detectors.mmpose_model import find_config, match_layout, our_name
from posefix.detectors.mmpose_shims import nms, stand_ins
from posefix.detectors.mmpose_weights import fetch, fill, read_checkpoint
from posefix.pipeline import install_mmpose
from posefix.pipeline.cli import call
from posefix.pipeline.install_mmpose import Step, carry_out, check, plan, write_tiny_model
from posefix.pipeline.settings import Settings
from posefix.skeleton import Frame
from posefix.skeleton.errors import DeviceError, InputError, PosefixError, WeightsError

HAS_MMPOSE = importlib.util.find_spec("mmpose") is not None
needs_mmpose = pytest.mark.skipif(not HAS_MMPOSE, reason="MMPose is not installed (posefix install-mmpose)")
needs_mmdet = pytest.mark.skipif(
    not HAS_MMPOSE or importlib.util.find_spec("mmdet") is None,
    reason="MMDetection is not installed (posefix install-mmpose --mmdet)",
)


def noise(height: int = 300, width: int = 200, seed: int = 0) -> Frame:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Frame(0, 0.0, cv2.GaussianBlur(image, (0, 0), 3).astype(np.uint8))


# Without MMPose: options, imports


def test_the_detector_takes_its_options_and_others_refuse_them():
    options = {
        "pose_model": "human",
        "pose_weights": "a.pth",
        "det_model": "rtmdet-m",
        "det_weights": "b.pth",
    }
    given = Settings(detector="mmpose", **options).detector_options
    assert {name: getattr(given, name) for name in options} == options
    with pytest.raises(
        InputError, match=r"^--det-weights: .*'onnx' has no use for it; add --detector mmpose$"
    ):
        Settings(detector="onnx", det_weights="b.pth")
    with pytest.raises(InputError, match=r"^--pose-preset: .*'mmpose' has no use for it"):
        Settings(detector="mmpose", pose_preset="udp")


@pytest.mark.parametrize("package", ["mmpose", "mmcv"])
def test_without_mmpose_one_line_tells_the_command_that_installs_it(monkeypatch, package):
    for name in [n for n in sys.modules if n.startswith("posefix.detectors.mm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # import fails
    with pytest.raises(
        InputError, match=r"needs a package .* 'mm(pose|cv)'\); install it: posefix install-mmpose$"
    ):
        create_detector("mmpose")


def test_nothing_of_mmpose_is_imported_until_it_is_asked_for():
    code = (
        "import sys, posefix.pipeline.cli, posefix.detectors, posefix.pipeline.install_mmpose\n"
        "from posefix.pipeline.settings import Settings; Settings(detector='mmpose')\n"
        "sys.exit(str({'mmpose', 'mmengine', 'mmcv', 'mmdet', 'torch'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


# Installing


def test_dry_run_shows_the_commands_and_runs_none(monkeypatch, capsys):
    monkeypatch.setattr(install_mmpose, "run_quietly", lambda command: pytest.fail(f"ran {command}"))
    monkeypatch.setattr(install_mmpose, "installed", {"numpy": "2.1.0", "opencv-python": "4.11.0.86"}.get)
    assert call(["install-mmpose", "--dry-run"]) == 0
    text = capsys.readouterr().out
    commands = [
        shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    " + sys.executable[0])
    ]
    pip = [" ".join(words) for words in commands if words[:3] == ["-m", "pip", "install"]]
    assert commands[-1] == ["-m", "posefix.pipeline.install_mmpose"]  # it checks itself at the end
    assert len(pip) == len(commands) - 1 == 6
    assert "setuptools>=77,<81" in pip[0] and "cython>=3,<4" in pip[0]
    assert (
        "mmengine==0.10.7" in pip[1]
        and "--only-binary mmcv mmcv==2.1.0" in pip[2]
        and "mmcv-lite==2.1.0" in pip[3]
    )
    assert "or, where that fails: mmcv without compiled operators" in text
    assert all("numpy==2.1.0 opencv-python==4.11.0.86" in command for command in pip[1:4])
    assert "--no-deps --no-build-isolation --no-cache-dir --no-binary xtcocotools" in pip[4]
    assert pip[5].endswith("--no-deps mmpose==1.3.2")
    assert not any(word in command for command in pip for word in ("chumpy", "torchvision", "mmdet"))


def test_mmcv_that_is_there_stays(monkeypatch):
    monkeypatch.setattr(install_mmpose, "installed", {"mmcv": "2.1.0"}.get)
    assert not any("mmcv" in word for step in plan() for word in step.arguments)
    assert any("mmdet==3.3.0" in step.arguments for step in plan(mmdet=True))


def test_a_step_that_fails_is_done_the_other_way_or_told_in_one_line(capsys):
    other = Step("second", ("two",))
    ran: list[str] = []

    def run(command):
        ran.append(command[-1])
        return int(command[-1] == "one"), "collecting\nERROR: No matching distribution\nnotice: new pip\n"

    carry_out(Step("first", ("one",), instead=other), run)
    assert ran == ["one", "two"] and "no; second instead" in capsys.readouterr().out
    with pytest.raises(
        PosefixError, match=r"^install-mmpose: first: failed \(ERROR: No matching .*\); a hint$"
    ):
        carry_out(Step("first", ("one",), hint="a hint"), run)


# Checkpoints


class Evil:
    """Runs a command when it is unpickled in the usual way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_runs_code_is_refused_and_runs_none(tmp_path, zipped):
    state = {"a": torch.ones(2)}
    path = save(tmp_path / "evil.pth", {"state_dict": state, "meta": Evil(f"touch {tmp_path}/ran")}, zipped)
    with pytest.raises(
        WeightsError, match=r"^--x evil: refused: it holds \w+\.system, .*convert it once: python -c"
    ):
        read_checkpoint(path, "--x evil")
    assert not (tmp_path / "ran").exists()


def test_the_command_of_a_refusal_converts(tmp_path):
    """On a file with a harmless object of a class that is not on the list."""
    state = {"a": torch.arange(3.0)}
    path = save(
        tmp_path / "it's old.pth",
        {"state_dict": state, "meta": {"when": pickle.Pickler(io.BytesIO()).__class__}},
    )
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path, "old")
    assert "pickle.Pickler" in str(caught.value)
    words = shlex.split(str(caught.value).split("convert it once: ")[1])
    assert words[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *words[1:]], check=True)
    found, meta = read_checkpoint(tmp_path / "it's old_weights.pth", "new")
    torch.testing.assert_close(found, state)
    assert meta == {}


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_openmmlab_load_with_what_their_training_left_in_them(tmp_path, monkeypatch, zipped):
    name = "mmengine.logging.history_buffer"
    module = ModuleType(name)

    class HistoryBuffer:
        def __init__(self) -> None:
            self.log = np.arange(4.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = name, "HistoryBuffer"
    setattr(module, "HistoryBuffer", HistoryBuffer)  # noqa: B010
    with monkeypatch.context() as patch:  # mmengine need not be there, neither to write nor to read
        for part in ("mmengine", "mmengine.logging"):
            patch.setitem(sys.modules, part, ModuleType(part))
        patch.setitem(sys.modules, name, module)
        content = {
            "state_dict": {"module.head.weight": torch.ones(2, 2), "module.steps": torch.tensor(3)},
            "message_hub": {"log": HistoryBuffer()},
            "meta": {"epoch": 210, "mean": np.float32(0.5), "dataset_meta": {"sigmas": np.array([0.1, 0.2])}},
        }
        path = save(tmp_path / "epoch.pth", content, zipped)
    state, meta = read_checkpoint(path, "epoch")
    assert list(state) == ["head.weight", "steps"]
    np.testing.assert_array_equal(meta["dataset_meta"]["sigmas"], [0.1, 0.2])
    assert meta["mean"] == 0.5 and meta["epoch"] == 210


def test_bad_checkpoints_are_one_line_each(tmp_path):
    good = save(tmp_path / "good.pth", {"a": torch.ones(100)})
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "cut.pth").write_bytes(good.read_bytes()[:-200])
    (tmp_path / "empty.pth").write_bytes(b"")
    save(tmp_path / "other.pth", {"epoch": 3})
    save(tmp_path / "list.pth", [torch.ones(1)])
    assert list(read_checkpoint(good, "")[0]) == ["a"]
    for name, message in {
        "none.pth": "no such file",
        "text.pth": r"no PyTorch checkpoint, or damaged",
        "cut.pth": r"no PyTorch checkpoint, or damaged",
        "empty.pth": r"no PyTorch checkpoint, or damaged",
        "other.pth": "holds no weights",
        "list.pth": "holds no weights",
        ".": "directory",
    }.items():
        with pytest.raises(WeightsError, match=rf"^--pose-weights {name}: .*{message}") as caught:
            read_checkpoint(tmp_path / name, f"--pose-weights {name}")
        assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_told_from_those_of_this_one():
    network = torch.nn.Linear(2, 3)
    fill(network, {"weight": torch.ones(3, 2), "bias": torch.zeros(3), "loss.weight": torch.ones(1)}, "w")
    assert network(torch.ones(1, 2)).tolist() == [[2, 2, 2]]
    with pytest.raises(
        WeightsError, match=r"^w: it lacks 1 of 2 weights, e\.g\. bias; .*not a checkpoint of this"
    ):
        fill(network, {"weight": torch.ones(3, 2)}, "w")
    with pytest.raises(WeightsError, match=r"1 of its weights have another shape, e\.g\. weight"):
        fill(network, {"weight": torch.ones(2, 2), "bias": torch.zeros(3)}, "w")


def test_weights_come_from_the_cache_or_one_line_says_that_there_is_no_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked: list[tuple[str, str | None]] = []

    def offline(url, path, digits, progress):
        asked.append((url, digits))
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(weights_module.torch.hub, "download_url_to_file", offline)
    url = "https://hub.test/rtmpose-m_simcc-256x192-e48f03d0_20230504.pth"
    with pytest.raises(WeightsError, match=rf"^cannot fetch {url} .*not known.*add --pose-weights FILE$"):
        fetch(url, "--pose-weights")
    assert asked == [(url, "e48f03d0")]  # the name tells how the file's SHA-256 begins
    assert "fetching rtmpose-m" in capsys.readouterr().err
    cached = tmp_path / "checkpoints" / url.rsplit("/", 1)[1]
    cached.write_bytes(b"x")
    assert fetch(url, "--pose-weights") == cached and len(asked) == 1


# Joints, operators


def test_layouts_are_told_by_the_names_of_the_joints():
    sides = ("left", "right")
    pairs = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    coco = ["nose", *(f"{side}_{part}" for part in pairs for side in sides)]
    feet = [f"{side}_{part}" for part in ("big_toe", "small_toe", "heel") for side in sides]
    legs = [f"{side}_{part}" for side in ("right", "left") for part in ("hip", "knee", "foot")]
    arms = [f"{side}_{part}" for side in sides for part in ("shoulder", "elbow", "wrist")]
    h36m = ["root", *legs, "spine", "thorax", "neck_base", "head", *arms]
    assert match_layout(coco, "")[0].name == "coco17" and match_layout(coco, "")[1] == list(range(17))
    layout, kept = match_layout([*coco, "head", "neck", "hip", *feet], "")
    assert layout.name == "halpe26" and kept == list(range(26))
    assert match_layout([*coco, *feet, "face-0"], "")[0].name == "coco17"  # COCO-WholeBody
    assert match_layout(coco[::-1], "")[1] == list(range(17))[::-1]
    assert match_layout(h36m, "")[0].name == "h36m17" and match_layout(h36m, "")[1] == list(range(17))
    assert our_name("left_big_toe") == "LBigToe"
    with pytest.raises(InputError, match=r"^m: it answers 14 joints \(nose, .*halpe26, coco17, h36m17"):
        match_layout(coco[:14], "m")


@pytest.mark.parametrize("offset", [0, 1])
def test_boxes_that_overlap_a_better_one_go_as_in_opencv(offset):
    generator = np.random.default_rng(1)
    corner, sides = generator.uniform(0, 100, (200, 2)), generator.uniform(5, 60, (200, 2))
    scores = generator.random(200)
    boxes = torch.tensor(np.concatenate([corner, corner + sides - offset], axis=1))
    kept = nms(boxes, torch.tensor(scores), iou_threshold=0.45, offset=offset)
    rows = np.concatenate([corner, sides], axis=1).tolist()
    assert kept.tolist() == list(cv2.dnn.NMSBoxes(rows, scores.tolist(), 0.0, 0.45)) and 50 < len(kept) < 200
    assert nms(boxes[:0], torch.zeros(0), iou_threshold=0.5, offset=0).tolist() == []


# With MMPose


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[str, str]:
    config, weights = write_tiny_model(tmp_path_factory.mktemp("tiny"))
    return str(config), str(weights)


def random_weights(name: str, folder: Path) -> str:
    """A checkpoint of random weights for one of MMPose's models."""
    from posefix.detectors.mmpose_model import build_network

    torch.manual_seed(0)
    network, _ = build_network(find_config(name)[0])
    return str(save(folder / "random.pth", {"state_dict": network.state_dict(), "meta": {}}))


@needs_mmpose
def test_the_installation_checks_itself():
    check()
    assert not {"chumpy"} & set(sys.modules)
    left = [name for name in stand_ins() if name in sys.modules]
    assert left == []  # nobody else finds them


@needs_mmpose
def test_heatmaps_come_with_the_pose_and_one_network_gives_the_same_twice(tiny):
    config, weights = tiny
    options = DetectorOptions(config, pose_weights=weights)
    found = create_detector("mmpose", "cpu", options)
    (pose,) = found.detect(noise())
    assert (found.layout, found.device, list(found.weights)) == ("coco17", "cpu", ["pose-model/tiny.pth"])
    assert pose.keypoints.shape == (17, 2) and pose.heatmaps.shape == (17, 16, 12)
    x0, y0, x1, y1 = pose.heatmap_box
    row, column = np.divmod(pose.heatmaps.reshape(17, -1).argmax(axis=1), 12)
    middle = np.stack([x0 + (column + 0.5) / 12 * (x1 - x0), y0 + (row + 0.5) / 16 * (y1 - y0)], axis=1)
    assert (np.abs(pose.keypoints - middle) <= (x1 - x0) / 12 + 1e-3).all()
    np.testing.assert_allclose(pose.scores, pose.heatmaps.reshape(17, -1).max(axis=1).clip(0, 1), atol=1e-6)
    again = create_detector("mmpose", "cpu", options).detect(noise())[0]
    np.testing.assert_array_equal(again.keypoints, pose.keypoints)
    assert found.detect(noise(8, 200)) == []
    found.close()
    found.close()  # twice does no harm


@needs_mmpose
def test_frames_and_people_in_one_batch_are_those_one_by_one(tiny, monkeypatch):
    from posefix.detectors import mmpose_detector
    from posefix.detectors.person_boxes import Boxes

    config, weights = tiny
    corners = np.array([[10, 20, 150, 280], [60, 30, 190, 200], [0, 0, 50, 90]], np.float32)

    def people(count_of):
        detector = create_detector("mmpose", "cpu", DetectorOptions(config, pose_weights=weights))
        detector._boxes = lambda image: Boxes(corners[: count_of(image)], np.ones(3, np.float32))
        return detector

    # far apart in time, so that nobody is remembered
    frames = [Frame(k, float(k), noise(seed=k).image) for k in range(3)]
    count = {f.image.tobytes(): n for f, n in zip(frames, (2, 0, 3), strict=True)}
    one_by_one = people(lambda image: count[image.tobytes()])
    singly = [one_by_one.detect(frame) for frame in frames]
    calls: list[int] = []
    together = people(lambda image: count[image.tobytes()])
    model = together._model
    together._model = lambda pictures: calls.append(len(pictures)) or model(pictures)
    together._model.picture = model.picture
    found = together.detect_many(frames)
    assert calls == [5] and [len(p) for p in found] == [2, 0, 3]
    for a, b in zip(chain(*found), chain(*singly), strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.01)
    monkeypatch.setattr(mmpose_detector, "BATCH", 2)
    together.detect_many(frames)
    assert calls == [5, 2, 2, 1]


@needs_mmpose
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("human", "coco17"),  # RTMPose-m: SimCC
        ("body26", "halpe26"),
        ("td-reg_res50_rle-8xb64-210e_coco-256x192", "coco17"),  # regression
        ("td-hm_hrnet-w32_udp-regress-8xb64-210e_coco-256x192", "coco17"),  # UDP's offsets
    ],
)
def test_what_the_head_decodes_is_where_mmpose_itself_puts_it(name, layout, tmp_path):
    """Random weights, mirror images on; MMPose counts pixels from the middle of the first one."""
    from posefix.detectors.mmpose_model import PoseModel, dataset_info
    from posefix.detectors.mmpose_shims import shimmed

    with shimmed():
        from mmpose.apis import inference_topdown
        from mmpose.datasets.datasets.utils import (
            parse_pose_metainfo,
        )
    weights = random_weights(name, tmp_path)
    found = create_detector("mmpose", "cpu", DetectorOptions(name, pose_weights=weights))
    frame, box = noise(), np.array([20, 30, 180, 280], np.float32)
    from posefix.detectors.person_boxes import Boxes

    found._boxes = lambda image: Boxes(box[None], np.ones(1, np.float32))
    (pose,) = found.detect(frame)
    assert found.layout == layout and pose.heatmaps is None
    from mmengine.config import Config

    model: PoseModel = found._model
    settings = Config.fromfile(find_config(name)[0])
    assert len(dataset_info(settings, {}, "")["names"]) == len(pose.keypoints)
    model._network.cfg = settings
    model._network.dataset_meta = parse_pose_metainfo(
        dict(from_file=f"configs/_base_/datasets/{'halpe26' if layout == 'halpe26' else 'coco'}.py")
    )
    theirs = inference_topdown(model._network, frame.image, box[None])[0].pred_instances
    np.testing.assert_allclose(pose.keypoints - 0.5, theirs.keypoints[0], atol=0.01)
    np.testing.assert_allclose(pose.scores, theirs.keypoint_scores[0].clip(0, 1), atol=1e-5)


@needs_mmpose
def test_bad_models_are_one_clear_line_each(tmp_path, tiny):
    config, weights = tiny
    (tmp_path / "broken.py").write_text("model = dict(type='TopdownPoseEstimator'\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "nothing.py").write_text("x = 1\n")
    tiny_text = Path(config).read_text()
    (tmp_path / "odd.py").write_text(tiny_text.replace("ShuffleNetV2", "NoSuchNet"))
    (tmp_path / "size.py").write_text(tiny_text.replace("TopdownAffine", "BottomupResize"))
    for name, file, message in [
        ("none.py", weights, "no such file; expected a config"),
        ("no-such-alias", weights, "neither a config file .* nor a model that mmpose lists; .*human"),
        (config, None, "a config needs its checkpoint: add --pose-weights FILE"),
        (str(tmp_path / "broken.py"), weights, "MMPose cannot build it"),
        (str(tmp_path / "raises.py"), weights, "MMPose cannot build it .*ZeroDivisionError"),
        (str(tmp_path / "nothing.py"), weights, "MMPose cannot build it"),
        (str(tmp_path / "odd.py"), weights, "MMPose cannot build it .*NoSuchNet"),
        (str(tmp_path / "size.py"), weights, "no TopdownAffine"),
        ("rtmo-s_8xb32-600e_coco-640x640", weights, "is a BottomupPoseEstimator; posefix takes top-down"),
        ("vitpose-s", weights, r"cannot build it \(it needs the package mmpretrain\)"),
        ("pose.onnx", None, "that is for --detector onnx"),
    ]:
        with pytest.raises(InputError, match=rf"^--pose-model .*{message}") as caught:
            create_detector("mmpose", "cpu", DetectorOptions(name, pose_weights=file))
        assert "\n" not in str(caught.value)
    other = str(save(tmp_path / "other.pth", {"state_dict": {"a": torch.ones(1)}}))
    with pytest.raises(
        WeightsError, match=r"^--pose-weights .*other\.pth: it lacks .*not a checkpoint of this"
    ):
        create_detector("mmpose", "cpu", DetectorOptions(config, pose_weights=other))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match=r"^--device cuda: PyTorch does not have it"):
            create_detector("mmpose", "cuda", DetectorOptions(config, pose_weights=weights))


@needs_mmpose
def test_a_config_may_choose_among_the_joints_that_the_head_answers(tiny, tmp_path):
    config, weights = tiny
    order = list(range(17))[::-1]
    chosen, fewer = tmp_path / "chosen.py", tmp_path / "fewer.py"
    text = Path(config).read_text()
    chosen.write_text(text.replace("flip_test=True", f"output_keypoint_indices={order}"))
    plain = tmp_path / "plain.py"
    plain.write_text(text.replace("flip_test=True", "flip_test=False"))
    (a,), (b,) = (
        create_detector("mmpose", "cpu", DetectorOptions(str(c), pose_weights=weights)).detect(noise())
        for c in (chosen, plain)
    )
    np.testing.assert_array_equal(a.keypoints, b.keypoints[order])
    np.testing.assert_array_equal(a.heatmaps, b.heatmaps[order])
    fewer.write_text(text.replace("out_channels=17", "out_channels=14").replace("flip_test=True", ""))
    state, _ = read_checkpoint(weights, "")
    state |= {k: v[:14] for k, v in state.items() if "final_layer" in k}
    cut = str(save(tmp_path / "cut.pth", {"state_dict": state}))
    with pytest.raises(InputError, match=r"fewer\.py: the network answers 14 joints, its data set has 17"):
        create_detector("mmpose", "cpu", DetectorOptions(str(fewer), pose_weights=cut))


@needs_mmpose
def test_person_detectors_that_are_not_there(tiny, monkeypatch):
    from posefix.detectors import mmpose_detector

    config, weights = tiny
    monkeypatch.setattr(mmpose_detector, "has_mmdet", lambda: False)
    with pytest.raises(
        InputError, match=r"^--det-model rtmdet-m: MMDetection is not installed; .*\.onnx .*--mmdet$"
    ):
        create_detector("mmpose", "cpu", DetectorOptions(config, "rtmdet-m", pose_weights=weights))
    with pytest.raises(WeightsError, match=r"^--det-model no\.onnx: no such file"):
        create_detector("mmpose", "cpu", DetectorOptions(config, "no.onnx", pose_weights=weights))


@needs_mmdet
def test_mmdetection_finds_the_boxes(tiny, tmp_path):
    """RTMDet-tiny of random weights but for its last layers: people everywhere, of 16 cells."""
    from posefix.detectors.mmdet_boxes import MMDetBoxes
    from posefix.detectors.mmpose_shims import shimmed

    name = "rtmdet_tiny_8xb32-300e_coco"
    config, _ = find_config(name, "mmdet")
    with shimmed():
        from mmdet.apis import init_detector
    state = init_detector(str(config), None, device="cpu").state_dict()
    for key, value in state.items():
        if "bbox_head.rtm_cls" in key or "bbox_head.rtm_reg" in key:
            value.zero_()
            if key.endswith("bias"):
                value[:] = 8 if "rtm_reg" in key else -9
                if "rtm_cls" in key:
                    value[1] = 2
    meta = {"dataset_meta": {"classes": ("car", "person")}}
    weights = str(save(tmp_path / "rtm.pth", {"state_dict": state, "meta": meta}))
    boxes = MMDetBoxes(name, weights, "cpu")
    found = boxes(noise(480, 640).image)
    assert 0 < len(found.corners) < 300
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-2)), atol=1e-3)
    areas = (found.corners[:, 2:] - found.corners[:, :2]).prod(axis=1)
    assert (np.diff(areas) <= 0).all() and list(boxes.weights) == ["rtm.pth"]
    both = create_detector("mmpose", "cpu", DetectorOptions(tiny[0], name, None, tiny[1], weights))
    assert len(both.detect(noise(480, 640))) == len(found.corners)
    meta = {"dataset_meta": {"classes": ("car", "dog")}}
    others = str(save(tmp_path / "others.pth", {"state_dict": state, "meta": meta}))
    with pytest.raises(
        InputError, match=r"^--det-model rtmdet_tiny.*: it finds car, dog, \.\.\., but no person"
    ):
        MMDetBoxes(name, others, "cpu")
    with pytest.raises(
        InputError, match=r"^--det-model .*: a config needs its checkpoint: add --det-weights FILE"
    ):
        MMDetBoxes(str(config), None, "cpu")


# The real network


@pytest.fixture(scope="module")
def models(shared_dir: Path) -> dict[str, str]:
    names = {
        "onnx": "pp_tinypose_256x192_coco17.onnx",
        "config": "pp_tinypose_mmpose_config.py",
        "weights": "pp_tinypose_litehrnet_naive_coco_256x192.pth",
        "boxes": "rtmdet_nano_320_person.onnx",
    }
    paths = {key: shared_dir / "weights" / name for key, name in names.items()}
    if not all(path.is_file() for path in paths.values()):
        pytest.skip("no PP-TinyPose beside the clips")
    return {key: str(path) for key, path in paths.items()}


@needs_mmpose
@pytest.mark.parametrize("clip", ["balance_cam01", "park_two_people", "worker_walk"])
def test_one_network_gives_the_same_joints_through_mmpose_and_onnx(clip, shared_dir, models):
    """Median within 1 px is asked for; measured: below 0.001 px."""
    from posefix.pipeline.reader import open_source

    onnx = create_detector("onnx", "cpu", DetectorOptions(models["onnx"], models["boxes"]))
    options = DetectorOptions(models["config"], models["boxes"], pose_weights=models["weights"])
    mmpose = create_detector("mmpose", "cpu", options)
    apart = []
    with open_source(str(shared_dir / "videos" / f"{clip}.mp4"), max_frames=6) as frames:
        for frame in frames:
            ours, theirs = mmpose.detect(frame), onnx.detect(frame)
            assert len(ours) == len(theirs) > 0
            for a, b in zip(ours, theirs, strict=True):
                apart.append(np.linalg.norm(a.keypoints - b.keypoints, axis=1))
                assert a.heatmaps.shape == b.heatmaps.shape == (17, 64, 48)
    assert np.median(np.concatenate(apart)) < 0.05


@needs_mmpose
def test_a_real_clip_through_the_command(tmp_path, shared_dir, models):
    clip = str(shared_dir / "videos" / "balance_cam01.mp4")
    words = [clip, "-o", str(tmp_path), "--max-frames", "10", "--no-render", "--device", "cpu", "-q"]
    words += ["--detector", "mmpose", "--pose-model", models["config"], "--pose-weights", models["weights"]]
    assert call([*words, "--det-model", models["boxes"]]) == 0
    record = json.loads((tmp_path / "balance_cam01_run.json").read_text())
    assert record["frames"]["detected"] == 10
    assert record["detector"] == {"name": "mmpose", "layout": "coco17", "device": "cpu"}
    assert record["settings"]["pose_weights"] == models["weights"]
    digest = record["weights_sha256"]["pose-model/pp_tinypose_litehrnet_naive_coco_256x192.pth"]
    assert digest.startswith("80b39edc88de38d0")
