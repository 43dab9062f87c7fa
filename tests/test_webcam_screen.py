"""`posefix webcam` as a program of its own: a window under Xvfb with key presses and screenshots, and real streams."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import write_clip
from made_streams import MjpegServer, RtspServer
from posefix.demos.make_sample import render
from posefix.pipeline import cli
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.live.camera import Camera
from posefix.pipeline.live.controls import Controls
from posefix.pipeline.live.engine import Engine, Networks, load_networks
from posefix.pipeline.live.server import Server, show_in_browser
from posefix.pipeline.reader import open_source
from posefix.pipeline.settings import Settings
from posefix.pipeline.sources import as_source
from posefix.skeleton.errors import InputError

FRAME = (480, 360)  # of the window's picture; the 3D panel is as wide as the frame is high
WAIT_S = 40.0
SETTINGS = Settings(hypotheses=1, batch_size=1, device="cpu")

xvfb = pytest.mark.skipif(
    not all(map(shutil.which, ("Xvfb", "xdotool"))), reason="needs Xvfb and xdotool for a window with keys"
)


def until(what: Callable, seconds: float = WAIT_S):
    """Waits for `what()` to be true and gives it back."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Two seconds of the drawn person, at 12 frames a second."""
    drawn = [cv2.resize(render(k / 12), (320, 360), interpolation=cv2.INTER_AREA) for k in range(12)]
    room = drawn[0][:, :1]
    return [np.hstack([np.repeat(room, 80, 1), p, np.repeat(room, 80, 1)]) for p in drawn]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray]) -> Path:
    """A clip that outlasts every test here."""
    path = tmp_path_factory.mktemp("clip") / "walk.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.0, FRAME)
    for k in range(12 * 70):
        writer.write(pictures[k % len(pictures)])
    writer.release()
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`start(*words, **environment)` runs `posefix webcam WORDS` in the test's folder."""
    running: list[subprocess.Popen] = []

    def run(*words: str, **environment: str) -> subprocess.Popen:
        code = "import sys; from posefix.pipeline.cli import main; main(sys.argv[1:])"
        call = [sys.executable, "-c", code, "webcam", *words, "-o", "rec", "--hypotheses", "1"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(call, cwd=tmp_path, env={**os.environ, **environment}, **pipes))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def display() -> Iterator[str]:
    """A screen of its own; nothing resets it when the last window closes."""
    words = ["Xvfb", "-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0", "1000x600x24"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        number = server.stdout.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
        server.terminate()


def running(process: subprocess.Popen) -> bool:
    assert process.poll() is None, process.communicate()[1]
    return True


class Screen:
    """Looks at a display and presses keys on it."""

    def __init__(self, display: str, keep: Path) -> None:
        self._display, self._keep, self._count = display, keep, 0

    def look(self) -> np.ndarray:
        """(600, 1000, 3) BGR, int."""
        from PIL import ImageGrab

        shot = np.asarray(ImageGrab.grab(xdisplay=self._display).convert("RGB"))[..., ::-1]
        self._count += 1
        cv2.imwrite(str(self._keep / f"screen{self._count:02d}.png"), shot)
        return shot.astype(int)

    def press(self, key: str, seen: Callable[[np.ndarray], bool]) -> np.ndarray:
        """Presses a key and waits until it shows. Returns what is seen then."""
        self._xdotool("key", key)
        until(lambda: seen(self.look()))
        return self.look()

    def find(self, process: subprocess.Popen) -> None:
        """Waits for the window, with a skeleton in it, and gives it the keyboard."""
        looks = 0
        while not (running(process) and skeleton(shot := self.look())):
            looks += 1
            assert looks < 400, "no skeleton in the window"
            time.sleep(0.1)
            # Where no window manager is, Qt at times misses that its window is to be seen, and never paints.
            if looks % 30 == 0 and not shot.any() and self._has_window():
                self._xdotool("search", "--name", "^posefix$", "windowunmap")
                time.sleep(0.2)
                self._xdotool("search", "--name", "^posefix$", "windowmap")
        self._xdotool("search", "--name", "^posefix$", "windowfocus")
        time.sleep(0.2)

    def _has_window(self) -> bool:
        return self._xdotool("search", "--name", "^posefix$").returncode == 0

    def _xdotool(self, *words: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "DISPLAY": self._display}
        return subprocess.run(["xdotool", *words], env=env, capture_output=True, timeout=20, check=False)


LEFT_BLUE, RIGHT_ORANGE = (233, 180, 86), (10, 150, 240)  # of limbs, BGR
RED = (60, 60, 235)  # of the recording's dot


def near(image: np.ndarray, colour: tuple[int, int, int], by: int = 40) -> np.ndarray:
    """(H, W) bool."""
    return np.abs(image - np.array(colour)).max(axis=2) < by


def skeleton(screen: np.ndarray) -> bool:
    """Whether limbs of both sides are drawn in both panels of the window."""
    overlay, panel = screen[40:320, :480], screen[60:320, 480:840]
    return all(near(part, c, 60).sum() > 60 for part in (overlay, panel) for c in (LEFT_BLUE, RIGHT_ORANGE))


def sides(paused: np.ndarray) -> list[float]:
    """Where the blue and the orange limbs of a paused, and so darkened, overlay are: middle column of each."""
    overlay = 2 * paused[40:320, :480]
    return [
        float(np.flatnonzero(near(overlay, colour, 60).any(axis=0)).mean())
        for colour in (LEFT_BLUE, RIGHT_ORANGE)
    ]


@xvfb
def test_the_window_shows_both_panels_and_hears_the_keys(clip, start, display, tmp_path):
    process, screen = start(str(clip), DISPLAY=display), Screen(display, tmp_path)
    screen.find(process)
    picture, panel = (slice(60, 320), slice(0, 480)), (slice(60, 360), slice(480, 840))
    corner, words, keys = (slice(0, 40), slice(300, 480)), (slice(22, 44), slice(480, 840)), slice(336, 360)

    first = screen.look()
    assert not near(first[corner], RED).any()
    screen.press("r", lambda now: near(now[corner], RED).sum() > 40)  # the red dot

    still = screen.press("p", lambda now: now[picture].mean() < 0.7 * first[picture].mean())
    time.sleep(0.3)
    assert (screen.look()[picture] == still[picture]).all()
    blue, orange = sides(still)
    turned = screen.press("m", lambda now: (now[picture] != still[picture]).any())
    np.testing.assert_allclose(sides(turned), [480 - blue, 480 - orange], atol=12)
    screen.press("Right", lambda now: (now[panel] != turned[panel]).any(axis=2).sum() > 500)
    screen.press("Left", lambda now: (now[panel] == turned[panel]).all())
    screen.press("f", lambda now: (now[words] != turned[words]).any())  # refine on -> off
    screen.press("h", lambda now: (now[keys, :480] != turned[keys, :480]).any())
    screen.press("p", lambda now: now[picture].mean() > 0.9 * first[picture].mean())

    screen._xdotool("key", "q")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert re.search(r"walk: \d+ frames shown", out) and "recorded rec/walk_" in out.replace(os.sep, "/")
    (csv,) = (tmp_path / "rec").glob("*/*_3d.csv")
    rows = csv.read_text().splitlines()
    video = cv2.VideoCapture(str(next(csv.parent.glob("*_pose.mp4"))))
    assert len(rows) - 1 == video.get(cv2.CAP_PROP_FRAME_COUNT) >= 2
    assert ",detected," in rows[1] and (csv.parent / csv.name.replace("_3d.csv", "_run.json")).exists()


def test_a_closed_window_is_quit(monkeypatch):
    from posefix.pipeline.live import window

    codes, visible = [], [1.0]
    for name in ("namedWindow", "imshow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(window.cv2, name, lambda *_: None)
    monkeypatch.setattr(window.cv2, "pollKey", lambda: codes.pop(0) if codes else -1)
    monkeypatch.setattr(window.cv2, "getWindowProperty", lambda *_: visible[0])
    with window.Window() as shown:
        codes += [ord("m"), 65363, 9]
        assert shown.pressed() == ["m", "right"]
        visible[0] = 0.0
        assert shown.pressed() == ["q"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clip.mp4"], "there is no display for the window; add --serve"),
        (["gone.mp4", "--serve"], "gone.mp4: no such file"),
        (["clip.mp4", "--serve", "x:y"], "--serve x:y: expected HOST:PORT"),
        (["clip.mp4", "--serve", "--steps", "99"], "--steps 99"),
        (["clip.mp4", "--serve", "-o", "clip.mp4"], "clip.mp4: is a file"),
        (["clip.mp4", "--serve", "--smooth", "much"], "smooth"),
    ],
)
def test_what_cannot_work_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    write_clip(tmp_path / "clip.mp4", [100] * 3)
    assert cli.call(["webcam", *words]) > 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_the_demo_is_the_command(tmp_path, monkeypatch, capsys):
    from posefix.demos.webcam import main

    monkeypatch.chdir(tmp_path)
    assert main(["--source", "gone.mp4", "--serve"]) == InputError.exit_code
    assert "gone.mp4: no such file" in capsys.readouterr().err


def test_a_display_that_is_not_there_is_one_line(clip, start):
    process = start(str(clip), DISPLAY=":987")
    out, err = process.communicate(timeout=WAIT_S)
    if not sys.platform.startswith("linux"):
        pytest.skip("only X11 displays have numbers")
    assert process.returncode == 4 and out == ""
    assert (
        err
        == "posefix: error: the display :987 cannot be used for the window; add --serve to see it in a browser\n"
    )


class Page:
    """The page of a running program."""

    def __init__(self, url: str) -> None:
        self.url = url

    def state(self) -> dict:
        return json.loads(self.get("state"))

    def press(self, key: str) -> dict:
        return json.loads(self.get(f"key?key={key}", "POST"))

    def picture(self) -> np.ndarray:
        data = np.frombuffer(self.get("picture.jpg"), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int)

    def get(self, path: str, method: str = "GET") -> bytes:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, method=method), timeout=20
        ) as answer:
            return answer.read()


