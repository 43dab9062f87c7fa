"""Training on the published data sets' own training parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_published import body
from posefix.lifter.normalise import normalise_keypoints
from posefix.pipeline.cli import call
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training import train_refiner
from posefix.training.datasets import human36m, pairs
from posefix.training.datasets.human36m_cameras import LENSES, human36m_camera, project_with_lens
from posefix.training.datasets.mpi_inf_3dhp import THEIRS
from posefix.training.datasets.pairs import PairPool, Rows, fold_of_person, load_rows, train_system_on_rows
from posefix.training.datasets.tree import save_tree
from posefix.training.loop import TrainConfig
from posefix.training.systems import system_of
from posefix.training.train_lifter import lift_rows

QUICK = TrainConfig(samples=48, batch=16, warmup=1, validate_every=32, bfloat16=False)


@pytest.fixture
def h36m(tmp_path):
    """The training people, a few frames each; CPN is 3 pixels off in y."""
    poses, exact, found = {}, {}, {}
    for s, subject in enumerate(human36m.TRAIN_SUBJECTS):
        world = body(6, 32, s)
        seen = []
        for k in range(4):
            rotation, centre = human36m_camera(subject, k)
            seen.append(project_with_lens((world - centre) @ rotation.T, LENSES[k])[:, human36m.JOINTS])
        poses[subject], exact[subject] = {"Walking": world}, {"Walking": seen}
        found[subject] = {"Walking": [v + np.array([0, 3]) for v in seen]}
    folder = tmp_path / "h36m"
    folder.mkdir()
    save_tree(folder / "data_3d_h36m.npz", {"positions_3d": poses})
    save_tree(folder / "data_2d_h36m_gt.npz", {"positions_2d": exact})
    save_tree(folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz", {"positions_2d": found})
    return folder


def test_rows_are_the_training_people_with_given_and_exact_2d(h36m):
    rows = load_rows("h36m", h36m, "det")
    assert list(rows) == list(human36m.TRAIN_SUBJECTS)
    for r in rows.values():
        assert r.target.shape == (24, 17, 3) and r.target.dtype == np.float32
        np.testing.assert_allclose(r.keypoints - r.exact, np.tile([0, 3.0], (24, 17, 1)), atol=2e-3)
    exact = load_rows("h36m", h36m, "gt")["S5"]
    np.testing.assert_allclose(exact.keypoints, rows["S5"].exact, atol=2e-3)


def one_person(n, seed):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(100, 900, (n, 17, 2)).astype(np.float32)
    target = rng.normal(size=(n, 17, 3)).astype(np.float32)
    return Rows(keypoints, keypoints + np.float32(2), target - target[:, :1])


def test_batches_hold_a_pose_with_its_own_2d():
    people = [one_person(4, 0), one_person(7, 1)]
    batch = PairPool(people, mirror=False).draw(400, None, torch.Generator().manual_seed(0))
    targets = np.concatenate([p.target for p in people])
    row = [int(np.abs(targets - t.numpy()).sum((1, 2)).argmin()) for t in batch["target"]]
    assert set(row) == set(range(11))  # every row of everybody, at the same rate
    assert np.bincount(row).max() < 3 * np.bincount(row).min()
    keypoints = torch.from_numpy(np.concatenate([p.keypoints for p in people]))[row]
    seen = torch.ones(400, 17, dtype=torch.bool)
    torch.testing.assert_close(batch["input"], normalise_keypoints(keypoints, seen))
    half = (keypoints.amax(1) - keypoints.amin(1)).amax(-1)[:, None] / 2
    offset = (batch["exact"] - batch["input"][..., :2])[..., 0]
    torch.testing.assert_close(offset, (2 / half).expand(-1, 17), rtol=1e-3, atol=1e-4)


def test_mirror_images_swap_sides_in_2d_and_3d_alike():
    person = one_person(1, 3)
    batch = PairPool([person]).draw(64, None, torch.Generator().manual_seed(1))
    straight = PairPool([person], mirror=False).draw(1, None, torch.Generator())
    turned = (batch["target"] - straight["target"]).abs().sum((1, 2)) > 1e-4
    assert 16 < int(turned.sum()) < 48
    sign = torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(batch["target"][turned][0], straight["target"][0, H36M17.flip_order] * sign)
    torch.testing.assert_close(
        batch["input"][turned][0], straight["input"][0, H36M17.flip_order] * sign, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        batch["exact"][turned][0], straight["exact"][0, H36M17.flip_order] * sign[:2], atol=1e-4, rtol=1e-4
    )


def test_people_are_in_one_half_each():
    assert [fold_of_person(["S5", "S1", "S7"], p) for p in ("S1", "S5", "S7")] == [0, 1, 0]


def test_3dhp_training_file(tmp_path):
    points = body(5, 17, 0) * 1000 + [0, 0, 4000]
    camera = {"data_2d": points[..., :2], "data_3d": points}
    save_tree(
        tmp_path / "data_train_3dhp.npz",
        {"data": {"S1 Seq1": [{"0": camera, "8": camera}], "S2 Seq2": [{"4": camera}]}},
    )
    rows = load_rows("3dhp", tmp_path)
    assert {k: len(r.target) for k, r in rows.items()} == {"S1": 10, "S2": 5}
    expected = (points[:, THEIRS] - points[:, THEIRS[:1]]) / 1000
    np.testing.assert_allclose(rows["S2"].target, expected, atol=1e-4)
    np.testing.assert_allclose(rows["S2"].keypoints, points[:, THEIRS, :2], atol=1e-3)
    save_tree(tmp_path / "data_train_3dhp.npz", {"data": {"S1 Seq1": [{"0": {"data_2d": points}}]}})
    with pytest.raises(InputError, match="S1 Seq1: expected cameras with data_2d and data_3d"):
        load_rows("3dhp", tmp_path)


def test_humaneva_is_trained_on_its_train_part(tmp_path):
    parts = {"Train": 4, "Validate": 9}
    poses = {f"{p}/S{i}": {"Jog 1 chunk0": body(n, 15)} for p, n in parts.items() for i in (1, 2, 3)}
    save_tree(tmp_path / "data_3d_humaneva15.npz", {"positions_3d": poses})
    points = {s: {a: [w[..., :2] * 100] * 3 for a, w in r.items()} for s, r in poses.items()}
    save_tree(tmp_path / "data_2d_humaneva15_gt.npz", {"positions_2d": points})
    assert {k: len(r.target) for k, r in load_rows("humaneva", tmp_path).items()} == {
        "S1": 12,
        "S2": 12,
        "S3": 12,
    }
    with pytest.raises(InputError, match="trained on exact 2D only"):
        load_rows("humaneva", tmp_path, "det")


def test_a_system_is_trained_and_measured_on_human36m(h36m, tmp_path, monkeypatch):
    """Lifter, two fold lifters and a refiner, for a few steps each; then the same folder through `posefix eval`."""
    monkeypatch.setattr(train_refiner, "MIXTURE_SAMPLES", 400)
    rows = load_rows("h36m", h36m, "det")
    lifter = pairs.train_lifter_on_rows(rows, "h36m", "det", tmp_path / "lifter", QUICK)
    assert np.isfinite(lift_rows(lifter, rows["S1"].keypoints)).all()
    places = (tmp_path / "lifter", tmp_path, tmp_path / "cce")
    trained = train_system_on_rows(
        "cce", system_of("cce"), rows, "h36m", "det", *places, QUICK, fold_budget=QUICK
    )
    assert trained.name == "cce"
    drawn = json.loads((tmp_path / "cce" / "system.json").read_text())["drawn"]
    assert drawn["dataset"] == "h36m" and drawn["input"] == "det"
    figures = [json.loads(line) for line in (tmp_path / "cce" / "log.jsonl").read_text().splitlines()]
    assert figures[-1]["samples"] == 48 and figures[-1]["h36m_train"] > 0
    with pytest.raises(InputError, match="holds a run on other data"):
        pairs.train_lifter_on_rows(rows, "h36m", "gt", tmp_path / "lifter", QUICK)

    monkeypatch.setattr(human36m, "TEST_SUBJECTS", ("S1",))
    monkeypatch.setattr(human36m.read_human36m, "__defaults__", ("gt", 1, ("S1",), "test"))
    out = tmp_path / "figures.json"
    words = [
        "eval",
        "--dataset",
        "h36m",
        "--data",
        str(h36m),
        "--input",
        "det",
        "--system",
        "cce",
        "--device",
        "cpu",
    ]
    assert call([*words, "--run", str(tmp_path / "cce"), "--json", str(out), "-q"]) == 0
    report = json.loads(out.read_text())
    assert report["settings"]["system"] == "cce" and report["settings"]["input"] == "det"
    assert report["lifted"]["mpjpe"] > 0 and report["refined"]["mpjpe"] > 0


def test_the_command_trains_on_human36m(h36m, tmp_path, capsys):
    words = ["train", "lifter", "--dataset", "h36m", "--data", str(h36m), "--samples", "512"]
    assert call([*words, "--run", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "rows.json").read_text()) == {"dataset": "h36m", "input": "gt"}
    assert (tmp_path / "run" / "best.pt").is_file() and (tmp_path / "run" / "curves.png").is_file()
    (h36m / "data_3d_h36m.npz").unlink()
    assert call(["train", "cce", "--dataset", "h36m", "--data", str(h36m), "--run", str(tmp_path / "c")]) == 2
    assert "data_3d_h36m.npz: no such file" in capsys.readouterr().err
