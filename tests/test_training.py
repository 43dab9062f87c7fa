"""Augmentation, the training loop, folds and export."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from posefix.lifter import Lifter
from posefix.lifter.graformer import GraFormer, GraFormerConfig
from posefix.refiner import Refiner
from posefix.refiner.config import DiffusionConfig
from posefix.refiner.denoisers import CceCag, CceCagConfig
from posefix.refiner.diffusion import denoise
from posefix.refiner.mixture import fit
from posefix.refiner.reproject import PullConfig
from posefix.refiner.schedules import shipped_levels
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training import augment as aug
from posefix.training.export import export_lifter, export_refiner
from posefix.training.loop import TrainConfig, Trainer, learning_rate
from posefix.training.optimisers import OptimiserName
from posefix.training.pool import build_pool, fold_of, training_sequences
from posefix.training.train_refiner import Previous, RefinerLoss, RefinerLossConfig
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


def test_odd_bodies_are_symmetric_and_unlike_the_recorded_ones() -> None:
    pool = a_pool(400)
    plain = aug.AugmentConfig(bone_jitter=0.0, size=1.0, size_jitter=0.0)
    lengths = pool.lengths.clone()
    kept = aug.new_bodies(lengths, lengths, plain, generator())
    assert torch.allclose(kept, lengths)
    odd = aug.new_bodies(lengths, lengths, replace(plain, odd_body=0.5), generator())
    factor = odd[:, 1:] / lengths[:, 1:]
    changed = (factor - 1).abs().amax(dim=1) > 1e-4
    assert 0.4 < changed.float().mean() < 0.6
    left, right = [j - 1 for j in H36M17.left], [j - 1 for j in H36M17.right]
    assert torch.allclose(factor[:, left], factor[:, right], atol=1e-4)
    assert 0.6 - 1e-4 <= factor.min() < 0.75 and 1.25 < factor.max() <= 1.45 + 1e-4


def test_far_bodies_lie_anywhere_in_a_wide_range_that_holds_the_strange_ones() -> None:
    pool = a_pool(400)
    plain = aug.AugmentConfig(bone_jitter=0.0, size=1.0, size_jitter=0.0)
    lengths = pool.lengths.clone()
    far = aug.new_bodies(lengths, lengths, replace(plain, odd_body=1.0, far_body=1.0), generator())
    factor = far[:, 1:] / lengths[:, 1:]
    left, right = [j - 1 for j in H36M17.left], [j - 1 for j in H36M17.right]
    assert torch.allclose(factor[:, left], factor[:, right], atol=1e-4)
    for joint, low, high in (("LShoulder", 0.5, 1.35), ("RKnee", 0.65, 1.3), ("Thorax", 0.7, 1.25)):
        own = factor[:, H36M17.joints.index(joint) - 1]
        assert low - 1e-4 <= own.min() < low + 0.05 and high - 0.05 < own.max() <= high + 1e-4
        assert own.median() == pytest.approx((low * high) ** 0.5, abs=0.05)  # even in its logarithm


def test_another_laboratorys_skeleton_moves_target_and_projection_alike() -> None:
    config = aug.AugmentConfig(clean_2d=1.0, layout_bias=0.0, drop=0.0, other_skeleton=1.0)
    batch = a_pool().draw(64, config, generator())
    assert torch.equal(batch["target"][:, 0], torch.zeros(64, 3))
    assert torch.allclose(batch["input"][..., :2], batch["exact"], atol=1e-5)
    still = a_pool().draw(64, replace(config, other_skeleton=0.0), generator())
    assert not torch.allclose(aug.to_bones(batch["target"])[1], aug.to_bones(still["target"])[1], atol=0.01)


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


def wrong_way(directions: torch.Tensor, torso: torch.Tensor, degrees: float) -> float:
    """Share of the knees whose shank points so far ahead of the thigh; thighs along the trunk's forward left out."""
    out = []
    for thigh, shank in ((5, 6), (2, 3)):
        d = directions[:, thigh]
        ahead = torso[:, :, 2] - (torso[:, :, 2] * d).sum(-1, keepdim=True) * d
        length = ahead.norm(dim=-1)
        sine = (directions[:, shank] * ahead).sum(-1) / length
        out.append((sine > math.sin(math.radians(degrees)))[length > 0.5])
    return float(torch.cat(out).float().mean())


