"""`posefix eval`: scores, JSON, table, and its errors; with stages made here instead of networks."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import posefix.lifter
import posefix.refiner
import pytest
from posefix.pipeline.cli import call
from posefix.skeleton.errors import InputError, OutputError, PosefixError
from posefix.training import evaluate as module
from posefix.training.evaluate import combine, evaluate, evaluate_cli, take_rows
from posefix.training.mocap import Sequence, load_mocap, write_mocap
from posefix.training.protocol import make_benchmark

FIGURES = {"mpjpe", "p_mpjpe", "n_mpjpe", "pck150", "auc"}


@pytest.fixture
def file(tmp_path):
    return _write(tmp_path / "mocap17_cmu.npz")


def _write(path):
    rng = np.random.default_rng(0)
    sequences = []
    for name, action, n in (("s0", "walk", 9), ("s1", "sit", 5)):
        pose = rng.integers(-3000, 3000, (n, 17, 3), dtype=np.int16)
        pose[:, 0] = 0
        root = np.tile(np.array([0, 0, 0.9], np.float32), (n, 1))
        sequences.append(Sequence(name, "p", action, "", "made", "test", 30.0, pose, root))
    write_mocap(path, sequences)
    return path


def _fake_stages(stage, settings, advance=lambda rows: None):
    """Lifted: a flat person; refined: another guess, half as large."""

    def pose(keypoints, factor):
        advance(len(keypoints))
        flat = np.concatenate([keypoints - keypoints[:, :1], np.zeros_like(keypoints[..., :1])], axis=-1)
        return factor * flat / 230.0

    stages = {"lifted": lambda k, _: pose(k, 1.0), "refined": lambda k, _: pose(k, 0.5)}
    return {k: v for k, v in stages.items() if stage in (k, "both")}, {"lifter.safetensors": "ab12"}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(module, "load_stages", _fake_stages)


def test_a_perfect_stage_scores_zero_and_actions_average_to_the_whole(file):
    bench = make_benchmark(load_mocap(file))
    rng = np.random.default_rng(1)
    noisy = bench.target + rng.normal(scale=0.05, size=bench.target.shape)
    report = evaluate(bench, {"perfect": lambda k, s: bench.target, "noisy": lambda k, s: noisy})
    assert report["perfect"]["mpjpe"] == 0
    assert report["perfect"]["pck150"] == 100
    assert list(report["per_action"]) == ["sit", "walk"]
    assert report["n_rows"] == sum(a["n_rows"] for a in report["per_action"].values()) == 20
    for figure in FIGURES:
        whole = sum(a["noisy"][figure] * a["n_rows"] for a in report["per_action"].values()) / 20
        assert report["noisy"][figure] == pytest.approx(whole)


@pytest.mark.parametrize("poses", [np.zeros((3, 17, 3)), np.full((20, 17, 3), np.nan)])
def test_a_stage_that_gives_nonsense_is_named(file, poses):
    with pytest.raises(PosefixError, match=r"stage 'lifted': expected \(20, 17, 3\) finite values"):
        evaluate(make_benchmark(load_mocap(file)), {"lifted": lambda k, s: poses})


def test_the_command_prints_a_table_and_writes_the_same_figures_as_json(file, fake, tmp_path, capsys):
    out = tmp_path / "figures.json"
    report = evaluate_cli(data=[file], json=out, device="cpu")
    assert json.loads(out.read_text()) == report
    assert set(report["lifted"]) == set(report["refined"]) == FIGURES
    assert report["settings"] == {
        "data": "mocap17_cmu", "split": "test", "cameras": "lab", "input": "gt", "stride": 4, "steps": 2,
        "hypotheses": 5, "seed": 0, "device": "cpu", "max_rows": None, "rows_in_protocol": 20,
    }  # fmt: skip
    assert report["weights"] == {"lifter.safetensors": "ab12"}
    assert not list(tmp_path.glob("*.part"))
    text = capsys.readouterr().out
    assert f"{report['refined']['p_mpjpe']:.2f}" in text
    assert "walk" in text


def test_cmu_and_hdm05_together_give_their_mean(file, fake, tmp_path):
    other = _write(tmp_path / "mocap17_hdm05.npz")
    report = evaluate_cli(data=[file, other], quiet=True, max_rows=7)
    both = [report["files"][name]["lifted"]["mpjpe"] for name in ("mocap17_cmu", "mocap17_hdm05")]
    assert report["in_domain"]["lifted"]["mpjpe"] == pytest.approx(np.mean(both))
    assert report["files"]["mocap17_cmu"]["n_rows"] == 7
    assert report["files"]["mocap17_cmu"]["settings"]["max_rows"] == 7
    assert "in_domain" not in combine({name: report["files"]["mocap17_cmu"] for name in ("a_cmu", "bandai")})


def test_one_stage_alone(file, fake):
    report = evaluate_cli(data=[file], stage="lifted", quiet=True)
    assert "lifted" in report
    assert "refined" not in report


def test_a_quick_look_takes_rows_from_everywhere(file):
    bench = make_benchmark(load_mocap(file))
    few = take_rows(bench, 4)
    assert list(few.camera) == [0, 1, 2, 3]
    np.testing.assert_array_equal(few.keypoints[[0, -1]], bench.keypoints[[0, -1]])
    assert take_rows(bench, 99) is bench
    with pytest.raises(InputError, match="at least 1"):
        take_rows(bench, 0)


class _FakeLifter:
    """Takes what the real one takes; the pose is the 2D with depth 0."""

    weights = {"lifter.safetensors": "aa"}  # noqa: RUF012

    @classmethod
    def load(cls, device):
        return cls()

    def __call__(self, keypoints, observed):
        assert observed.shape == keypoints.shape[:2]
        assert observed.all()
        return np.concatenate([keypoints, np.zeros_like(keypoints[..., :1])], axis=-1)


class _FakeRefiner:
    """Writes each row's key into the pose."""

    weights = {"refiner.safetensors": "bb"}  # noqa: RUF012

    @classmethod
    def load(cls, device, steps, hypotheses, seed):
        return cls()

    def __call__(self, keypoints, observed, lifted, keys):
        assert keys.dtype == np.int64
        return lifted + keys[:, None, :1], np.zeros(lifted.shape[:2])


