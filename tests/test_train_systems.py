"""Every system learns in the common loop, resumes, refuses other settings, and is evaluated by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from posefix.pipeline.cli import call
from posefix.refiner.mixture import Mixture, fit
from posefix.skeleton.errors import InputError
from posefix.training import train_system as module
from posefix.training.evaluate import evaluate_cli
from posefix.training.loop import TrainConfig, samples_seen
from posefix.training.mocap import Sequence, write_mocap
from posefix.training.systems import SYSTEMS, with_options
from posefix.training.train_system import load_lifter, load_system, train_system
from test_training import generator
from toy_systems import Toy, small, small_lifter

BUDGET = TrainConfig(
    samples=64 * 36, batch=64, lr=5e-3, warmup=3, validate_every=64 * 12, bfloat16=False, ema=0.9
)
FIGURES = {"mpjpe", "p_mpjpe", "n_mpjpe", "pck150", "auc"}


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy(small_lifter())


@pytest.fixture(scope="module")
def mixture(toy) -> Mixture:
    batch = toy.draw(600, generator(1))
    return fit((batch["start"] - batch["truth"]).numpy(), components=1)


@pytest.fixture(scope="module")
def sets(toy) -> dict:
    batch = toy.draw(24, generator(9))
    keypoints = batch["input"][..., :2].numpy().astype(np.float64) * 100 + 300
    return {"cmu_gt": SimpleNamespace(keypoints=keypoints, target=batch["target"].numpy().astype(np.float64))}


@pytest.fixture(scope="module")
def runs(toy, mixture, sets, tmp_path_factory) -> dict[str, Path]:
    """Every system, trained for a second or two."""
    folder = tmp_path_factory.mktemp("runs")
    for name in SYSTEMS:
        train_system(name, small(name), toy, toy.lifter, lambda: mixture, sets, folder / name, BUDGET)
    return {name: folder / name for name in SYSTEMS}


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_learns(name, runs) -> None:
    rows = log_of(runs[name])
    assert len(rows) == 3 and rows[-1]["samples"] == BUDGET.samples
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    lifted = json.loads((runs[name] / "lifted.json").read_text())
    if name != "diffupose":  # which begins with pure noise and needs longer; the toy lifter knows nothing
        assert rows[-1]["best"] < 0.7 * lifted["score"]


def test_a_run_folder_tells_what_made_it(runs) -> None:
    run = runs["cce"]
    assert json.loads((run / "system.json").read_text())["system"] == "cce"
    assert json.loads((run / "config.json").read_text())["samples"] == BUDGET.samples
    machine = json.loads((run / "machine.json").read_text())
    assert machine["device"] == "cpu" and machine["name"] and machine["train_seconds"] > 0
    for name in ("best.pt", "last.pt"):
        assert torch.load(run / name, weights_only=True)


def test_systems_of_one_seed_see_the_same_poses(toy, mixture, sets, tmp_path, monkeypatch) -> None:
    drawn: list[torch.Tensor] = []

    class Watched:
        def draw(self, count, g):
            batch = toy.draw(count, g)
            drawn.append(batch["truth"])
            return batch

    budget = replace(BUDGET, samples=4 * BUDGET.batch)
    for name in ("regressor", "diffpose", "diffupose"):  # which need different amounts of noise
        train_system(name, small(name), Watched(), toy.lifter, lambda: mixture, sets, tmp_path / name, budget)
    one, two, three = drawn[:4], drawn[4:8], drawn[8:]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("name", ["stacked", "cce-cag"])
def test_a_stopped_run_resumes_to_the_same_end(name, runs, toy, mixture, sets, tmp_path, monkeypatch) -> None:
    class Stop(Exception): ...

    class Stops(module.Trainer):
        def _record(self, figures, loss):
            super()._record(figures, loss)
            raise Stop

    def train():
        return train_system(name, small(name), toy, toy.lifter, lambda: mixture, sets, tmp_path, BUDGET)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(module, "Trainer", Stops)
        train()
    assert len(log_of(tmp_path)) == 1
    resumed, whole = train().network.state_dict(), load_system(runs[name]).network.state_dict()
    assert len(log_of(tmp_path)) == 3
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)


def test_a_run_folder_refuses_other_settings_lifters_and_budgets(runs, toy, mixture, sets) -> None:
    run, config = runs["diffpose"], small("diffpose")

    def train(settings=config, lifter=toy.lifter, budget=BUDGET, name="diffpose") -> None:
        train_system(name, settings, toy, lifter, lambda: mixture, sets, run, budget)

    other = small_lifter()
    torch.nn.init.normal_(other.head.weight)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"settings": replace(config, mirror=False)}, "other settings"),
        ({"name": "e533"}, "other settings"),
        ({"lifter": other}, "another lifter"),
        ({"budget": replace(BUDGET, seed=1)}, "other settings"),
    ]
    for refused, words in cases:
        with pytest.raises(InputError, match=words):
            train(**refused)


def test_a_run_goes_on_from_another_of_the_same_system(runs, toy, mixture, sets, tmp_path) -> None:
    longer = replace(BUDGET, samples=2 * BUDGET.batch, seed=5)

    def train(name, run, begin, lifter=toy.lifter):
        return train_system(name, small(name), toy, lifter, pytest.fail, sets, run, longer, begin=begin)

    network = train("diffpose", tmp_path / "two", runs["diffpose"]).network
    assert samples_seen(tmp_path / "two") == BUDGET.samples + longer.samples
    before = torch.load(runs["diffpose"] / "best.pt", weights_only=True)
    after = network.state_dict()
    moved = [float((after[k] - before[k]).abs().max()) for k in before]
    assert 0 < max(moved) < 0.2  # two steps from there, not from the start
    assert (tmp_path / "two" / "noise.safetensors").read_bytes() == (
        runs["diffpose"] / "noise.safetensors"
    ).read_bytes()
    train("diffpose", tmp_path / "three", tmp_path / "two")
    assert samples_seen(tmp_path / "three") == BUDGET.samples + 2 * longer.samples
    with pytest.raises(InputError, match="other settings"):
        train("diffpose", tmp_path / "other", runs["e533"])
    with pytest.raises(InputError, match="no trained system"):
        train("diffpose", tmp_path / "none", tmp_path)
    assert not (tmp_path / "other").exists() and not (tmp_path / "none").exists()


def test_a_folder_with_a_lifters_run_is_not_taken_over(toy, mixture, sets, tmp_path) -> None:
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(InputError, match="run of something else"):
        train_system("cce", small("cce"), toy, toy.lifter, lambda: mixture, sets, tmp_path, BUDGET)


def test_validation_lifts_without_the_mirror_where_a_system_has_no_flips(
    toy, mixture, sets, tmp_path
) -> None:
    config = small("regressor")
    plain = replace(config, mirror=False, sampling=replace(config.sampling, flip=False))
    budget = replace(BUDGET, samples=64)
    for name, settings in (("a", config), ("b", plain)):
        train_system("regressor", settings, toy, toy.lifter, lambda: mixture, sets, tmp_path / name, budget)
    with_flip, without = (json.loads((tmp_path / k / "lifted.json").read_text())["score"] for k in "ab")
    assert with_flip != without


def test_lifters_come_from_runs_and_from_folders_of_weights(runs, toy) -> None:
    found = load_lifter(runs["cce"])  # a system's run holds its lifter as a folder of weights does
    assert all(torch.equal(v, toy.lifter.state_dict()[k]) for k, v in found.state_dict().items())
    with pytest.raises(InputError, match="no trained lifter"):
        load_lifter(runs["cce"].parent)


def test_a_damaged_or_empty_run_is_named(runs, tmp_path) -> None:
    with pytest.raises(InputError, match=r"no trained system here \(system.json"):
        load_system(tmp_path)
    for file in runs["cce"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "best.pt").write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_system(tmp_path)


# Evaluation


@pytest.fixture(scope="module")
def file(toy, tmp_path_factory) -> Path:
    poses, heights, _ = toy.pool.draw_bodies(12, toy.augment, generator(4))
    root = np.stack([np.zeros(12), np.zeros(12), heights.numpy()], axis=-1).astype(np.float32)
    pose = (poses.numpy() / 1e-4).round().astype(np.int16)
    path = tmp_path_factory.mktemp("data") / "mocap17_cmu.npz"
    write_mocap(path, [Sequence("s", "p", "walk", "", "made", "test", 30.0, pose, root)])
    return path


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_evaluated_by_name(name, runs, file, tmp_path) -> None:
    out = tmp_path / "figures.json"
    words = ["eval", "--data", file, "--system", name, "--run", runs[name], "--json", out, "-q"]
    extra = ["--device", "cpu", *(["--steps", "3", "--hypotheses", "2"] if name == "diffupose" else [])]
    assert call([str(w) for w in (*words, *extra)]) == 0
    report = json.loads(out.read_text())
    assert set(report["lifted"]) == set(report["refined"]) == FIGURES
    assert report["refined"]["mpjpe"] != report["lifted"]["mpjpe"]
    assert report["settings"]["system"] == name and report["settings"]["flip"] is True
    assert report["speed"]["frames_per_second"] > 0 and report["speed"]["batch"] == 1
    assert set(report["weights"]) == {"best.pt", "lifter.safetensors", "noise.safetensors"}
    assert report["n_rows"] == report["settings"]["rows_in_protocol"] == 12


def test_options_of_the_evaluation_reach_the_system(runs, file) -> None:
    def figures(**options) -> dict:
        return evaluate_cli(
            data=[file], system="diffpose", run=runs["diffpose"], device="cpu", quiet=True, **options
        )

    plain = figures()
    assert figures()["refined"] == plain["refined"]
    for options, key, value in (
        ({"steps": 1}, "calls", 1),
        ({"hypotheses": 2}, "hypotheses", 2),
        ({"sampler": "heun"}, "sampler", "heun"),
        ({"flip": False}, "flip", False),
        ({"seed": 5}, "seed", 5),
    ):
        other = figures(**options)
        assert other["settings"][key] == value
        assert other["refined"] != plain["refined"], options
    assert figures(flip=False)["lifted"] != plain["lifted"]
    assert figures(steps=3, sampler="heun", churn=1.0)["settings"]["churn"] == 1.0


def test_the_lifter_alone_is_a_system(runs, file) -> None:
    report = evaluate_cli(data=[file], system="graformer", run=runs["cce"], device="cpu", quiet=True)
    assert "refined" not in report and report["speed"]["frames_per_second"] > 0
    of_system = evaluate_cli(data=[file], system="cce", run=runs["cce"], device="cpu", quiet=True)
    assert report["lifted"] == of_system["lifted"]


def test_posefix_by_name_is_what_ships_and_its_speed(file) -> None:
    named = evaluate_cli(data=[file], system="posefix", device="cpu", quiet=True)
    assert named["speed"]["frames_per_second"] > 0 and named["settings"]["system"] == "posefix"
    plain = evaluate_cli(data=[file], device="cpu", quiet=True)
    assert plain["refined"] == named["refined"] and "speed" not in plain


def test_bad_requests_are_refused_in_one_line(runs, file, capsys, tmp_path) -> None:
    run = str(runs["diffpose"])
    for words, complaint in (
        (["--system", "nothing", "--run", run], "choose from posefix, graformer, regressor"),
        (["--system", "diffpose"], "--run names its run folder"),
        (["--run", run], "--system tells what it is a run of"),
        (["--system", "cce", "--run", run], "holds the system diffpose, not cce"),
        (["--system", "diffpose", "--run", str(tmp_path)], "no trained system here"),
        (["--system", "diffpose", "--run", run, "--sampler", "heun", "--ddim-steps", "2"], "odd number"),
        (["--system", "diffpose", "--run", run, "--hypotheses", "0"], "--hypotheses 0"),
        (["--system", "graformer", "--run", run, "--hypotheses", "2"], "graformer has no such option"),
        (["--sampler", "ddim"], "posefix has no such option"),
        (["--no-flip"], "posefix has no such option"),
    ):
        assert call(["eval", "--data", str(file), *words, "-q"]) == 2
        err = capsys.readouterr().err
        assert complaint in err and len(err.splitlines()) == 1


def test_the_command_trains_on_mocap_files(runs, toy, mixture, sets, tmp_path, monkeypatch) -> None:
    """From the words on, with the pool, the fold lifters and the benchmarks made here."""
    seen = {}

    def fold(data, run, budget, leave_out_fold, device):
        seen[f"fold{leave_out_fold}"] = run
        return toy.lifter

    class Source(Toy):
        def __init__(self, data, lifters, shipped, share, augment, device):
            super().__init__(lifters[0])
            self.pools = [self.pool]

    monkeypatch.setattr(module, "train_lifter", fold)
    monkeypatch.setattr(module, "OutOfFold", Source)
    monkeypatch.setattr(module, "fit_errors", lambda source, config, seed: mixture)
    monkeypatch.setattr(module, "validation_sets", lambda data, stride: sets)
    run, lifter = tmp_path / "r", runs["cce"]
    words = ["train", "cce-cag", "--data", tmp_path, "--run", run, "--lifter", lifter, "--samples", 256]
    assert call([str(w) for w in (*words, "--no-guide", "--no-flip", "--seed", 3)]) == 0
    assert seen == {f"fold{i}": lifter.parent / f"fold{i}" for i in (0, 1)}
    assert load_system(run).config == with_options("cce-cag", {"guide": False, "flip": False})
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    assert json.loads((run / "system.json").read_text())["drawn"]["augment"]["odd_body"] > 0
    assert (run / "curves.png").is_file()
    gone = [str(w) for w in (*words, "--begin", tmp_path / "gone")]
    assert call(gone) == 2
