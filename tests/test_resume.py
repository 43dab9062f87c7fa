"""pipeline/resume.py, journal.py: a run that was interrupted is finished, with the bytes of one that was not."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import FakeDetector, FakeEstimator, install_fakes, write_clip
from posefix.detectors import base
from posefix.detectors.mediapipe_detector import MediaPipeDetector
from posefix.pipeline import resume
from posefix.pipeline import run as run_module
from posefix.pipeline.cli import call
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.journal import Journal
from posefix.pipeline.outputs import OutputPaths
from posefix.pipeline.report import describe
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.pipeline.sources import Source
from posefix.skeleton import Pose2D
from posefix.skeleton.errors import InputError, OutputError

FPS = 20.0
# Somebody who moves, is hidden for a while, short and long, and again; somebody else after LEAP.
LEAP = (96, 97)
LEVELS = [0 if k % 37 in (5, 6, 7) or 60 <= k < 80 or k in LEAP else 60 + k % 97 for k in range(120)]
FAKE = ["--detector", "fake", "--device", "cpu"]
NAMES = ("clip_3d.csv", "clip_3d_raw.csv", "clip_2d.csv", "clip_pose.mp4")


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
            Pose2D(p.keypoints + np.array((30, 40)), p.scores, box=p.box)
            for p in found
            if frame.index % 50 < 31
        ]


def use(monkeypatch, kind: type[FakeDetector]) -> None:
    """Has `--detector fake` be of this kind."""
    install_fakes(monkeypatch)
    monkeypatch.setattr("fakes.FakeDetector", kind)
    if kind is Two:
        entry = base._Entry("fakes", "FakeDetector", "pip install fake")
        monkeypatch.setitem(base._REGISTRY, "fake", entry)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with the clip, a run of it that was interrupted, and one that was not."""
    folder = tmp_path_factory.mktemp("made")
    clip = write_clip(folder / "clip.mp4", LEVELS, fps=FPS)
    with pytest.MonkeyPatch.context() as patch:
        install_fakes(patch)
        run_until(clip, 50, folder=folder / "stopped")
        run_video(str(clip), settings(folder / "whole"))
    return folder


@pytest.fixture
def clip(tmp_path, made) -> Path:
    return Path(shutil.copy(made / "clip.mp4", tmp_path))


@pytest.fixture
def stopped(tmp_path, made, monkeypatch) -> Path:
    """The folder of a run that was interrupted."""
    install_fakes(monkeypatch)
    return Path(shutil.copytree(made / "stopped", tmp_path / "out"))


@pytest.fixture
def whole(made) -> dict[str, bytes]:
    """What the run comes to."""
    return contents(made / "whole")


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
    for path in (folder / name for name in NAMES[:3] if (folder / name).exists()):
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


