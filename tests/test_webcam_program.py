"""pipeline/live/: the whole program with stand-ins for the slow parts: recording, errors, the page, the command."""

from __future__ import annotations

import csv
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeEstimator, install_detector, write_clip
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.live import command, engine, recorder
from posefix.pipeline.live.camera import Camera
from posefix.pipeline.live.controls import Controls
from posefix.pipeline.live.engine import Engine, Networks, without_refiner
from posefix.pipeline.live.server import Board, Server, parse_address, show_in_browser
from posefix.pipeline.settings import Settings
from posefix.pipeline.sources import as_source
from posefix.skeleton.errors import InputError, OutputError, PosefixError

FPS = 50


class Lifted(FakeEstimator):
    """The 3D without the refiner: all at the hip."""

    def __call__(self, poses, keys):
        return [type(p)(0 * p.joints, p.std) for p in super().__call__(poses, keys)]


@pytest.fixture
def make_engine(tmp_path, monkeypatch):
    """`make_engine(levels, detector=...)` plays a clip with frames of these grey levels, 50 a second."""
    install_detector(monkeypatch)

    def make(
        levels: list[int], detector: FakeDetector | None = None, folder: Path | None = None, smooth="off"
    ) -> Engine:
        clip = write_clip(tmp_path / "clip.mp4", levels, size=(160, 120), fps=FPS)
        networks = Networks(detector or FakeDetector(), FakeEstimator(), Lifted())
        settings = Settings(detector="fake", device="cpu", smooth=smooth)
        return Engine(
            Camera(as_source(clip)), networks, settings, Controls(),
            folder=folder or tmp_path / "out", device="cpu",
        )  # fmt: skip

    return make


def play(
    engine: Engine, at: dict[int, str] | None = None, enough: Callable[[], object] = lambda: False
) -> list[np.ndarray]:
    """Shows everything; presses keys when so many new pictures have come, q once it is enough. Returns the pictures."""
    shown, new = [], 0
    for seen in engine.pictures(0.05):
        if seen is None:
            continue
        shown.append(seen.image)
        if seen.new:
            new += 1
            engine.meter.shown(seen.taken_s, time.monotonic())
            for key in (at or {}).get(new, ""):
                engine.controls.press(key)
            if enough():
                engine.controls.press("q")
    return shown


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pictures_come_until_the_end_with_both_panels(make_engine):
    with make_engine([100] * 75) as live:
        shown = play(live)
    assert live.meter.frames + live.dropped == 75 and live.meter.frames >= 5
    assert {p.shape for p in shown} == {(240, 560, 3)}
    assert set(live.clock.seconds) == {"detect", "estimate", "draw"}
    assert not live.camera_hangs


def test_a_slow_detector_sees_fewer_frames_but_no_older_ones(make_engine):
    class Slow(FakeDetector):
        def detect(self, frame):
            time.sleep(0.06)
            return super().detect(frame)

    with make_engine([100] * 100, Slow()) as live:
        play(live)
    # Two seconds have room for 33; a queue would have all hundred, the last 4 s late.
    assert 5 <= live.meter.frames <= 35 and live.meter.frames + live.dropped == 100
    assert 60 <= live.meter.latency_ms < 1000


def test_a_recording_holds_what_was_shown_between_two_presses(make_engine, tmp_path):
    with make_engine(([100] * 10 + [0] * 10) * 25, smooth="light") as live:
        play(live, {5: "r", 45: "r", 50: "q"})
    (recording,) = live.recorder.finished
    assert recording.error is None and recording.frames >= 35 and recording.dropped == 0
    folder = recording.paths.folder
    assert folder.parent == tmp_path / "out" and folder.name.startswith("clip_20")
    stem = folder.name
    flat, deep = (rows_of(folder / f"{stem}_{k}d.csv") for k in (2, 3))
    assert [int(r["frame"]) for r in flat] == [int(r["frame"]) for r in deep] == list(range(recording.frames))
    assert {r["status"] for r in deep} == {"detected", "missing"}
    raw = rows_of(folder / f"{stem}_3d_raw.csv")
    assert [r["frame"] for r in raw] == [r["frame"] for r in deep] and raw != deep
    times = np.array([float(r["time_s"]) for r in deep])
    assert times[0] == 0 and np.diff(times).min() > 0.015
    with av.open(str(folder / f"{stem}_pose.mp4")) as video:
        decoded = [f.time for f in video.decode(video=0)]
    np.testing.assert_allclose(decoded, times, atol=0.002)
    record = json.loads((folder / f"{stem}_run.json").read_text())
    assert record["frames"]["read"] == recording.frames and record["error"] is None
    assert record["detector"]["name"] == "fake" and "recorded" in command.describe(live)


