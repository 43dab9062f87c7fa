"""pipeline/run.py: one clip through all stages into files."""

from __future__ import annotations

import csv
import json
import signal
import threading
from typing import ClassVar

import av
import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeEstimator, install_detector, install_fakes, write_clip
from posefix.pipeline import batches, capture
from posefix.pipeline import run as run_module
from posefix.pipeline.channels import Channel, Stages, Stopped
from posefix.pipeline.estimate import PoseEstimator
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.reader import FrameReader
from posefix.pipeline.report import describe
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.pipeline.sinks import VideoSink
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError, OutputError

LEVELS = [100] * 5 + [0] * 3 + [140] * 4 + [0] * 12 + [120] * 3
WANT = "d" * 5 + "i" * 3 + "d" * 4 + "m" * 12 + "d" * 3


@pytest.fixture
def estimator(monkeypatch) -> FakeEstimator:
    return install_fakes(monkeypatch)


@pytest.fixture
def clip(tmp_path):
    return str(write_clip(tmp_path / "clip.mp4", LEVELS))


def settings(tmp_path, **changes) -> Settings:
    return Settings(**{"output": tmp_path / "out", "detector": "fake", "device": "cpu", **changes})


def rows(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_clip_becomes_video_csvs_and_record(tmp_path, clip, estimator):
    summary = run_video(clip, settings(tmp_path))
    assert summary.exit_code == 0
    assert sorted(p.name for p in summary.files) == [
        "clip_2d.csv",
        "clip_3d.csv",
        "clip_3d_raw.csv",
        "clip_pose.mp4",
        "clip_run.json",
    ]
    for name in ("clip_2d.csv", "clip_3d.csv", "clip_3d_raw.csv"):
        table = rows(tmp_path / "out" / name)
        assert [int(r["frame"]) for r in table] == list(range(len(LEVELS)))
        assert "".join(r["status"][0] for r in table) == WANT
        np.testing.assert_allclose(
            [float(r["time_s"]) for r in table], np.arange(len(LEVELS)) / 30, atol=2e-3
        )
        for row, letter in zip(table, WANT, strict=True):
            assert (row["RWrist_x"] == "") == (letter == "m")
    assert (summary.read, summary.detected, summary.interpolated, summary.missing) == (27, 12, 3, 12)


def test_the_video_has_every_frame_and_the_true_length(tmp_path, clip, estimator):
    run_video(clip, settings(tmp_path))
    with av.open(str(tmp_path / "out" / "clip_pose.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.pix_fmt == "yuv420p"
    np.testing.assert_allclose(times, np.arange(len(LEVELS)) / 30, atol=2e-3)


def test_damaged_first_frames_are_rows_and_the_record_tells_when_the_video_begins(tmp_path, estimator):
    with VideoSink(tmp_path / "whole.mp4", 10.0) as sink:  # with a key frame a second
        for k in range(14):
            sink.write(np.full((48, 64, 3), 120, np.uint8), k / 10)
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "late.mp4"), "w") as late:
        stream = late.add_stream_from_template(whole.streams.video[0])
        for packet in [p for p in whole.demux(video=0) if p.size][1:]:
            packet.stream = stream
            late.mux_one(packet)
    run_video(tmp_path / "late.mp4", settings(tmp_path))
    record = json.loads((tmp_path / "out/late_run.json").read_text())
    table = rows(tmp_path / "out/late_2d.csv")
    assert "".join(r["status"][0] for r in table) == "m" * 9 + "d" * 4 and record["frames"]["corrupt"] == 9
    assert (
        record["video_start_s"] == pytest.approx(float(table[9]["time_s"])) and record["video_start_s"] > 0.8
    )


def test_the_record_says_what_was_done(tmp_path, clip, estimator):
    run_video(clip, settings(tmp_path, seed=7, render=False))
    record = json.loads((tmp_path / "out" / "clip_run.json").read_text())
    assert record["seed"] == record["settings"]["seed"] == 7 and record["device"] == "cpu"
    assert record["frames"] == {
        "read": 27,
        "detected": 12,
        "interpolated": 3,
        "missing": 12,
        "without_3d": 0,
        "corrupt": 0,
    }
    assert record["weights_sha256"] == estimator.weights
    assert record["detector"] == {"name": "fake", "layout": "h36m17", "device": "cpu"}
    assert record["interrupted"] is False and record["error"] is None and record["ended_early"] is None
    assert {"read", "detect", "estimate", "smooth", "csv"} <= set(record["stage_seconds"])
    assert record["versions"]["numpy"] == np.__version__
    assert not (tmp_path / "out" / "clip_pose.mp4").exists()


@pytest.mark.parametrize("smooth", ["off", "light", "strong"])
def test_csvs_are_the_same_bytes_at_any_batch_size_and_in_every_run(tmp_path, clip, estimator, smooth):
    written = set()
    for k, size in enumerate((1, 3, 8, 8, 100)):
        out = tmp_path / f"out{k}"
        run_video(clip, settings(tmp_path, output=out, batch_size=size, render=False, smooth=smooth))
        written.add(b"".join(path.read_bytes() for path in sorted(out.glob("*.csv"))))
    assert len(written) == 1


def test_the_3d_is_smoothed_and_the_raw_kept(tmp_path, clip, estimator):
    def tables(smooth: str, **changes) -> dict[str, bytes]:
        out = tmp_path / "out"
        run_video(clip, settings(tmp_path, render=False, smooth=smooth, overwrite=True, **changes))
        assert json.loads((out / "clip_run.json").read_text())["settings"]["smooth"] == smooth
        return {path.name: path.read_bytes() for path in out.glob("*.csv")}

    light, strong, off = tables("light"), tables("strong"), tables("off")
    assert set(off) == {"clip_2d.csv", "clip_3d.csv"}  # the earlier run's raw table is gone
    assert light["clip_3d_raw.csv"] == strong["clip_3d_raw.csv"] == off["clip_3d.csv"]
    assert light["clip_2d.csv"] == strong["clip_2d.csv"] == off["clip_2d.csv"]
    assert len({light["clip_3d.csv"], strong["clip_3d.csv"], off["clip_3d.csv"]}) == 3
    assert tables("light") == light == tables("light", batch_size=1)


@pytest.mark.parametrize(("levels", "changed"), [([100, 240, 40] * 5, False), ([100] * 15, True)])
def test_a_folder_of_images_is_smoothed_where_it_looks_like_a_clip(tmp_path, estimator, levels, changed):
    for k, level in enumerate(levels):
        cv2.imwrite(str(tmp_path / f"{k:03d}.png"), np.full((48, 64, 3), level, np.uint8))
    run_video(str(tmp_path), settings(tmp_path, render=False))
    tables = [path.read_bytes() for path in (tmp_path / "out").glob("*_3d*.csv")]
    assert len(tables) == 2 and (tables[0] != tables[1]) == changed


def test_csvs_with_the_shipped_networks_depend_on_seed_and_height_alone(tmp_path, clip, monkeypatch):
    from importlib.resources import files

    if not (files("posefix.weights") / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    install_detector(monkeypatch)

    def written(name: str, **changes) -> bytes:
        run_video(clip, settings(tmp_path, output=tmp_path / name, render=False, **changes))
        return (tmp_path / name / "clip_3d.csv").read_bytes()

    first = written("a", batch_size=8)
    assert written("b", batch_size=1) == first and written("c", batch_size=5) == first
    assert written("d", seed=1) != first and written("e", height=1.5) != first
    for row in rows(tmp_path / "a" / "clip_3d.csv"):
        if row["status"] != "missing":
            assert [float(row[f"Hip_{axis}"]) for axis in "xyz"] == [0, 0, 0]
            assert 0 < float(row["RWrist_std"]) < 1


def test_batches_fill_up(tmp_path, clip, estimator, monkeypatch):
    monkeypatch.setattr(batches, "PATIENCE_S", 60)
    run_video(clip, settings(tmp_path, batch_size=4, render=False))
    # 15 rows have a pose; batches of 4 rows: dddd diii dddd mmmm mmmm mmmm ddd
    assert estimator.calls == [4, 4, 4, 3]
    assert [len(b) for b in batches.in_batches(range(5), 2)] == [2, 2, 1]


def test_slow_rows_do_not_wait_for_a_full_batch(monkeypatch):
    now = iter((0.0, 0.1, 0.6, 2.0, 2.1, 2.2, 2.3))
    monkeypatch.setattr(batches.time, "monotonic", lambda: next(now))
    assert list(batches.in_batches(range(5), 100)) == [[0, 1], [2, 3, 4]]


def test_start_end_and_max_frames_keep_the_numbers_of_the_source(tmp_path, clip, estimator):
    run_video(clip, settings(tmp_path, start=0.2, end=0.5, render=False))
    assert [int(r["frame"]) for r in rows(tmp_path / "out" / "clip_3d.csv")] == list(range(6, 15))
    run_video(clip, settings(tmp_path, max_frames=4, overwrite=True, render=False))
    assert [int(r["frame"]) for r in rows(tmp_path / "out" / "clip_3d.csv")] == [0, 1, 2, 3]


def test_rows_of_a_late_start_are_those_of_reading_through(tmp_path, estimator, monkeypatch):
    clip = str(write_clip(tmp_path / "long.mp4", [100 + k % 40 for k in range(180)]))
    sought = []
    jump = capture.Capture._jump
    monkeypatch.setattr(capture.Capture, "_jump", lambda *args: sought.append(jump(*args)) or sought[-1])
    written = set()
    for name, seek_from_s in (("sought", 2.0), ("through", np.inf)):
        monkeypatch.setattr(capture, "_SEEK_FROM_S", seek_from_s)
        run_video(clip, settings(tmp_path, output=tmp_path / name, start=4.0, render=False))
        written.add((tmp_path / name / "long_3d.csv").read_bytes())
    assert sought == [True] and len(written) == 1
    assert [int(r["frame"]) for r in rows(tmp_path / "sought" / "long_3d.csv")] == list(range(120, 180))


def test_hips_that_are_never_seen_give_2d_without_3d_and_a_warning(tmp_path, estimator, monkeypatch):
    hips = [H36M17.joints.index(name) for name in ("Hip", "RHip", "LHip")]
    whole = FakeDetector.detect

    def behind_a_desk(self, frame):
        poses = whole(self, frame)
        for pose in poses:
            pose.scores[hips] = 0.02
        return poses

    class Lifter:
        weights: ClassVar[dict[str, str]] = {}

        def __call__(self, points, seen):
            return np.zeros((len(points), 17, 3), np.float32)

    monkeypatch.setattr(FakeDetector, "detect", behind_a_desk)
    clip = str(write_clip(tmp_path / "desk.mp4", [100] * 3 + [0] * 20))
    summary = run_video(clip, settings(tmp_path), estimator=PoseEstimator(Lifter(), None, 1.75, 8))
    assert summary.exit_code == 0 and (summary.detected, summary.without_3d) == (3, 3)
    assert summary.warnings[0].startswith("no 3D in 3 frames: both hips are hidden")
    flat, wide = (rows(tmp_path / "out" / f"desk_{end}.csv") for end in ("2d", "3d"))
    assert [r["status"] for r in flat] == [r["status"] for r in wide] == ["detected"] * 3 + ["missing"] * 20
    for two, three in zip(flat[:3], wide[:3], strict=True):
        for joint in H36M17.joints:
            assert {three[f"{joint}_{f}"] for f in ("x", "y", "z", "std")} == {""}
            assert three[f"{joint}_score"] == two[f"{joint}_score"] != ""
            assert (two[f"{joint}_x"] == "") == (joint in ("Hip", "RHip", "LHip"))
    record = json.loads((tmp_path / "out" / "desk_run.json").read_text())
    assert record["frames"]["without_3d"] == 3


def test_a_source_that_stops_sending_is_finished_and_said_so(tmp_path, clip, estimator, monkeypatch):
    monkeypatch.setattr(capture.Capture, "ended_early", "the stream stopped sending")
    summary = run_video(clip, settings(tmp_path))
    assert summary.exit_code == 0 and len(summary.files) == 5
    assert len(rows(tmp_path / "out" / "clip_3d.csv")) == len(LEVELS)
    record = json.loads((tmp_path / "out" / "clip_run.json").read_text())
    assert record["ended_early"] == "the stream stopped sending" and record["error"] is None
    lines = describe(summary).splitlines()
    assert lines[1] == "warning: the stream stopped sending; these files end there"
    # The source has not ended where the run did.
    summary = run_video(clip, settings(tmp_path, max_frames=3, overwrite=True))
    assert summary.ended_early is None and "stopped" not in describe(summary)


def test_nobody_in_the_clip_writes_files_and_exits_6(tmp_path, estimator):
    summary = run_video(str(write_clip(tmp_path / "empty.mp4", [0] * 6)), settings(tmp_path))
    assert summary.exit_code == 6 and summary.missing == 6
    assert [r["status"] for r in rows(tmp_path / "out" / "empty_3d.csv")] == ["missing"] * 6


def test_default_folder_is_named_after_the_clip(tmp_path, clip, estimator, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_video(clip, settings(tmp_path, output=None, render=False))
    assert (tmp_path / "clip_posefix" / "clip_3d.csv").exists()


def test_earlier_results_are_not_replaced_unasked(tmp_path, clip, estimator):
    run_video(clip, settings(tmp_path, render=False))
    before = (tmp_path / "out" / "clip_3d.csv").read_bytes()
    with pytest.raises(OutputError, match="exists already; add --overwrite"):
        run_video(clip, settings(tmp_path, seed=1, max_frames=2))
    assert (tmp_path / "out" / "clip_3d.csv").read_bytes() == before
    run_video(clip, settings(tmp_path, max_frames=2, overwrite=True))
    assert len(rows(tmp_path / "out" / "clip_3d.csv")) == 2


def test_a_clip_that_cannot_start_leaves_nothing_behind(tmp_path, clip, estimator):
    with pytest.raises(InputError):
        run_video(clip, settings(tmp_path, start=99))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_interruption_finishes_the_files(tmp_path, estimator, batch_size):
    interrupt = Interrupt()

    class StopAfterFive:
        frames = 0

        def begin(self, info, frames):
            assert frames == 300

        def advance(self):
            self.frames += 1
            if self.frames == 5:
                interrupt.ask(signal.SIGINT)

    many = str(write_clip(tmp_path / "long.mp4", [100] * 300))
    summary = run_video(
        many, settings(tmp_path, batch_size=batch_size), watcher=StopAfterFive(), interrupt=interrupt
    )
    assert summary.exit_code == 130
    table = rows(tmp_path / "out" / "long_3d.csv")
    assert 5 <= len(table) == summary.read < 60
    assert json.loads((tmp_path / "out" / "long_run.json").read_text())["interrupted"] is True
    assert (tmp_path / "out" / "long_pose.mp4").stat().st_size > 0


def test_an_error_in_a_stage_keeps_what_was_written_and_is_raised(tmp_path, clip, estimator, monkeypatch):
    class Breaks(FakeEstimator):
        def __call__(self, poses, keys):
            if len(self.calls) == 2:
                raise RuntimeError("out of order")
            return super().__call__(poses, keys)

    with pytest.raises(RuntimeError, match="out of order"):
        run_video(clip, settings(tmp_path, batch_size=4), estimator=Breaks())
    assert len(rows(tmp_path / "out" / "clip_3d.csv")) == 8
    assert json.loads((tmp_path / "out" / "clip_run.json").read_text())["error"] == "out of order"
    assert threading.active_count() <= 3  # no stage is left running


@pytest.mark.parametrize("stage", ["read", "detect", "write"])
def test_an_error_in_any_thread_ends_the_run(tmp_path, estimator, monkeypatch, stage):
    many = str(write_clip(tmp_path / "long.mp4", [100] * 100))
    owner, name = {
        "read": (FrameReader, "__next__"),
        "detect": (FakeDetector, "detect"),
        "write": (run_module.Renderer, "draw"),
    }[stage]
    good, calls = getattr(owner, name), []

    def breaks(*args):
        calls.append(1)
        if len(calls) == 20:
            raise MemoryError("no room")
        return good(*args)

    monkeypatch.setattr(owner, name, breaks)
    with pytest.raises(MemoryError, match="no room"):
        run_video(many, settings(tmp_path))
    assert threading.active_count() <= 3
    table = rows(tmp_path / "out" / "long_3d.csv")
    assert [int(row["frame"]) for row in table] == list(range(len(table))) and 5 < len(table) < 40
    with av.open(str(tmp_path / "out" / "long_pose.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) > 5


def test_a_full_disk_stops_all_stages(tmp_path, estimator, monkeypatch):
    many = str(write_clip(tmp_path / "long.mp4", [100] * 100))
    written = []

    def full(self, poses):
        written.append(poses.index)
        if len(written) == 10:
            raise OutputError("cannot write: the disk is full")

    monkeypatch.setattr(run_module.Outputs, "write_poses", full)
    with pytest.raises(OutputError, match="disk is full") as caught:
        run_video(many, settings(tmp_path))
    assert caught.value.exit_code == 3 and written == list(range(10))


def test_pictures_of_other_sizes_are_not_bridged(tmp_path, estimator):
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, (level, side) in enumerate([(100, 64), (0, 80), (100, 64)]):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((side, side, 3), level, np.uint8))
    run_video(str(folder), settings(tmp_path))
    assert [r["status"] for r in rows(tmp_path / "out" / "pictures_3d.csv")] == [
        "detected",
        "missing",
        "detected",
    ]


def test_channel_hands_over_in_order_and_blocks_when_full():
    channel: Channel[int] = Channel(2)
    most = []

    def feed():
        for k in range(50):
            channel.put(k)
            most.append(len(channel._items))
        channel.close()

    thread = threading.Thread(target=feed)
    thread.start()
    assert list(channel) == list(range(50))
    thread.join()
    assert max(most) <= 2


def test_put_after_the_reader_left_raises():
    channel: Channel[int] = Channel(1)
    channel.abort()
    with pytest.raises(Stopped):
        channel.put(1)
    assert list(channel) == []


def test_stages_stop_upstream_and_finish_downstream():
    first, second = Channel[int](1), Channel[int](1)
    got = []

    def endless():
        k = 0
        while True:
            first.put(k)
            k += 1

    def breaks():
        for k in first:
            if k == 5:
                raise ValueError("five")
            second.put(k)

    stages = Stages()
    stages.start("a", endless, feeds=first)
    stages.start("b", breaks, reads=first, feeds=second)
    stages.start("c", lambda: got.extend(second), reads=second)
    with pytest.raises(ValueError, match="five"):
        stages.join()
    assert got == [0, 1, 2, 3, 4]
