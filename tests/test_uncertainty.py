"""J_std: what the calibration makes of known errors, how it reacts, and how it travels with the weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from posefix.lifter import Lifter
from posefix.lifter.runtime import TorchNetwork, checked_file
from posefix.refiner.config import DiffusionConfig
from posefix.refiner.denoisers import CceCag, CceCagConfig
from posefix.refiner.graphs import GuideGraph, StepGraph
from posefix.refiner.mixture import fit as fit_mixture
from posefix.refiner.refine import SOURCE, Refiner, load_spread, mean_and_spread
from posefix.refiner.uncertainty import (
    KEY,
    PREDICTORS,
    SpreadConfig,
    calibrated,
    from_metadata,
    interval,
    off_the_rays,
    predictors,
    to_json,
)
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError, WeightsError
from posefix.training import calibrate
from posefix.training.calibrate import MOST_HIDDEN, Samples, fit, hide_joints, train_calibration
from posefix.training.mocap import Sequence, load_mocap, write_mocap
from posefix.training.protocol import make_benchmark

ORDER = H36M17.flip_order
CONFIG = SpreadConfig(
    joint=(-1.0,) * 17, hidden=(0.0, *[0.6] * 16), doubt=(0.0, *[0.5] * 16),
    spread=0.3, correction=0.1, pose_moved=0.1, rays=0.4, reach=0.2,
)  # fmt: skip


def student(rng: np.random.Generator, scale: np.ndarray) -> np.ndarray:
    """Distances whose root mean square is `scale`, of the distribution that the module states."""
    vectors = rng.standard_normal((*scale.shape, 3)) / np.sqrt(rng.chisquare(5, scale.shape) / 5)[..., None]
    return np.linalg.norm(vectors, axis=-1) / np.sqrt(5) * scale


def made_samples(seed: int = 0, n: int = 4000) -> tuple[Samples, np.ndarray]:
    """Two people whose true error sizes follow the predictors; and those (n, 17) sizes, metres."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(-0.4, 0.4, 17)
    level = (level + level[ORDER]) / 2  # left and right alike
    spread = np.log(0.03) + level + 0.3 * rng.standard_normal((n, 17))
    logs = np.stack(
        [spread, *(np.log(0.02) + 0.4 * rng.standard_normal((n, 17)) for _ in PREDICTORS[1:])], axis=-1
    )
    observed = np.ones((n, 17), bool)
    observed[n // 2 :] = hide_joints(n - n // 2, seed)
    size = np.exp(0.8 * level + logs @ [0.3, 0.1, 0.1, 0.4, 0.2] + 0.5 * ~observed)
    error = student(rng, size)
    error[:, 0] = 0
    return Samples(logs, error, observed, np.arange(n) % 2), size


def std_of(samples: Samples, config: SpreadConfig, scores=None) -> np.ndarray:
    logs = {name: samples.logs[..., i] for i, name in enumerate(PREDICTORS)}
    return calibrated(logs, samples.observed, config, scores)


def test_intervals_of_known_errors_cover_what_they_say():
    config = fit(made_samples(0)[0])
    fresh, size = made_samples(0, 6000)
    std = std_of(fresh, config)
    ratio = (fresh.error / np.maximum(std, 1e-9))[:, 1:]
    for level in (0.5, 0.8, 0.95):
        assert (ratio <= interval(level)).mean() == pytest.approx(level, abs=0.02)
    seen = fresh.observed[:, 1:]
    assert (ratio[~seen] <= interval(0.8)).mean() == pytest.approx(0.8, abs=0.03)
    per_joint = [(ratio[:, j][seen[:, j]] <= interval(0.8)).mean() for j in range(16)]
    assert np.allclose(per_joint, 0.8, atol=0.04)
    # J_std is the size of the error itself, not just something that grows with it.
    assert np.median(std[:, 1:] / size[:, 1:]) == pytest.approx(1, abs=0.05)
    assert [getattr(config, name) for name in PREDICTORS] == pytest.approx(
        [0.3, 0.1, 0.1, 0.4, 0.2], abs=0.03
    )
    assert not std[:, 0].any()


def test_the_interval_is_that_of_the_stated_distribution():
    distance = student(np.random.default_rng(1), np.ones(400_000))
    assert np.sqrt((distance**2).mean()) == pytest.approx(1, abs=0.01)
    for level in (0.5, 0.8, 0.95):
        assert np.quantile(distance, level) == pytest.approx(interval(level), rel=0.01)
    assert interval(0.8) == pytest.approx(1.163, abs=1e-3)  # as the documentation says


def test_a_fit_is_the_same_every_time_and_people_count_alike():
    samples, _ = made_samples(3, 1200)
    assert fit(samples) == fit(samples)
    # One person's poses three times over change nothing but rounding.
    rows = np.flatnonzero(samples.person == 0)
    more = samples[np.concatenate([np.arange(1200), rows, rows])]
    ours, theirs = asdict(fit(samples)), asdict(fit(more))
    for name, value in ours.items():
        assert np.allclose(value, theirs[name], atol=1e-3), name


def test_left_and_right_are_calibrated_alike():
    config = fit(made_samples(5, 1500)[0])
    for values in (config.joint, config.hidden, config.doubt):
        assert np.allclose(values, np.array(values)[ORDER])
    assert min(config.hidden[1:]) > 0.2 and min(config.doubt[1:]) > 0.2


def logs_of(n: int = 3) -> dict[str, np.ndarray]:
    return {name: np.log(np.full((n, 17), 0.03)) for name in PREDICTORS}


def test_a_hidden_joint_is_less_sure_than_a_seen_one():
    observed = np.ones((2, 17), bool)
    observed[1, [3, 16]] = False
    std = calibrated(logs_of(2), observed, CONFIG)
    assert np.allclose(std[1, [3, 16]] / std[0, [3, 16]], np.exp(0.6))
    kept = np.delete(np.arange(17), [3, 16])
    assert np.array_equal(std[0, kept], std[1, kept])


def test_a_lower_score_never_makes_a_joint_surer():
    scores = np.linspace(0, 1, 21)[:, None] * np.ones(17)
    std = calibrated(logs_of(21), np.ones((21, 17), bool), CONFIG, scores)[:, 1:]
    assert (np.diff(std, axis=0) <= 0).all()
    assert np.allclose(std[0] / std[-1], np.exp(0.5))  # as unsure as a hidden joint usually is
    assert np.array_equal(std[2], std[0])  # 0.1, where the pipeline hides it
    assert np.allclose(std[16], std[20]) and (std[15] > std[16]).all()  # nothing is added from 0.8 on
    assert np.array_equal(std[20:], calibrated(logs_of(1), np.ones((1, 17), bool), CONFIG)[:, 1:])
    unknown = calibrated(logs_of(1), np.ones((1, 17), bool), CONFIG, np.full((1, 17), np.nan))
    assert np.array_equal(unknown[:, 1:], std[:1])


@pytest.mark.parametrize("name", PREDICTORS)
def test_std_grows_with_every_predictor(name):
    logs = logs_of(1)
    more = {**logs, name: logs[name] + np.log(2)}
    ones = np.ones((1, 17), bool)
    factor = calibrated(more, ones, CONFIG)[:, 1:] / calibrated(logs, ones, CONFIG)[:, 1:]
    assert np.allclose(factor, 2 ** getattr(CONFIG, name), rtol=1e-5)


def test_distance_from_the_rays_is_that_across_the_view():
    rng = np.random.default_rng(2)
    pose = rng.normal(0, 0.3, (2, 17, 3))
    pose[:, 0] = 0
    uv = 3 * pose[..., :2] / (5 + pose[..., 2:])
    keypoints = np.concatenate([uv, np.ones((2, 17, 1))], axis=-1)
    exact = off_the_rays(pose, keypoints)
    noisy = off_the_rays(
        pose + np.append(0.05 * rng.standard_normal((2, 17, 2)), np.zeros((2, 17, 1)), -1), keypoints
    )
    assert (exact < 0.015).all() and (noisy > 0.03).all()
    keypoints[:, 5] = 0  # hidden: what it says does not count
    moved = pose.copy()
    moved[:, 5, 0] += 1
    assert np.allclose(off_the_rays(moved, keypoints), off_the_rays(pose, keypoints))
    assert off_the_rays(pose, np.zeros((2, 17, 3))).tolist() == [0, 0]


def test_json_brings_the_calibration_back_and_refuses_what_it_does_not_know():
    assert from_metadata({KEY: to_json(CONFIG)}) == CONFIG
    assert from_metadata({"diffusion": "{}"}) is None
    with pytest.raises(TypeError, match="nonsense"):
        from_metadata({KEY: json.dumps({**asdict(CONFIG), "nonsense": 1})})
    older = {name: value for name, value in asdict(CONFIG).items() if name != "reach"}
    assert from_metadata({KEY: json.dumps(older)}) == replace(CONFIG, reach=0.0)
    for name, value, problem in (
        ("joint", (0.0,) * 16, "expected 17 numbers, got 16"),
        ("rays", float("nan"), "finite"),
        ("hidden", (-0.1,) * 17, "0 or more"),
        ("sure", 0.1, "unseen < sure"),
    ):
        with pytest.raises(ValueError, match=problem):
            replace(CONFIG, **{name: value})


def test_joints_are_hidden_at_random_but_never_the_root():
    observed = hide_joints(500, seed=1)
    assert observed[:, 0].all() and np.array_equal(observed, hide_joints(500, seed=1))
    assert set((~observed).sum(axis=1)) == set(range(1, MOST_HIDDEN + 1))
    assert (~observed[:, 1:]).mean(axis=0).min() > 0.1


def small_refiner(spread: SpreadConfig | None, hypotheses: int = 5, rows: int = 8) -> Refiner:
    torch.manual_seed(1)
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    torch.nn.init.normal_(network.out.weight, std=0.05)
    mixture = fit_mixture(np.random.default_rng(0).normal(size=(600, 17, 5)) * 0.03, components=2)
    guide, step = (
        TorchNetwork(GuideGraph(network), "cpu"),
        TorchNetwork(StepGraph(network, DiffusionConfig()), "cpu"),
    )
    return Refiner(guide, step, mixture, DiffusionConfig(), spread=spread, hypotheses=hypotheses, rows=rows)


def inputs(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    lifted = rng.normal(0, 0.3, (count, 17, 3))
    lifted -= lifted[:, :1]
    points = 500 + 400 * lifted[..., :2] + rng.normal(0, 3, (count, 17, 2))
    keys = np.stack([np.arange(count), np.zeros(count)], -1).astype(int)
    return points, np.ones((count, 17), bool), lifted.astype(np.float32), keys


def test_weights_without_a_calibration_give_the_plain_spread():
    refiner = small_refiner(None)
    mean, std = refiner(*inputs(3), np.full((3, 17), 0.2))
    plain = mean_and_spread(refiner.sample(*inputs(3)))
    assert np.array_equal(mean, plain[0]) and np.array_equal(std, plain[1])


def test_the_refiner_calibrates_and_leaves_the_pose_alone():
    plain, refiner = small_refiner(None), small_refiner(CONFIG)
    points, seen, lifted, keys = inputs(3)
    seen[:, 3] = False
    mean, spread = plain(points, seen, lifted, keys)
    same, std = refiner(points, seen, lifted, keys)
    assert np.array_equal(mean, same) and std.dtype == np.float32
    poses, logs = refiner.predictors(points, seen, lifted, keys)
    assert np.array_equal(poses, mean)
    assert np.array_equal(std, calibrated(logs, seen, CONFIG))
    assert np.allclose(np.exp(logs["spread"][:, 1:]), spread[:, 1:])
    moved = np.linalg.norm(mean - lifted, axis=-1)
    assert np.allclose(np.exp(logs["correction"]), np.maximum(moved, 0.002), rtol=1e-5)
    unsure = refiner(points, seen, lifted, keys, np.full((3, 17), 0.3))[1]
    assert (unsure[:, [1, 2, *range(4, 17)]] > 1.2 * std[:, [1, 2, *range(4, 17)]]).all()
    assert np.array_equal(unsure[:, 3], std[:, 3])  # hidden already


def test_one_hypothesis_has_no_std():
    mean, std = small_refiner(CONFIG, hypotheses=1)(*inputs(2), np.full((2, 17), 0.5))
    assert np.isnan(std).all() and np.isfinite(mean).all()


def test_std_is_the_same_whatever_the_batch():
    if not (files("posefix.weights") / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    points, seen, lifted, keys = inputs(9)
    seen[4:, 6] = False
    scores = np.random.default_rng(4).uniform(0, 1, (9, 17))
    refiner = Refiner.load("cpu", threads=1)
    refiner.spread = CONFIG
    std = refiner(points, seen, lifted, keys, scores)[1]
    for rows in (1, 2, 7):
        refiner.rows = rows
        assert np.array_equal(std, refiner(points, seen, lifted, keys, scores)[1])
    alone = [refiner(*(v[[i]] for v in (points, seen, lifted, keys, scores)))[1][0] for i in range(9)]
    assert np.array_equal(std, np.stack(alone))


def test_predictors_do_not_depend_on_other_frames():
    rng = np.random.default_rng(6)
    spread, refined, lifted = rng.random((5, 17)), rng.normal(size=(5, 17, 3)), rng.normal(size=(5, 17, 3))
    keypoints = np.append(rng.normal(size=(5, 17, 2)), np.ones((5, 17, 1)), axis=-1)
    whole = predictors(spread, refined, lifted, keypoints)
    part = predictors(spread[2:3], refined[2:3], lifted[2:3], keypoints[2:3])
    assert all(np.array_equal(whole[name][2:3], part[name]) for name in PREDICTORS)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the shipped weights that may be written to."""
    folder = Path(str(files("posefix.weights")))
    if not (folder / "manifest.json").is_file():
        pytest.skip("no weights are installed")
    copy = tmp_path / "weights"
    copy.mkdir()
    for name in ("manifest.json", SOURCE, "lifter.onnx", "refiner_guide.onnx", "refiner_step.onnx"):
        shutil.copyfile(folder / name, copy / name)
    return copy


def test_a_calibration_is_written_into_weights_and_read_back(weights):
    from posefix.training.export import write_spread

    before = Refiner.load("cpu", weights=weights, threads=1)
    write_spread(CONFIG, weights)
    write_spread(replace(CONFIG, rays=0.2), weights)  # and again, over the first
    checked_file(weights, SOURCE)  # the manifest is right
    after = Refiner.load("cpu", weights=weights, threads=1)
    assert load_spread(weights / SOURCE) == after.spread == replace(CONFIG, rays=0.2)
    assert after.config == before.config and after.pull == before.pull
    assert np.array_equal(after.mixture.factors, before.mixture.factors)
    assert np.array_equal(after(*inputs(2))[0], before(*inputs(2))[0])
    assert sorted(p.name for p in weights.iterdir()) == [
        "lifter.onnx", "manifest.json", SOURCE, "refiner_guide.onnx", "refiner_step.onnx"
    ]  # fmt: skip


def test_a_calibration_of_another_kind_is_refused(weights):
    from posefix.training.export import update_manifest
    from safetensors.numpy import load_file, save_file

    save_file(
        load_file(weights / SOURCE), weights / SOURCE, {"diffusion": "{}", "pull": "{}", KEY: '{"new": 1}'}
    )
    update_manifest(weights, [SOURCE])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        Refiner.load("cpu", weights=weights)


def test_what_cannot_be_calibrated_is_told_in_one_line(weights, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        train_calibration(data=tmp_path / "gone", weights=weights)
    with pytest.raises(InputError, match="2 or more"):
        train_calibration(data=tmp_path, weights=weights, hypotheses=1)
    with pytest.raises(WeightsError, match="no weights here"):
        train_calibration(data=tmp_path, weights=tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`val` people that stand about, in the files that calibration reads."""
    rng = np.random.default_rng(9)
    folder = tmp_path / "data"
    folder.mkdir()
    standing = np.zeros((17, 3))
    standing[:, 2] = [
        0, 0, -0.45, -0.87, 0, -0.45, -0.87, 0.23, 0.48, 0.6, 0.72, 0.45, 0.2, -0.04, 0.45, 0.2, -0.04,
    ]  # fmt: skip
    standing[[1, 2, 3, 14, 15, 16], 1] = -0.15
    standing[[4, 5, 6, 11, 12, 13], 1] = 0.15
    for name in ("cmu", "hdm05"):
        poses = standing + rng.normal(0, 0.05, (90, 17, 3))
        poses[:, 0] = 0
        root = np.tile([0, 0, 0.9], (90, 1)).astype(np.float32)
        sequence = Sequence(
            "s", "p", "stand", "", "made", "val", 30.0, (poses / 1e-4).round().astype(np.int16), root
        )
        write_mocap(folder / f"mocap17_{name}.npz", [sequence])
    return folder


def test_both_cameras_and_both_bodies_count_alike(data, monkeypatch):
    """A user's camera is as rarely a laboratory's as the user's body is one that was trained on."""
    seen = Counter()

    def observe(refiner, lifter, bench, observed, person):
        seen[person, bench.cameras, bool(observed.all())] += len(bench)
        return Samples(
            np.zeros((len(bench), 17, 4)), np.ones((len(bench), 17)), observed, np.full(len(bench), person)
        )

    monkeypatch.setattr(calibrate, "observe", observe)
    calibrate.collect(cast(Refiner, None), cast(Lifter, None), data, stride=12, hidden_stride=20)
    assert {key[0] for key in seen} == {0, 1, 2, 3}  # two people, two bodies each
    for person in range(4):
        for whole in (True, False):
            assert 0.8 < seen[person, "lab", whole] / seen[person, "wild", whole] < 1.25


def test_the_command_calibrates_weights_that_had_none(weights, data, capsys):
    train_calibration(data=data, weights=weights)
    assert str(weights / SOURCE) in capsys.readouterr().out
    first = load_spread(weights / SOURCE)
    refiner = Refiner.load("cpu", weights=weights, threads=1)
    bench = make_benchmark(load_mocap(data / "mocap17_cmu.npz"), "val", "lab", "det", 15)
    seen = np.ones((len(bench), 17), bool)
    lifted = Lifter.load("cpu", weights=weights, threads=1)(bench.keypoints, seen)
    keys = np.stack([np.arange(len(bench)), np.zeros(len(bench))], -1).astype(int)
    poses, std = refiner(bench.keypoints, seen, lifted, keys)
    error = np.linalg.norm(poses - bench.target, axis=-1)
    assert (error <= interval(0.8) * std)[:, 1:].mean() == pytest.approx(0.8, abs=0.1)
    train_calibration(data=data, weights=weights)  # over its own
    assert load_spread(weights / SOURCE) == first


def test_the_command_of_the_documentation_is_there():
    from posefix.pipeline.cli import app

    page = (Path(__file__).resolve().parents[1] / "docs" / "uncertainty.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("posefix train calibration ")]
    _, bound, _ = app.parse_args(line.split()[1:], exit_on_error=False, print_error=False)
    assert bound.arguments == {"data": Path("DATA"), "weights": Path("weights")}
    for level, factor in ((0.5, "0.74"), (0.8, "1.16"), (0.95, "1.80")):
        assert f"| {100 * level:.0f} % | {factor} `J_std` |" in page and f"{interval(level):.2f}" == factor


def test_the_results_have_its_section_where_it_was_measured(monkeypatch, tmp_path):
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    import results
    import uncertainty

    assert "<!-- uncertainty -->" in (folder / "results" / "page.md").read_text(encoding="utf-8")
    rng = np.random.default_rng(2)
    std, observed = rng.uniform(0.02, 0.2, (200, 16)), np.ones((200, 16), bool)
    whole = uncertainty.figures(student(rng, std), std, observed)
    observed[:, 2] = False
    part = uncertainty.figures(student(rng, std), std, observed)
    report = {"sets": {"det": whole, "gt": whole, "hidden": part}}
    text = results.uncertainty_table(report)
    assert text.startswith("## Uncertainty") and "| LWrist |" in text
    assert f"| {100 * whole['coverage']['0.8']:.1f} | {100 * whole['coverage']['0.95']:.1f} |" in text
    assert f"{part['observed']['mean_std_mm']:.0f} seen, {part['hidden']['mean_std_mm']:.0f} hidden" in text
    uncertainty.draw(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_the_benchmark_tells_a_good_std_from_a_bad_one(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import uncertainty

    rng = np.random.default_rng(8)
    std = rng.uniform(0.02, 0.2, (3000, 16))
    observed = np.ones((3000, 16), bool)
    observed[:, 3] = False
    error = student(rng, std)
    good = uncertainty.figures(error, std, observed)
    small = uncertainty.figures(error, std / 2, observed)
    blind = uncertainty.figures(error, rng.permuted(std), observed)
    for level, share in good["coverage"].items():
        assert share == pytest.approx(float(level), abs=0.01)
    assert all(v == pytest.approx(0.8, abs=0.03) for v in good["coverage_80_per_joint"].values())
    assert small["coverage"]["0.8"] < 0.5 and abs(blind["rank_correlation"]) < 0.02
    assert good["rank_correlation"] > 0.5
    assert np.allclose(good["bins"]["std_mm"], good["bins"]["error_mm"], rtol=0.15)
    assert good["hidden"]["mean_std_mm"] == pytest.approx(1e3 * std[:, 3].mean())
    both = uncertainty.mean_of([good, small])
    assert both["rows"] == 6000
    assert both["coverage"]["0.8"] == pytest.approx((good["coverage"]["0.8"] + small["coverage"]["0.8"]) / 2)
    assert len(both["bins"]["std_mm"]) == sys.modules["uncertainty"].BINS