@pytest.mark.parametrize(
    ("keys", "refine", "warned"),
    [
        ({3: "r", 25: "q"}, True, False), ({3: "f", 6: "r", 25: "q"}, False, False),
        ({3: "r", 15: "f", 35: "q"}, True, True),
    ],
)  # fmt: skip
def test_a_record_says_whether_the_refiner_was_on(make_engine, keys, refine, warned):
    with make_engine([100] * 200) as live:
        play(live, keys)
    (recording,) = live.recorder.finished
    record = json.loads(recording.paths.run_json.read_text())
    assert record["settings"]["refine"] is refine
    assert any("J_std" in warning for warning in record["warnings"]) is warned


def test_what_nobody_expects_ends_the_recording_only_and_is_said(make_engine, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such thing")

    with make_engine([100] * 150) as live:
        monkeypatch.setattr(recorder.Recording, "_write_frame", fail)
        play(live, {3: "r", 40: "q"})
    (recording,) = live.recorder.finished
    assert recording.error == live.recorder.problem == "no such thing"
    assert json.loads(recording.paths.run_json.read_text())["error"] == "no such thing"
    assert live.meter.frames >= 40


def test_quitting_finishes_the_recording(make_engine):
    with make_engine([100] * 100) as live:
        play(live, {3: "r", 10: "q"})
    (recording,) = live.recorder.finished
    assert len(rows_of(recording.paths.csv_3d)) == recording.frames >= 5
    assert recording.paths.run_json.exists() and recording.paths.video.exists()
    assert live.meter.frames < 50


def test_recordings_of_one_second_do_not_meet(make_engine, tmp_path):
    with make_engine([100] * 500) as live:
        live.recorder._now = lambda: datetime(2030, 1, 2, 3, 4, 5)
        play(live, {3: "r", 12: "r", 20: "r", 28: "r", 36: "q"})
    names = [r.paths.folder.name for r in live.recorder.finished]
    assert names == ["clip_20300102-030405", "clip_20300102-030405_2"]


def test_where_nothing_can_be_written_the_picture_goes_on(make_engine, tmp_path):
    (tmp_path / "file").write_text("")
    with make_engine([100] * 500, folder=tmp_path / "file") as live:
        play(live, {5: "r", 15: "q"})
    assert "file" in live.recorder.problem and live.recorder.finished == []
    assert not live.controls.state.record and live._hint[0].startswith("not recorded: cannot write")
    assert live.meter.frames >= 15


def test_a_full_disk_ends_the_recording_only(make_engine, monkeypatch):
    class Full(recorder.Outputs):
        def write_poses(self, poses):
            if poses.index == 5:
                raise OutputError("cannot write x: the disk is full")
            super().write_poses(poses)

    monkeypatch.setattr(recorder, "Outputs", Full)
    with make_engine([100] * 500) as live:
        play(live, {3: "r"}, lambda: live.recorder.problem and live.meter.frames >= 30)
    assert live.recorder.problem == "cannot write x: the disk is full"
    assert not live.controls.state.record and live.meter.frames >= 30
    (recording,) = live.recorder.finished
    assert recording.frames == 5
    assert "the disk is full" in json.loads(recording.paths.run_json.read_text())["error"]
    assert "warning: cannot write x" in command.describe(live)


def test_a_disk_that_fills_after_the_last_picture_is_told_too(make_engine, monkeypatch):
    quitted = threading.Event()

    class Full(recorder.Outputs):
        def finish(self):
            assert quitted.wait(30)
            raise OutputError("cannot write x: the disk is full")

    monkeypatch.setattr(recorder, "Outputs", Full)
    with make_engine([100] * 500) as live:
        play(live, {3: "r", 10: "q"})
        assert live.recorder.problem is None
        quitted.set()
    assert live.recorder.problem == "cannot write x: the disk is full"
    assert "warning: cannot write x" in command.describe(live)


def test_a_paused_picture_stands_still_but_hears_keys(make_engine):
    before = {}
    live = make_engine([100 + k % 100 for k in range(500)])

    def later() -> None:
        time.sleep(0.4)
        before["frames"] = live.meter.frames
        live.controls.press("]")
        time.sleep(0.3)
        before["after"] = live.meter.frames
        live.controls.press("p")

    with live:
        thread = threading.Thread(target=later)
        shown = []
        for seen in live.pictures(0.05):
            if seen is not None:
                shown.append(seen)
            if seen is not None and seen.new:
                live.meter.shown(seen.taken_s, time.monotonic())
                if live.meter.frames == 10:
                    live.controls.press("p")
                    thread.start()
                if live.meter.frames == 30:
                    live.controls.press("q")
    thread.join()
    assert before["after"] == before["frames"] <= 12
    assert live.meter.frames == 30  # it went on
    again = [seen.image for seen in shown if not seen.new]
    assert len(again) >= 2 and (again[0][:, 320:] != again[1][:, 320:]).any()


def test_the_mirror_and_the_refiner_switch(make_engine):
    with make_engine([100] * 500) as live:
        shown = play(live, {1: "h", 12: "m", 24: "f", 36: "q"})
    plain, turned, lifted = (shown[k].astype(int) for k in (10, 22, -1))
    left = slice(40, None), slice(None, 320)  # without the caption
    same, other = (
        np.abs(plain[left][:, ::-1] - turned[left]).mean(),
        np.abs(plain[left] - turned[left]).mean(),
    )
    assert same < 0.3 * other
    right = slice(60, None), slice(320, None)  # without the figures
    assert np.abs(turned[right] - lifted[right]).max() > 50


def test_the_lifter_is_shared_with_the_refiner():
    from posefix.pipeline.estimate import PoseEstimator

    both = PoseEstimator.load(hypotheses=1)
    alone = without_refiner(both, Settings(height=1.6, batch_size=1))
    assert isinstance(alone, PoseEstimator)
    assert alone.lifter is both.lifter and alone.refiner is None
    assert alone.scale == pytest.approx(1.6 / 1.75)
    both.close()


@pytest.mark.parametrize("part", ["detector", "networks"])
def test_an_error_of_a_step_ends_the_program(make_engine, monkeypatch, part):
    live = make_engine([100] * 200)
    broken = live._networks.detector if part == "detector" else live._networks.refined

    def fail(*_):
        raise PosefixError("it broke")

    monkeypatch.setattr(type(broken), "detect" if part == "detector" else "__call__", fail)
    began = time.monotonic()
    with pytest.raises(PosefixError, match="it broke"), live:
        play(live)
    assert time.monotonic() - began < 3


# --- the page ---


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (None, ("127.0.0.1", 8765)), ("", ("127.0.0.1", 8765)), ("9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)), ("localhost", ("localhost", 8765)), ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)), ("::1", ("::1", 8765)),
    ],
)  # fmt: skip
def test_addresses(words, address):
    assert parse_address(words) == address


