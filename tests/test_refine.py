"""`posefix refine`: keypoint files through the stages into the same files that a video gives."""

from __future__ import annotations

import csv
import json
import re
import shlex
from importlib.resources import files
from pathlib import Path

import av
import made_keypoints as made
import numpy as np
import pytest
from fakes import install_detector, write_clip
from posefix.pipeline.cli import app, call
from posefix.pipeline.estimate import PoseEstimator
from posefix.pipeline.refine import RefineSettings, refine_file
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.skeleton import H36M17, Pose2D, to_h36m17
from real_person import PIXELS, SIZE, WORLD

pytestmark = pytest.mark.skipif(
    not (files("posefix.weights") / "manifest.json").is_file(), reason="no weights are installed"
)
LEFT, RIGHT = (H36M17.joints.index(s + "Shoulder") for s in "LR")
GAPS = [100] * 5 + [0] * 3 + [140] * 4 + [0] * 12 + [120] * 3


def rows(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pose(row: dict[str, str]) -> np.ndarray:
    """(17, 3) of a row of NAME_3d.csv; NaN where empty."""
    return np.array([[float(row[f"{j}_{a}"] or "nan") for a in "xyz"] for j in H36M17.joints])


def refine(path, tmp_path, **changes):
    """The 3D rows and the record of a run."""
    out = tmp_path / "out"
    refine_file(
        path,
        RefineSettings(**{"output": out, "device": "cpu", "overwrite": True, "smooth": "off", **changes}),
    )
    (record,) = out.glob("*_run.json")
    (table,) = out.glob("*_3d.csv")
    return rows(table), json.loads(record.read_text())


def expected(layout: str, frame: int) -> np.ndarray:
    """What the networks make of the person in a layout, by themselves."""
    points = made.person(layout)[frame]
    seen = to_h36m17(Pose2D(np.round(points[:, :2], 2), points[:, 2], layout))
    seen = Pose2D(np.round(seen.keypoints, 2), seen.scores)
    (found,) = PoseEstimator.load("cpu")([seen], [(frame, 0)])
    assert found is not None
    return found.joints


def test_the_2d_csv_of_a_run_gives_the_3d_csv_of_that_run(tmp_path, monkeypatch):
    """To the byte: gaps, status and people are taken as they are."""
    install_detector(monkeypatch)
    clip = str(write_clip(tmp_path / "clip.mp4", GAPS))
    run_video(clip, Settings(output=tmp_path / "a", detector="fake", device="cpu", render=False, seed=3))
    refine_file(tmp_path / "a/clip_2d.csv", RefineSettings(output=tmp_path / "b", device="cpu", seed=3))
    assert (
        "".join(r["status"][0] for r in rows(tmp_path / "b/clip_3d.csv"))
        == "d" * 5 + "iii" + "d" * 4 + "m" * 12 + "ddd"
    )
    for name in ("clip_2d.csv", "clip_3d.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    refine_file(
        tmp_path / "a/clip_2d.csv", RefineSettings(output=tmp_path / "c", device="cpu", seed=4, fps=60.0)
    )
    assert float(rows(tmp_path / "c/clip_3d.csv")[24]["time_s"]) == pytest.approx(24 / 60, abs=1e-6)
    assert (tmp_path / "c/clip_3d.csv").read_bytes() != (tmp_path / "a/clip_3d.csv").read_bytes()


def test_the_2d_csv_of_a_real_clip_gives_its_3d_csv(tmp_path, shared_dir):
    video = str(shared_dir / "videos" / "balance_cam01.mp4")
    run_video(video, Settings(output=tmp_path / "a", device="cpu", render=False, max_frames=8, start=0.5))
    table = tmp_path / "a" / "balance_cam01_2d.csv"
    refine_file(table, RefineSettings(output=tmp_path / "b", device="cpu"))
    for name in ("balance_cam01_2d.csv", "balance_cam01_3d.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert int(rows(table)[0]["frame"]) == 30


def test_a_3d_csv_is_refined_with_its_2d_and_keeps_its_size(tmp_path, monkeypatch):
    install_detector(monkeypatch)
    refine(made.openpose(tmp_path / "json", made.person("halpe26")), tmp_path, height=1.2)
    table, record = refine(tmp_path / "out/json_3d.csv", tmp_path / "again")
    before, after = (np.stack([pose(r) for r in t]) for t in (rows(tmp_path / "out/json_3d.csv"), table))
    assert record["settings"]["height"] == pytest.approx(1.2, abs=0.1)
    apart = np.linalg.norm(before - after, axis=2)
    assert 0 < apart.mean() < 0.03 and record["source"]["kind"] == "keypoints"


@pytest.mark.parametrize("layout", ["body25", "halpe26", "coco17"])
def test_2d_is_lifted_and_refined(tmp_path, layout):
    table, record = refine(made.openpose(tmp_path / "json", made.person(layout)), tmp_path)
    assert [r["status"] for r in table] == ["detected"] * 4
    assert [float(r["time_s"]) for r in table] == pytest.approx([k / 30 for k in range(4)], abs=1e-6)
    np.testing.assert_allclose(pose(table[2]), expected(layout, 2), atol=2e-5)
    assert pose(table[2])[LEFT, 0] > pose(table[2])[RIGHT, 0] + 0.2  # he faces the camera
    assert record["detector"]["name"] == "openpose" and record["detector"]["layout"] == layout
    assert record["settings"]["detector"] == "file" and record["settings"]["height"] == 1.75
    assert record["frames"]["detected"] == 4 and record["error"] is None


def test_unobserved_joints_stay_so_and_short_holes_are_bridged(tmp_path):
    poses = made.person("body25")
    poses[:, 7] = 0  # LWrist, in OpenPose's way
    table, _ = refine(made.openpose(tmp_path / "json", poses, (0, 1, 4, 5)), tmp_path, fps=20.0)
    assert [r["status"] for r in table] == ["detected"] * 2 + ["interpolated"] * 2 + ["detected"] * 2
    assert [float(r["time_s"]) for r in table] == pytest.approx([k / 20 for k in range(6)])
    assert all(r["LWrist_x"] == "" and float(r["LWrist_score"]) == 0 for r in table)
    assert all(r["RWrist_x"] != "" for r in table)


def test_3d_markers_are_refined_and_keep_their_size(tmp_path):
    names, points = made.opensim_markers("halpe26", 0.8)
    table, record = refine(made.trc(tmp_path / "m.trc", names, points), tmp_path)
    hips = WORLD[:, [23, 24]].mean(axis=1)
    given = 0.8 * (WORLD[:, [11, 12, 13, 14, 15, 16, 25, 26, 27, 28]] - hips[:, None])
    order = [
        H36M17.joints.index(s + j) for j in ("Shoulder", "Elbow", "Wrist", "Knee", "Ankle") for s in "LR"
    ]
    apart = np.linalg.norm(np.stack([pose(r)[order] for r in table]) - given, axis=2)
    assert 0.001 < apart.mean() < 0.06
    assert [float(r["time_s"]) for r in table] == pytest.approx([k / 60 for k in range(4)], abs=2e-5)
    assert record["source"]["fps"] == 60 and 0.9 < record["settings"]["height"] < 1.6
    small = record["settings"]["height"]
    tall, record = refine(tmp_path / "m.trc", tmp_path / "tall", height=1.9)
    np.testing.assert_allclose(pose(tall[1]), pose(table[1]) * 1.9 / small, atol=2e-5)


def test_3d_with_2d_of_the_picture(tmp_path):
    frames = [
        {
            "landmarks": made.landmarks(p, SIZE),
            "world_landmarks": made.world_landmarks(w),
            "timestamp_ms": 40 * k,
        }
        for k, (p, w) in enumerate(zip(PIXELS, WORLD, strict=True))
    ]
    for frame in frames[2:]:
        del frame["world_landmarks"]  # there the lifter does it
    path = tmp_path / "l.json"
    path.write_text(json.dumps(frames))
    table, record = refine(path, tmp_path, size=SIZE)
    two = rows(tmp_path / "out/l_2d.csv")
    assert float(two[3]["RWrist_x"]) == pytest.approx(PIXELS[3, 16, 0], abs=0.01)
    assert [float(r["time_s"]) for r in table] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert (record["source"]["width"], record["source"]["height"]) == SIZE
    lifted, _ = refine(_only_2d(path, frames), tmp_path / "2d", size=SIZE)
    same = [np.allclose(_shape(a), _shape(b), atol=1e-4) for a, b in zip(table, lifted, strict=True)]
    assert same == [False, False, True, True]
    anew, _ = refine(path, tmp_path / "lift", size=SIZE, lift=True)
    assert [pose(r).tolist() for r in anew] == [pose(r).tolist() for r in lifted]


def _only_2d(path, frames):
    other = path.with_name("only.json")
    other.write_text(
        json.dumps([{"landmarks": f["landmarks"], "timestamp_ms": f["timestamp_ms"]} for f in frames])
    )
    return other


def _shape(row: dict[str, str]) -> np.ndarray:
    points = pose(row)
    return points / np.linalg.norm(points)


def test_a_video_is_drawn_with_the_poses_and_gives_the_times(tmp_path, make_video):
    times = (0.0, 0.05, 0.10, 0.15, 0.20)
    video = make_video(times=times, size=(1080 // 4, 1920 // 4))
    path = tmp_path / "l.json"
    path.write_text(json.dumps([made.landmarks(p, SIZE) for p in PIXELS]))
    table, record = refine(path, tmp_path, video=str(video))
    assert [float(r["time_s"]) for r in table] == pytest.approx(times, abs=1e-3)
    assert [r["status"] for r in table] == ["detected"] * 4 + ["missing"]
    wrist = float(rows(tmp_path / "out/l_2d.csv")[0]["RWrist_x"])
    assert wrist == pytest.approx(PIXELS[0, 16, 0] / 4, abs=0.01)  # shares, of this picture's size
    with av.open(str(tmp_path / "out" / "l_pose.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 5
    assert record["settings"]["video"] == str(video) and record["settings"]["render"] is True


def test_rows_of_posefix_are_drawn_as_they_are_and_one_person_may_be_kept(tmp_path, make_video):
    """Two people in the CSV, one of them bridged in frame 1; the video has a frame more."""
    refine(made.openpose(tmp_path / "json", made.person("coco17")), tmp_path)
    header, *lines = (tmp_path / "out" / "json_2d.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    second = [[*c[:2], "1", "interpolated" if c[0] == "1" else "detected", *c[4:]] for c in cells[:3]]
    table = sorted(cells + second, key=lambda c: (int(c[0]), int(c[2])))
    path = tmp_path / "two_2d.csv"
    path.write_text("\n".join([header, *map(",".join, table)]) + "\n")
    video = make_video(times=[k / 30 for k in range(5)])
    found, record = refine(path, tmp_path / "both", video=str(video))
    named = [(r["frame"], r["person"], r["status"]) for r in found]
    assert named == [(c[0], c[2], c[3]) for c in table] + [("4", "0", "missing")]
    assert record["frames"]["read"] == 5 and (tmp_path / "both/out/two_pose.mp4").stat().st_size > 1000
    alone, _ = refine(path, tmp_path / "one", person="1")
    assert [(r["frame"], r["person"], r["status"][0]) for r in alone] == [
        ("0", "1", "d"), ("1", "1", "i"), ("2", "1", "d"), ("3", "1", "m")
    ]  # fmt: skip
    assert pose(alone[1]).tolist() == pose(found[3]).tolist()


def test_everybody_of_a_file_is_refined_or_those_that_are_named(tmp_path):
    """Person 7 throughout, 3 in the first two of four frames."""
    path = tmp_path / "results.json"
    poses = made.person("coco17")
    entries = made.alphapose(path, poses[:2], idx=3, shift=400.0) + made.alphapose(path, poses, idx=7)
    path.write_text(json.dumps(entries))
    table, record = refine(path, tmp_path / "all")
    assert [(r["frame"], r["person"]) for r in table] == [
        ("0", "3"), ("0", "7"), ("1", "3"), ("1", "7"), ("2", "7"), ("3", "7")
    ]  # fmt: skip
    assert record["people"] == {"count": 2, "rows": {"3": {"detected": 2}, "7": {"detected": 4}}}
    alone, _ = refine(path, tmp_path / "one", person="3")
    assert [(r["person"], r["status"][0]) for r in alone] == [("3", "d"), ("3", "d"), ("3", "m"), ("3", "m")]
    np.testing.assert_array_equal(pose(alone[0]), pose(table[0]))
    largest, _ = refine(path, tmp_path / "largest", person="largest")
    assert len({r["person"] for r in largest}) == 1 and len(largest) == 4


def test_the_only_person_of_a_file_has_a_row_in_every_frame(tmp_path):
    path = tmp_path / "results.json"
    made.alphapose(path, made.person("coco17"), idx=7)
    entries = json.loads(path.read_text())
    path.write_text(
        json.dumps([e for e in entries if not str(e["image_id"]).startswith(entries[0]["image_id"])])
    )
    table, _ = refine(path, tmp_path)
    assert [(r["person"], r["status"][0]) for r in table] == [("7", "m"), ("7", "d"), ("7", "d"), ("7", "d")]


def test_a_video_that_ends_before_the_keypoints_is_told(tmp_path, make_video):
    video = make_video(times=(0.0, 0.04))
    path = made.mmpose(tmp_path / "p.json", made.person("coco17"))
    table, record = refine(path, tmp_path, video=str(video))
    assert len(table) == 2 and "keypoints go on to 3" in record["ended_early"]
    names, points = made.opensim_markers("coco17")
    with pytest.raises(Exception, match="no 2D in a picture"):
        refine(made.trc(tmp_path / "m.trc", names, points), tmp_path, video=str(video))
    with pytest.raises(Exception, match="no 2D of a picture to lift"):
        refine(tmp_path / "m.trc", tmp_path, lift=True)
    long = made.openpose(tmp_path / "long", made.person("coco17"), (0, 1, 2, 90))
    with pytest.raises(Exception, match="is it the right video"):
        refine(long, tmp_path, video=str(video))


def test_measured_3d_is_told_that_refining_does_not_mend_it(tmp_path, capsys):
    names, points = made.opensim_markers("halpe26", 0.8)
    assert (
        call(["refine", str(made.trc(tmp_path / "m.trc", names, points)), "-o", str(tmp_path / "out")]) == 0
    )
    said = capsys.readouterr().err
    assert "m.trc: 3D without 2D of a picture" in said and "worse" in said


def test_joints_beside_the_picture_are_told(tmp_path, capsys):
    path = made.mmpose(tmp_path / "p.json", made.person("coco17"))
    words = ["refine", str(path), "-o", str(tmp_path / "out"), "--overwrite", "--device", "cpu"]
    assert call([*words, "--size", "64x36"]) == 0
    said = capsys.readouterr().err
    assert "most joints lie outside of the picture, 64x36; is it the right video or --size?" in said
    assert call([*words, "--size", "4000x4000"]) == 0
    assert "outside of the picture" not in capsys.readouterr().err


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made.openpose(tmp_path / "json", made.person("body25"), (0, 1, 4, 5))
    assert call(["refine", "json", "--device", "cpu", "--fps", "25", "--hypotheses", "3", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    assert (
        "json: 6 frames read, 4 detected, 2 interpolated" in out and "wrote json_refined/json_3d.csv" in out
    )
    assert out.splitlines()[-1] == "  to look at them: posefix view json_refined"
    assert err == "posefix: warning: json: 2 frames between 0 and 5 have no file\n"
    assert call(["refine", "json", "--device", "cpu", "-q"]) == 3
    out, err = capsys.readouterr()
    assert out == "" and "exists already; add --overwrite" in err and len(err.splitlines()) == 1
    assert call(["refine", "absent.json"]) == 2
    assert "posefix: error: absent.json: no such file" in capsys.readouterr().err
    for size in ("big", "0x480", "640x", f"{'9' * 5000}x480"):
        assert call(["refine", "json", "--size", size]) == 2
        assert f"--size {size}: expected width x height" in capsys.readouterr().err


def test_results_never_replace_the_file_that_is_read(tmp_path, capsys):
    refine(made.openpose(tmp_path / "json", made.person("coco17")), tmp_path)
    table = tmp_path / "out" / "json_2d.csv"
    before = table.read_bytes()
    assert call(["refine", str(table), "-o", str(table.parent), "--overwrite", "--device", "cpu"]) == 2
    assert "the results would replace it" in capsys.readouterr().err and table.read_bytes() == before


def test_the_documentation_has_the_commands_and_options_that_there_are(capsys):
    page = (Path(__file__).resolve().parents[1] / "docs" / "keypoint-files.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(posefix refine [^#\n]*)", page, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    assert call(["refine", "--help"]) == 0
    there = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out.split("Examples:")[0]))
    listed = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.split("| option |")[1].split("\n\n")[0]))
    assert there - {"--quiet", "--verbose", "--help", "--version"} == listed


@pytest.mark.parametrize("kind", ["2d", "3d", "3d_raw"])
def test_results_are_called_after_the_clip_also_where_its_name_ends_in_3d(tmp_path, kind):
    refine(made.openpose(tmp_path / "walk_3d", made.person("halpe26")), tmp_path, smooth="light")
    refine(tmp_path / f"out/walk_3d_{kind}.csv", tmp_path / "again")
    assert (tmp_path / "again/out/walk_3d_3d.csv").is_file()
