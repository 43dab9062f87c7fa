"""The demos and posefix.pipeline.api, on the drawn sample with the real detector and networks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import frame_level
from fakes import FakeEstimator, install_detector, install_fakes, write_clip
from PIL import Image
from posefix.demos import make_gif, python_api, refine_keypoints
from posefix.demos.make_sample import HEIGHT, WIDTH, keypoints, make_sample, render
from posefix.pipeline.api import poses_of
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.skeleton import H36M17, InputError


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("sample") / "sample.mp4", seconds=0.4, fps=30)


def test_python_api_prints_an_angle_for_every_frame_and_draws_it(sample, tmp_path, capsys):
    picture = tmp_path / "knee.svg"
    assert python_api.main([str(sample), str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13 and all("detected" in line for line in lines[:-1])
    values = [float(line.split()[3].removesuffix("°")) for line in lines[:-1]]
    assert all(0 < value < 120 for value in values)
    assert lines[-1].startswith("bent most at ")
    # Rounded once; the values above were rounded to a tenth before.
    most = {f"by {max(values) + tenth:.0f}°" for tenth in (-0.05, 0.05)}
    assert any(words in lines[-1] for words in most)
    assert "right knee" in picture.read_text()


@pytest.mark.parametrize("levels, said", [([0] * 3, "nobody was found"), (None, "nothing.mp4")])
def test_python_api_says_what_is_wrong_in_one_line(tmp_path, capsys, monkeypatch, levels, said):
    install_fakes(monkeypatch)
    monkeypatch.setattr(python_api, "Settings", lambda hypotheses: Settings(detector="fake"))
    clip = write_clip(tmp_path / "empty.mp4", levels) if levels else tmp_path / "nothing.mp4"
    assert python_api.main([str(clip), str(tmp_path / "knee.png")]) in (2, 6)
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "knee.png").exists()


@pytest.mark.parametrize("known", [True, False])
def test_python_api_leaves_hidden_knees_out(tmp_path, capsys, monkeypatch, known):
    nan = float("nan")
    found = [0.0, 1.0, 2.0], [nan, 30.0 if known else nan, nan], [nan, 2.0, nan]
    monkeypatch.setattr(python_api, "knee_angles", lambda *_: found)
    assert python_api.main(["clip.mp4", str(tmp_path / "knee.png")]) == (0 if known else 6)
    said = capsys.readouterr()
    assert "bent most at 1.00 s, by 30°" in said.out if known else "no right knee" in said.err


def test_refine_keypoints_tells_what_it_did(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refine_keypoints.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "30 frames: 29 with somebody in the file, 1 bridged, 0 with nobody"
    told = {line.split()[0]: line.split() for line in lines[2:-1]}
    assert list(told) == list(H36M17.joints)
    assert all(told[joint][1:4] == ["30", "of", "30"] for joint in told if joint != "RWrist")
    assert told["RWrist"][1:4] == ["21", "of", "30"]  # lost in nine frames: longer than a gap that is bridged
    assert float(told["Hip"][4]) == 0 and 0.5 < float(told["LWrist"][4]) < 200
    assert 1 < float(told["RHip"][6]) < float(told["RAnkle"][6]) < 300
    assert sorted(p.name for p in (tmp_path / "drawn_refined").iterdir()) == [
        "drawn_2d.csv", "drawn_3d.csv", "drawn_3d_raw.csv", "drawn_run.json",
    ]  # fmt: skip


def test_refine_keypoints_takes_a_file_and_says_what_is_wrong_with_it(tmp_path, capsys):
    folder = refine_keypoints.write_openpose(tmp_path / "json")
    assert refine_keypoints.main([str(folder), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "json_3d.csv").is_file()
    (tmp_path / "broken.json").write_text("{")
    capsys.readouterr()
    assert refine_keypoints.main([str(tmp_path / "broken.json")]) == 2
    assert "broken.json" in capsys.readouterr().err


def test_drawn_keypoints_lie_on_the_drawn_person():
    at, image = keypoints(0.3), render(0.3)
    for joint, blue_red in (("lknee", 1), ("rknee", 1), ("chest3", -1)):  # jeans, shirt
        x, y = np.round(at[joint]).astype(int)
        assert 0 <= x < WIDTH and 0 <= y < HEIGHT
        assert (int(image[y, x, 0]) - int(image[y, x, 2])) * blue_red > 20, joint


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("smooth", ["off", "light"])
def test_poses_of_are_those_of_the_csv(tmp_path, monkeypatch, smooth):
    install_fakes(monkeypatch)
    clip = write_clip(tmp_path / "clip.mp4", [60, 70, 0, 80, 90, *[0] * 12, 100])  # a gap bridged, a gap left
    settings = Settings(output=tmp_path / "out", detector="fake", render=False, batch_size=3, smooth=smooth)
    there = rows_of_csv(run_video(clip.as_posix(), settings).paths.csv_3d)
    rows = list(poses_of(clip, settings))
    assert [row.index for row in rows] == list(range(18)) == [int(line["frame"]) for line in there]
    assert [p.status for row in rows for p in row.people] == [line["status"] for line in there]
    assert {"detected", "interpolated", "missing"} == {line["status"] for line in there}
    for row, line in zip(rows, there, strict=True):
        assert row.time_s == pytest.approx(float(line["time_s"]), abs=1e-6)
        (person,) = row.people
        if line["status"] == "missing":
            assert person.pose3d is None and line["RWrist_x"] == ""
        else:
            assert person.pose3d is not None
            assert person.pose3d.joints[16, 0] == pytest.approx(float(line["RWrist_x"]), abs=1e-5)
            assert person.pose3d.std[16] == pytest.approx(float(line["RWrist_std"]), abs=1e-5)


def test_poses_of_comes_frame_by_frame_and_closes_when_left(tmp_path, monkeypatch):
    install_detector(monkeypatch)
    closed = []
    monkeypatch.setattr("fakes.FakeDetector.close", lambda self: closed.append(self))
    clip = write_clip(tmp_path / "clip.mp4", [60] * 40)
    estimator = FakeEstimator()
    rows = poses_of(clip, Settings(detector="fake", batch_size=2, smooth="off"), estimator=estimator)
    assert next(rows).index == 0
    assert sum(estimator.calls) < 20 and closed == []
    rows.close()  # what leaving a loop does
    assert len(closed) == 1


def test_poses_of_keeps_the_limits_and_names_bad_input(tmp_path, monkeypatch):
    install_fakes(monkeypatch)
    clip = write_clip(tmp_path / "clip.mp4", [60] * 30)
    settings = Settings(detector="fake", start=0.2, max_frames=5)
    assert [row.index for row in poses_of(clip, settings)] == [6, 7, 8, 9, 10]
    with pytest.raises(InputError, match=r"nothing\.mp4"):
        next(poses_of(tmp_path / "nothing.mp4", settings))


def test_gif_shows_the_stretch_at_its_size_and_pace(tmp_path, make_video, capsys):
    video = make_video(times=tuple(k / 30 for k in range(36)), size=(64, 48))
    words = [str(video), str(tmp_path / "a.gif"), "--width", "32", "--fps", "10", "--slower", "2"]
    assert make_gif.app([*words, "--start", "0.2", "--seconds", "0.5"], result_action="return_value") == 0
    assert "wrote" in capsys.readouterr().out
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.size, picture.info["loop"], picture.n_frames) == (
            (32, 24),
            0,
            10,
        )  # half a second, twice as slow
        shown = []
        for k in range(picture.n_frames):
            picture.seek(k)
            assert picture.info["duration"] == 100
            shown.append(picture.convert("L").getpixel((24, 18)))
        assert np.allclose(shown, [frame_level(6 + round(1.5 * k)) for k in range(10)], atol=10)


@pytest.mark.parametrize(
    "options, said",
    [({"start": 5.0}, "no frame"), ({"fps": 0}, "fps 1 to 50"), ({"seconds": -1.0}, "positive")],
)
def test_gif_of_nothing_is_refused(tmp_path, make_video, options, said):
    with pytest.raises(InputError, match=said):
        make_gif.make_gif(make_video(), tmp_path / "a.gif", **options)
    assert not (tmp_path / "a.gif").exists()


def test_gif_names_what_is_no_video(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    for name in ("notes.txt", "nothing.mp4"):
        with pytest.raises(InputError, match=name):
            make_gif.make_gif(tmp_path / name, tmp_path / "a.gif")