@pytest.mark.parametrize(
    ("kind", "at"),
    [(FakeDetector, [(1,), (47,), (92,)]), (Remembers, [(31,)]), (Keeps, [(30, 66, 3)]), (Two, [(52, 79)])],
)
def test_an_interrupted_run_is_finished_to_the_same_bytes(tmp_path, clip, monkeypatch, kind, at):
    use(monkeypatch, kind)
    run_video(str(clip), settings(tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    assert len(whole) == len(NAMES)
    table = list(csv.DictReader(whole["clip_2d.csv"].decode().splitlines()))
    known = {int(row["frame"]) for row in table if row["status"] != "missing"}
    assert not known & {*LEAP}
    for stops in at:
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


def test_what_a_power_failure_leaves_is_noticed_and_made_again(tmp_path, clip, stopped, whole):
    rng = random.Random(3)
    for k in range(4):
        out = tmp_path / f"out{k}"
        shutil.copytree(stopped, out)
        for name in (*NAMES, "clip_resume.bin"):
            data = bytearray((out / name).read_bytes())
            at = rng.randrange(
                3000 if name.endswith("bin") else 1, len(data)
            )  # behind the record of what it is
            data[at:] = bytes(len(data) - at) if k % 2 else b""
            (out / name).write_bytes(data)
        (out / "clip_run.json").unlink()
        assert run_video(str(clip), settings(out, resume=True)).exit_code == 0
        assert contents(out) == whole, k


def test_a_lost_video_is_made_again(clip, stopped, whole):
    (stopped / "clip_pose.mp4").unlink()
    run_video(str(clip), settings(stopped, resume=True))
    assert contents(stopped) == whole


def test_a_video_that_was_being_copied_when_the_run_was_killed_is_not_lost(clip, stopped, whole, monkeypatch):
    video = stopped / "clip_pose.mp4"
    video.rename(stopped / "clip_pose.mp4.old")
    video.write_bytes((stopped / "clip_pose.mp4.old").read_bytes()[:3000])
    drawn, draw = [], run_module.Renderer.draw
    monkeypatch.setattr(
        run_module.Renderer,
        "draw",
        lambda self, frame, *a: drawn.append(frame.index) or draw(self, frame, *a),
    )
    run_video(str(clip), settings(stopped, resume=True))
    assert contents(stopped) == whole and drawn[0] == 40
    assert not (stopped / "clip_pose.mp4.old").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"height": 1.8},
            r"clip_resume.bin: --height was 1.75 there, now it is 1.8; use that, or begin anew",
        ),
        ({"max_frames": 100}, "--max-frames was null there, now it is 100"),
        ({"smooth": "off"}, "--smooth was"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_touched(clip, stopped, changes, words):
    before = {path: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(InputError, match=words):
        run_video(str(clip), settings(stopped, resume=True, **changes))
    assert {path: path.read_bytes() for path in stopped.iterdir()} == before


def test_another_clip_version_or_weights_are_refused(tmp_path, clip, stopped, monkeypatch):
    before = {path: path.read_bytes() for path in stopped.iterdir()}
    again = settings(stopped, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("posefix.pipeline.resume.package_version", lambda name: "9.9")
        with pytest.raises(InputError, match=r'version of posefix was ".*" there, now it is "9.9"'):
            run_video(str(clip), again)
    estimator = FakeEstimator()
    estimator.weights = {"lifter.onnx": "1" * 64}
    with pytest.raises(InputError, match=r"the weights lifter.onnx were others"):
        run_video(str(clip), again, estimator=estimator)
    os.utime(clip)  # a date alone does not make another clip
    write_clip(clip, [*LEVELS[:-1], 200], fps=FPS)
    with pytest.raises(InputError, match="is of another clip of this name"):
        run_video(str(clip), again)
    assert {path: path.read_bytes() for path in stopped.iterdir()} == before


def test_a_finished_run_is_left_alone(clip, stopped, whole):
    run_video(str(clip), settings(stopped, resume=True))
    record = (stopped / "clip_run.json").read_bytes()
    done = run_video(str(clip), settings(stopped, resume=True))
    assert done.finished_before and done.exit_code == 0
    assert describe(done) == "clip: finished already; nothing to resume"
    assert contents(stopped) == whole and (stopped / "clip_run.json").read_bytes() == record
    with pytest.raises(InputError, match=r"clip_run.json: seed was 0 there, now it is 5"):
        run_video(str(clip), settings(stopped, resume=True, seed=5))


def test_without_its_journal_a_run_cannot_be_finished(clip, stopped):
    (stopped / "clip_resume.bin").unlink()
    with pytest.raises(
        InputError, match=r"cannot be finished, clip_resume.bin is gone; begin anew with --over"
    ):
        run_video(str(clip), settings(stopped, resume=True))
    run_video(str(clip), settings(stopped, overwrite=True))


def test_a_plain_run_says_that_there_is_something_to_resume(clip, stopped):
    with pytest.raises(OutputError, match="--resume to finish that run"):
        run_video(str(clip), settings(stopped))
    # Beginning anew leaves nothing of the old run.
    run_until(clip, 10, folder=stopped, overwrite=True)
    assert Journal.reopen(stopped / "clip_resume.bin").frames < 40


def test_cameras_cannot_be_resumed(tmp_path, stopped):
    with pytest.raises(InputError, match="a camera or stream cannot be read again; leave out --resume"):
        resume.is_finished(OutputPaths.of("camera0", tmp_path), settings(tmp_path, resume=True), None)
    assert resume.fingerprint(Source("camera", 0, "camera0")) is None
    assert resume.fingerprint(Source("video", os.devnull, "null")) is None


def test_a_clip_is_known_by_its_bytes(tmp_path):
    """Not by its name or date; and a byte changed anywhere in a file of usual blocks is noticed."""
    first, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    data = bytearray(random.Random(1).randbytes(300_000))
    first.write_bytes(data)
    other.write_bytes(data)
    of = {path: resume.fingerprint(Source("video", str(path), "x")) for path in (first, other)}
    assert of[first] == of[other] is not None
    for at in (0, 150_000, 299_999):
        changed = data.copy()
        changed[at] ^= 1
        other.write_bytes(changed)
        assert resume.fingerprint(Source("video", str(other), "x")) != of[first]
    other.write_bytes(data + b"x")
    assert resume.fingerprint(Source("video", str(other), "x")) != of[first]


def test_many_clips(tmp_path, monkeypatch, capsys):
    """Finished ones are skipped with a word, unfinished ones finished, and new ones run."""
    install_fakes(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        write_clip(tmp_path / f"{name}.mp4", LEVELS[:30])
    stop = StopAt(10)
    assert call(["a.mp4", "--resume", *FAKE]) == 0
    run_video("b.mp4", settings(tmp_path / "b_posefix"), watcher=stop, interrupt=stop.interrupt)
    capsys.readouterr()
    assert call(["a.mp4", "b.mp4", "c.mp4", "--resume", *FAKE]) == 0
    out = capsys.readouterr().out
    assert "a: finished already; nothing to resume" in out
    assert re.search(r"b: 30 frames read \(\d\d known from before\)", out) and "c: 30 frames read, " in out
    assert [sum(1 for _ in (tmp_path / f"{n}_posefix").glob("*_run.json")) for n in "abc"] == [1, 1, 1]
    assert call(["a.mp4", "--resume", "--overwrite", *FAKE]) == 2
    assert "--resume and --overwrite: choose one of them" in capsys.readouterr().err


def test_images_can_be_resumed(tmp_path, monkeypatch):
    install_fakes(monkeypatch)
    folder = tmp_path / "frames"
    folder.mkdir()
    for k, level in enumerate(LEVELS[:40]):
        side = 48 if k < 25 else 64
        cv2.imwrite(str(folder / f"{k}.png"), np.full((side, side, 3), level, np.uint8))
    run_video(str(folder), settings(tmp_path / "whole"))
    stop = StopAt(30)
    run_video(str(folder), settings(tmp_path / "out"), watcher=stop, interrupt=stop.interrupt)
    run_video(str(folder), settings(tmp_path / "out", resume=True))
    for name in ("frames_3d.csv", "frames_pose.mp4"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_with_the_detector_and_the_networks(tmp_path, shared_dir):
    """MediaPipe is in the middle of following somebody, and goes on as if it had never stopped."""
    clip = shared_dir / "videos" / "worker_walk.mp4"
    same = {"max_frames": 36, "device": "cpu", "render": False}
    stop = StopAt(8)
    interrupt = {"watcher": stop, "interrupt": stop.interrupt}
    seen: list[int] = []
    run_video(str(clip), Settings(output=tmp_path / "whole", **same))
    run_video(str(clip), Settings(output=tmp_path / "out", **same), **interrupt)
    with pytest.MonkeyPatch.context() as patch:
        detect = MediaPipeDetector.detect
        patch.setattr(
            MediaPipeDetector, "detect", lambda self, frame: seen.append(frame.index) or detect(self, frame)
        )
        run_video(str(clip), Settings(output=tmp_path / "out", resume=True, **same))
    assert 0 < len(seen) <= 28 and seen[-1] == 35
    for name in ("worker_walk_3d.csv", "worker_walk_3d_raw.csv", "worker_walk_2d.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# A run in a process of its own, so slow that it is still going when the signal comes.
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import fakes
fakes.install_slow_fakes(0.01)
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
def test_killed_at_ten_random_moments(tmp_path, clip, whole, monkeypatch, starter):
    install_fakes(monkeypatch)
    rng = random.Random(7)
    out, stopped = tmp_path / "clip_posefix", []
    for k in range(10):
        number = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[k % 3]
        if k in (4, 7):  # from the beginning again
            shutil.rmtree(out, ignore_errors=True)
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
