"""Several people through the whole pipeline: rows, gaps, identities, `--person`, and nobody in another's way."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEstimator, write_clip
from made_people import Actor, FakeCrowd, standing
from posefix.detectors import base
from posefix.detectors.base import DetectorOptions, sees_one
from posefix.lifter import Lifter
from posefix.pipeline import run as run_module
from posefix.pipeline.cli import call
from posefix.pipeline.estimate import PoseEstimator
from posefix.pipeline.gaps import FORGET_FRAMES, MAX_GAP_FRAMES, GapFiller
from posefix.pipeline.people import Choice, Trim
from posefix.pipeline.refine import RefineSettings, refine_file
from posefix.pipeline.report import describe
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings, parse_person
from posefix.refiner import Refiner
from posefix.skeleton import FramePoses, Person
from posefix.skeleton.errors import InputError

FRAMES = 90  # 3 s
#: 0 stays; 1 comes in frame 10 and leaves after 70, hidden for 5 frames and for 20; 2 is a flicker.
ACTORS = (
    Actor(lambda t: 150 + 10 * t, height=220),
    Actor(lambda t: 400 - 10 * t, range(10, 70), range(20, 25)),
    Actor(lambda t: 600, range(30, 32)),
)
LONG = Actor(lambda t: 400 - 10 * t, range(10, 70), range(40, 60))


@pytest.fixture
def crowd(monkeypatch) -> type[FakeCrowd]:
    """The detector `crowd`, and a FakeEstimator."""
    monkeypatch.setitem(base._REGISTRY, "crowd", base._Entry("made_people", "FakeCrowd", "pip install crowd"))
    monkeypatch.setattr(run_module, "load_estimator", lambda settings, device: FakeEstimator())
    monkeypatch.setattr(FakeCrowd, "actors", ACTORS)
    return FakeCrowd


@pytest.fixture
def clip(tmp_path) -> str:
    return str(write_clip(tmp_path / "clip.mp4", [100] * FRAMES, size=(640, 480)))


def settings(folder: Path, **changes) -> Settings:
    common = {"output": folder, "detector": "crowd", "device": "cpu", "render": False}
    return Settings(**{**common, **changes})


def rows(folder: Path, end: str = "3d") -> list[dict[str, str]]:
    with open(folder / f"clip_{end}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def statuses(table: list[dict[str, str]], person: int) -> dict[int, str]:
    """Frame -> d(etected), i(nterpolated) or m(issing)."""
    return {int(r["frame"]): r["status"][0] for r in table if r["person"] == str(person)}


def test_everybody_has_rows_from_first_to_last_sight(tmp_path, clip, crowd):
    summary = run_video(clip, settings(tmp_path / "out"))
    table = rows(tmp_path / "out")
    keys = [(int(r["frame"]), int(r["person"])) for r in table]
    assert keys == sorted(keys) == [(int(r["frame"]), int(r["person"])) for r in rows(tmp_path / "out", "2d")]
    assert statuses(table, 0) == dict.fromkeys(range(FRAMES), "d")
    assert statuses(table, 1) == {k: "i" if 20 <= k < 25 else "d" for k in range(10, 70)}
    assert {key[1] for key in keys} == {0, 1}  # the flicker is nobody
    assert "2 people" in describe(summary).splitlines()[0]
    record = json.loads((tmp_path / "out" / "clip_run.json").read_text())
    assert record["people"] == {
        "count": 2, "rows": {"0": {"detected": 90}, "1": {"detected": 55, "interpolated": 5}}
    }  # fmt: skip
    assert record["frames"]["detected"] == FRAMES and record["settings"]["person"] == "all"


def test_every_row_is_its_own_persons(tmp_path, clip, crowd):
    run_video(clip, settings(tmp_path / "out"))
    for row in rows(tmp_path / "out", "2d"):
        if row["status"] == "detected":
            (pose,) = ACTORS[int(row["person"])].at(int(row["frame"]), 30.0)
            assert float(row["Hip_x"]) == pytest.approx(pose.keypoints[0, 0], abs=0.01)


def test_long_gaps_are_missing_rows_and_the_number_stays(tmp_path, clip, crowd, monkeypatch):
    monkeypatch.setattr(crowd, "actors", (ACTORS[0], LONG))
    run_video(clip, settings(tmp_path / "out"))
    table = rows(tmp_path / "out")
    assert statuses(table, 1) == {k: "m" if 40 <= k < 60 else "d" for k in range(10, 70)}
    gone = [r for r in table if r["person"] == "1" and r["status"] == "missing"]
    assert {r["RWrist_x"] for r in gone} == {""}


def test_nobodys_rows_change_when_another_comes_and_goes(tmp_path, clip, crowd, monkeypatch):
    """Person 0 alone in the picture, with another, and picked from among them: the same bytes."""

    def lines(name: str, **changes) -> list[str]:
        run_video(clip, settings(tmp_path / name, **changes))
        text = (tmp_path / name / "clip_3d.csv").read_text() + (tmp_path / name / "clip_2d.csv").read_text()
        return [line for line in text.splitlines() if line.split(",")[2] == "0"]

    together, picked = lines("both"), lines("picked", person="0")
    monkeypatch.setattr(crowd, "actors", ACTORS[:1])
    assert together == picked == lines("alone") and len(together) == 2 * FRAMES


@pytest.mark.parametrize(
    ("person", "want"),
    [
        ("all", {0: FRAMES, 1: 60}),
        ("0", {0: FRAMES}),
        ("1", {1: FRAMES}),  # missing where they are not there: row k is frame k
        ("1,0", {0: FRAMES, 1: FRAMES}),
        ("largest", {0: FRAMES}),
    ],
)
def test_who_is_wanted(tmp_path, clip, crowd, person, want):
    run_video(clip, settings(tmp_path / "out", person=person))
    table = rows(tmp_path / "out")
    assert {p: len(statuses(table, p)) for p in range(3) if statuses(table, p)} == want
    found = [statuses(table, 1)[k] for k in range(FRAMES)] if person == "1" else []
    assert "".join(found) in ("", "m" * 10 + "d" * 10 + "i" * 5 + "d" * 45 + "m" * 20)


def test_the_largest_is_followed_until_gone_for_long(tmp_path, clip, crowd, monkeypatch):
    large = Actor(lambda t: 300, range(30), height=300)
    monkeypatch.setattr(crowd, "actors", (Actor(lambda t: 100), large))
    run_video(clip, settings(tmp_path / "out", person="largest"))
    table = rows(tmp_path / "out")
    assert statuses(table, 0) == {**dict.fromkeys(range(30), "d"), **dict.fromkeys(range(30, 75), "m")}
    assert statuses(table, 1) == dict.fromkeys(range(75, FRAMES), "d")


def test_a_number_that_nobody_has_is_said(tmp_path, clip, crowd):
    summary = run_video(clip, settings(tmp_path / "out", person="0,7"))
    assert summary.exit_code == 0 and summary.warnings[0].startswith("--person 7: not seen")
    summary = run_video(clip, settings(tmp_path / "none", person="7"))
    assert summary.exit_code == 6 and summary.warnings[0].startswith("--person 7: not seen")
    assert statuses(rows(tmp_path / "none"), 7) == dict.fromkeys(range(FRAMES), "m")


@pytest.mark.parametrize("word", ["some", "1.5", "-1", "0,", "1 2", "largest,0", "9" * 30])
def test_bad_words_are_one_line(tmp_path, clip, capsys, word):
    assert call([clip, f"--person={word}", "-o", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"posefix: error: --person {word}".rstrip())
    assert "expected all, largest, or numbers" in lines[0] and not (tmp_path / "out").exists()


def test_a_detector_of_one_person_has_number_0_alone():
    assert Settings(person="0").person == "0" and Settings(person="largest").person == "largest"
    with pytest.raises(InputError, match="--person 1: the detector 'mediapipe' finds one person here"):
        Settings(person="1")
    boxes = DetectorOptions(pose_model="p.onnx", det_model="d.onnx")
    assert sees_one("mediapipe", DetectorOptions()) and sees_one("onnx", DetectorOptions(pose_model="p.onnx"))
    assert not sees_one("onnx", boxes)
    assert parse_person("2, 0,2") == (0, 2)


def test_one_person_detectors_keep_their_rows_whatever_comes(tmp_path, clip, crowd, monkeypatch):
    """Jumps and long absences: still person 0, a row in every frame, as before there were several people."""
    one = base._Entry("made_people", "FakeCrowd", "pip install crowd", one_person=True)
    monkeypatch.setitem(base._REGISTRY, "crowd", one)
    jumper = Actor(lambda t: 100 if t < 1 else 500, range(5, 80), range(10, 75))
    monkeypatch.setattr(crowd, "actors", (jumper,))
    run_video(clip, settings(tmp_path / "out"))
    assert (
        "".join(statuses(rows(tmp_path / "out"), 0).values())
        == "m" * 5 + "d" * 5 + "m" * 65 + "d" * 5 + "m" * 10
    )


def test_nobody_at_all_still_gives_a_row_a_frame(tmp_path, clip, crowd, monkeypatch):
    monkeypatch.setattr(crowd, "actors", (Actor(lambda t: 300, range(20, 40)),))
    summary = run_video(clip, settings(tmp_path / "out"))
    table = rows(tmp_path / "out")
    assert [int(r["frame"]) for r in table] == list(range(FRAMES))
    assert "".join(r["status"][0] for r in table) == "m" * 20 + "d" * 20 + "m" * 50
    assert summary.missing == 70 and summary.people == {0: {"detected": 20}}
    monkeypatch.setattr(crowd, "actors", ())
    summary = run_video(clip, settings(tmp_path / "empty"))
    assert summary.exit_code == 6 and len(rows(tmp_path / "empty")) == FRAMES


def test_single_pictures_have_their_people(tmp_path, crowd):
    import cv2

    folder = tmp_path / "clip"
    folder.mkdir()
    for k in (0, 1):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((480, 640, 3), 90, np.uint8))
    crowd.actors = (Actor(lambda t: 150), Actor(lambda t: 400, range(1, 2)))
    run_video(str(folder), settings(tmp_path / "out"))
    assert [(r["frame"], r["person"]) for r in rows(tmp_path / "out")] == [("0", "0"), ("1", "0"), ("1", "1")]


@pytest.mark.parametrize(("name", "people"), [("two_walking", 2), ("worker_walk", 1)])
def test_real_people_keep_their_numbers(tmp_path, shared_dir, name, people):
    """Two side by side, who never change sides; one, and a bin that the detector takes for another in 42 frames."""
    weights = shared_dir / "weights"
    models = weights / "pp_tinypose_256x192_coco17.onnx", weights / "rtmdet_nano_320_person.onnx"
    if not all(model.is_file() for model in models):
        pytest.skip("no ONNX files beside the clips")
    pose, det = map(str, models)
    own = settings(tmp_path, detector="onnx", pose_model=pose, det_model=det)
    run_video(str(shared_dir / "videos" / f"{name}.mp4"), own, estimator=FakeEstimator())
    with open(tmp_path / f"{name}_2d.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    hips = {
        p: [float(r["Hip_x"]) for r in table if r["person"] == str(p) and r["Hip_x"]] for p in range(people)
    }
    frames = len({r["frame"] for r in table})
    assert {r["person"] for r in table} == {str(p) for p in range(people)}
    assert all(len(columns) >= frames - 8 for columns in hips.values())
    if people == 2:
        assert len(hips[0]) == len(hips[1]) == frames and all(
            a > b for a, b in zip(hips[0], hips[1], strict=True)
        )


@pytest.fixture(scope="module")
def networks() -> PoseEstimator:
    from importlib.resources import files

    if not (files("posefix.weights") / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    return PoseEstimator.load("cpu", hypotheses=3)


def test_the_shipped_networks_give_the_same_bytes_at_any_batch_size(tmp_path, clip, crowd, networks):
    written = set()
    for k, size in enumerate((1, 5, 8)):
        out = tmp_path / f"out{k}"
        own = PoseEstimator(networks.lifter, networks.refiner, 1.75, size, threads=1 + k)
        run_video(clip, settings(out, batch_size=size, max_frames=30), estimator=own)
        written.add((out / "clip_3d.csv").read_bytes())
    assert len(written) == 1 and b",1,detected" in written.pop()


def test_the_2d_csv_of_several_people_refined_gives_their_3d_to_the_byte(
    tmp_path, clip, crowd, monkeypatch, networks
):
    monkeypatch.setattr(
        crowd, "actors", (ACTORS[0], Actor(lambda t: 400 - 10 * t, range(3, 27), range(13, 23)))
    )
    own = PoseEstimator.load("cpu")
    run_video(clip, settings(tmp_path / "a", max_frames=30), estimator=own)
    table = tmp_path / "a" / "clip_2d.csv"
    refine_file(table, RefineSettings(output=tmp_path / "b", device="cpu"))
    for name in ("clip_2d.csv", "clip_3d.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert statuses(rows(tmp_path / "b"), 1) == {k: "m" if 13 <= k < 23 else "d" for k in range(3, 27)}
    refine_file(table, RefineSettings(output=tmp_path / "c", device="cpu", person="1"))
    chosen, among = (
        [r for r in rows(tmp_path / name) if r["person"] == "1" and r["status"] == "detected"]
        for name in "cb"
    )
    assert chosen == among and len(chosen) == 14


def test_threads_change_no_number(networks):
    assert isinstance(networks.lifter, Lifter) and isinstance(networks.refiner, Refiner)
    poses = [standing(100 + 60 * k, height=150 + 9 * k) for k in range(7)]
    poses[3].keypoints[[0, 1, 4]] = np.nan  # no hips: no 3D
    keys = [(5, k) for k in range(7)]
    alone = PoseEstimator(networks.lifter, networks.refiner, 1.75, 8)(poses, keys)
    many = PoseEstimator(networks.lifter, networks.refiner, 1.75, 8, threads=3)
    together = many(poses, keys)
    many.close()
    assert [p is None for p in together] == [k == 3 for k in range(7)]
    for a, b in zip(alone, together, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_array_equal(a.joints, b.joints)
            np.testing.assert_array_equal(a.std, b.std)


def test_the_video_names_people_and_shows_them_all(tmp_path, clip, crowd):
    import av

    run_video(clip, settings(tmp_path / "out", render=True, max_frames=20))
    with av.open(str(tmp_path / "out" / "clip_pose.mp4")) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    assert len(frames) == 20
    drawn = [np.abs(f.astype(int) - frames[0]).max(axis=2) > 60 for f in frames]
    # Person 1 comes in frame 10, around x = 400 of 640.
    assert drawn[5][:, 340:440].sum() < 200 < drawn[15][:, 340:440].sum()


def row(index: int, **people: str) -> FramePoses:
    """`row(3, p0="d", p1="m")`."""
    names = {"d": "detected", "i": "interpolated", "m": "missing"}
    return FramePoses(index, index / 30, tuple(Person(int(p[1:]), names[s]) for p, s in people.items()))


def test_missing_rows_after_the_last_sight_are_left_out():
    trim = Trim()
    assert trim.push(row(0, p0="d")) == [row(0, p0="d")]
    assert trim.push(row(1, p0="d", p1="m")) == []  # who knows
    assert trim.push(row(2, p0="d", p1="m")) == []
    back = row(3, p0="m", p1="d")
    assert trim.push(back) == [row(1, p0="d", p1="m"), row(2, p0="d", p1="m")]
    assert trim.push(row(4, p1="d")) == [row(3, p1="d"), row(4, p1="d")]  # 0 was given up
    assert trim.push(row(5, p1="m")) == [] and trim.finish() == [row(5)]


def test_people_who_were_given_up_have_no_rows_and_may_come_again():
    filler = GapFiller(0, (), forget_s=1.0)
    rows_ = [
        r for k in range(90) for r in filler.push(k, k / 30, {3: standing(100)} if k < 5 or k > 80 else {})
    ]
    rows_ += filler.finish()
    there = {r.index for r in rows_ if r.people}
    assert there == set(range(35)) | set(range(81, 90)) and len(rows_) == 90
    late = GapFiller(0, (), forget_s=1.0)
    got = late.push(0, 0.0, {1: standing(100)}) + late.push(1, 0.1, {}) + late.push(2, 50.0, {})  # time leaps
    assert len(got + late.finish()) == 3


def test_rows_wait_for_a_bounded_number_of_frames_when_time_stands_still():
    filler, trim, done = GapFiller(0, (), forget_s=1.5), Trim(), 0
    for k in range(1000):
        new = filler.push(k, 0.0, {0: standing(100), **({1: standing(400)} if k < 5 else {})})
        done += sum(len(trim.push(r)) for r in new)
        assert k + 1 - done <= FORGET_FRAMES + MAX_GAP_FRAMES + 2
    done += sum(len(trim.push(r)) for r in filler.finish()) + len(trim.finish())
    assert done == 1000


def test_choice_of_the_largest_lasts():
    choice = Choice("largest")
    small, large = standing(100, height=100), standing(300, height=200)
    assert choice.of(0.0, {0: small}) == {0}
    assert choice.of(1.0, {0: small, 1: large}) == {0}
    assert choice.of(2.0, {1: large}) == {0} and choice.of(2.6, {1: large}) == {1}