def test_recombined_knees_bend_the_wrong_way_no_more_often_than_recorded_ones(shared_dir) -> None:
    pool, g = build_pool(training_sequences(shared_dir / "data")), generator(0)
    rows = pool.draw_indices(20_000, g)
    made, _, _ = pool.draw_bodies(20_000, aug.AugmentConfig(), g)
    directions, _ = aug.to_bones(made)
    for degrees in (10, 20, 30):
        # By this rough measure, which knows no hips that are turned out, so do a few recorded ones.
        recorded = wrong_way(pool.directions[rows], pool.torso[rows], degrees)
        assert wrong_way(directions, aug.torso_frames(made), degrees) < recorded + 0.01
    back = directions.clone()
    back[:, [3, 6]] = aug.torso_frames(made)[:, :, 2][:, None]  # shanks straight ahead
    assert wrong_way(back, aug.torso_frames(made), 30) > 0.9


def wide_trainer(folder, samples: int, optimiser: OptimiserName) -> Trainer:
    """Learns a linear map through a hidden layer that Muon takes."""
    torch.manual_seed(0)
    target = torch.randn(3, 3)
    return Trainer(
        nn.Sequential(nn.Linear(3, 64), nn.Linear(64, 64), nn.Linear(64, 3)),
        draw=lambda g: {"x": torch.randn(16, 3, generator=g)},
        loss=lambda m, b: (m(b["x"]) - b["x"] @ target).abs().mean(),
        validate=lambda m: {"score": float((m(torch.eye(3)) - target).abs().sum().detach())},
        config=TrainConfig(
            samples=samples, batch=16, warmup=5, validate_every=160, bfloat16=False, lr=0.01, optimiser=optimiser
        ),
        folder=folder,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9 or later for Muon")
def test_muon_takes_hidden_matrices_learns_and_resumes(tmp_path) -> None:
    whole = wide_trainer(tmp_path / "whole", 960, "muon")
    held = {
        name: [p.shape for p in part.param_groups[0]["params"]]
        for name, part in whole.optimiser.parts.items()
    }
    assert held["muon"] == [(64, 64)] and len(held["adamw"]) == 5
    first = whole.validate(whole.model)["score"]
    end = whole.run(report=lambda row: None)
    assert whole.best < 0.3 * first

    def stop(row: dict) -> None:
        if row["samples"] >= 480:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wide_trainer(tmp_path / "parts", 960, "muon").run(report=stop)
    resumed = wide_trainer(tmp_path / "parts", 960, "muon").run(report=lambda row: None)
    assert torch.equal(end[1].weight, resumed[1].weight)
    plain = wide_trainer(tmp_path / "plain", 960, "adamw").run(report=lambda row: None)
    assert not torch.equal(end[1].weight, plain[1].weight)


def test_a_run_begun_before_a_setting_existed_resumes(tmp_path) -> None:
    toy_trainer(tmp_path, 320).run(report=lambda row: None)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    del state["config"]["optimiser"]
    torch.save(state, tmp_path / "last.pt")
    assert toy_trainer(tmp_path, 320).run(report=lambda row: None) is not None


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


def test_a_run_that_stops_improving_ends_before_its_budget(tmp_path) -> None:
    scores = iter([5.0, 4.0, 4.5, 4.0, 4.1, 3.0])
    trainer = toy_trainer(tmp_path, 6400)
    trainer.config = replace(trainer.config, patience=3)
    seen: list[torch.Tensor] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(model.weight.detach().clone())
        return {"score": next(scores)}

    trainer.validate = validate
    best = trainer.run(report=lambda row: None)
    assert len(seen) == 5 and trainer.step == 50 < trainer.config.steps
    assert torch.equal(best.weight, seen[1]) and not torch.equal(best.weight, seen[4])


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


def refiner_batch(count: int = 12) -> dict[str, torch.Tensor]:
    g = generator(2)
    batch = a_pool().draw(count, aug.AugmentConfig(), g)
    seen = batch["input"][..., 2:]
    truth = torch.cat([batch["exact"] * seen, batch["target"]], dim=-1)
    off = 0.03 * torch.randn(count, 17, 3, generator=g)
    start = torch.cat([batch["input"][..., :2], batch["target"] + off - off[:, :1]], dim=-1)
    return {
        **batch, "start": start, "truth": truth, "observed": seen,
        "noise": torch.zeros(count, 17, 5), "u": torch.rand(count, 4, generator=g),
    }  # fmt: skip


def test_the_refiners_loss_starts_at_the_lifters_error_and_can_be_learnt() -> None:
    """An untrained network answers "no error": its loss at k = K, without noise and 2D, is the lifter's."""
    batch = refiner_batch()
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    config = RefinerLossConfig(rollout=0, any_step=0, earliest_start=50, weight_2d=0)
    loss = RefinerLoss(config, DiffusionConfig())(network, batch)
    w = batch["weight"]
    error = (batch["start"] - batch["truth"])[..., 2:].norm(dim=-1)
    assert loss.item() == pytest.approx(float((error * w).sum() / w.sum()), rel=1e-4)

    train = torch.optim.Adam(network.parameters(), lr=3e-3)
    whole = RefinerLoss(RefinerLossConfig(), DiffusionConfig())
    first = whole(network, batch).item()
    for _ in range(40):
        train.zero_grad()
        now = whole(network, batch)
        now.backward()
        train.step()
    assert now.item() < 0.8 * first


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_both_steps_are_those_of_run_time(share) -> None:
    """A network that always takes off the same part of the error: its second step has none of it left to take."""
    batch, diffusion = refiner_batch(), DiffusionConfig()
    error = batch["start"] - batch["truth"]
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    network.out = Answer(share * error[:, None])
    config = RefinerLossConfig(both_steps=True, any_step=0, earliest_start=50, weight_2d=0)
    w = batch["weight"]
    lifters = float((error[..., 2:].norm(dim=-1) * w).sum() / w.sum())
    loss = RefinerLoss(config, diffusion)
    assert loss(network, batch).item() == pytest.approx((1 - share) * lifters, rel=1e-4, abs=1e-6)
    # Where the second step knows better than the first, the loss is their mean.
    half = int(loss.halfway[50])
    network.forward = lambda state, k, guidance: error[:, None] * (1.0 if k[0] == half else 0.0)
    assert loss(network, batch).item() == pytest.approx(
        (1 + 1 - float(loss.levels[half])) / 2 * lifters, rel=1e-4
    )


def test_a_previous_state_answer_means_the_same_pose() -> None:
    """If the raw answer is the true h_{k-1}, the clean state is the truth."""
    batch, diffusion = refiner_batch(), DiffusionConfig()
    levels = torch.from_numpy(shipped_levels(diffusion.steps)).float()
    k = torch.full((12,), 40.0)
    error = batch["start"] - batch["truth"]
    state = (batch["truth"] + levels[40] * error)[:, None]
    network = Previous(diffusion.steps)
    network.out = Answer((batch["truth"] + levels[39] * error)[:, None].reshape(12, 17, 5))
    clean = denoise(
        network, state, k, levels[[40] * 12], network.guidance(batch["input"]), batch["observed"][:, None]
    )
    assert torch.allclose(clean[:, 0], batch["truth"], atol=1e-4)


class Answer(nn.Module):
    """In place of an output layer: always the same answer."""

    def __init__(self, value: torch.Tensor):
        super().__init__()
        self.value, self.weight = value, torch.zeros(1)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.value


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