def test_long_names_of_actions_leave_room_for_the_figures(file, fake, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    names = {"walk": "dance - small jetes, attitude/arabesque, shifted-axis pirouette, turn"}
    true = module.make_benchmark

    def renamed(*args):
        bench = true(*args)
        return replace(bench, action=np.array([names.get(a, a) for a in bench.action.tolist()]))

    monkeypatch.setattr(module, "make_benchmark", renamed)
    report = evaluate_cli(data=[file])
    out = capsys.readouterr().out
    assert f"{report['lifted']['mpjpe']:.2f}" in out and f"{report['refined']['auc']:.2f}" in out


@pytest.mark.parametrize("chunk", [7, 1024])
def test_networks_run_in_chunks_with_one_key_a_row(monkeypatch, chunk):
    monkeypatch.setattr(posefix.lifter, "Lifter", _FakeLifter, raising=False)
    monkeypatch.setattr(posefix.refiner, "Refiner", _FakeRefiner, raising=False)
    monkeypatch.setattr(module, "CHUNK_ROWS", chunk)
    done = []
    stages, weights = module.load_stages("both", module.ModelSettings(), done.append)
    keypoints = np.random.default_rng(0).normal(size=(20, 17, 2))
    lifted, refined = (stages[name](keypoints, np.ones((20, 2))) for name in ("lifted", "refined"))
    np.testing.assert_array_equal(lifted[..., :2], keypoints)
    np.testing.assert_allclose(refined - lifted, np.broadcast_to(np.arange(20.0)[:, None, None], (20, 17, 3)))
    assert sum(done) == 40
    assert weights == {"lifter.safetensors": "aa", "refiner.safetensors": "bb"}


def test_bad_requests_fail_before_the_work(file, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load_stages", lambda *a: pytest.fail("worked before checking"))
    with pytest.raises(OutputError, match="folder that exists"):
        evaluate_cli(data=[file], json=tmp_path / "nowhere" / "x.json")
    with pytest.raises(InputError, match="two files of one name"):
        evaluate_cli(data=[file, file])
    with pytest.raises(InputError, match="no such file"):
        evaluate_cli(data=[tmp_path / "none.npz"])
    with pytest.raises(InputError, match="no sequences of the split 'val'"):
        evaluate_cli(data=[file], split="val")
    with pytest.raises(InputError, match="--steps 51"):
        evaluate_cli(data=[file], steps=51)
    with pytest.raises(InputError, match="--hypotheses 0"):
        evaluate_cli(data=[file], hypotheses=0)


def test_the_shipped_networks_through_the_command_line(file, tmp_path, capsys):
    if not (files("posefix.weights") / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    out = tmp_path / "figures.json"
    assert call(["eval", "--data", str(file), "--json", str(out), "-q"]) == 0
    report = json.loads(out.read_text())
    assert report["lifted"]["mpjpe"] > 0 and report["refined"]["mpjpe"] > 0
    assert report["settings"]["device"] in ("cpu", "cuda", "mps")


def test_keypoints_of_other_data_sets_are_not_left_out_without_a_word(file, capsys):
    assert call(["eval", "--data", str(file), "--keypoints", "detectron_ft_h36m"]) == 2
    assert "--keypoints: mocap17 files have no other 2D" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--device tpu", "--samples 0", "--samples -5", "--seed -1"])
def test_training_says_no_before_it_starts(tmp_path, capsys, words):
    for network in ("lifter", "refiner"):
        assert call(["train", network, "--data", str(tmp_path), "--run", "never", *words.split()]) == 2
        err = capsys.readouterr().err
        assert words.split()[0] in err and len(err.splitlines()) == 1
