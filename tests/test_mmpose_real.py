"""The real MMPose, where it is installed (`make test-mmpose`): its networks, its own answers, its checkpoints."""

from __future__ import annotations

import importlib.util
import json
import sys
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from posefix.detectors import DetectorOptions, create_detector
from posefix.detectors.checkpoints import read_checkpoint
from posefix.detectors.mmpose_model import find_config
from posefix.detectors.mmpose_shims import stand_ins
from posefix.pipeline.cli import call
from posefix.pipeline.install_mmpose import check, write_tiny_model
from posefix.skeleton import Frame
from posefix.skeleton.errors import DeviceError, InputError, WeightsError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mmpose") is None, reason="MMPose is not installed (posefix install-mmpose)"
)
needs_mmdet = pytest.mark.skipif(
    importlib.util.find_spec("mmdet") is None,
    reason="MMDetection is not installed (posefix install-mmpose --mmdet)",
)


def noise(height: int = 300, width: int = 200, seed: int = 0) -> Frame:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Frame(0, 0.0, cv2.GaussianBlur(image, (0, 0), 3).astype(np.uint8))


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


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


def test_the_installation_checks_itself():
    check()
    assert not {"chumpy"} & set(sys.modules)
    left = [name for name in stand_ins() if name in sys.modules]
    assert left == []  # nobody else finds them


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


def test_frames_that_a_gpu_sees_together_give_the_same_bytes(tiny):
    """Of a real network; on the CPU, with the fixed number of pictures that a GPU is given."""
    from posefix.detectors.mmpose_detector import FIXED
    from posefix.detectors.person_boxes import Boxes

    config, weights = tiny
    corners = np.array([[10, 20, 150, 280], [60, 30, 190, 200], [0, 0, 50, 90]], np.float32)
    frames = [Frame(k, k / 30, noise(seed=k).image) for k in range(5)]  # the memory widens boxes

    def detector():
        made = create_detector("mmpose", "cpu", DetectorOptions(config, pose_weights=weights))
        made._boxes = lambda image: Boxes(corners + np.float32(image[0, 0, 0] % 7), np.ones(3, np.float32))
        made.at_once, calls, model = FIXED, [], made._model
        made._model = lambda pictures: calls.append(len(pictures)) or model(pictures)
        made._model.picture = model.picture
        return made, calls

    one, singly = detector()
    want = [one.detect(frame) for frame in frames]
    many, together = detector()
    found = many.detect_many(frames)
    assert set(singly) == set(together) == {FIXED} and together[:2] == [FIXED, FIXED]  # 15 people
    assert len(list(chain(*found))) == 15
    for a, b in zip(chain(*found), chain(*want), strict=True):
        assert a.keypoints.tobytes() == b.keypoints.tobytes() and a.scores.tobytes() == b.scores.tobytes()
        assert a.box.tobytes() == b.box.tobytes() and a.heatmap_box.tobytes() == b.heatmap_box.tobytes()


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
        ("vitpose-s", weights, r"cannot build it \(it needs the package mmpretrain; install it: pip .*\)"),
        ("pose.onnx", None, "that is for --detector onnx"),
    ]:
        with pytest.raises(InputError, match=rf"^--pose-model .*{message}") as caught:
            create_detector("mmpose", "cpu", DetectorOptions(name, pose_weights=file))
        assert "\n" not in str(caught.value)
    other = str(save(tmp_path / "other.pth", {"state_dict": {"a": torch.ones(1)}}))
    with pytest.raises(
        WeightsError,
        match=r"^--pose-weights .*other\.pth: not a checkpoint of --pose-model .*tiny\.py: it lacks",
    ):
        create_detector("mmpose", "cpu", DetectorOptions(config, pose_weights=other))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match=r"^--device cuda: .*use --device cpu"):
            create_detector("mmpose", "cuda", DetectorOptions(config, pose_weights=weights))


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


def test_person_detectors_that_are_not_there(tiny, monkeypatch):
    from posefix.detectors import mmpose_detector

    config, weights = tiny
    monkeypatch.setattr(mmpose_detector, "has_mmdet", lambda: False)
    with pytest.raises(
        InputError, match=r"^--det-model rtmdet-m: MMDetection is not installed; .*\.onnx .*--mmdet$"
    ):
        create_detector("mmpose", "cpu", DetectorOptions(config, "rtmdet-m", pose_weights=weights))
    for det, message in ((None, "add --det-model CONFIG"), ("boxes.onnx", "an .onnx file has its own")):
        with pytest.raises(InputError, match=rf"^--det-weights w\.pth: .*{message}$"):
            create_detector("mmpose", "cpu", DetectorOptions(config, det, None, weights, "w.pth"))
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


@pytest.mark.parametrize("blocks", [0, 1])
def test_weights_with_the_names_of_mmpose_0_are_the_same_weights(tiny, tmp_path, blocks):
    """Of 135 top-down models that its hub has for COCO, 56 have weights of before 1.0."""
    from posefix.detectors.mmpose_model import build_network

    extra = tmp_path / "blocks.py"
    more = "out_channels=17," + "conv_out_channels=(8,), conv_kernel_sizes=(1,)," * blocks
    extra.write_text(Path(tiny[0]).read_text().replace("out_channels=17,", more))
    torch.manual_seed(0)
    state = build_network(extra)[0].state_dict()
    state["head.final_layer.bias"] = torch.ones(17)
    old = {}
    for name, value in state.items():  # there the last layer stood behind the blocks, in one list with them
        name = name.replace("head.conv_layers.", "keypoint_head.final_layer.")
        last = "keypoint_head.final_layer.3." if blocks else "keypoint_head.final_layer."
        name = name.replace("head.final_layer.", last) if name.startswith("head.final_layer.") else name
        old["keypoint_" + name if name.startswith("head.") else name] = value
    assert not any(name.startswith("head.") for name in old)
    paths = [
        str(save(tmp_path / f"{k}.pth", {"state_dict": s, "meta": {}}))
        for k, s in (("new", state), ("old", old))
    ]
    (a,), (b,) = (
        create_detector("mmpose", "cpu", DetectorOptions(str(extra), pose_weights=path)).detect(noise())
        for path in paths
    )
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    np.testing.assert_array_equal(a.heatmaps, b.heatmaps)


def test_what_mmengine_keeps_of_a_training_is_let_through(tmp_path):
    """The log and the optimizer as MMEngine's own classes write them into every epoch_N.pth."""
    from mmengine.logging import MessageHub
    from mmengine.optim import MultiStepLR, OptimWrapper

    network = torch.nn.Linear(2, 3)
    wrapper = OptimWrapper(torch.optim.Adam(network.parameters()))
    schedule = MultiStepLR(wrapper, milestones=[1, 2])
    network(torch.ones(2)).sum().backward()
    wrapper.step()
    schedule.step()
    hub = MessageHub("test of checkpoints")
    hub.update_scalar("train/loss", torch.tensor(0.5), 8)
    hub.update_info("cfg", "model = dict()")
    content = {
        "state_dict": network.state_dict(),
        "meta": {"epoch": 2, "dataset_meta": {"sigmas": np.array([0.1])}},
        "message_hub": hub.state_dict(),
        "optimizer": wrapper.state_dict(),
        "param_schedulers": [schedule.state_dict()],
    }
    state, meta = read_checkpoint(save(tmp_path / "epoch_2.pth", content), "epoch_2.pth")
    torch.testing.assert_close(state, dict(network.state_dict()))
    assert meta["epoch"] == 2 and meta["dataset_meta"]["sigmas"][0] == 0.1


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
