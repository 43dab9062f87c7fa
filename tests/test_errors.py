"""Bad input and odd input, through the command: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from functools import partial
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import install_fakes, write_clip
from posefix.pipeline import run as run_module
from posefix.pipeline.cli import call
from posefix.pipeline.estimate import PoseEstimator
from posefix.skeleton import errors

LOAD_ESTIMATOR = run_module.load_estimator
FAKE = ["--detector", "fake", "--device", "cpu"]


@pytest.fixture(autouse=True)
def in_tmp(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    install_fakes(monkeypatch)


@pytest.fixture
def fails(capsys):
    """Runs a command line that must fail with one line on stderr; returns that line."""

    def check(code: int, *words: str) -> str:
        assert call([*words, *([] if "--detector" in words else FAKE[:2])]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1 and err.startswith("posefix: error: "), err
        return err

    return check


def statuses(name: str) -> list[str]:
    with open(f"{name}_posefix/{name}_3d.csv", encoding="utf-8", newline="") as file:
        return [row["status"] for row in csv.DictReader(file)]


def test_exit_codes_are_what_the_documentation_says():
    codes = {
        errors.PosefixError: 1,
        errors.InputError: 2,
        errors.OutputError: 3,
        errors.DeviceError: 4,
        errors.WeightsError: 5,
    }
    assert {kind: kind("x").exit_code for kind in codes} == codes
    assert errors.PosefixError("x", 9).exit_code == 9


# ---- inputs that cannot be read


def test_missing_file(fails):
    assert "absent.mp4" in fails(2, "absent.mp4")


def test_glob_without_match(fails):
    assert "*.avi" in fails(2, "*.avi")


def test_directory_without_images(fails):
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("x")
    assert "folder" in fails(2, "folder")


def test_text_renamed_mp4(fails):
    Path("text.mp4").write_text("this is no video\n" * 50)
    assert "text.mp4" in fails(2, "text.mp4")


def test_empty_file(fails):
    Path("empty.mp4").touch()
    assert "empty.mp4" in fails(2, "empty.mp4")


def test_video_without_frames(fails):
    import av

    with av.open("none.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert "none.mp4" in fails(2, "none.mp4")
    assert not Path("none_posefix").exists()


@pytest.mark.parametrize("index", ["99", "9" * 30])
def test_camera_that_does_not_open(fails, index):
    assert f"camera {index}" in fails(2, index)


def test_a_name_longer_than_names_can_be(fails):
    assert "too long" in fails(2, "a" * 300 + ".mp4")


def test_images_none_of_which_decode(fails):
    Path("folder").mkdir()
    Path("folder/a.png").write_text("no picture")
    assert "folder" in fails(2, "folder")


# ---- odd inputs that do work


def test_truncated_mp4_keeps_the_readable_part(capsys):
    import av

    with av.open("whole.mp4", "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        noise = np.random.default_rng(0).integers(80, 160, (60, 48, 64, 3), np.uint8)
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode(None))
    data = Path("whole.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    assert call(["cut.mp4", *FAKE]) == 0
    kept = statuses("cut")
    assert 20 <= len(kept) < 60 and "detected" in kept
    out, err = capsys.readouterr()
    assert err == "" and out.splitlines()[1].startswith("warning: the file is cut short: it holds ")


def test_two_by_two_pixels_with_the_real_detector(capsys):
    write_clip(Path("tiny.mp4"), [100] * 3, size=(2, 2))
    assert call(["tiny.mp4", "--detector", "mediapipe", "--device", "cpu"]) == 6
    assert statuses("tiny") == ["missing"] * 3
    assert "no person found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 30), 90, np.uint8),
        np.full((40, 30, 4), 90, np.uint8),
        np.full((40, 30), 23000, np.uint16),
    ],
    ids=["grey", "four channels", "16 bit"],
)
def test_images_of_any_depth(image):
    Path("images").mkdir()
    cv2.imwrite("images/a.png", image)
    cv2.imwrite("images/b.png", image)
    assert call(["images", *FAKE]) == 0
    assert statuses("images") == ["detected"] * 2


def test_images_of_mixed_sizes():
    Path("images").mkdir()
    for k, shape in enumerate([(40, 30, 3), (20, 60, 3), (64, 64, 3)]):
        cv2.imwrite(f"images/{k}.png", np.full(shape, 90, np.uint8))
    assert call(["images", *FAKE]) == 0
    assert statuses("images") == ["detected"] * 3


def test_one_damaged_image_among_good_ones_is_counted_and_keeps_its_row(capsys):
    Path("images").mkdir()
    for k in range(4):
        cv2.imwrite(f"images/{k}.png", np.full((40, 30, 3), 90, np.uint8))
    Path("images/2.png").write_bytes(b"broken")
    assert call(["images", *FAKE]) == 0
    assert statuses("images") == ["detected", "detected", "interpolated", "detected"]
    assert "1 damaged and skipped" in capsys.readouterr().out


def test_no_person_at_all(capsys):
    write_clip(Path("wall.mp4"), [0] * 5)
    assert call(["wall.mp4", *FAKE]) == 6
    assert statuses("wall") == ["missing"] * 5 and Path("wall_posefix/wall_pose.mp4").exists()
    assert "no person found" in capsys.readouterr().err


# ---- outputs


def test_existing_output_without_overwrite(fails):
    write_clip(Path("clip.mp4"), [100] * 3)
    assert call(["clip.mp4", "-q", *FAKE]) == 0
    before = {p: p.read_bytes() for p in Path("clip_posefix").iterdir()}
    assert "--overwrite" in fails(3, "clip.mp4")
    assert {p: p.read_bytes() for p in Path("clip_posefix").iterdir()} == before


def test_overwriting_leaves_nothing_of_the_earlier_run():
    write_clip(Path("clip.mp4"), [100] * 3)
    assert call(["clip.mp4", *FAKE]) == 0
    assert call(["clip.mp4", "--overwrite", "--no-render", *FAKE]) == 0
    assert sorted(p.name for p in Path("clip_posefix").iterdir()) == [
        "clip_2d.csv",
        "clip_3d.csv",
        "clip_3d_raw.csv",
        "clip_run.json",
    ]


def test_what_cannot_be_overwritten_loses_nothing(fails):
    write_clip(Path("clip.mp4"), [100] * 3)
    assert call(["clip.mp4", "-q", "--no-render", *FAKE]) == 0
    before = {p: p.read_bytes() for p in Path("clip_posefix").iterdir()}
    Path("clip_posefix/clip_pose.mp4").mkdir()
    assert "a folder of that name is in the way" in fails(3, "clip.mp4", "--overwrite")
    Path("clip_posefix/clip_pose.mp4").rmdir()
    assert {p: p.read_bytes() for p in Path("clip_posefix").iterdir()} == before


def test_output_in_the_place_of_a_file(fails):
    write_clip(Path("clip.mp4"), [100] * 3)
    Path("taken").touch()
    assert "taken" in fails(3, "clip.mp4", "-o", "taken")
    assert "taken" in fails(3, "clip.mp4", "-o", "taken/deeper")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_permission(fails):
    write_clip(Path("clip.mp4"), [100] * 3)
    Path("locked").mkdir(mode=0o500)
    assert "permission denied" in fails(3, "clip.mp4", "-o", "locked/out")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a place where not even root may write")
def test_output_where_not_even_root_may_write(fails):
    write_clip(Path("clip.mp4"), [100] * 3)
    assert "cannot write /sys/posefix_out" in fails(3, "clip.mp4", "-o", "/sys/posefix_out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["clip_3d.csv", "clip_2d.csv", "clip_pose.mp4"])
def test_full_disk(fails, name):
    write_clip(Path("clip.mp4"), [100] * 40)
    Path("out").mkdir()
    os.symlink("/dev/full", f"out/{name}")
    assert "disk is full" in fails(3, "clip.mp4", "-o", "out", "--overwrite")


# ---- settings


def test_unknown_detector(fails):
    assert "choose from" in fails(2, "clip.mp4", "--detector", "openpose")


def test_unknown_device(fails):
    assert "auto" in fails(2, "clip.mp4", "--device", "tpu")


def test_cuda_without_cuda(fails):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    write_clip(Path("clip.mp4"), [100])
    line = fails(4, "clip.mp4", "--device", "cuda")
    assert "--device cpu" in line and not Path("clip_posefix").exists()


@pytest.mark.parametrize(
    "words",
    [
        "--height 0", "--height -1", "--height 17.5", "--height nan", "--steps 0", "--steps 51", "--steps -3",
        "--hypotheses 0", "--hypotheses 100000", "--seed -1", "--start -1", "--end 0", "--start 5 --end 2",
        f"--steps {'9' * 400}", "--start nan", "--end nan", "--max-frames 0", "--batch-size 0", "--steps two",
        "--height tall",
    ],
)  # fmt: skip
def test_absurd_values_name_the_flag(fails, words):
    write_clip(Path("clip.mp4"), [100])
    flags = [word for word in words.split() if word.startswith("--")]
    assert any(flag in fails(2, "clip.mp4", *words.split()) for flag in flags[-1:])
    assert not Path("clip_posefix").exists()


def test_unknown_option(fails):
    assert "--hight" in fails(2, "clip.mp4", "--hight", "1.8")


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _forge(path: Path) -> None:
    """Nonsense that the manifest takes for right."""
    path.write_bytes(b"nonsense" * 100)
    manifest = json.loads(path.with_name("manifest.json").read_text())
    manifest["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("lifter.onnx", _flip_a_byte, "damaged"),
        ("lifter.onnx", _forge, "cannot load it"),
        ("refiner.safetensors", _halve, "damaged"),
        ("refiner.safetensors", _forge, "cannot be loaded"),
        ("refiner_guide.onnx", _halve, "damaged"),
        ("refiner_step.onnx", Path.unlink, "missing"),
        ("manifest.json", _halve, "reinstall"),
        ("manifest.json", Path.unlink, "reinstall"),
    ],
)
def test_damaged_weights_and_the_results_of_an_earlier_run(fails, monkeypatch, name, damage, words):
    shipped = Path(str(files("posefix.weights")))
    if not (shipped / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    shutil.copytree(shipped, "weights")
    write_clip(Path("clip.mp4"), [100])
    assert call(["clip.mp4", "-q", *FAKE]) == 0
    before = {p: p.read_bytes() for p in Path("clip_posefix").iterdir()}

    damage(Path("weights", name))
    load = partial(PoseEstimator.load, weights="weights")
    monkeypatch.setattr(PoseEstimator, "load", staticmethod(load))
    monkeypatch.setattr(run_module, "load_estimator", LOAD_ESTIMATOR)
    line = fails(5, "clip.mp4", "--overwrite", "--device", "cpu")
    assert name in line and words in line
    assert {p: p.read_bytes() for p in Path("clip_posefix").iterdir()} == before


# ---- and one that goes well, with the real detector


def test_a_photo_of_a_person_with_the_real_detector(capsys):
    skimage_data = pytest.importorskip("skimage.data")
    photo = np.ascontiguousarray(skimage_data.astronaut()[:, :, ::-1])
    Path("photos").mkdir()
    for k in range(6):
        cv2.imwrite(f"photos/{k}.png", np.roll(photo, 2 * k, axis=1))
    written = []
    for out in ("one", "two"):
        assert call(["photos", "-o", out, "--detector", "mediapipe", "--device", "cpu"]) == 0
        written.append(Path(out, "photos_3d.csv").read_bytes() + Path(out, "photos_2d.csv").read_bytes())
    assert written[0] == written[1]
    with open("one/photos_2d.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["detected"] * 6
    # The face stays where it is in the picture; the ankles are out of it and have no position.
    assert all(abs(float(row["Neck_x"]) - 225 - 2 * k) < 30 for k, row in enumerate(rows))
    assert all(row["LAnkle_x"] == "" and float(row["LAnkle_score"]) < 0.1 for row in rows)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("photos: the person is cut by the lower border" in line for line in lines)
