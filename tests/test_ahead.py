"""detectors/ahead.py: frames shown to a detector together give the poses that they give one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDetector, install_fakes, write_clip
from posefix.detectors.ahead import Guesses, frames_at_once, look_ahead
from posefix.detectors.box_memory import BoxMemory
from posefix.pipeline.channels import Channel
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.skeleton import Frame, Pose2D

BOXES = np.array([[100, 50, 200, 350], [300, 80, 380, 330]], np.float32)


class Limbs:
    """People whose joints lie in their box, and reach out of it in frames that are told."""

    def __init__(self, reaching: Sequence[int]) -> None:
        self.reaching, self.calls = reaching, []
        self.memory = BoxMemory()
        self.guesses = Guesses(self.find, self.pose)

    def find(self, frame: Frame) -> np.ndarray:
        return BOXES[: frame.index % 3] + np.float32(frame.index)  # nobody, one, two

    def pose(self, people: Sequence[tuple[Frame, np.ndarray]]) -> Iterator[Pose2D]:
        self.calls.append(len(people))
        for frame, box in people:
            rng = np.random.default_rng([frame.index, *box.astype(int)])  # another crop, another pose
            share = 0.1 + rng.random((17, 2)) * (1.1 if frame.index in self.reaching else 0.8)
            points = (box[:2] + share * (box[2:] - box[:2])).astype(np.float32)
            yield Pose2D(points, np.full(17, 0.9, np.float32), box=box)

    def detect(self, frame: Frame) -> list[Pose2D]:
        boxes, poses = self.guesses.take(frame, self.memory.widen)
        if len(boxes):
            self.memory.remember(poses, frame)
        return poses


def frames(count: int) -> list[Frame]:
    return [Frame(k, k / 30, np.zeros((400, 400, 3), np.uint8)) for k in range(count)]


@pytest.mark.parametrize("reaching", [(), (2, 4, 5)])
def test_guesses_change_no_pose(reaching):
    singly, together = Limbs(reaching), Limbs(reaching)
    want = [singly.detect(frame) for frame in frames(9)]
    clip, found = frames(9), []
    for begin in (0, 4, 8):
        together.guesses.make(clip[begin : begin + 4])
        found += [together.detect(frame) for frame in clip[begin : begin + 4]]
    assert [len(p) for p in found] == [len(p) for p in want] == [0, 1, 2] * 3
    for a, b in zip(chain(*found), chain(*want), strict=True):
        assert a.keypoints.tobytes() == b.keypoints.tobytes()
        np.testing.assert_array_equal(a.box, b.box)
    assert together.calls[0] == 0 + 1 + 2 + 0  # four frames in one call
    again = sum(together.calls) - 9
    assert (again > 0) == bool(reaching)  # those whose box was widened by the frame before


def test_a_guess_is_for_its_own_frame_alone():
    limbs, (first, *_) = Limbs(()), frames(2)
    limbs.guesses.make([Frame(1, 9.0, first.image)])
    other = Frame(1, 0.0, first.image)
    limbs.detect(other)
    assert limbs.calls == [1, 1]


def test_only_what_waits_is_taken():
    channel: Channel[int] = Channel(5)
    for k in range(5):
        channel.put(k)
    taken = channel.several(3)
    assert next(taken) == [0, 1, 2] and next(taken) == [3, 4]
    threading.Timer(0.05, lambda: channel.put(5)).start()
    assert next(taken) == [5]  # not kept until three are there
    channel.put(6)
    channel.close()
    assert list(taken) == [[6]]


class Foresighted(FakeDetector):
    """Answers only for frames that it was shown before, if others were with them."""

    at_once = 3

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.shown: list[list[int]] = []

    def look_ahead(self, some: Sequence[Frame]) -> None:
        self.shown.append([frame.index for frame in some])


def test_a_run_shows_waiting_frames_together_and_writes_the_same_bytes(tmp_path: Path, monkeypatch):
    from posefix.pipeline import run

    install_fakes(monkeypatch)
    clip = write_clip(tmp_path / "clip.mp4", [80, 0, 90, 100, 110, 0, 120, 130, 140, 150, 160, 170])
    made: list[FakeDetector] = []

    def written(kind: type[FakeDetector], name: str) -> dict[str, bytes]:
        slow = threading.Event()

        def create(*_):
            made.append(kind())
            detect = made[-1].detect
            made[-1].detect = lambda frame: (slow.wait(0.02), detect(frame))[1]  # frames come to wait
            return made[-1]

        monkeypatch.setattr(run, "create_detector", create)
        settings = Settings(detector="fake", output=tmp_path / name, render=False)
        run_video(str(clip), settings)
        return {path.name: path.read_bytes() for path in sorted((tmp_path / name).glob("*.csv"))}

    one, many = written(FakeDetector, "one"), written(Foresighted, "many")
    assert len(one) >= 2 and one == many
    assert isinstance(made[1], Foresighted)
    shown = made[1].shown
    flat = [k for some in shown for k in some]
    assert shown and all(2 <= len(some) <= 3 for some in shown)
    assert flat == sorted(set(flat)) and max(flat) <= 11


def test_detectors_that_see_frame_by_frame_are_left_alone():
    detector = FakeDetector()
    assert frames_at_once(detector) == 1 and frames_at_once(Foresighted()) == 3
    look_ahead(detector, frames(2))
    foresighted = Foresighted()
    look_ahead(foresighted, frames(1))
    assert foresighted.shown == []  # one frame: nothing to gain