def test_a_file_is_served_without_a_display(clip, start, tmp_path):
    process = start(str(clip), "--serve", "127.0.0.1:0", DISPLAY="")
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, line or process.communicate()[1]
    page = Page(found.group())
    assert "the clip begins then" in line
    time.sleep(0.3)
    assert page.state()["frames"] == 0  # nobody has looked yet
    until(lambda: skeleton(page.picture()))
    assert page.press("r")["record"]
    frames = page.state()["frames"]
    until(lambda: page.state()["frames"] > frames + 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130 and "Traceback" not in err
    assert "recorded rec" in out and len(list((tmp_path / "rec").glob("*/*"))) == 5


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    with load_networks(SETTINGS, "cpu") as loaded:
        yield loaded


@pytest.fixture
def serve(networks, tmp_path) -> Iterator[Callable[[str], Page]]:
    """`serve(source)` serves it in this process with the real detector and networks."""
    with contextlib.ExitStack() as stack:

        def run(source: str) -> Page:
            camera, controls = Camera(as_source(source)), Controls()
            live = Engine(camera, networks, SETTINGS, controls, folder=tmp_path, device="cpu")
            server = stack.enter_context(Server(live, ("127.0.0.1", 0)))
            stack.enter_context(live)
            thread = threading.Thread(target=show_in_browser, args=(live, server, Interrupt()), daemon=True)
            thread.start()
            stack.callback(thread.join, WAIT_S)
            stack.callback(controls.press, "q")
            return Page(server.url)

        yield run


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer])
def test_a_stream_is_shown_and_found_again(kind, pictures, serve):
    with kind(pictures) as stream:
        port = stream.port
        page = serve(stream.url)
        until(lambda: skeleton(page.picture()))
        before = page.state()
        assert before["trouble"] is None
    until(lambda: "lost" in (page.state()["trouble"] or ""))
    until(lambda: page.picture()[160:200, :480].mean() < 60)  # the band of the note
    with kind(pictures, port):
        until(lambda: page.state()["trouble"] is None)
        until(lambda: page.state()["frames"] > before["frames"] + 5)
        until(lambda: skeleton(page.picture()))
        assert page.press("q")["quit"]


@pytest.mark.parametrize("way", [None, MjpegServer, RtspServer], ids=["file", "MJPEG", "RTSP"])
@pytest.mark.parametrize("name", ["worker_walk", "sign_walk"])
def test_real_clips_go_through(shared_dir, networks, tmp_path, name, way):
    clip = shared_dir / "videos" / f"{name}.mp4"
    with contextlib.ExitStack() as stack:
        if way is not None:
            with open_source(clip, start_s=1.5, max_frames=30) as frames:
                streamed = [cv2.resize(frame.image, (640, 480)) for frame in frames]
            clip = stack.enter_context(way(streamed)).url
        camera = Camera(as_source(clip))
        live = stack.enter_context(
            Engine(camera, networks, SETTINGS, Controls(), folder=tmp_path, device="cpu")
        )
        live.controls.press("r")
        for seen in live.pictures(0.1):
            if seen is not None and seen.new:
                live.meter.shown(seen.taken_s, time.monotonic())
                if live.meter.frames == 12:
                    live.controls.press("q")
    (recording,) = live.recorder.finished
    detected = recording.paths.csv_3d.read_text().count(",detected,")
    assert live.meter.frames >= 3 and recording.error is None
    assert detected >= max(2, 0.3 * recording.frames)
