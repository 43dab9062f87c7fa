"""pipeline/cli.py: words in, exit codes and lines out."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from fakes import FakeDetector, FakeEstimator, install_fakes, write_clip
from posefix.pipeline import run as run_module
from posefix.pipeline.cli import call, worst
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.report import Outcome, ProgressBar, table
from rich.console import Console

FAKE = ["--detector", "fake", "--device", "cpu"]


@pytest.fixture
def estimator(monkeypatch, tmp_path) -> FakeEstimator:
    monkeypatch.chdir(tmp_path)
    return install_fakes(monkeypatch)


def test_help_shows_examples_and_exit_codes(capsys):
    assert call(["--help"]) == 0
    text = capsys.readouterr().out
    for words in ("posefix clip.mp4", "--height 1.82", "6 no person found", "--no-refine", "train", "eval"):
        assert words in text


def test_help_of_sub_commands(capsys):
    assert call(["eval", "--help"]) == 0
    assert "--data" in capsys.readouterr().out
    assert call(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "lifter" in out and "refiner" in out


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from posefix.pipeline.cli import call; call(['--help']); call(['--version'])\n"
        "sys.exit(bool({'torch', 'mediapipe', 'cv2', 'onnxruntime', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "posefix 0." in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_of_the_output_that_leaves_stops_nothing(tmp_path):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [100])
    read, write = os.pipe()
    os.close(read)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import fakes\n"
        "from pytest import MonkeyPatch; fakes.install_fakes(MonkeyPatch())\n"
        f"from posefix.pipeline.cli import main; main({['a.mp4', 'b.mp4', *FAKE]!r})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "b_posefix" / "b_run.json").exists()


def test_no_input_shows_the_help_and_exits_2(capsys):
    assert call([]) == 2
    assert "Usage: posefix VIDEO..." in capsys.readouterr().out


def test_one_clip(tmp_path, estimator, capsys):
    write_clip(tmp_path / "clip.mp4", [100] * 4)
    assert call(["clip.mp4", *FAKE]) == 0
    out, err = capsys.readouterr()
    assert "clip: 4 frames read, 4 detected" in out and err == ""
    for name in ("clip_pose.mp4", "clip_3d.csv", "clip_2d.csv", "clip_run.json"):
        assert f"wrote clip_posefix/{name}" in out and (tmp_path / "clip_posefix" / name).exists()


@pytest.mark.parametrize(
    "called, on_path, shown",
    [
        ("env/bin/posefix", None, "env/bin/posefix"),
        ("env/bin/posefix", "yes", "posefix"),
        ("x.py", None, "posefix"),
    ],
)
def test_one_clip_ends_with_the_command_that_shows_it(
    tmp_path, estimator, capsys, monkeypatch, called, on_path, shown
):
    monkeypatch.setattr("shutil.which", lambda name: on_path)
    monkeypatch.setattr("sys.argv", [called])
    write_clip(tmp_path / "my clip.mp4", [100] * 4)
    assert call(["my clip.mp4", *FAKE]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"  to look at them: {shown} view 'my clip_posefix'"


def test_nobody_found_is_nothing_to_look_at(tmp_path, estimator, capsys):
    write_clip(tmp_path / "clip.mp4", [0] * 4)
    assert call(["clip.mp4", *FAKE]) == 6
    assert "look at" not in capsys.readouterr().out


def test_mistyped_command_is_recognised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(["veiw", "clip_posefix"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(
        "veiw: no such file or folder; check the path; did you mean the command `posefix view`?"
    )
    assert "did you mean" not in second


def test_a_name_with_blanks_without_its_quotes_is_recognised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my best clip.mp4").write_text("x")
    assert call(["my", "best", "clip.mp4"]) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith(
        'my: no such file or folder; check the path; a name with blanks needs quotes: "my best clip.mp4"'
    )
    assert not any("quotes" in line for line in others)


def test_the_bar_tells_of_loading_and_of_stopping():
    shown = io.StringIO()
    console, interrupt = Console(file=shown, force_terminal=True, width=80), Interrupt()
    info = types.SimpleNamespace(name="clip")

    def new() -> str:
        bar._progress.refresh()
        text = shown.getvalue()
        shown.truncate(shown.seek(0))
        return text

    with ProgressBar(interrupt=interrupt, console=console) as bar:
        assert "loading" in new()
        bar.begin(info, 100)  # type: ignore[arg-type]
        bar.advance()
        first = new().split("\n")[-1]
        assert "clip" in first and "1/100" in first and "stopping" not in first
        interrupt.ask()
        bar.advance()
        assert "2/100" in (last := new()) and "stopping (Ctrl-C again: at once)" in last


def test_quiet_prints_nothing(tmp_path, estimator, capsys):
    write_clip(tmp_path / "clip.mp4", [100] * 2)
    assert call(["clip.mp4", "-q", *FAKE]) == 0
    assert capsys.readouterr() == ("", "")


def test_options_reach_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def fake_run(source, settings, **_):
        seen.append((source.name, settings))
        return run_module.RunSummary(source.name, run_module.OutputPaths.of("x", tmp_path), detected=1)

    monkeypatch.setattr(run_module, "run_video", fake_run)
    write_clip(tmp_path / "a.mp4", [100])
    words = "a.mp4 -o dir --steps 4 --hypotheses 9 --seed 3 --height 1.6 --no-refine --no-render --start 1.5"
    words += " --end 4 --max-frames 7 --overwrite -v --device cpu --batch-size 2"
    assert call(words.split()) == 0
    ((name, s),) = seen
    assert name == "a" and s.output == Path("dir")
    assert (s.steps, s.hypotheses, s.seed, s.height, s.batch_size) == (4, 9, 3, 1.6, 2)
    assert (s.refine, s.render, s.start, s.end, s.max_frames) == (False, False, 1.5, 4.0, 7)
    assert (s.overwrite, s.verbosity, s.device) == (True, 1, "cpu")


def test_several_clips_go_to_folders_of_their_own_and_a_bad_one_stops_nobody(tmp_path, estimator, capsys):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [100] * 2)
    (tmp_path / "bad.mp4").write_text("no video")
    assert call(["a.mp4", "bad.mp4", "absent.mp4", "b.mp4", "-o", "out", *FAKE]) == 2
    out, err = capsys.readouterr()
    assert (tmp_path / "out/a_posefix/a_3d.csv").exists() and (tmp_path / "out/b_posefix/b_3d.csv").exists()
    assert len(err.splitlines()) == 2 and "absent.mp4" in err and "bad.mp4" in err
    assert "a: 2 frames" in out and "b: 2 frames" in out


def test_several_clips_end_with_a_table(tmp_path, estimator, capsys):
    write_clip(tmp_path / "a.mp4", [100] * 3 + [0] * 10 + [100] * 7)
    write_clip(tmp_path / "[b].mp4", [0] * 2)
    (tmp_path / "bad.mp4").write_text("no video")
    assert call(["a.mp4", "[b].mp4", "bad.mp4", "absent.mp4", *FAKE]) == 2
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()[-5:]
    assert re.split(" +", head) == [
        "clip", "frames", "detected", "missing", "seconds", "frames/s", "warnings", "result",
    ]  # fmt: skip
    assert "\x1b" not in out and not any(line.endswith(" ") for line in lines)  # plain text
    cells = [line.split() for line in lines]
    assert cells[0][:6] == ["a", "20", "50", "%", "50", "%"] and cells[0][-2:] == ["2", "a_posefix"]
    assert cells[1][:6] == ["[b]", "2", "0", "%", "100", "%"]
    assert cells[1][-4:] == ["1", "[b]_posefix", "(no", "person)"]
    assert cells[2][:7] == ["bad", *"------"] and "error: bad.mp4: is no video that can be read" in lines[2]
    assert cells[3][:7] == ["absent.mp4", *"------"]
    # How to mend it was said on stderr.
    assert lines[3].endswith("error: absent.mp4: no such file or folder")
    seconds, rate = float(cells[0][6]), float(cells[0][7])
    assert seconds * rate == pytest.approx(20, abs=seconds * 0.05 + rate * 0.05 + 0.01)
    warned = [line for line in err.splitlines() if line.startswith("posefix: warning: a: ")]
    assert len(warned) == 2 and sum("nobody is found in 10 of 20 frames" in line for line in warned) == 1


def test_the_table_after_resuming_clips_that_had_ended(tmp_path):
    paths = run_module.OutputPaths.of("x", tmp_path)
    text = table([Outcome("x", run_module.RunSummary("x", paths, finished_before=True))])
    assert text.splitlines()[1].split()[1:] == [*"------", str(tmp_path), "(finished", "already)"]


def test_no_table_of_one_clip_nor_when_quiet(tmp_path, estimator, capsys):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [100] * 2)
    assert call(["a.mp4", *FAKE]) == 0
    assert "frames/s " not in capsys.readouterr().out
    assert call(["a.mp4", "b.mp4", "-q", "--overwrite", *FAKE]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_table_says_who_was_stopped_and_not_begun(tmp_path, estimator, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        write_clip(tmp_path / f"{name}.mp4", [100] * 60)
    detect = FakeDetector.detect

    def stopped(self, frame):
        if frame.index == 5:
            signal.raise_signal(signal.SIGINT)
        return detect(self, frame)

    monkeypatch.setattr(FakeDetector, "detect", stopped)
    assert call(["a.mp4", "b.mp4", "c.mp4", *FAKE]) == 130
    first, *others = capsys.readouterr().out.splitlines()[-3:]
    assert first.startswith("a ") and first.endswith("a_posefix (stopped)")
    assert [line.split()[0] for line in others] == ["b", "c"]
    assert all(line.endswith("-  not begun") for line in others)


def test_the_table_at_a_terminal_fits_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "90")
    paths = run_module.OutputPaths.of("x", tmp_path / ("long" * 30))
    summary = run_module.RunSummary("clip", paths, read=9, detected=9, seconds=3)
    text = re.sub("\x1b\\[[0-9;]*m", "", table([Outcome("clip", summary), Outcome("b", error="e; mend")]))
    assert all(len(line) <= 90 for line in text.splitlines())
    assert "\u2500" in text and "100 %" in text and "mend" not in text


def test_where_a_clip_goes_does_not_depend_on_whether_others_are_good(tmp_path, estimator, capsys):
    write_clip(tmp_path / "a.mp4", [100])
    assert call(["a.mp4", "absent.mp4", "-o", "out", *FAKE]) == 2
    assert (tmp_path / "out/a_posefix/a_3d.csv").exists()


def test_ctrl_c_while_the_networks_load_writes_nothing_and_starts_no_other_clip(
    tmp_path, estimator, monkeypatch, capsys
):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [100])
    create = run_module.create_detector

    def interrupted(*given):
        signal.raise_signal(signal.SIGINT)
        return create(*given)

    monkeypatch.setattr(run_module, "create_detector", interrupted)
    assert call(["a.mp4", "b.mp4", *FAKE]) == 130
    out, err = capsys.readouterr()
    assert out == "" and err == "posefix: error: stopped before the first frame; nothing written\n"
    assert not list(tmp_path.glob("*_posefix"))


def test_ctrl_c_in_a_sub_command_is_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    # What the command calls, not the command itself: once found by name, that is kept.
    monkeypatch.setattr("posefix.training.cli._checked", interrupted)
    assert call(["train", "lifter", "--data", "x"]) == 130
    assert capsys.readouterr() == ("", "posefix: stopped\n")


def test_a_glob_names_several_clips(tmp_path, estimator):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", [100])
    assert call(["*.mp4", "-q", *FAKE]) == 0
    assert (tmp_path / "a_posefix/a_3d.csv").exists() and (tmp_path / "b_posefix/b_3d.csv").exists()


@pytest.mark.parametrize(
    ("codes", "want"), [([0], 0), ([0, 6], 6), ([6, 2, 0], 2), ([2, 3], 3), ([0, 130, 6], 130), ([6, 1], 1)]
)
def test_the_worst_exit_code_counts(codes, want):
    assert worst(codes) == want


def test_an_unexpected_error_is_one_line_with_a_hint(tmp_path, estimator, monkeypatch, capsys):
    write_clip(tmp_path / "clip.mp4", [100])

    def broken(*_):
        raise RuntimeError("the\nflux is low")

    monkeypatch.setattr(FakeEstimator, "__call__", broken)
    assert call(["clip.mp4", "--overwrite", *FAKE]) == 1
    err = capsys.readouterr().err
    assert err == (
        "posefix: error: unexpected RuntimeError: the flux is low; run again with -v for details\n"
    )
    assert call(["clip.mp4", "--overwrite", "-v", *FAKE]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("posefix: error: unexpected RuntimeError")


# A run in a process of its own, so slow that it is still going when the signal comes.
SLOW_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import fakes
fakes.install_slow_fakes(0.02)
from posefix.pipeline.cli import main
main(["clip.mp4", "--detector", "fake", "--device", "cpu", "--batch-size", "2"])
"""


START = """
import sys
from posefix.pipeline.entry import main
print("here", flush=True)
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("words", "after_s"),
    [*((["clip.mp4"], s) for s in (0.01, 0.05, 0.15, 0.3)), (["train", "lifter", "--data", "none"], 0.01)],
)
def test_ctrl_c_while_the_program_loads_is_one_line(tmp_path, words, after_s):
    write_clip(tmp_path / "clip.mp4", [100] * 300)
    command = [sys.executable, "-c", START, *words]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and len(err.splitlines()) == 1 and "stopped" in err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_files_and_says_so(tmp_path, number, code):
    write_clip(tmp_path / "clip.mp4", [100] * 1500)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, str(Path(__file__).parent)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    table = tmp_path / "clip_posefix" / "clip_3d.csv"
    for _ in range(600):
        if table.exists() and table.read_bytes().count(b"\n") > 4:
            break
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"stopped by {number.name}" in out and "Traceback" not in err
    lines = table.read_text().splitlines()
    assert 5 < len(lines) < 1500 and len({line.count(",") for line in lines}) == 1

    import av

    with av.open(str(tmp_path / "clip_posefix" / "clip_pose.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(lines) - 1
