"""pipeline/resume.py, journal.py: a run that was interrupted is finished, with the bytes of one that was not."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import FakeDetector, FakeEstimator, install_fakes, write_clip
from posefix.detectors import base
from posefix.pipeline import run as run_module
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.skeleton import Pose2D

FPS = 20.0
# Somebody who moves, is hidden for a while, short and long, and again.
LEVELS = [0 if k % 37 in (5, 6, 7) or 60 <= k < 80 else 60 + k % 97 for k in range(120)]
FAKE = ["--detector", "fake", "--device", "cpu"]
NAMES = ("clip_3d.csv", "clip_2d.csv", "clip_pose.mp4")


class Remembers(FakeDetector):
    """Its poses depend on all frames so far."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.sum, self.seen = 0.0, 0

    def detect(self, frame):
        self.sum, self.seen = 0.9 * self.sum + float(frame.image.mean()), self.seen + 1
        return [Pose2D(p.keypoints + self.sum / 50, p.scores) for p in super().detect(frame)]


class Keeps(Remembers):
    """The same, and its memory can be kept."""

    def state(self) -> bytes:
        return np.float64(self.sum).tobytes()

    def restore(self, states) -> None:
        *_, (size, last) = states
        assert size == (48, 64)
        self.sum = float(np.frombuffer(last)[0])


class Two(FakeDetector):
    """Two people, one of whom comes and goes."""

    def detect(self, frame):
        found = super().detect(frame)
        return found + [
            Pose2D(p.keypoints + np.array((30, 40)), p.scores, box=p.box) for p in found if frame.index % 50 < 31
        ]


def use(monkeypatch, kind: type[FakeDetector]) -> None:
    """Has `--detector fake` be of this kind."""
    install_fakes(monkeypatch)
    monkeypatch.setattr("fakes.FakeDetector", kind)
    if kind is Two:
        entry = base._Entry("fakes", "FakeDetector", "pip install fake")
        monkeypatch.setitem(base._REGISTRY, "fake", entry)


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "clip.mp4", LEVELS, fps=FPS)


def settings(folder: Path, **changes) -> Settings:
    return Settings(**{"output": folder, "detector": "fake", "device": "cpu", **changes})


class StopAt:
    """Asks a run to stop after so many frames."""

    def __init__(self, frames: int) -> None:
        self.left, self.interrupt = frames, Interrupt()

    def begin(self, info, frames) -> None: ...

    def advance(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.interrupt.ask(signal.SIGINT)


def run_until(clip: Path, frames: int, **given):
    stop = StopAt(frames)
    return run_video(str(clip), settings(**given), watcher=stop, interrupt=stop.interrupt)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def check_readable(folder: Path) -> int:
    """Every row is whole, and the video plays. Returns how many rows there are."""
    count = 0
    for path in (folder / name for name in NAMES[:2] if (folder / name).exists()):
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(text.splitlines()))
        assert text == "" or text.endswith("\n")
        assert len({len(row) for row in rows}) <= 1
        count = max(count, len(rows) - 1)
    video = folder / "clip_pose.mp4"
    if video.exists() and video.stat().st_size > 2000:
        with av.open(str(video)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=1e-3)
    return count


@pytest.mark.parametrize("kind", [FakeDetector, Remembers, Keeps, Two])
def test_an_interrupted_run_is_finished_to_the_same_bytes(tmp_path, clip, monkeypatch, kind):
    use(monkeypatch, kind)
    run_video(str(clip), settings(tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    assert len(whole) == 3
    for stops in [(1,), (47,), (30, 66, 3, 95), (119,)]:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        for k, frames in enumerate(stops):
            done = run_until(clip, frames, folder=out, resume=k > 0)
            assert done.exit_code == 130 and (out / "clip_resume.bin").exists()
            check_readable(out)
        done = run_video(str(clip), settings(out, resume=True, batch_size=5))
        assert done.exit_code == 0 and done.read == len(LEVELS)
        assert contents(out) == whole, stops
        assert sorted(p.name for p in out.iterdir()) == sorted([*NAMES, "clip_run.json"])


@pytest.mark.parametrize("kind", [FakeDetector, Remembers, Keeps])
def test_nothing_is_found_or_drawn_twice(tmp_path, clip, monkeypatch, kind):
    use(monkeypatch, kind)
    run_until(clip, 65, folder=tmp_path / "out")
    seen, drawn, lifted = [], [], []
    detect, draw, lift = kind.detect, run_module.Renderer.draw, FakeEstimator.__call__
    monkeypatch.setattr(kind, "detect", lambda self, frame: seen.append(frame.index) or detect(self, frame))
    monkeypatch.setattr(
        run_module.Renderer,
        "draw",
        lambda self, frame, *a: drawn.append(frame.index) or draw(self, frame, *a),
    )
    monkeypatch.setattr(
        FakeEstimator,
        "__call__",
        lambda self, p, keys: lifted.extend(k for k, _ in keys) or lift(self, p, keys),
    )
    run_video(str(clip), settings(tmp_path / "out", resume=True))
    # A detector that cannot keep what it remembers sees all again; the video goes on with a whole second.
    assert seen == list(range(65 if kind is Keeps else 0, len(LEVELS)))[-len(seen) :]
    assert (len(seen) <= 55) == (kind is Keeps)
    assert drawn[0] == 60 and lifted[0] > 60


# A run in a process of its own, so slow that it is still going when the signal comes.
RUN = """
import sys, time
sys.path.insert(0, sys.argv[1])
import fakes
from pytest import MonkeyPatch
fakes.install_fakes(MonkeyPatch())
detect = fakes.FakeDetector.detect
def slow(self, frame):
    time.sleep(0.01)
    return detect(self, frame)
fakes.FakeDetector.detect = slow
from posefix.pipeline import cli, run
import mediapipe
while word := sys.stdin.readline():
    import os
    child = os.fork()
    if not child:
        cli.main(word.split())
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def starter(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded everything, and starts a run for every line of words it is given."""
    command = [sys.executable, "-c", RUN, str(Path(__file__).parent)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_at_ten_random_moments(tmp_path, clip, monkeypatch, starter):
    install_fakes(monkeypatch)
    run_video(str(clip), settings(tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    rng = random.Random(7)
    out, stopped = tmp_path / "clip_posefix", []
    for k in range(10):
        number = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[k % 3]
        if k in (4, 7):  # from the beginning again
            shutil.rmtree(out)
        starter.stdin.write(" ".join(["clip.mp4", "-q", *FAKE, *(["--resume"] if k else [])]) + "\n")
        child = int(starter.stdout.readline())
        time.sleep(rng.uniform(0.1, 1.2))
        os.kill(child, number)
        code = int(starter.stdout.readline())
        stopped.append(code)
        assert code in (-number, 128 + number, 0), code
        rows = check_readable(out) if out.exists() else 0
        copy = tmp_path / f"copy{k}"
        if out.exists():
            shutil.copytree(out, copy)
        run_video(str(clip), settings(copy, resume=True))
        assert contents(copy) == whole, (k, number, rows)
    assert len([code for code in stopped if code]) >= 7
