"""What must hold of MMPose where it is not installed: messages, commands, files, the stand-ins' own arithmetic."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import shlex
import subprocess
import sys
import urllib.error
import warnings
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from posefix.detectors import checkpoints as weights_module
from posefix.detectors import create_detector
from posefix.detectors.checkpoints import fetch, fill, read_checkpoint
from posefix.detectors.mmpose_model import match_layout, our_name
from posefix.detectors.mmpose_shims import nms, stand_ins
from posefix.pipeline import install_mmpose
from posefix.pipeline.cli import call
from posefix.pipeline.install_mmpose import Step, carry_out, plan
from posefix.pipeline.settings import Settings
from posefix.skeleton.errors import InputError, PosefixError, WeightsError

# Options, imports


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


@pytest.mark.parametrize(
    "problem", ["ValueError('numpy.dtype size changed')", "AssertionError('MMCV==1.7.2')"]
)
def test_an_mmpose_that_cannot_be_imported_is_one_line_too(tmp_path, problem):
    """What pip's own mmpose does: xtcocotools for numpy 1, or an mmcv that it does not take."""
    for name in ("mmpose", "mmengine", "mmcv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise {problem}\n" if name == "mmpose" else "")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from posefix.detectors import create_detector\n"
        "from posefix.skeleton.errors import InputError\n"
        "try: create_detector('mmpose')\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = problem.split("'")[1]
    assert done.stderr == "" and done.stdout.count("\n") == 1
    assert f"cannot be imported (mmpose: {said}); install it: posefix install-mmpose" in done.stdout


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


@pytest.mark.parametrize(
    ("there", "mmdet", "refused"),
    [
        ({"mmcv": "1.7.2"}, False, "mmcv 1.7.2"),
        ({"mmcv-full": "1.7.0"}, False, "mmcv-full 1.7.0"),
        ({"mmcv": "2.2.0"}, True, "mmcv 2.2.0"),
        ({"mmcv": "2.2.0"}, False, None),
        ({"mmcv-lite": "2.0.1"}, True, None),
    ],
)
def test_mmcv_that_mmpose_refuses_is_told_before_anything_is_installed(monkeypatch, there, mmdet, refused):
    monkeypatch.setattr(install_mmpose, "installed", there.get)
    if refused is None:
        assert not any("mmcv" in word for step in plan(mmdet) for word in step.arguments)
        return
    with pytest.raises(
        InputError, match=rf"^{refused} is installed, .* -m pip uninstall -y {refused.split()[0]}$"
    ):
        plan(mmdet)


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


def test_getattr_gets_nothing(tmp_path):
    """The stand-in for it must not reach into what it is given."""

    class Reach:
        def __reduce__(self):
            return getattr, (np.ndarray, "tofile")

    path = save(tmp_path / "reach.pth", {"state_dict": {"a": torch.ones(2)}, "meta": {"reach": Reach()}})
    _, meta = read_checkpoint(path, "reach")
    assert type(meta["reach"]).__name__ == "_Husk" and not vars(meta["reach"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_refused_pickle_of_any_protocol_is_told_how_to_convert(tmp_path, protocol):
    path, state = tmp_path / "old.pth", {"a": torch.ones(2)}
    content = {"state_dict": state, "meta": Evil("true")}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one line is enough
        with pytest.raises(WeightsError, match=r"^--x old: refused: .* convert it once: python -c"):
            read_checkpoint(path, "--x old")


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
            self.methods = {"mean": HistoryBuffer.mean}  # written as getattr(HistoryBuffer, "mean")

        def mean(self) -> float:
            return float(self.log.mean())

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = name, "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = name, "HistoryBuffer.mean"
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
        WeightsError, match=r"^w: not a checkpoint of this model: it lacks 1 of its 2 weights, e\.g\. bias$"
    ):
        fill(network, {"weight": torch.ones(3, 2)}, "w")
    with pytest.raises(WeightsError, match=r"other shapes 1 of its 2 weights, e\.g\. weight"):
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
    assert capsys.readouterr().err == ""  # only people at a terminal are told
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


def test_a_stand_in_says_what_is_missing_when_it_is_called(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchvision" else real(name)
    )
    transforms = stand_ins()["torchvision.transforms"]
    with pytest.raises(
        InputError, match=r"^ToPILImage: the network needs torchvision, which is not installed$"
    ):
        transforms.ToPILImage()
    assert not hasattr(transforms, "__file__")  # nobody takes it for a package on disk


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
