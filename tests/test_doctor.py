"""pipeline/doctor.py and checks.py: whatever is broken is a line that tells how to mend it, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from posefix.lifter.runtime import weights_folder
from posefix.pipeline import checks, doctor
from posefix.pipeline.cli import call
from posefix.pipeline.doctor import Check, Finding, as_text, examine, verdict
from posefix.skeleton.errors import OutputError

FINE = Check("Topic", "fine", lambda: [Finding("fine", "ok", "all is well", values={"n": 3})])


def raising(error: BaseException, state: doctor.State = "wrong", mend: str = "do this") -> Check:
    def look():
        yield Finding("half", "ok", "as far as it got")
        raise error

    return Check("Broken", "part", look, state, mend)


def use(monkeypatch, *wanted: Check) -> None:
    monkeypatch.setattr(checks, "CHECKS", wanted)


def check_named(name: str) -> Check:
    (found,) = (c for c in checks.CHECKS if c.name == name)
    return found


@pytest.mark.parametrize(
    "error", [RuntimeError("a\nb"), SystemExit(3), OSError(5, "no"), BaseException("odd")]
)
def test_a_check_that_fails_is_a_line_and_stops_no_other(error, monkeypatch, capfd):
    use(monkeypatch, raising(error), FINE)
    assert call(["doctor"]) == 1
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err and err == ""
    lines = out.splitlines()
    assert lines[:2] == ["Broken", "  ok       half: as far as it got"]
    assert lines[2].startswith(f"  wrong    part: failed ({type(error).__name__}: ")
    assert lines[3] == "           mend: do this"
    assert lines[4:6] == ["Topic", "  ok       fine: all is well"]
    assert lines[6].startswith("posefix cannot run here: 1 wrong, 0 warnings")


def test_a_warning_does_not_stop_posefix(monkeypatch, capsys):
    use(monkeypatch, raising(ValueError("x"), "warning"), FINE)
    assert call(["doctor"]) == 0
    assert "posefix can run here: 0 wrong, 1 warning (" in capsys.readouterr().out


def test_errors_of_posefix_speak_for_themselves():
    (_, finding) = examine([raising(OutputError("disk is full; free some space"))])
    assert finding.said == "failed (disk is full; free some space)" and finding.state == "wrong"


def test_json_is_the_same(monkeypatch, capsys):
    use(monkeypatch, raising(ValueError("x")), FINE)
    assert call(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["can_run"] is False and told["verdict"].startswith("posefix cannot run")
    assert told["checks"] == [
        {"name": "half", "state": "ok", "said": "as far as it got", "mend": "", "values": {}, "topic": "Broken"},
        {"name": "part", "state": "wrong", "said": "failed (ValueError: x)", "mend": "do this", "values": {},
         "topic": "Broken"},
        {"name": "fine", "state": "ok", "said": "all is well", "mend": "", "values": {"n": 3}, "topic": "Topic"},
    ]  # fmt: skip
    use(monkeypatch, FINE)
    assert call(["doctor", "--json"]) == 0


def test_what_libraries_print_is_not_shown(monkeypatch, capfd):
    def look():
        os.write(2, b"W0000 chatter\n")
        os.write(1, b"more\n")
        print("still more")
        print("and more", file=sys.stderr)
        return [Finding("loud", "ok", "done")]

    use(monkeypatch, Check("Topic", "loud", look))
    assert call(["doctor"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and "loud: done" in out and "more" not in out


def test_no_colours_where_nobody_looks_and_no_names(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    said = f"{tmp_path}/env/x is not {tmp_path}x, nor /media/jane/disk; janet"
    use(
        monkeypatch,
        Check("T", "n", lambda: [Finding("n", "wrong", said, f"ls {tmp_path}", {"p": f"{tmp_path}/a"})]),
    )
    call(["doctor", "--json"])
    (told,) = json.loads(capsys.readouterr().out)["checks"]
    assert told["said"] == f"~/env/x is not {tmp_path}x, nor /media/USER/disk; janet"
    assert told["mend"] == "ls ~" and told["values"] == {"p": "~/a"}
    call(["doctor"])
    assert "\033" not in capsys.readouterr().out


def test_long_lines_are_broken_but_no_command():
    finding = Finding("name", "wrong", "word " * 60, 'pip install "' + "x" * 150 + '"')
    lines = as_text(finding).splitlines()
    assert len(lines) > 3 and all(len(line) <= 110 for line in lines[:-1])
    assert lines[-1] == f"           mend: {finding.mend}"
    assert as_text(finding, colour=True).startswith("  \033[31mwrong  \033[0m  name: word")


def test_the_verdict_counts():
    state = [Finding("a", s, "") for s in ("ok", "warning", "warning", "wrong")]
    assert verdict(state) == "posefix cannot run here: 1 wrong, 2 warnings"
    assert verdict(state[:1]) == "posefix can run here: 0 wrong, 0 warnings"


def test_a_package_that_is_not_there(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "mediapipe", None)
    (broken,) = checks.look_at_package("mediapipe==0.10.14")
    assert broken.state == "wrong" and "0.10.14 cannot be imported" in broken.said
    monkeypatch.setattr(metadata, "version", version)
    (absent,) = checks.look_at_package("mediapipe==0.10.14")
    assert (absent.state, absent.said) == ("wrong", "is not installed")
    assert absent.mend == 'pip install "mediapipe==0.10.14"'
    monkeypatch.setitem(sys.modules, "sklearn", None)
    (partial,) = checks.look_at_package("scikit-learn>=1.4")
    assert partial.state == "warning" and "posefix train" in partial.said


def test_a_package_of_another_version_and_one_for_another_python():
    (finding,) = checks.look_at_package("numpy>=1.26,<1.27")
    assert finding.state == "warning" and "posefix asks for numpy>=1.26,<1.27" in finding.said
    assert finding.mend == 'pip install "numpy>=1.26,<1.27"'
    (finding,) = checks.look_at_package("numpy>=1.26")
    assert finding == Finding(
        "numpy", "ok", metadata.version("numpy"), "", {"version": metadata.version("numpy")}
    )
    assert list(checks.look_at_package("nonsense>=1; python_version < '3'")) == []


def test_every_requirement_is_looked_at(monkeypatch):
    monkeypatch.setattr(checks.importlib, "import_module", lambda name: None)  # that takes its time
    names = {f.name for f in checks.look_at_packages()}
    assert {"torch", "numpy", "onnxruntime", "mediapipe", "av", "opencv-python", "cyclopts"} <= names
    assert "pytest" not in names


def test_damaged_and_missing_weights(monkeypatch, tmp_path):
    copy = tmp_path / "weights"
    shutil.copytree(weights_folder(), copy)
    monkeypatch.setattr("posefix.lifter.runtime.weights_folder", lambda: copy)
    assert {f.state for f in checks.look_at_weights()} == {"ok"}
    file = copy / "lifter.onnx"
    raw = bytearray(file.read_bytes())
    raw[1000] ^= 1
    file.write_bytes(raw)
    (copy / "refiner_step.onnx").unlink()
    wrong = {f.name: f for f in examine([check_named("weights")]) if f.state != "ok"}
    assert set(wrong) == {"lifter.onnx", "refiner_step.onnx"}
    assert wrong["lifter.onnx"].said.startswith("weights file is damaged (SHA-256")
    assert wrong["refiner_step.onnx"].said == "weights file is missing"
    assert all("pip install --force-reinstall" in f.mend for f in wrong.values())
    (copy / "manifest.json").write_text("{")
    (finding,) = checks.look_at_weights()
    assert finding.state == "wrong" and "manifest.json" in finding.name


def test_codecs_are_really_tried(monkeypatch):
    video = [check_named("H.264"), check_named("HEVC")]
    assert [f.state for f in examine(video)] == ["ok", "ok"]
    with monkeypatch.context() as other_pyav:
        other_pyav.setattr("posefix.pipeline.reader.lens_of", lambda source: {}["no such word"])
        assert "ok" not in [f.state for f in examine(video)]  # what stops every run is not ok
    monkeypatch.setattr(checks, "_frames_read", lambda path: 3)
    found = list(examine(video))
    assert [f.state for f in found] == ["wrong", "warning"] and "3 read back" in found[0].said

    def broken(*_):
        raise OutputError("cannot write h264.mp4: no encoder libx264")

    monkeypatch.setattr("posefix.pipeline.sinks.VideoSink", broken)
    (finding,) = examine(video[:1])
    assert finding.state == "wrong" and "no encoder libx264" in finding.said and "av>=12" in finding.mend


def test_one_inference_is_timed():
    (detector, networks) = examine([check_named("2D detector"), check_named("lifter and refiner")])
    for finding in (detector, networks):
        assert finding.state == "ok", finding.said
        assert len(finding.values["ms"]) == 6 and min(finding.values["ms"]) > 0
        assert "first" in finding.said and "median of 5" in finding.said


def test_a_detector_that_sees_nobody_is_wrong(monkeypatch):
    monkeypatch.setattr("posefix.detectors.mediapipe_detector.MediaPipeDetector.detect", lambda *_: [])
    (finding,) = examine([check_named("2D detector")])
    assert finding.state == "wrong" and "does not see" in finding.said


def test_networks_that_give_nonsense_are_wrong(monkeypatch):
    monkeypatch.setattr("posefix.pipeline.estimate.PoseEstimator.__call__", lambda self, poses, keys: [None])
    (finding,) = examine([check_named("lifter and refiner")])
    assert finding.state == "wrong" and "0.00 m" in finding.said


def test_other_detectors_tell_how_they_are_installed(monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    found = {f.name: f for f in checks.look_at_detectors()}
    assert set(found) == {"cpn", "mmpose", "onnx"}
    assert found["mmpose"].state == "ok" and "posefix install-mmpose" in found["mmpose"].said


BROKEN = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = ["posefix", *sys.argv[2:]]
from posefix.pipeline.entry import main
main()
"""


def run_without(modules: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BROKEN, modules, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize("modules", ["mediapipe,torch", "numpy,torch,mediapipe"])
def test_without_packages(modules):
    """The whole command in a process of its own."""
    done = run_without(modules, "doctor", "--json")
    assert done.returncode == 1 and done.stderr == ""
    told = json.loads(done.stdout)
    wrong = {c["name"]: c for c in told["checks"] if c["state"] == "wrong"}
    assert set(modules.split(",")) <= set(wrong)
    assert all(c["mend"] for c in wrong.values())
    fine = {c["name"] for c in told["checks"] if c["state"] == "ok"}
    assert {"posefix", "Python", "CPU", "this folder"} <= fine
    if "numpy" not in modules:
        assert "lifter.onnx" in fine and "H.264" in fine


def test_other_commands_without_packages_are_one_line():
    done = run_without("numpy", "clip.mp4")
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "posefix doctor" in done.stderr and "numpy" in done.stderr
