"""benchmarks: rectangles over limbs, detectors side by side, and the tables that are made of their figures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from posefix.skeleton import H36M17, Frame, Pose2D, Pose3D
from posefix.skeleton.errors import InputError, PosefixError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def standing(count: int = 4) -> np.ndarray:
    """(n, 17, 2) pixels of somebody 200 px tall, arms spread, who walks to the right."""
    pixels = np.zeros((17, 2))
    pixels[:, 0] = 50
    pixels[:, 1] = [100, 100, 150, 200, 100, 150, 200, 70, 50, 30, 0, 50, 50, 50, 50, 50, 50]
    for side, sign in (("R", -1), ("L", 1)):
        for joint, away in (("Shoulder", 10), ("Elbow", 25), ("Wrist", 45)):
            pixels[H36M17.joints.index(side + joint), 0] += sign * away
    return pixels + np.arange(count)[:, None, None] * [5, 0]


def test_a_rectangle_covers_its_limb_and_nothing_else_is_painted():
    from balance import LIMBS
    from occlusion import COVERED, Cover

    pixels = standing()
    cover = Cover.over(pixels, COVERED["right forearm"], 0.04, seed=3)
    assert np.allclose(cover.boxes[1], [10 - 8, 50 - 8, 30 + 8, 50 + 8])
    covered = cover.covers(pixels[:, LIMBS])
    names = [H36M17.joints[j] for j in LIMBS]
    assert [[n for n, c in zip(names, row, strict=True) if c] for row in covered] == [
        ["RElbow", "RWrist"]
    ] * 4
    image = np.full((220, 110, 3), 7, np.uint8)
    painted = cover.paint(Frame(1, 0.0, image))
    inside = np.zeros((220, 110), bool)
    inside[42:58, 2:38] = True
    assert (painted.image[inside] == cover.colour).all() and (painted.image[~inside] == 7).all()
    assert (image == 7).all(), "the frame of others must not change"
    assert cover.paint(Frame(9, 0.0, image)).image is image
    assert (
        Cover.over(pixels, (12, 13), 0.04, 3).colour
        == cover.colour
        != Cover.over(pixels, (12, 13), 0.04, 4).colour
    )


def poses(joints: np.ndarray, std: float, covered: np.ndarray, covered_std: float, seen: np.ndarray):
    from occlusion import Poses

    return Poses(joints, np.where(covered, covered_std, std), seen)


def test_figures_are_those_of_the_joints_that_stay_visible():
    from balance import LIMBS, Reference
    from occlusion import compare

    rng = np.random.default_rng(0)
    truth = Reference(rng.normal(0, 0.4, (5, 17, 3)), standing(5))
    exact = truth.joints[:, LIMBS]
    covered = np.zeros((5, 12), bool)
    covered[:, [10, 11]] = True
    noise = rng.normal(0, 0.02, exact.shape)
    before = poses(exact + noise, 0.03, covered, 0.04, np.ones((5, 12), bool))
    wild = exact + noise
    wild[:, 10:] += 1.0  # what happens to hidden joints is not the visible ones' error
    seen = ~covered
    seen[0, 10] = True
    found = compare(before, poses(wild, 0.03, covered, 0.09, seen), covered, truth)
    assert found["rise_percent"] == pytest.approx(0, abs=1e-6) and found["frames_scored"] == 5
    assert found["covered_still_seen_percent"] == 10 and found["visible_called_hidden_percent"] == 0
    assert found["std_mm"] == pytest.approx({"covered": 90, "visible": 30, "covered_as_it_is": 40})
    dragged = compare(before, poses(exact + 2 * noise, 0.03, covered, 0.09, seen), covered, truth)
    assert dragged["rise_percent"] == pytest.approx(100, abs=5)
    lost = poses(np.where(np.arange(5)[:, None, None] < 2, np.nan, wild), 0.03, covered, 0.09, seen)
    found = compare(before, lost, covered, truth)
    assert found["frames_scored"] == 3 and found["frames_lost_percent"] == 40
    with pytest.raises(PosefixError, match="nothing to measure"):
        compare(before, lost, np.zeros((5, 12), bool), truth)


def test_a_detector_is_named_with_its_options():
    from balance import Choice

    choice = Choice.read('onnx --pose-model "a b/pose.onnx" --det-model box.onnx')
    assert choice.options.pose_model == "a b/pose.onnx" and not choice.sees_one
    assert choice.label == "onnx + pose + box"
    assert Choice.read("mediapipe").label == "mediapipe" and Choice.read("mediapipe").sees_one
    for words, problem in (
        ("", "unknown detector"),
        ("nonsense", "unknown detector"),
        ("onnx --pose-model", "each with a value"),
        ("onnx --colour red", "each with a value"),
        ("mediapipe --pose-model a.onnx", "no use for it"),
    ):
        with pytest.raises(InputError, match=problem):
            Choice.read(words)


def test_a_detector_that_is_not_installed_is_left_out(monkeypatch):
    import balance
    from balance import Choice

    monkeypatch.setattr(balance.importlib.util, "find_spec", lambda name: None)
    assert Choice.read("mmpose --pose-model human").missing == "posefix install-mmpose"
    assert Choice.read("mediapipe").missing is None


def test_detectors_are_compared_on_the_frames_that_all_of_them_found():
    from balance import LIMBS, Reference
    from compare_detectors import figures, mean_of

    rng = np.random.default_rng(1)
    truth = Reference(rng.normal(0, 0.4, (6, 17, 3)), standing(6))

    def pose(k: int, off: float) -> Pose2D:
        return Pose2D(truth.pixels[k] + [off, 0], np.ones(17))

    def estimator(found, keys):
        return [Pose3D(truth.joints[k] + [0, 0, 1], np.ones(17)) for k, _ in keys]

    found = {"a": {k: pose(k, 3) for k in range(6)}, "b": {k: pose(k, -4) for k in (1, 2, 5)}}
    figure = figures(found, truth, estimator, 30.0)
    assert figure["frames_scored"] == 3 and figure["frames"] == 6
    assert figure["detectors"]["a"]["error_2d_px"] == pytest.approx(3, abs=1e-4)
    assert figure["detectors"]["b"]["error_2d_px"] == pytest.approx(4, abs=1e-4)
    assert figure["detectors"]["a"]["p_mpjpe_12_limbs_mm"] == pytest.approx(0, abs=1e-3)
    assert figure["detectors"]["b"]["frames_with_pose_percent"] == 50
    assert len(LIMBS) == 12
    assert mean_of([figure, figure])["b"]["error_2d_px"] == pytest.approx(4, abs=1e-4)
    with pytest.raises(InputError, match="nothing to compare"):
        figures({"a": {0: pose(0, 0)}, "b": {1: pose(1, 0)}}, truth, estimator, 30.0)


def test_tables_hold_the_figures_of_their_json():
    from detector_tables import detectors_table, occlusion_table

    row = {
        "error_2d_px": 12.34,
        "p_mpjpe_12_limbs_mm": 67.89,
        "ms_per_frame": 21.0,
        "frames_with_pose_percent": 100,
    }
    report = {"clips": [{"clip": "balance_cam01", "detectors": {"onnx": row}}], "mean": {"onnx": row}}
    text = detectors_table({**report, "missing": {"mmpose": "posefix install-mmpose"}})
    assert (
        "| onnx | 12.3 | 12.3 | 67.9 | 67.9 | 21 |" in text
        and "Not installed, so not measured: mmpose" in text
    )
    case = {
        "clip": "c", "limb": "right shin", "margin": 0.04, "visible_p_mpjpe_mm": {"as_it_is": 50.0, "covered": 54.0},
        "rise_percent": 8.0, "frames_lost_percent": 0.0, "covered_still_seen_percent": 25.0,
        "visible_called_hidden_percent": 0.0,
        "std_mm": {"covered": 90.0, "visible": 40.0, "covered_as_it_is": 45.0},
    }  # fmt: skip
    from detector_tables import average

    second = {**case, "visible_p_mpjpe_mm": {"as_it_is": 50.0, "covered": 50.0}, "rise_percent": 0.0}
    found = {"mean": average([case, second]), "cases": [case, second]}
    text = occlusion_table({"detectors": {"onnx": found}, "at_most_percent": 10})
    assert text.count("| 50.0 | 52.0 | +4.0 | 25 | 90 | 40 | 45 |") == 2  # of the limb, and in all
    assert "+8.0 % with onnx" in text


def test_every_table_has_its_command_and_its_place_on_the_page():
    import results

    table = results.commands("DATA", "VIDEOS", "MODELS")
    page = (FOLDER / "results" / "page.md").read_text(encoding="utf-8")
    for name in ("detectors", "occlusion"):
        assert f"<!-- {name} -->" in page and name in results.TABLES and name in table
    assert "onnx --pose-model MODELS/pp_tinypose_256x192_coco17.onnx" in " ".join(table["occlusion"])


def test_bad_options_are_one_line(tmp_path, monkeypatch, capsys):
    from command import run
    from occlusion import occlusion
    from real_video import real_video

    for benchmark in (occlusion, real_video):
        monkeypatch.setattr(sys, "argv", ["x", "--detector", "nonsense", "--videos", str(tmp_path)])
        with pytest.raises(SystemExit):
            run(benchmark)
        error = capsys.readouterr().err
        assert error.startswith(f"{benchmark.__name__}: error: unknown detector") and error.count("\n") == 1
