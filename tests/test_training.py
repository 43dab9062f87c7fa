"""Augmentation, the training loop, folds and export."""

import json

import numpy as np
import pytest
import torch
from posefix.lifter import Lifter
from posefix.lifter.graformer import GraFormer, GraFormerConfig
from posefix.refiner import Refiner
from posefix.refiner.config import DiffusionConfig
from posefix.refiner.denoisers import CceCag, CceCagConfig
from posefix.refiner.mixture import fit
from posefix.refiner.reproject import PullConfig
from posefix.skeleton.errors import InputError
from posefix.training import augment as aug
from posefix.training.export import export_lifter, export_refiner
from posefix.training.loop import TrainConfig, Trainer, learning_rate
from posefix.training.pool import build_pool, fold_of, training_sequences
from torch import nn


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_pool(count: int = 64) -> aug.PosePool:
    """Random but human-sized skeletons, z up, facing -y or so."""
    lengths = torch.tensor(
        [0, 0.1, 0.45, 0.43, 0.1, 0.45, 0.43, 0.22, 0.32, 0.13, 0.115, 0.18, 0.28, 0.26, 0.18, 0.28, 0.26]
    )
    rest = torch.zeros(17, 3)
    rest[[1, 14]] = torch.tensor([1.0, 0, 0])
    rest[[4, 11]] = torch.tensor([-1.0, 0, 0])
    rest[[2, 3, 5, 6, 12, 13, 15, 16]] = torch.tensor([0, 0, -1.0])
    rest[[7, 8, 9, 10]] = torch.tensor([0, 0, 1.0])
    directions = rest + 0.25 * torch.randn(count, 17, 3, generator=generator(5))
    directions[:, 0] = 0
    directions = nn.functional.normalize(directions, dim=-1)
    poses = aug.from_bones(directions, lengths.expand(count, 17))
    return aug.PosePool(poses, torch.full((count,), 0.95), torch.ones(count), torch.ones(count, 17))


def test_bones_round_trip() -> None:
    pose = torch.randn(4, 17, 3)
    pose -= pose[:, :1].clone()
    assert torch.allclose(aug.from_bones(*aug.to_bones(pose)), pose, atol=1e-5)