@pytest.mark.parametrize("words", ["127.0.0.1:x", "a:99999", ":-1", "9" * 5000])
def test_addresses_that_make_no_sense(words):
    with pytest.raises(InputError, match="HOST:PORT"):
        parse_address(words)


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(
        url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def serving(make_engine):
    """`serving(address)` serves a clip of ten seconds in a thread; gives the server and its engine."""
    stack = []

    def serve(address: tuple[str, int]) -> tuple[Server, Engine]:
        live = make_engine([100 + k % 100 for k in range(500)])
        server = Server(live, address)
        server.__enter__()
        live.__enter__()
        thread = threading.Thread(target=show_in_browser, args=(live, server, Interrupt()), daemon=True)
        thread.start()
        stack.append((live, server, thread))
        return server, live

    yield serve
    for live, server, thread in stack:
        live.controls.press("q")
        thread.join(5)
        live.__exit__()
        server.__exit__()


def test_the_page_shows_the_stream_and_hears_buttons(serving):
    server, live = serving(("127.0.0.1", 0))
    assert server.token is None and server.url == f"http://127.0.0.1:{server.port}/"
    status, page = get(server.url)
    assert status == 200 and b"/stream.mjpg" in page
    assert all(f'data-key="{key}"'.encode() in page for key in "rpmf[]hq")
    with urllib.request.urlopen(f"{server.url}stream.mjpg", timeout=5) as stream:
        data = b""
        while data.count(b"Content-Type: image/jpeg") < 12:
            data += stream.read1(65536)
    parts = [part.split(b"\r\n\r\n", 1) for part in data.split(b"--posefix-picture\r\n")[1:-1]]
    images = [cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) for _, body in parts]
    assert len(images) >= 10 and all(image.shape == (240, 560, 3) for image in images[2:])
    assert (images[-1] != images[-2]).any()
    for head, body in parts:
        assert int(head.split(b"Content-Length: ")[1]) == len(body.removesuffix(b"\r\n"))
    status, answer = get(f"{server.url}key?key=m", "POST")
    assert status == 200 and json.loads(answer)["mirror"] and live.controls.state.mirror
    assert get(f"{server.url}key?key=x", "POST")[0] == get(f"{server.url}nothing")[0] == 404
    state = json.loads(get(f"{server.url}state")[1])
    assert state["frames"] > 0 and state["trouble"] is None and not state["quit"]
    assert get(f"{server.url}key?key=q", "POST")[0] == 200
    assert live.controls.state.quit


