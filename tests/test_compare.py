"""benchmarks/compare.py: from runs of several seeds to one JSON, tables and a figure."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posefix.lifter.runtime import weights_folder
from posefix.refiner.mixture import fit
from posefix.skeleton.errors import InputError
from posefix.training.evaluate import evaluate_cli
from posefix.training.loop import TrainConfig
from posefix.training.mocap import Sequence, write_mocap
from posefix.training.systems import SYSTEMS, with_options
from posefix.training.train_system import train_system
from test_train_systems import sets, toy  # noqa: F401  fixtures
from test_training import generator
from toy_systems import Toy, small

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import compare

    return compare


@pytest.fixture(scope="module")
def runs(toy, sets, tmp_path_factory) -> Path:  # noqa: F811
    """Two seeds of two systems, hardly trained."""
    folder = tmp_path_factory.mktemp("compare")
    batch = toy.draw(400, generator(1))
    mixture = fit((batch["start"] - batch["truth"]).numpy(), components=1)
    for name in ("regressor", "e533"):
        for seed in (0, 1):
            budget = TrainConfig(samples=256, batch=64, lr=5e-3, warmup=1, bfloat16=False, seed=seed)
            run = folder / f"{name}-{seed}"
            train_system(name, small(name), toy, toy.lifter, lambda: mixture, sets, run, budget)
    return folder


@pytest.fixture(scope="module")
def data(toy: Toy, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("data")
    for i, name in enumerate(("cmu", "hdm05", "bandai")):
        poses, heights, _ = toy.pool.draw_bodies(16, toy.augment, generator(i))
        root = np.stack([np.zeros(16), np.zeros(16), heights.numpy()], axis=-1).astype(np.float32)
        pose = (poses.numpy() / 1e-4).round().astype(np.int16)
        sequence = Sequence("s", "p", "walk", "", "made", "val", 30.0, pose, root)
        write_mocap(folder / f"mocap17_{name}.npz", [sequence])
    return folder


def test_runs_of_several_seeds_become_one_comparison(compare, runs, data, tmp_path, capsys) -> None:
    out = tmp_path / "compare.json"
    compare.measure(
        data=data, runs=runs, lifter=[runs / "e533-0"], json=out, split="val", device="cpu", max_rows=8
    )
    summary = json.loads(out.read_text())["summary"]
    name = next(label for label in summary if label.startswith("e533") and label.endswith("ddim"))
    assert [row["system"] for row in summary.values()] == [
        "graformer",
        "regressor",
        "e533",
        "e533",
        "posefix",
    ]
    row = summary[name]
    assert row["seeds"] == 2 and row["samples"] == 256 and row["frames_per_second"] > 0
    assert " thread" in row["machines"][0] and summary["posefix, as shipped"]["machines"] == ["not recorded"]

    figures = []  # the same by the command
    for seed in (0, 1):
        report = evaluate_cli(
            data=[data / "mocap17_cmu.npz", data / "mocap17_hdm05.npz"], split="val", input="det", max_rows=8,
            system="e533", run=runs / f"e533-{seed}", sampler="ddim", device="cpu", quiet=True,
        )  # fmt: skip
        figures.append(report["in_domain"]["refined"]["mpjpe"])
    assert row["mean"]["in_domain_lab_det"]["mpjpe"] == pytest.approx(np.mean(figures))
    assert row["spread"]["in_domain_lab_det"]["mpjpe"] == pytest.approx(np.std(figures, ddof=1))
    assert summary["graformer"]["spread"]["bandai_lab_gt"]["p_mpjpe"] is None

    capsys.readouterr()
    compare.show(json=out, figure=tmp_path / "compare.png")
    table = capsys.readouterr().out
    assert f"{np.mean(figures):.1f} ± {np.std(figures, ddof=1):.1f}" in table
    assert "1.000" in table  # the lifter against itself
    assert "better" in table or "worse" in table
    head, rule, *rows = table.splitlines()[:7]
    assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert (tmp_path / "compare.png").stat().st_size > 5000


def test_what_is_known_is_not_measured_again(compare, runs, data, tmp_path, monkeypatch) -> None:
    out = tmp_path / "compare.json"
    settings = dict(data=data, runs=runs, json=out, split="val", device="cpu", max_rows=4)
    compare.sweep(**settings, steps=[1], hypotheses=[1])
    first = json.loads(out.read_text())
    labels = list(first["sweep_summary"])
    assert len(labels) == 2 and labels[0].endswith("steps=1") and labels[1].endswith("hypotheses=1")
    assert set(first["sweep_summary"][labels[0]]["mean"]) == set(compare.SWEEP_SETS)

    def never(*_):
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(compare, "evaluate", never)
        compare.sweep(**settings, steps=[1], hypotheses=[1])
        assert json.loads(out.read_text()) == first
        with pytest.raises(AssertionError, match="measured again"):
            compare.sweep(**{**settings, "max_rows": 5}, steps=[1])


def test_rows_of_run_folders_that_are_elsewhere_stay_when_asked(compare, runs, data, tmp_path) -> None:
    out = tmp_path / "compare.json"
    settings = dict(data=data, json=out, split="val", device="cpu", max_rows=4, sets=["in_domain_lab_gt"])
    compare.measure(**settings, runs=runs)
    whole = json.loads(out.read_text())
    compare.measure(**settings, lifter=[runs / "e533-0"], keep=True)  # what ships is measured, too
    kept = json.loads(out.read_text())
    labels = list(kept["summary"])
    assert labels[0] == "graformer" and labels[-1] == "posefix, as shipped"
    assert labels[1:] == list(whole["summary"])
    assert {k: v for k, v in kept["runs"].items() if k in whole["runs"]} == whole["runs"]
    compare.measure(**settings, lifter=[runs / "e533-0"])
    assert list(json.loads(out.read_text())["summary"]) == ["graformer", "posefix, as shipped"]


def test_slow_systems_are_measured_on_fewer_rows_and_the_table_says_so(
    compare, runs, data, tmp_path, monkeypatch, capsys
) -> None:
    out = tmp_path / "compare.json"
    monkeypatch.setattr(compare, "SLOW", 20)
    compare.measure(
        data=data, runs=runs, json=out, split="val", slow_rows=2, max_rows=8, device="cpu",
        sets=["in_domain_lab_gt"],
    )  # fmt: skip
    summary = json.loads(out.read_text())["summary"]
    rows = {row["system"]: row["rows"]["in_domain_lab_gt"] for row in summary.values()}
    assert rows == {"regressor": 16, "e533": 4, "posefix": 16}
    capsys.readouterr()
    compare.show(json=out)
    table = capsys.readouterr().out
    assert "* on 4 rows" in table
    assert "bandai" not in table  # what was not measured has no column
    compare.show(json=out, figure=tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 5000


def test_posefix_at_the_common_budget_stands_beside_what_ships(compare, runs, data, tmp_path) -> None:
    run, out = tmp_path / "posefix-1", tmp_path / "compare.json"
    shutil.copytree(weights_folder(None), run / "weights")
    for file in ("config.json", "machine.json"):
        shutil.copy(runs / "e533-0" / file, run / file)
    compare.measure(
        data=data, runs=runs, posefix=[run / "weights"], json=out, split="val", max_rows=4, device="cpu",
        sets=["in_domain_lab_gt"],
    )  # fmt: skip
    summary = json.loads(out.read_text())["summary"]
    assert summary["posefix"]["samples"] == 256 and " thread" in summary["posefix"]["machines"][0]
    assert summary["posefix, as shipped"]["samples"] is None
    assert summary["posefix"]["mean"] == summary["posefix, as shipped"]["mean"]  # the same weights here


def test_labels_tell_what_is_not_the_systems_own(compare) -> None:
    assert compare.label_of("diffpose", SYSTEMS["diffpose"]) == "diffpose"
    changed = with_options("diffpose", {"noise": "gaussian", "flip": False})
    assert compare.label_of("diffpose", changed) == "diffpose (noise=gaussian, flip=False, mirror=False)"


def test_a_difference_inside_the_spread_is_none(compare) -> None:
    from compare_tables import differ

    def row(mean, spread):
        return {"mean": {"f": {"m": mean}}, "spread": {"f": {"m": spread}}}

    base = row(50.0, 0.3)
    for mean, spread, verdict in (
        (49.8, 0.3, "none"), (49.0, 0.3, "better"), (51.0, 0.3, "worse"),
        (49.0, 1.2, "none"), (49.0, None, "better"), (49.8, None, "none"),
    ):  # fmt: skip
        assert differ(row(mean, spread), base, "f", "m") == verdict
    assert differ(row(10.0, None), row(50.0, None), "f", "m") == ""
    assert differ(base, base, "f", "m") == differ(base, row(1.0, 1.0), "g", "m") == ""


def test_budgets_stand_side_by_side(compare, tmp_path) -> None:
    from compare_tables import budget_table, draw_budgets

    def row(system: str, gt: float, det: float, samples: int | None) -> dict:
        figures = {"in_domain_lab_gt": gt, "in_domain_lab_det": det}
        mean = {name: {"mpjpe": value} for name, value in figures.items()}
        return {
            "system": system,
            "mean": mean,
            "spread": {n: {"mpjpe": None} for n in figures},
            "samples": samples,
        }

    def report(samples: int, gt: float) -> dict:
        rows = {"graformer": row("graformer", 60, 70, samples), "e533, ddim": row("e533", gt, 66, samples)}
        rows |= {"posefix": row("posefix", gt - 2, 64, samples)}
        return {"summary": rows | {"posefix, as shipped": row("posefix", 49, 62, None)}}

    reports = [report(1000, 58.0), report(3000, 56.0), report(5000, 55.0)]
    del reports[2]["summary"]["posefix"]
    lines = budget_table(reports).splitlines()
    assert lines[0] == "| system | 1,000 samples | 3,000 samples | 5,000 samples | change, % |"
    assert lines[2:] == [
        "| e533, ddim | 58.0 / 66.0 | 56.0 / 66.0 | 55.0 / 66.0 | -5.2 / +0.0 |",
        "| posefix | 56.0 / 64.0 | 54.0 / 64.0 |  | -3.6 / +0.0 |",
    ]
    draw_budgets(reports, 9000, tmp_path / "budgets.png")
    assert (tmp_path / "budgets.png").read_bytes().startswith(b"\x89PNG")


def test_unequal_budgets_and_empty_folders_are_refused(compare, runs, tmp_path) -> None:
    with pytest.raises(InputError, match="no finished runs"):
        compare.find_runs(tmp_path)
    for name, samples in (("a", 256), ("b", 512)):
        (tmp_path / name).mkdir()
        for file in ("system.json", "machine.json", "config.json"):
            (tmp_path / name / file).write_bytes((runs / "e533-0" / file).read_bytes())
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, "samples": samples}))
    with pytest.raises(InputError, match="different budgets"):
        compare.find_runs(tmp_path)
    # What counts is all that a network has seen, the runs before it included.
    (tmp_path / "a" / "begun.json").write_text(json.dumps({"run": "before", "samples": 512 - 256}))
    assert len(compare.find_runs(tmp_path)) == 2
    (tmp_path / "b" / "machine.json").unlink()
    assert [r.folder.name for r in compare.find_runs(tmp_path)] == ["a"]


def test_the_script_ends_in_one_line(tmp_path) -> None:
    words = [sys.executable, str(FOLDER / "compare.py"), "show", "--json", str(tmp_path / "gone.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("compare: error: ") and "gone.json" in done.stderr


def test_every_seed_has_its_own_line_in_the_file(compare, runs) -> None:
    found = compare.find_runs(runs)
    assert [(r.system, r.seed) for r in found] == [
        ("regressor", 0),
        ("regressor", 1),
        ("e533", 0),
        ("e533", 1),
    ]
    assert len({r.key for r in compare.with_variants(found)}) == 6
    assert replace(found[0], options=(("steps", 1),)).key != found[0].key


def test_example_frames_are_drawn_and_not_chosen_by_error(data, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import examples

    picture = tmp_path / "examples.png"
    examples.examples(data=data, picture=picture, split="val", device="cpu")
    assert picture.stat().st_size > 5000
    front = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    assert np.allclose(examples.side_view(front), [[0, 1], [np.sin(np.pi / 3), 0]])
    with pytest.raises(InputError, match="folder does not exist"):
        examples.examples(data=data, picture=tmp_path / "none" / "a.png")
