"""HumanEva-I: reader and protocol, on tiny files in its format."""

from __future__ import annotations

import numpy as np
import pytest
from made_published import assert_networks_run, body
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training.datasets import humaneva
from posefix.training.datasets.published import load_published
from posefix.training.datasets.tree import save_tree
from posefix.training.evaluate import evaluate


@pytest.fixture
def eva(tmp_path):
    poses, points = {}, {}
    for i, subject in enumerate(("S1", "S2")):
        world = {
            "Walking 1 chunk0": body(4, 15, i),
            "Jog 1 chunk2": body(2, 15, 5 + i),
            "Box 1 chunk0": body(3, 15),
        }
        poses[f"Validate/{subject}"] = world
        poses[f"Train/{subject}"] = world
        points[f"Validate/{subject}"] = {
            n: [p[..., :2] * 100 + k for k in range(3)] for n, p in world.items()
        }
    save_tree(tmp_path / "data_3d_humaneva15.npz", {"positions_3d": poses})
    save_tree(tmp_path / "data_2d_humaneva15_gt.npz", {"positions_2d": points})
    return tmp_path, poses


def test_humaneva_has_15_joints_and_a_figure_for_each_action_and_subject(eva):
    folder, poses = eva
    bench = humaneva.read_humaneva(folder)
    assert len(bench) == 2 * 3 * (4 + 2 + 3)
    assert set(bench.action) == {"Walking S1", "Walking S2", "Jog S1", "Jog S2", "Box S1", "Box S2"}
    true = poses["Validate/S1"]["Walking 1 chunk0"]
    for ours, theirs in (
        ("Hip", 0),
        ("Thorax", 1),
        ("LShoulder", 2),
        ("RWrist", 7),
        ("LAnkle", 10),
        ("RHip", 11),
        ("Head", 14),
    ):
        j = H36M17.joints.index(ours)
        np.testing.assert_allclose(bench.keypoints[:4, j], true[:, theirs, :2] * 100, atol=1e-4)
    # Only turned and moved: distances within the pose stay.
    np.testing.assert_allclose(
        np.linalg.norm(bench.target[:4, 10] - bench.target[:4, 3], axis=-1),
        np.linalg.norm(true[:, 14] - true[:, 13], axis=-1),
        atol=1e-5,
    )
    poses17 = bench.target.copy()
    poses17[:, [7, 9]] += 1.0  # Spine and Neck do not exist there
    report = evaluate(bench, {"x": lambda k, s: poses17}, humaneva.SCORING)
    assert report["x"]["p_mpjpe"] == pytest.approx(0, abs=1e-6) and report["x"]["pck150"] == 100
    assert list(report["per_action"]) == ["Walking S1", "Walking S2", "Jog S1", "Jog S2", "Box S1", "Box S2"]
    # Off by 150 mm in one joint of 15, in one of the four cells that the mean is of; Box is shown, not counted.
    poses17[bench.action == "Jog S2", 3, 2] += 0.15
    poses17[bench.action == "Box S1", 3, 2] += 0.15
    report = evaluate(bench, {"x": lambda k, s: poses17}, humaneva.SCORING)
    assert report["x"]["mpjpe"] == pytest.approx(150 / 15 / 4)
    assert report["per_action"]["Box S1"]["x"]["mpjpe"] == pytest.approx(150 / 15)


def test_humaneva_middle_joints_lie_between_their_neighbours():
    pose = np.zeros((1, 15, 2))
    pose[0, 1], pose[0, 14] = (0, 10), (0, 20)
    ours = humaneva.to_h36m17(pose)[0]
    np.testing.assert_allclose(ours[[7, 9]], [[0, 10 * humaneva.SPINE], [0, 10 + 10 * humaneva.NECK]])


def test_humaneva_actions_and_files_that_do_not_fit(eva):
    folder, _ = eva
    assert set(humaneva.read_humaneva(folder, actions=("Box",)).action) == {"Box S1", "Box S2"}
    with pytest.raises(InputError, match="no recordings of Gestures"):
        humaneva.read_humaneva(folder, actions=("Gestures",))
    with pytest.raises(InputError, match=r"data_2d_humaneva15_mask\.npz: no such file"):
        humaneva.read_humaneva(folder, "mask")
    save_tree(folder / "data_2d_humaneva15_few.npz", {"positions_2d": {"Validate/S1": {}}})
    with pytest.raises(InputError, match="Validate/S1, Walking 1 chunk0: expected 2D of 3 cameras"):
        humaneva.read_humaneva(folder, "few")


def test_values_that_are_not_finite_are_refused(eva):
    folder, poses = eva
    poses["Validate/S1"]["Jog 1 chunk2"][0, 0] = np.nan
    save_tree(folder / "data_3d_humaneva15.npz", {"positions_3d": poses})
    with pytest.raises(InputError, match="humaneva: the 3D has values that are not finite"):
        load_published("humaneva", [folder])


def test_the_shipped_networks_run_on_it(eva):
    assert_networks_run("humaneva", eva[0])