def test_torso_frame_is_orthonormal_and_right_handed() -> None:
    pool = a_pool(8)
    frames = pool.torso
    assert torch.allclose(frames.transpose(1, 2) @ frames, torch.eye(3).expand(8, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(frames), torch.ones(8), atol=1e-5)


def test_random_rotations_are_rotations() -> None:
    r = aug.random_rotations(16, 40.0, generator())
    assert torch.allclose(r @ r.transpose(1, 2), torch.eye(3).expand(16, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(r), torch.ones(16), atol=1e-5)


def test_recombination_swaps_whole_limbs_in_the_trunks_frame() -> None:
    pool = a_pool(32)
    d, t = pool.directions, pool.torso
    other, other_t = d.roll(1, 0), t.roll(1, 0)
    none = aug.recombine(d, t, other, other_t, 0.0, generator())
    every = aug.recombine(d, t, other, other_t, 1.0, generator())
    assert torch.equal(none, d)
    limbs = [12, 13, 15, 16, 5, 6, 2, 3]
    seen_by_self = (t.transpose(1, 2)[:, None] @ every[:, limbs, :, None])[..., 0]
    seen_by_other = (other_t.transpose(1, 2)[:, None] @ other[:, limbs, :, None])[..., 0]
    assert torch.allclose(seen_by_self, seen_by_other, atol=1e-5)
    trunk = [7, 8, 9, 10, 1, 4, 11, 14]
    assert torch.equal(every[:, trunk], d[:, trunk])


def test_batches_are_finite_root_relative_and_in_front_of_the_camera() -> None:
    batch = a_pool().draw(256, aug.AugmentConfig(), generator())
    assert all(torch.isfinite(v).all() for v in batch.values())
    assert torch.equal(batch["target"][:, 0], torch.zeros(256, 3))
    seen = batch["input"][..., 2] > 0
    assert 0.5 < seen.float().mean() < 1 and seen[:, 0].all()
    assert (batch["input"][..., :2][~seen] == 0).all()
    upright = (batch["target"][:, 10, 1] < 0).float().mean()
    assert upright > 0.85  # camera y points down, most people stand


def test_without_wear_the_input_is_the_exact_projection() -> None:
    config = aug.AugmentConfig(clean_2d=1.0, layout_bias=0.0, drop=0.0)
    batch = a_pool().draw(64, config, generator())
    assert torch.allclose(batch["input"][..., :2], batch["exact"], atol=1e-5)


def test_draws_repeat_with_the_seed() -> None:
    pool, config = a_pool(), aug.AugmentConfig()
    one, two = pool.draw(16, config, generator(3)), pool.draw(16, config, generator(3))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_people_stay_in_one_fold(shared_dir) -> None:
    sequences = training_sequences(shared_dir / "data")
    assert all(s.split == "train" for s in sequences)
    folds = [{s.subject for s in sequences if fold_of(s.subject) == f} for f in (0, 1)]
    assert folds[0] and folds[1] and not folds[0] & folds[1]
    assert {"hdm_bd", "cmu_mixed", "cmu13"} <= folds[0]
    frames = [sum(len(s) for s in sequences if fold_of(s.subject) == f) for f in (0, 1)]
    assert 0.7 < frames[0] / frames[1] < 1.4
    pool = build_pool(sequences)
    guessed = pool.joint_weights[:, 9] == 0
    assert 0 < guessed.float().mean() < 0.1


def toy_trainer(folder, samples: int) -> Trainer:
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    config = TrainConfig(samples=samples, batch=16, warmup=5, validate_every=160, bfloat16=False, lr=0.05)
    return Trainer(
        model,
        draw=lambda g: {"x": torch.randn(16, 3, generator=g)},
        loss=lambda m, b: (m(b["x"]) - 2 * b["x"]).abs().mean(),
        validate=lambda m: {"score": float((m.weight - 2 * torch.eye(3)).abs().sum())},
        config=config,
        folder=folder,
    )


def test_the_loop_learns_and_logs(tmp_path) -> None:
    best = toy_trainer(tmp_path, 6400).run(report=lambda row: None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["best"] < 0.3 * rows[0]["score"]
    assert (best.weight - 2 * torch.eye(3)).abs().sum().item() == pytest.approx(rows[-1]["best"])


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path) -> None:
    whole = toy_trainer(tmp_path / "whole", 960).run(report=lambda row: None)

    class Stop(Exception): ...

    def stop(row: dict) -> None:
        if row["samples"] >= 480:
            raise Stop

    with pytest.raises(Stop):
        toy_trainer(tmp_path / "parts", 960).run(report=stop)
    parts = toy_trainer(tmp_path / "parts", 960).run(report=lambda row: None)
    assert torch.equal(whole.weight, parts.weight)


def test_a_run_folder_refuses_other_settings(tmp_path) -> None:
    toy_trainer(tmp_path, 320).run(report=lambda row: None)
    with pytest.raises(InputError, match="other settings"):
        toy_trainer(tmp_path, 640).run(report=lambda row: None)


def test_learning_rate_warms_up_and_decays() -> None:
    config = TrainConfig(samples=1000, batch=1, warmup=100, lr=1.0)
    assert learning_rate(config, 0) == pytest.approx(0.01)
    assert learning_rate(config, 99) == pytest.approx(1.0)
    assert learning_rate(config, 999) < 0.02
    cooled = TrainConfig(samples=1000, batch=1, warmup=100, lr=1.0, horizon=2000, cooldown_from=500)
    slow = TrainConfig(samples=2000, batch=1, warmup=100, lr=1.0)
    assert learning_rate(cooled, 499) == learning_rate(slow, 499)
    assert learning_rate(cooled, 750) == pytest.approx(learning_rate(slow, 500) / 2)


def test_exported_networks_load_and_run(tmp_path) -> None:
    pytest.importorskip("onnx")
    export_lifter(GraFormer(GraFormerConfig(channels=16, layers=1)), tmp_path)
    mixture = fit(np.random.default_rng(0).normal(size=(600, 17, 5)) * 0.03, components=5)
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    export_refiner(network, mixture, DiffusionConfig(), PullConfig(), tmp_path)
    points, seen = np.random.default_rng(1).uniform(0, 400, (3, 17, 2)), np.ones((3, 17), bool)
    lifted = Lifter.load("cpu", tmp_path)(points, seen)
    refined, std = Refiner.load("cpu", hypotheses=3, weights=tmp_path)(
        points, seen, lifted, [[0, 0], [1, 0], [2, 0]]
    )
    assert np.allclose(refined, lifted, atol=0.05)  # untrained: starts at the lifter's pose, plus draws
    assert np.isfinite(std).all()
