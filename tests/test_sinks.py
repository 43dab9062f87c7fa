"""Sinks: the CSV contract to the letter, a true and playable video, files that outlive a full disk."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import av
import numpy as np
import pytest
from posefix.pipeline.reader import open_source
from posefix.pipeline.sinks import Csv2DSink, Csv3DSink, VideoSink, write_run_json
from posefix.skeleton import H36M17, FramePoses, Person, Pose2D, Pose3D
from posefix.skeleton.errors import OutputError

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def person(ident: int = 0, status: str = "detected") -> Person:
    joints = np.arange(51, dtype=np.float32).reshape(17, 3) / 100 - 0.2
    pixels = np.arange(34, dtype=np.float32).reshape(17, 2) * 10.004
    scores = np.linspace(0, 1, 17, dtype=np.float32)
    return Person(ident, status, Pose2D(pixels, scores), Pose3D(joints, np.full(17, 0.0123456, np.float32)))


def read(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8")
    assert text.endswith("\n") and "\r" not in text
    header, *lines = text.splitlines()
    names = header.split(",")
    rows = [line.split(",") for line in lines]
    assert all(len(row) == len(names) for row in rows)
    return [dict(zip(names, row, strict=True)) for row in rows]


# --- CSV ----------------------------------------------------------------------------------------


def test_headers_follow_the_contract(tmp_path):
    Csv3DSink(tmp_path / "3.csv").close()
    Csv2DSink(tmp_path / "2.csv").close()
    joints = [
        "Hip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Spine", "Thorax", "Neck", "Head",
        "LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist",
    ]  # fmt: skip
    keys = "frame,time_s,person,status,"
    wide = ",".join(f"{j}_x,{j}_y,{j}_z,{j}_score,{j}_std" for j in joints)
    flat = ",".join(f"{j}_x,{j}_y,{j}_score" for j in joints)
    assert (tmp_path / "3.csv").read_text() == keys + wide + "\n"
    assert (tmp_path / "2.csv").read_text() == keys + flat + "\n"


def test_3d_row(tmp_path):
    with Csv3DSink(tmp_path / "a.csv") as sink:
        sink.write(FramePoses(7, 0.2333333333, (person(2, "interpolated"),)))
    assert sink.rows == 1
    (row,) = read(tmp_path / "a.csv")
    cells = list(row.values())
    assert cells[:4] == ["7", "0.233333", "2", "interpolated"]
    assert cells[4:9] == ["-0.20000", "-0.19000", "-0.18000", "0.000", "0.01235"]
    assert row["RWrist_z"] == "0.30000" and row["RWrist_score"] == "1.000"


def test_2d_row(tmp_path):
    with Csv2DSink(tmp_path / "a.csv") as sink:
        sink.write(FramePoses(0, 0.0, (person(),)))
    (row,) = read(tmp_path / "a.csv")
    assert list(row.values())[:7] == ["0", "0.000000", "0", "detected", "0.00", "10.00", "0.000"]
    assert (row["RWrist_x"], row["RWrist_y"], row["RWrist_score"]) == ("320.13", "330.13", "1.000")


@pytest.mark.parametrize("sink_type", [Csv2DSink, Csv3DSink])
@pytest.mark.parametrize(
    ("people", "ids"),
    [((), ["0"]), ((Person(3, "missing"),), ["3"]), ((person(4, "missing"),), ["4"])],
)
def test_missing_rows_say_so_and_hold_nothing(tmp_path, sink_type, people, ids):
    with sink_type(tmp_path / "a.csv") as sink:
        sink.write(FramePoses(5, 1.5, people))
    rows = read(tmp_path / "a.csv")
    assert [row["person"] for row in rows] == ids
    for row in rows:
        assert (row["frame"], row["time_s"], row["status"]) == ("5", "1.500000", "missing")
        assert set(list(row.values())[4:]) == {""}


def test_hidden_joints_are_empty_but_keep_their_score(tmp_path):
    whole = person()
    pixels, joints = whole.pose2d.keypoints.copy(), whole.pose3d.joints.copy()
    pixels[3], joints[3, 1], joints[4] = np.nan, np.nan, np.inf
    hidden = Person(0, "detected", Pose2D(pixels, whole.pose2d.scores), Pose3D(joints, whole.pose3d.std))
    poses = FramePoses(0, 0.0, (hidden,))
    with Csv3DSink(tmp_path / "3.csv") as three, Csv2DSink(tmp_path / "2.csv") as two:
        three.write(poses)
        two.write(poses)
    (row,) = read(tmp_path / "3.csv")
    assert [row[f"RAnkle_{f}"] for f in ("x", "y", "z", "score", "std")] == ["", "", "", "0.188", ""]
    assert [row[f"LHip_{f}"] for f in ("x", "y", "z", "score", "std")] == ["", "", "", "0.250", ""]
    assert row["LKnee_x"] == "-0.05000"
    (row,) = read(tmp_path / "2.csv")
    assert [row[f"RAnkle_{f}"] for f in ("x", "y", "score")] == ["", "", "0.188"]


def test_a_person_without_3d_keeps_the_scores(tmp_path):
    with Csv3DSink(tmp_path / "3.csv") as sink:
        sink.write(FramePoses(0, 0.0, (Person(0, "detected", person().pose2d),)))
    (row,) = read(tmp_path / "3.csv")
    assert row["status"] == "detected" and row["LHip_score"] == "0.250"
    assert {row[f"{j}_{f}"] for j in H36M17.joints for f in ("x", "y", "z", "std")} == {""}


def test_no_negative_zero_and_no_exponent(tmp_path):
    tiny = Pose3D(np.full((17, 3), -1e-9), np.full(17, 1e-12))
    pixels = Pose2D(np.full((17, 2), -1e-4), np.zeros(17))
    poses = FramePoses(0, -0.0, (Person(0, "detected", pixels, tiny),))
    with Csv3DSink(tmp_path / "3.csv") as three, Csv2DSink(tmp_path / "2.csv") as two:
        three.write(poses)
        two.write(poses)
    for name in ("3.csv", "2.csv"):
        cells = list(read(tmp_path / name)[0].values())
        assert {float(c) for c in cells[4:]} == {0.0}
        assert not any("-" in c or "e" in c for c in (cells[1], *cells[4:]))


def test_rows_are_on_disk_while_the_run_goes_on(tmp_path):
    sink = Csv3DSink(tmp_path / "a.csv")
    for k in range(5):
        sink.write(FramePoses(k, k / 30, (person(0), person(1))))
        assert len(read(tmp_path / "a.csv")) == 2 * (k + 1)
    sink.close()
    sink.close()


def test_a_full_disk_leaves_whole_lines(tmp_path):
    path = tmp_path / "a.csv"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = Csv3DSink(path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        with pytest.raises(OutputError, match=r"cannot write .*a\.csv"), sink:
            for k in range(100):
                sink.write(FramePoses(k, k / 30, (person(),)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [row["frame"] for row in read(path)] == [str(k) for k in range(sink.rows)]
    assert sink.rows > 2


@needs_full
@pytest.mark.parametrize("sink_type", [Csv2DSink, Csv3DSink])
def test_no_space_left_is_one_clear_line(sink_type):
    with pytest.raises(OutputError, match="disk is full") as caught:
        sink_type(FULL)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3


@pytest.mark.parametrize("sink_type", [Csv2DSink, Csv3DSink, VideoSink])
def test_unwritable_places(tmp_path, sink_type):
    with pytest.raises(OutputError, match="folder does not exist"):
        sink_type(tmp_path / "none" / "a.out")
    with pytest.raises(OutputError, match="in the way"):
        sink_type(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        sink_type(tmp_path / "file" / "a.out")


# --- video --------------------------------------------------------------------------------------


def image(k: int, height: int = 48, width: int = 64) -> np.ndarray:
    picture = np.full((height, width, 3), 20 + 4 * k % 200, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    return picture


def test_video_is_h264_with_true_times_and_duration(tmp_path):
    path = tmp_path / "v.mp4"
    times = 3.0 + np.cumsum([0.0] + [0.02, 0.05, 0.03] * 20)
    with VideoSink(path, 30) as sink:
        for k, seconds in enumerate(times):
            sink.write(image(k), seconds)
    assert sink.frames == len(times)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.duration * stream.time_base) == pytest.approx(
            times[-1] - times[0] + 0.03, abs=1e-4
        )
        assert stream.codec_context.extradata[3] <= 42  # an H.264 level that every player takes
    with open_source(path) as reader:
        frames = list(reader)
    np.testing.assert_allclose([f.time_s for f in frames], times - times[0], atol=1e-4)
    for frame in frames:
        assert abs(float(frame.image[30:, 40:].mean()) - (20 + 4 * frame.index % 200)) < 6
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"moof" not in data  # plays before it is loaded
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_with_a_colon_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoSink("12:30.mp4", 30.0) as video:
        for k in range(3):
            video.write(np.zeros((32, 32, 3), np.uint8), k / 30)
    with av.open(str(tmp_path / "12:30.mp4")) as container:
        assert len([packet for packet in container.demux(video=0) if packet.size]) == 3


def test_odd_sizes_become_even_and_other_sizes_are_letterboxed(tmp_path):
    with VideoSink(tmp_path / "v.mp4", 25) as sink:
        sink.write(image(30, 47, 63), 0.0)
        sink.write(np.full((48, 20, 3), 200, np.uint8), 0.04)
        sink.write(np.full((200, 400, 3), 200, np.uint8), 0.08)
    with open_source(tmp_path / "v.mp4") as reader:
        first, narrow, wide = (frame.image.astype(int) for frame in reader)
    assert first.shape == narrow.shape == wide.shape == (48, 64, 3)
    assert narrow[:, :18].max() < 40 and narrow[4:44, 28:36].min() > 170 and narrow[:, 46:].max() < 40
    assert wide[:5].max() < 40 and wide[16:32, 4:60].min() > 170 and wide[43:].max() < 40


def test_times_that_do_not_grow_are_survived(tmp_path):
    with VideoSink(tmp_path / "v.mp4", 25) as sink:
        for k, seconds in enumerate([0.0, 0.04, 0.04, 0.02, 0.08]):
            sink.write(image(k), seconds)
    with open_source(tmp_path / "v.mp4") as reader:
        times = [f.time_s for f in reader]
    assert len(times) == 5 and times == sorted(set(times))


def test_lone_frame_and_no_frame(tmp_path):
    with VideoSink(tmp_path / "one.mp4", 25) as sink:
        sink.write(image(0), 0.0)
    with av.open(str(tmp_path / "one.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.04, abs=1e-4)
    with VideoSink(tmp_path / "none.mp4"):
        pass
    assert not (tmp_path / "none.mp4").exists()


def test_a_killed_run_leaves_a_playable_video(tmp_path):
    sink = VideoSink(tmp_path / "v.mp4", 30)
    for k in range(200):
        sink.write(image(k), k / 30)
    (tmp_path / "killed.mp4").write_bytes((tmp_path / "v.mp4").read_bytes())
    sink.close()
    with open_source(tmp_path / "killed.mp4") as reader:
        times = [f.time_s for f in reader]
    assert len(times) >= 120
    np.testing.assert_allclose(times, np.arange(len(times)) / 30, atol=1e-4)


def test_full_disk_under_the_video(tmp_path):
    rng = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = VideoSink(tmp_path / "v.mp4", 30)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(OutputError, match="cannot write") as caught, sink:
            for k in range(200):
                sink.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), k / 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    sink.close()  # closing after the error is quiet


# --- run.json -----------------------------------------------------------------------------------


def test_run_json_takes_what_a_run_knows(tmp_path):
    record = {
        "seed": 0,
        "path": Path("a/b"),
        "fps": np.float32(0.5),
        "nan": float("nan"),
        "a": np.arange(2),
        "t": (1,),
    }
    write_run_json(tmp_path / "run.json", record)
    expected = {"seed": 0, "path": os.path.join("a", "b"), "fps": 0.5, "nan": None, "a": [0, 1], "t": [1]}
    assert json.loads((tmp_path / "run.json").read_text()) == expected
    assert len(list(tmp_path.iterdir())) == 1


def test_run_json_into_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        write_run_json(tmp_path / "none" / "run.json", {})


def test_all_columns_are_numbers_for_every_joint(tmp_path):
    with Csv3DSink(tmp_path / "a.csv") as sink:
        sink.write(FramePoses(0, 0.0, (person(),)))
    (row,) = read(tmp_path / "a.csv")
    values = np.array([float(row[f"{j}_{f}"]) for j in H36M17.joints for f in "xyz"]).reshape(17, 3)
    np.testing.assert_allclose(values, person().pose3d.joints, atol=6e-6)