def test_only_this_machine_s_own_pages_may_ask(serving):
    server, live = serving(("127.0.0.1", 0))
    here = f"127.0.0.1:{server.port}"
    key = f"{server.url}key?key=r"
    refused = (
        {"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
        {"Sec_Fetch_Site": "same-site"},
    )  # fmt: skip
    for headers in refused:
        status, words = get(key, "POST", **headers)
        assert status == 403 and b"refused" in words, headers
    assert get(f"{server.url}stream.mjpg", Sec_Fetch_Site="cross-site")[0] == 403
    assert not live.controls.state.record
    assert get(server.url, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert get(key, "POST", Origin=f"http://{here}", Sec_Fetch_Site="same-origin")[0] == 200
    assert get(f"http://localhost:{server.port}/")[0] == 200


def test_elsewhere_the_token_is_asked_for(serving):
    server, live = serving(("0.0.0.0", 0))
    assert server.token and len(server.token) >= 16 and server.url.endswith(f"/?token={server.token}")
    base = f"http://127.0.0.1:{server.port}"
    for path, method in (
        ("/", "GET"),
        ("/stream.mjpg", "GET"),
        ("/state", "GET"),
        ("/picture.jpg", "GET"),
        ("/key?key=r", "POST"),
    ):
        join = "&" if "?" in path else "?"
        for wrong in (path, f"{path}{join}token=", f"{path}{join}token=x{server.token[1:]}x"):
            status, words = get(base + wrong, method)
            assert status == 403 and b"token" in words, wrong
        if path != "/stream.mjpg":
            assert get(f"{base}{path}{join}token={server.token}", method)[0] == 200, path
    assert live.controls.state.record
    other, _ = serving(("0.0.0.0", 0))
    assert other.token != server.token


def test_each_picture_becomes_a_jpeg_once_and_is_counted_once(monkeypatch):
    from posefix.pipeline.live import server

    made = []
    monkeypatch.setattr(server, "as_jpeg", lambda image: made.append(1) or b"jpeg")
    board = Board()
    board.put(engine.Seen(np.zeros((2, 2, 3), np.uint8), 0.0, True))
    number, seen = board.after(0, 1)
    assert board.jpeg(number, seen) == board.jpeg(number, seen) == b"jpeg" and made == [1]
    assert board.first_to_send(number) and not board.first_to_send(number)


def test_a_port_in_use_is_one_line(make_engine):
    live = make_engine([100] * 3)
    with (
        Server(live, ("127.0.0.1", 0)) as server,
        pytest.raises(InputError, match="choose another address or port"),
    ):
        Server(live, ("127.0.0.1", server.port))
