"""The systems of the comparison: their processes, networks, options, training, and evaluation by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from posefix.lifter.graformer import GraFormer
from posefix.pipeline import commands
from posefix.pipeline.cli import call
from posefix.refiner.cce_paper import CceConfig, PublishedCce
from posefix.refiner.diffpose import DiffPose, DiffPoseConfig, Stacked
from posefix.refiner.diffupose import DiffuPose, DiffuPoseConfig, ModulatedConv
from posefix.refiner.process import Process
from posefix.refiner.system_refiner import SamplingConfig, SystemRefiner
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training import cli
from posefix.training.augment import AugmentConfig
from posefix.training.systems import (
    SYSTEMS,
    build_network,
    from_dict,
    to_dict,
    with_options,
)
from test_training import a_pool, generator
from torch import nn
from toy_systems import Toy, a_mixture, rows_of, small, small_lifter


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy(small_lifter())


# Networks


def networks() -> dict[str, Any]:
    torch.manual_seed(1)
    size: dict[str, Any] = {"channels": 16, "layers": 2, "heads": 2, "time_channels": 32}
    return {
        "diffpose": DiffPose(DiffPoseConfig(**size), small_lifter()),
        "without context": DiffPose(DiffPoseConfig(**size, context=False), small_lifter()),
        "stacked": Stacked(DiffPoseConfig(**size, stack=3), small_lifter()),
        "cce": PublishedCce(CceConfig(**size, guided=False)),
        "cce-cag": PublishedCce(CceConfig(**size)),
        "diffupose": DiffuPose(DiffuPoseConfig(channels=16, layers=2)),
    }


@pytest.mark.parametrize("name", networks())
def test_networks_take_hypotheses_side_by_side(name) -> None:
    network = networks()[name].eval()
    for p in network.parameters():  # output layers start at zero
        if p.requires_grad:
            nn.init.normal_(p, std=0.1)
    state, k, keypoints = torch.randn(2, 3, 17, 5), torch.tensor([3.0, 40.0]), torch.rand(2, 17, 3)
    with torch.no_grad():
        out = network(state, k, network.guidance(keypoints))
        one = network(state[1:, 2:], k[1:], network.guidance(keypoints[1:]))
        other_k = network(state, k + 5, network.guidance(keypoints))
        other_2d = network(state, k, network.guidance(torch.rand(2, 17, 3)))
    assert out.shape == (2, 3, 17, 5)
    assert torch.allclose(out[1:, 2:], one, atol=1e-5)
    assert not torch.allclose(out, other_k, atol=1e-4)
    assert torch.allclose(out, other_2d) == (name in ("without context", "cce"))


@pytest.mark.parametrize("name", ["diffpose", "stacked", "cce", "cce-cag"])
def test_an_untrained_denoiser_answers_nothing(name) -> None:
    network = networks()[name]
    assert not network(torch.randn(1, 2, 17, 5), torch.ones(1), network.guidance(torch.rand(1, 17, 3))).any()


def test_sizes_are_the_official_codes() -> None:
    def millions(network: nn.Module) -> float:
        return sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6

    lifter = GraFormer()
    assert millions(DiffPose(DiffPoseConfig(context=False), lifter)) == pytest.approx(1.03, abs=0.02)
    assert millions(PublishedCce(CceConfig(guided=False))) == pytest.approx(1.03, abs=0.02)
    assert millions(PublishedCce()) == pytest.approx(1.87, abs=0.1)  # the code's has dead parameters
    assert millions(DiffuPose()) == pytest.approx(1.45, abs=0.1)
    five = Stacked(DiffPoseConfig(stack=5), lifter)
    assert millions(five) == pytest.approx(5 * millions(DiffPose(DiffPoseConfig(), lifter)), rel=1e-6)


def test_context_is_the_lifters_and_stays_as_it_is() -> None:
    lifter = small_lifter()
    network = DiffPose(DiffPoseConfig(channels=16, layers=1, heads=2), lifter)
    x = torch.rand(2, 17, 3)
    expected = lifter.blocks[0](lifter.attentions[0](lifter.embed(x)))
    assert torch.allclose(network.guidance(x), expected, atol=1e-6)
    assert not any(p.requires_grad for p in network.context.parameters())
    assert all(p.requires_grad for p in lifter.parameters())


def test_modulated_convolution_is_its_equation() -> None:
    torch.manual_seed(0)
    conv = ModulatedConv(4, 6)
    nn.init.normal_(conv.p)
    nn.init.normal_(conv.q)
    x = torch.randn(2, 17, 4)
    a = conv.affinity * conv.p + conv.q
    a = (a + a.T) / 2
    expected = torch.zeros(2, 17, 6)
    for i in range(17):
        for j in range(17):
            w = conv.own if i == j else conv.other
            expected[:, i] += a[i, j] * conv.modulation[j] * (x[:, j] @ w)
    assert torch.allclose(conv(x), expected + conv.bias, atol=1e-4)
    assert torch.allclose(conv.affinity, conv.affinity.T) and conv.affinity[0, 3] == 0


# Hypotheses


def random_refiner(name: str, **sampling) -> SystemRefiner:
    config = small(name)
    torch.manual_seed(2)
    network = build_network(config, small_lifter())
    for parameter in network.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    settings = replace(config.sampling, **sampling)
    return SystemRefiner(network, Process(config.process, a_mixture(), 0.04), settings, rows=3)


DIFFUSIONS = ["diffpose", "diffupose", "e533", "cce", "cce-cag"]


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_hypotheses_differ_and_repeat_whatever_the_batch(name, toy) -> None:
    points, seen, lifted, keys = rows_of(toy.draw(5, generator()))
    refiner = random_refiner(name, calls=3, hypotheses=3, churn=0.5)
    poses = refiner.sample(points, seen, lifted, keys)
    assert poses.shape == (5, 3, 17, 3) and np.isfinite(poses).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(poses[:, a] - poses[:, b], axis=-1).mean() > 1e-4
    alone = refiner.sample(points[3:4], seen[3:4], lifted[3:4], keys[3:4])
    assert np.allclose(alone[0], poses[3], atol=1e-5)
    mean, std = refiner(points, seen, lifted, keys)
    assert np.allclose(mean, poses.mean(axis=1), atol=1e-6) and (std[:, 1:] > 1e-5).all()
    other = random_refiner(name, calls=3, hypotheses=3, churn=0.5, seed=1).sample(points, seen, lifted, keys)
    assert not np.allclose(other, poses, atol=1e-4)


@pytest.mark.parametrize("name", ["diffpose", "cce-cag"])
def test_flip_averaging_makes_a_system_mirror_symmetric(name, toy) -> None:
    points, seen, lifted, keys = rows_of(toy.draw(2, generator()))
    order, sign = H36M17.flip_order, np.array([-1, 1, 1], np.float32)
    turned = (points[:, order] * np.array([-1, 1], np.float32), seen, lifted[:, order] * sign, keys)
    for flip in (True, False):
        refiner = random_refiner(name, calls=2, hypotheses=1, flip=flip)
        there, back = refiner.sample(points, seen, lifted, keys), refiner.sample(*turned)
        assert np.allclose(there, back[:, :, order] * sign, atol=1e-4) == flip


def test_sampling_refuses_what_makes_no_sense() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sampler": "euler"}, "--sampler euler: choose from ddim, ddpm, heun"),
        ({"calls": 0}, "--ddim-steps 0"),
        ({"sampler": "heun", "calls": 4}, "odd number of network calls, got 4"),
        ({"hypotheses": 0}, "--hypotheses 0"),
        ({"churn": -1.0}, "--churn"),
        ({"seed": -1}, "--seed -1"),
    ]
    for settings, words in cases:
        with pytest.raises(InputError, match=words):
            SamplingConfig(**settings)
    with pytest.raises(InputError, match=r"--ddim-steps 51: expected at most .* of 50"):
        random_refiner("diffpose", calls=51)


# Names and options


def test_every_system_can_be_trained_by_name() -> None:
    assert tuple(SYSTEMS) == commands.SYSTEMS
    for name in SYSTEMS:
        assert callable(getattr(cli, f"train_{name.replace('-', '_')}"))
        assert call(["train", name, "--help"]) == 0


def test_the_lifter_and_what_ships_are_trained_by_their_names_too(tmp_path, capsys) -> None:
    gone = str(tmp_path / "gone")
    for words in (["graformer", "--export", gone], ["posefix", "--both-steps"]):  # which the others have not
        assert call(["train", *words, "--data", gone]) == 2
        assert f"{gone}: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_survive_json(name) -> None:
    values = json.loads(json.dumps(to_dict(name, SYSTEMS[name])))
    assert from_dict(values) == (name, SYSTEMS[name])
    for broken in ({**values, "nose": 1}, {**values, "process": {**values["process"], "stebs": 5}}):
        with pytest.raises(InputError, match=r"unknown or missing settings: (nose|stebs)"):
            from_dict(broken)


def test_options_change_what_they_name() -> None:
    table5 = with_options("diffpose", {"noise": "gaussian", "components": 9, "hypotheses": 20, "flip": None})
    assert table5.process.noise == "gaussian" and table5.process.components == 9
    assert table5.sampling.hypotheses == 20 and table5.sampling.flip
    ablation = with_options("cce-cag", {"guide": False, "flip": False})
    assert ablation.network == SYSTEMS["cce"].network
    assert not ablation.mirror and not ablation.sampling.flip
    assert with_options("stacked", {"stack": 2}).network == DiffPoseConfig(stack=2)
    table = with_options("e533", {"schedule": "linear", "sampler": "ddim", "ddim_steps": 5})
    assert (table.process.schedule, table.sampling.sampler, table.sampling.calls) == ("linear", "ddim", 5)
    # DiffuPose's Table 4; sizes as in its Table 2 and text, for 16 joints.
    for width, millions in ((256, 1.45), (384, 3.22)):
        network = build_network(with_options("diffupose", {"channels": width}), GraFormer())
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.06)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nothing", {}, "system 'nothing': choose from regressor"),
        ("diffpose", {"guide": False}, "--guide: diffpose has no such option"),
        ("cce", {"stack": 2}, "--stack: cce has no such option"),
        ("stacked", {"stack": 0}, "--stack 0"),
        ("regressor", {"hypotheses": 5}, "--hypotheses: regressor has no such option"),
        ("regressor", {"diffusion_steps": 5}, "--diffusion-steps: regressor has no such option"),
        ("diffupose", {"noise": "mixture"}, "--noise: diffupose has no such option"),
        ("diffpose", {"nose": 1}, "--nose: diffpose has no such option"),
        ("diffpose", {"diffusion_steps": 0}, "diffusion steps 0"),
        ("diffupose", {"channels": 100}, "--channels 100: expected a multiple of 8 from 16 to 1024"),
    ],
)
def test_options_that_a_system_does_not_have_are_refused(name, options, words) -> None:
    with pytest.raises(InputError, match=words):
        with_options(name, options)


def test_the_command_line_says_no_in_one_line(tmp_path, capsys) -> None:
    for words, complaint in (
        (["--guide"], "--guide: diffpose has no such option"),
        (["--nose", "1"], "--nose"),
        (["--lifter", str(tmp_path)], "no trained lifter"),
        (["--samples", "0"], "--samples 0"),
    ):
        assert call(["train", "diffpose", "--data", str(tmp_path), *words, "--run", str(tmp_path / "r")]) == 2
        err = capsys.readouterr().err
        assert complaint in err and len(err.splitlines()) == 1


def test_without_flips_no_training_pose_is_a_mirror_image() -> None:
    pool = a_pool(40)
    pool.joint_weights[:, 12] = 0  # told by a left joint that has no weight
    plain = AugmentConfig(limb_swap=0, joint_wobble=0, new_body=0, bone_jitter=0, size_jitter=0)
    pose, _, weight = pool.draw_bodies(200, plain, generator())
    mirrored_ones = weight[:, 15] == 0
    assert 0.3 < mirrored_ones.float().mean() < 0.7
    back, _, unmirrored = pool.draw_bodies(200, replace(plain, mirror=0.0), generator())
    assert (unmirrored[:, 12] == 0).all() and (unmirrored[:, [4, 15]] == 1).all()
    turned = pose[:, H36M17.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(back, torch.where(mirrored_ones[:, None, None], turned, pose))
