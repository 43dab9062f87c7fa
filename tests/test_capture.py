"""Captures: late starts that are sought, streams that stop, cameras."""

from __future__ import annotations

import re
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from posefix.pipeline import capture
from posefix.pipeline.reader import open_source
from posefix.skeleton.errors import InputError


def packets(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


# --- late starts

LONG_VFR = np.cumsum([0.0] + [0.02, 0.05, 0.035] * 67)  # 7 s


@pytest.fixture
def grabs(monkeypatch) -> list[bool]:
    """Grows by one with every frame that is decoded one by one."""
    count: list[bool] = []

    class Counting:
        def __init__(self, *args):
            self._capture = real(*args)

        def __getattr__(self, name):
            return getattr(self._capture, name)

        def grab(self):
            ok = self._capture.grab()
            count.extend([ok] if ok else [])
            return ok

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    return count


def contents(path: Path, **limits) -> list[tuple[int, float, bytes]]:
    with open_source(path, **limits) as reader:
        return [(f.index, f.time_s, f.image.tobytes()) for f in reader]


@pytest.mark.parametrize(
    ("name", "times", "how", "sought"),
    [
        ("cfr.mp4", np.arange(200) / 30, {"b_frames": 2}, True),
        ("vfr.mp4", LONG_VFR, {"b_frames": 2}, True),
        ("cfr.mkv", np.arange(200) / 30, {"b_frames": 2}, True),
        # Without its list of key frames, seeking would go nowhere and decode from the middle.
        (
            "no_cues.mkv",
            np.arange(200) / 30,
            {"codec": "mpeg4", "b_frames": 2, "options": {"live": "1"}},
            False,
        ),
        ("no_key_list.ts", LONG_VFR, {"b_frames": 2}, False),
        ("no_key_list.avi", np.arange(200) / 30, {"codec": "mpeg4"}, False),
    ],
)
def test_a_late_start_gives_the_same_frames_without_decoding_those_before(
    make_video, grabs, name, times, how, sought
):
    path = make_video(name, times=times, **how)
    whole = contents(path)
    for start_s in (3.0, whole[150][1], whole[150][1] + 1e-6, whole[-1][1]):
        grabs.clear()
        part = contents(path, start_s=start_s)
        assert part == [frame for frame in whole if frame[1] >= start_s]
        # One frame shows the size; those of the second before the start come along.
        assert len(grabs) < len(part) + 40 if sought else len(grabs) >= len(whole)


def test_where_times_all_but_repeat_a_late_start_decodes_through(make_video, grabs):
    path = make_video(times=[k // 2 / 15 + k % 2 * 0.0004 for k in range(200)])
    whole = contents(path)
    grabs.clear()
    part = contents(path, start_s=4.0)
    assert part == [frame for frame in whole if frame[1] >= 4.0]
    assert len(grabs) >= len(whole)


def test_damage_before_a_late_start_does_not_shift_numbers(make_video):
    path = make_video(times=LONG_VFR, b_frames=2)
    data = bytearray(path.read_bytes())
    for position, size in packets(path)[35:38]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    whole = contents(path)
    with open_source(path, start_s=4.0) as reader:
        part = [(f.index, f.time_s, f.image.tobytes()) for f in reader]
    assert part == [frame for frame in whole if frame[1] >= 4.0]
    assert reader.corrupt_frames == 0  # of the part that was asked for


# --- streams and cameras


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_video_behind_a_url(make_video):
    path = make_video(times=LONG_VFR, faststart=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(path.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_source(f"http://127.0.0.1:{server.server_port}/clip.mp4") as reader:
            frames = list(reader)
    finally:
        server.shutdown()
        server.server_close()
    assert (reader.info.kind, reader.info.name, reader.info.live) == ("stream", "clip", False)
    assert reader.ended_early is None
    assert [f.index for f in frames] == list(range(len(LONG_VFR)))
    np.testing.assert_allclose([f.time_s for f in frames], LONG_VFR, atol=1e-4)


class HalfHandler(BaseHTTPRequestHandler):
    """Promises a file and sends the first part of it, then nothing more, or no connection either."""

    data, sent, hangs_up = b"", 0, False
    over: threading.Event

    def do_GET(self):
        begin = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("Content-Length", str(len(self.data) - begin))
        self.end_headers()
        self.wfile.write(self.data[begin : self.sent])
        self.wfile.flush()
        if not self.hangs_up:
            self.over.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture
def half_sent(make_video, monkeypatch):
    """`half_sent(hangs_up)`: the address of a clip of 120 frames of which 60 come."""
    path = make_video(times=np.arange(120) / 30, faststart=True, size=(320, 240))
    position, size = packets(path)[60]
    over = threading.Event()
    HalfHandler.data, HalfHandler.sent, HalfHandler.over = path.read_bytes(), position + size // 2, over
    server = ThreadingHTTPServer(("127.0.0.1", 0), HalfHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(capture, "STREAM_TIMEOUT_S", 0.5)

    def address(hangs_up: bool) -> str:
        HalfHandler.hangs_up = hangs_up
        return f"http://127.0.0.1:{server.server_port}/clip.mp4"

    yield address
    over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("hangs_up", "says"), [(False, "stopped sending: nothing came for 0.5 s"),
                                                (True, r"ended after 6\d of about 120 frames")])  # fmt: skip
def test_a_stream_that_stops_ends_soon_and_says_so(half_sent, hangs_up, says):
    began = time.monotonic()
    with open_source(half_sent(hangs_up)) as reader:
        assert reader.ended_early is None
        indices = [frame.index for frame in reader]
    assert time.monotonic() - began < 3  # one or two waits, not one for every attempt
    assert indices == list(range(len(indices))) and 55 <= len(indices) <= 61
    assert re.search(says, reader.ended_early)


def test_a_stream_that_stops_before_the_start_is_one_clear_line(half_sent):
    with pytest.raises(InputError, match=r"stopped sending: .*, before the first frame"):
        list(open_source(half_sent(False), start_s=3))


def test_a_camera_is_timed_by_its_arrivals(monkeypatch):
    class Camera:
        """Three pictures without a time, as cheap cameras send them, then nothing."""

        sent = 0

        def __init__(self, *args):
            pass

        def isOpened(self):
            return True

        def get(self, prop):
            return -1.0

        def set(self, *args):
            return False

        def grab(self):
            Camera.sent += 1
            return Camera.sent <= 3

        def retrieve(self):
            return True, np.full((4, 6), 70 << 8, np.uint16)

        def release(self):
            Camera.sent = -1

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with open_source(0) as reader:
        frames = list(reader)
    assert (reader.info.kind, reader.info.name, reader.info.live) == ("camera", "camera0", True)
    assert reader.info.fps is None and reader.info.n_frames is None
    times = [f.time_s for f in frames]
    assert [f.index for f in frames] == [0, 1, 2] and times == sorted(set(times)) and times[0] == 0.0
    assert all(f.image.shape == (4, 6, 3) and (f.image == 70).all() for f in frames)
    assert Camera.sent == -1  # released
    assert reader.ended_early == "the camera stopped sending"
