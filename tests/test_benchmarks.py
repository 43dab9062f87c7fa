"""benchmarks/: every script starts, and ends with JSON or one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from posefix.skeleton.errors import InputError, OutputError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import command

    return command


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("memory", "--video"),
        ("speed", "--video"),
        ("real_video", "--videos"),
        ("small_people", "--videos"),
        ("refine_files", "--videos"),
        ("webcam", "--video"),
    ],
)
def test_a_bad_input_is_one_line_and_exit_code_2(tmp_path, name, option):
    words = [sys.executable, str(FOLDER / f"{name}.py"), option, str(tmp_path / "gone.mp4")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == InputError.exit_code, done.stderr
    assert done.stderr.startswith(f"{name}: error: ") and len(done.stderr.splitlines()) == 1
    assert "gone.mp4" in done.stderr


def test_figures_are_written_where_asked_for(tmp_path, command):
    command.write_json({"ratio": 1.5}, None)
    assert list(tmp_path.iterdir()) == []
    command.write_json({"ratio": 1.5}, tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == {"ratio": 1.5}
    with pytest.raises(OutputError, match="folder does not exist"):
        command.write_json({}, tmp_path / "none" / "figures.json")


def test_the_command_takes_the_options_of_the_function(tmp_path, command, monkeypatch):
    got = []

    def measure(*, seconds: float = 1.0, json: Path | None = None) -> dict:
        got.append((seconds, json))
        return {}

    monkeypatch.setattr(sys, "argv", ["measure.py", "--seconds", "2", "--json", "a.json"])
    command.run(measure)
    assert got == [(2.0, Path("a.json"))]
