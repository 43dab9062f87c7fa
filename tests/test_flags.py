"""pipeline/flags.py: every command has the flags it should have, each with its help, and uses what is given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from posefix.pipeline import refine_cli
from posefix.pipeline.cli import app, call
from posefix.pipeline.flags import DetectorFlags, FileFlags, KeypointFlags, PersonFlags, RefinerFlags
from posefix.pipeline.live import command
from posefix.skeleton.errors import InputError
from test_config import OTHER, as_flags

#: as OTHER: a setting -> a value that is not the default, and what else must be given with it
VALUES = {
    **OTHER,
    "format": ("openpose", {}),
    "layout": ("body25", {}),
    "video": ("clip.mp4", {}),
    "lift": (True, {}),
    "fps": (12.5, {}),
}
OWN = {
    "webcam": {"--source", "--serve", "--output", "-o", "--mirror"},
    "refine": {"FILE", "--output", "-o", "--size"},
}
GROUPS = {
    "webcam": (DetectorFlags, PersonFlags, RefinerFlags),
    "refine": (KeypointFlags, RefinerFlags, FileFlags),
}
PRINTED = {"--quiet", "-q", "--verbose", "-v"}


def names(kind: str) -> list[str]:
    return [field.name for group in GROUPS[kind] for field in fields(group)]


def use(words: list[str], monkeypatch):
    """The settings that reach the work, of which nothing is done."""
    seen = []

    def stop(*given, **_):
        seen.extend(given)
        raise InputError("enough")

    monkeypatch.setattr(command, "run_live", stop)
    monkeypatch.setattr(refine_cli, "refine_file", stop)
    assert call(words) == 2
    _, settings = seen
    return settings


@pytest.mark.parametrize("kind", GROUPS)
def test_a_command_has_these_flags_and_no_others_and_all_have_help(kind):
    shown = [a for a in app[kind].assemble_argument_collection(parse_docstring=True) if a.show]
    there = {name for argument in shown for name in argument.names}
    wanted = {f"--{name.replace('_', '-')}" for name in names(kind)} | OWN[kind] | PRINTED
    assert there - {"SOURCE"} == wanted | ({"--no-refine"} & there)
    assert ("--no-refine" in there) == (kind == "webcam")
    assert [argument.names for argument in shown if not argument.parameter.help] == []


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in GROUPS for name in names(kind)])
def test_what_is_given_reaches_the_work(kind, name, monkeypatch, capsys):
    value, more = VALUES[name]
    settings = use([kind, "x", *as_flags({**more, name: value})], monkeypatch)
    assert getattr(settings, name) == value != getattr(use([kind, "x"], monkeypatch), name)
    capsys.readouterr()


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize(
    ("words", "verbosity"), [([], 0), (["-q"], -1), (["--verbose"], 1), (["-v", "-q"], -1)]
)
def test_quiet_and_verbose(kind, words, verbosity, monkeypatch, capsys):
    assert use([kind, "x", *words], monkeypatch).verbosity == verbosity
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["webcam", "refine"])
def test_words_do_not_slip_into_flags(kind, capsys):
    assert call([kind, "x", "onnx"]) == 2
    assert "onnx" in capsys.readouterr().err


def test_own_flags_of_refine(monkeypatch, capsys):
    settings = use(["refine", "x", "--size", "640x480", "-o", "out"], monkeypatch)
    assert (settings.size, settings.output) == ((640, 480), Path("out"))
    capsys.readouterr()


@pytest.mark.parametrize(
    "flag", ["--no-quiet", "--no-verbose", "--no-overwrite", "--no-resume", "--detector-flags"]
)
def test_there_are_no_others(flag, capsys):
    assert call(["clip.mp4", flag]) == 2
    assert f"Unknown option: {flag}." in capsys.readouterr().err
