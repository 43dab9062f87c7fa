"""pipeline/settings_file.py: settings in a TOML file are the flags, and come back as they were."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from posefix.pipeline import cli
from posefix.pipeline.settings import Settings
from posefix.pipeline.settings_file import as_toml, load_settings, options, read_settings
from posefix.skeleton.errors import InputError

# A value of every setting that is not its default, and what else must be set for it to make sense.
OTHER = {
    "output": ('dir "ä" \\ x', {}),
    "detector": ("onnx", {"pose_model": "p.onnx"}),
    "pose_model": ("p.onnx", {"detector": "onnx"}),
    "det_model": ("d.onnx", {"detector": "onnx", "pose_model": "p.onnx"}),
    "pose_preset": ("imagenet", {"detector": "onnx", "pose_model": "p.onnx"}),
    "pose_weights": ("w.pth", {"detector": "cpn"}),
    "det_weights": ("w.pth", {"detector": "mmpose", "det_model": "x"}),
    "person": ("largest", {}),
    "device": ("cpu", {}),
    "steps": (7, {}),
    "hypotheses": (9, {}),
    "seed": (2**40, {}),
    "height": (1.815, {}),
    "refine": (False, {}),
    "smooth": ("strong", {}),
    "render": (False, {}),
    "start": (1.25, {}),
    "end": (0.1, {}),
    "max_frames": (12, {}),
    "batch_size": (3, {}),
    "overwrite": (True, {}),
    "resume": (True, {}),
    "quiet": (True, {}),
    "verbose": (True, {}),
}


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """Runs a command line and gives the settings that reach the run."""
    monkeypatch.chdir(tmp_path)
    seen: list[Settings] = []
    monkeypatch.setattr(cli, "process_all", lambda words, settings: seen.append(settings) or 0)

    def run(*words: str) -> Settings:
        assert cli.call(["clip.mp4", *words]) == 0
        return seen.pop()

    return run


def write(text: str) -> str:
    Path("posefix.toml").write_text(text, encoding="utf-8")
    return "posefix.toml"


def as_flags(values: dict) -> list[str]:
    words: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def test_the_settings_are_the_flags_and_the_fields():
    names = set(options())
    assert names == set(OTHER)
    assert names - {"quiet", "verbose"} == {f.name for f in fields(Settings)} - {"verbosity"}
    for field in fields(Settings):
        if field.name != "verbosity":
            assert options()[field.name].default == field.default, field.name


def test_config_prints_every_setting_with_its_help(capsys, tmp_path):
    assert cli.call(["config"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "posefix.toml"
    path.write_text(text, encoding="utf-8")
    values = read_settings(path)
    for name, option in options().items():
        assert (f"\n{name} = " in text) == (option.default is not None)
        assert (f"\n# {name} = " in text) == (option.default is None)
        assert values.get(name) == option.default
        assert option.help and " ".join(option.help.split()) in " ".join(text.replace("\n#", "").split())


def test_the_printed_file_changes_nothing(settings_of):
    assert settings_of("--config", write(as_toml())) == settings_of() == Settings()
    assert load_settings("posefix.toml") == Settings()


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_comes_back(name, settings_of):
    value, needs = OTHER[name]
    values = {name: value, **needs}
    wanted = settings_of(*as_flags(values))
    assert wanted != Settings()
    assert settings_of("--config", write(as_toml(values))) == wanted
    assert load_settings("posefix.toml") == wanted


@pytest.mark.parametrize("name", sorted(set(OTHER) - {"overwrite", "resume", "quiet", "verbose"}))
def test_flags_win(name, settings_of):
    value, needs = OTHER[name]
    file = write(as_toml({**needs, name: options()[name].default}))
    wanted = settings_of(*as_flags({**needs, name: value}))
    assert settings_of("--config", file, *as_flags({name: value})) == wanted


def test_flags_win_over_true(settings_of):
    file = write("refine = true\noverwrite = true\nquiet = true\n")
    settings = settings_of("--config", file, "--no-refine", "-v", "--overwrite=false")
    assert (settings.refine, settings.overwrite, settings.verbosity) == (False, False, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hypothesis = 3", ["posefix.toml", "'hypothesis'", "'hypotheses'"]),
        ("max-frames = 3", ["posefix.toml", "'max-frames'", "'max_frames'"]),
        ("[posefix]\nsteps = 3", ["posefix.toml", "'posefix'"]),
        ("steps = true", ["posefix.toml", "steps = true", "whole number"]),
        ("steps = 2.0", ["posefix.toml", "steps = 2.0", "whole number"]),
        ("refine = 0", ["posefix.toml", "refine = 0", "true or false"]),
        ("person = 0", ["posefix.toml", "person = 0", "text in quotes"]),
        ('height = "1.8"', ["posefix.toml", 'height = "1.8"', "a number"]),
        ("height = 2026-01-02", ["posefix.toml", "height", "a number"]),
        ("end = [1, 2]", ["posefix.toml", "end = [...]"]),
        ('output = ""', ["posefix.toml", "output is empty"]),
        ('device = "gpu"', ["posefix.toml", "device", "auto, cpu, cuda, mps"]),
        ("steps = 99", ["posefix.toml", "--steps 99"]),
        ("start = nan", ["posefix.toml", "--start nan"]),
        (f"height = 1{'0' * 400}", ["posefix.toml", "height = 1000"]),
        ("steps = 1\nsteps = 2", ["posefix.toml", "TOML", "overwrite a value"]),
        ("steps 3", ["posefix.toml", "TOML", "line 1"]),
    ],
)
def test_what_makes_no_sense_is_one_line(text, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.call(["clip.mp4", "--config", write(text)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("posefix: error: ")
    for word in words:
        assert word in err


def test_a_file_that_is_not_there_and_one_that_is_no_text(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("binary.toml").write_bytes(b"\xc3\x28\xff")
    for name in ("absent.toml", "binary.toml", "."):
        assert cli.call(["clip.mp4", "--config", name]) == 2
        err = capsys.readouterr().err
        assert f"--config {name}: " in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_windows_writes_is_read(encoding, tmp_path):
    path = tmp_path / "posefix.toml"
    path.write_bytes('output = "ä"\r\nheight = 2\r\n'.encode(encoding))
    assert load_settings(path) == Settings(output=Path("ä"), height=2.0)


def test_errors_of_load_settings_name_the_file(tmp_path):
    path = tmp_path / "posefix.toml"
    path.write_text("steps = 99", encoding="utf-8")
    with pytest.raises(InputError, match=r"--steps 99.*posefix\.toml"):
        load_settings(path)


def test_other_commands_read_no_file(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write("nonsense = 1")
    assert cli.call(["config", "--config", "posefix.toml"]) == 2
    assert "--config" in capsys.readouterr().err
