"""The words of `posefix train refiner`, and --all-runs: what made the shipped weights, with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from posefix.pipeline.cli import call
from posefix.training import calibrate, curves, export, train_lifter, train_refiner
from posefix.training.augment import AugmentConfig

#: run folder, the one it begins with, samples, seed, optimiser, whether both steps are trained, far bodies' share
Row = tuple[str, str | None, int, int, str, bool, float]


@pytest.fixture
def trained(monkeypatch, tmp_path) -> list[Row]:
    """Every run that is asked for; training itself is left out."""
    rows: list[Row] = []

    def train(
        data: Path,
        run: Path,
        lifter: Any,
        folds: Any,
        config: Any,
        losses: Any,
        *,
        begin: Path | None,
        augment: AugmentConfig,
        **_: Any,
    ):
        run.mkdir()
        (run / "best.pt").touch()
        (run / "lifted.json").write_text("{}")
        before, kind = begin and begin.name, (config.optimiser, losses.both_steps, augment.far_body)
        rows.append((run.name, before, config.samples, config.seed, *kind))
        return run.name, None, None

    monkeypatch.setattr(train_refiner, "train_refiner", train)
    monkeypatch.setattr(train_refiner, "load_network", lambda folder: None)
    monkeypatch.setattr(train_refiner, "choose", lambda *_: (None, None))
    monkeypatch.setattr(train_lifter, "train_lifter", lambda data, folder, *_, **__: folder)
    monkeypatch.setattr(curves, "plot_curves", lambda *_: "curves.png")
    monkeypatch.setattr(calibrate, "calibrate_network", lambda *_: None)
    monkeypatch.setattr(
        export, "export_refiner", lambda network, *_: (tmp_path / network).with_suffix(".out").touch()
    )
    (tmp_path / "lifter").mkdir()
    (tmp_path / "lifter" / "best.pt").touch()
    return rows


def words(folder: Path, *more: str) -> list[str]:
    places = ["--data", str(folder), "--lifter", str(folder / "lifter"), "--run", str(folder / "refiner")]
    return ["train", "refiner", *places, "--export", str(folder / "weights"), *more]


def test_all_runs_go_on_from_each_other_and_the_last_is_exported(trained, tmp_path):
    assert call(words(tmp_path, "--all-runs")) == 0
    assert trained == [
        ("refiner", None, 1_500_000, 0, "adamw", False, 0),
        ("refiner-2", "refiner", 700_000, 0, "muon", False, 0),
        ("refiner-3", "refiner-2", 1_100_000, 2, "muon", False, 0),
        ("refiner-4", "refiner-3", 1_200_000, 3, "muon", False, 0),
        ("refiner-5", "refiner-4", 600_000, 4, "muon", True, 0),
        ("refiner-6", "refiner-5", 700_000, 5, "muon", True, 0.5),
    ]
    assert [path.name for path in tmp_path.glob("*.out")] == ["refiner-6.out"]


def test_without_it_there_is_one_run(trained, tmp_path):
    assert call(words(tmp_path)) == 0
    assert [row[0] for row in trained] == ["refiner"] and (tmp_path / "refiner.out").exists()


@pytest.mark.parametrize(
    "more", ["--samples 5", "--seed 1", "--both-steps", "--far-bodies", "--budget common"]
)
def test_all_runs_have_settings_of_their_own(trained, tmp_path, capsys, more):
    assert call(words(tmp_path, "--all-runs", *more.split())) == 2
    assert "--all-runs" in capsys.readouterr().err and not trained


@pytest.mark.parametrize(
    "more",
    ["--bridge 1.5", "--bridge -0.1", "--shipped-share 2", "--begin gone", "--far-bodies --no-odd-bodies"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(trained, tmp_path, capsys, more):
    assert call(words(tmp_path, *more.split())) == 2
    assert more.split()[0] in capsys.readouterr().err and not trained


def test_what_cannot_be_exported_is_refused_before_the_first_of_all_runs(trained, tmp_path, capsys):
    assert call(words(tmp_path, "--all-runs", "--predict", "previous")) == 2
    assert "--predict previous" in capsys.readouterr().err and not trained


@pytest.mark.parametrize("name", ["lifter", "diffpose"])
def test_mocap_has_no_choice_of_input(tmp_path, capsys, name):
    assert (
        call(["train", name, "--data", str(tmp_path), "--input", "det", "--run", str(tmp_path / "run")]) == 2
    )
    assert "--input det" in capsys.readouterr().err and not (tmp_path / "run").exists()
