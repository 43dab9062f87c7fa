"""Damaged copies of clips end in one clear line or a result. All 200 of them: benchmarks/fuzz.py."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from mutate import MUTATIONS, cut_clip, problems, run_apart

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

# (number of the mutation, clip, container, whether with the real detector)
CASES = [
    (0, "sign_walk", "mp4", False), (0, "park_two_people", "mkv", False), (0, "two_walking", "ts", False),
    (1, "worker_walk", "mp4", False), (1, "classroom_sitting", "avi", False), (1, "two_walking", "mkv", True),
    (2, "worker_walk", "mp4", False), (2, "two_walking", "mov", False), (2, "sign_walk", "mkv", False),
    (3, "classroom_sitting", "ts", True), (3, "sign_walk", "avi", False), (4, "worker_walk", "mp4", False),
]  # fmt: skip
LIMIT_S, LIMIT_MB = 60.0, 1500.0


def run_words(path: Path, real: bool) -> list[str]:
    return [path.name, "--device", "cpu", *([] if real else ["--detector", "fake"])]


@pytest.mark.parametrize(("number", "clip", "container", "real"), CASES)
def test_a_damaged_clip_does_no_harm(tmp_path, shared_dir, number, clip, container, real):
    path = tmp_path / f"clip.{container}"
    cut_clip(shared_dir / "videos" / f"{clip}.mp4", path, 0.8)
    rng = random.Random(f"{number}/{clip}")
    path.write_bytes(MUTATIONS[number](bytearray(path.read_bytes()), rng))
    outcome = run_apart(run_words(path, real), tmp_path, LIMIT_S, LIMIT_MB, fake=not real)
    assert problems(outcome, tmp_path, LIMIT_MB) == []


def test_what_would_be_a_problem_is_told(tmp_path, monkeypatch):
    """The judge itself: a crash, a traceback, an error of two lines and a run without end are noticed."""
    from posefix.pipeline import cli

    def outcome(does, limit_s=LIMIT_S):
        with monkeypatch.context() as patch:
            patch.setattr(cli, "call", does)
            return problems(run_apart([], tmp_path, limit_s, LIMIT_MB, fake=True), tmp_path, LIMIT_MB)

    def crash(_):
        import os

        os.kill(os.getpid(), 9)

    def says(text: str, code: int):
        def say(_):
            print(text, file=sys.stderr)
            return code

        return say

    def never_ends(_):
        import time

        time.sleep(60)

    assert outcome(says("posefix: error: no video", 2)) == []
    assert outcome(crash) == ["exit code -9"]
    assert outcome(says("Traceback (most recent call last)", 1)) == ["exit code 1", "traceback"]
    assert outcome(says("one\ntwo", 2)) == ["2 lines of error"]
    assert outcome(says("", 0))[-1] == "no record"
    assert "hangs" in outcome(never_ends, limit_s=0.5)[0]
