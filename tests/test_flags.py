"""pipeline/flags.py: every command has the flags it should have, each with its help, and uses what is given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import App
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


def commands_of(app: App, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command that does something, of those below them, too."""
    below = [name for name in app if not name.startswith("-")]
    own = [words] if app.default_command else []
    return own + [found for name in below for found in commands_of(app[name], (*words, name))]


def numbers_of(kind: type) -> list[tuple[tuple[str, ...], str]]:
    """Every command and its flags of a kind of numbers."""
    found = []
    for words in commands_of(app):
        command = app
        for word in words:
            command = command[word]
        for argument in command.assemble_argument_collection():
            if kind in (argument.hint, *get_args(argument.hint)) and not argument.children:
                found.append((words, argument.name))
    return found


@pytest.mark.parametrize(("words", "flag"), numbers_of(int))
@pytest.mark.parametrize("value", ["1.5", "-0.4", "0.5"])
def test_no_whole_number_is_rounded(words, flag, value, capsys):
    assert call([*words, flag, value]) == 2
    assert f"error: {flag} {value}: expected a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "flag"), numbers_of(float))
def test_nan_is_no_number(words, flag, capsys):
    assert call([*words, flag, "nan"]) == 2
    assert f"error: {flag} nan: expected a number" in capsys.readouterr().err


def test_these_are_all_commands_with_numbers():
    assert {words[0] if words else "" for words, _ in numbers_of(int)} == {
        "", "refine", "webcam", "plot", "train", "eval",
    }  # fmt: skip
    assert ((), "--hypotheses") in numbers_of(int)
    assert (("train", "cce"), "--ddim-steps") in numbers_of(int)
    assert (("view",), "--embed-limit") in numbers_of(float)


def test_whole_numbers_may_be_written_with_a_point(monkeypatch, capsys):
    assert use(["refine", "x", "--hypotheses", "3.0"], monkeypatch).hypotheses == 3
    capsys.readouterr()


@pytest.mark.parametrize(
    "words",
    [
        ["clip.mp4", "--output", ""], ["clip.mp4", "-o", ""], ["clip.mp4", "--pose-model", ""], ["view", ""],
        ["refine", ""], ["webcam", "--output", ""], ["data", "convert", "a.bvh", ""],
    ],
)  # fmt: skip
def test_an_empty_name_is_not_the_current_folder(words, capsys):
    assert call(words) == 2
    assert ": is empty; give a value, or leave it out" in capsys.readouterr().err


def test_an_empty_clip_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    assert call(["", "a.png"]) == 2
    said = capsys.readouterr().err
    assert "the name of a clip is empty" in said
    assert "a.png: nothing can be decoded" in said


@pytest.mark.parametrize("words", commands_of(app), ids=" ".join)
def test_help_breaks_lines_where_the_terminal_does(words, monkeypatch, capsys):
    """On a very wide terminal each flag's help is one line; what stands as it is fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "2000")
    call([*words, "--help"])
    shown = capsys.readouterr().out
    command = app
    for word in words:
        command = command[word]
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show and not argument.children:
            assert " ".join((argument.parameter.help or "").split()) in shown
    assert max(map(len, str(command.help_epilogue).splitlines())) <= 80


def test_what_stands_above_commands_fits_80_columns():
    for group in (app, app["train"], app["data"]):
        texts = (group.help_epilogue, group.usage)
        assert max(len(line) for text in texts for line in str(text).splitlines()) <= 80


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["clip.mp4", "--foo"], "posefix"), (["refine", "x", "--seed", "a"], "posefix refine"),
        (["train", "cpn", "--foo"], "posefix train cpn"), (["train", "nothing"], "posefix train"),
    ],
)  # fmt: skip
def test_the_help_that_a_wrong_word_leads_to_is_that_of_its_command(words, named, capsys):
    assert call(words) == 2
    assert capsys.readouterr().err.endswith(f"See `{named} --help`.\n")
