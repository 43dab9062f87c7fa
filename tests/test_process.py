"""The papers' diffusion processes: noise, levels, start, what an answer means, and the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from posefix.refiner.mixture import from_nodes
from posefix.refiner.process import Process, ProcessConfig, error_size
from posefix.refiner.system_refiner import SamplingConfig, SystemRefiner
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training.systems import SYSTEMS, SystemLossConfig
from posefix.training.train_system import system_loss
from test_training import generator
from torch import nn
from toy_systems import Toy, a_mixture, rows_of, small_lifter


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy(small_lifter())


def test_mixture_noise_has_the_fitted_mean_and_covariance() -> None:
    m = a_mixture()
    process = Process(ProcessConfig(spread=0.0, components=2), m)
    drawn = from_nodes(process.draw(60_000, generator()).numpy())
    mean = m.means.mean(axis=0)
    covariance = sum(f @ f.T / 2 for f in m.factors) + np.cov(m.means.T, bias=True)
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.01 * np.abs(mean).max() + 1e-3
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.05 * np.abs(covariance).max()
    # With a spread, a second draw without the means comes on top, as at run time.
    both = from_nodes(Process(ProcessConfig(spread=2.0), m).draw(60_000, generator()).numpy())
    wider = covariance + 4 * sum(f @ f.T / 2 for f in m.factors)
    assert np.abs(np.cov(both.T) - wider).max() < 0.05 * np.abs(wider).max()


def test_error_size_is_the_root_mean_square_of_draws() -> None:
    m = a_mixture()
    drawn = Process(ProcessConfig(spread=0.0), m).draw(40_000, generator())
    assert error_size(m) == pytest.approx(drawn[:, 1:].square().mean(dim=(0, 1)).sqrt().numpy(), rel=0.02)


def test_gaussian_noise_has_the_codes_scale_and_a_known_root() -> None:
    noise = Process(ProcessConfig("gaussian"), a_mixture()).draw(20_000, generator())
    assert noise[:, 1:].std(dim=(0, 1)).numpy() == pytest.approx([0.1, 0.1, 1, 1, 1], rel=0.02)
    assert not noise[:, 0, 2:].any() and noise[:, 0, :2].any()


def test_levels_are_the_papers() -> None:
    around = Process(ProcessConfig(), a_mixture())
    assert around.levels[0] == 0 and around.levels[-1] == 1  # h_K has the fitted distribution
    standard = Process(ProcessConfig("gaussian"), a_mixture())
    # Supplement: abar_50 = 0.949.
    assert standard.levels[-1] == pytest.approx(np.sqrt(0.051 / 0.949), rel=0.01)


def test_from_noise_both_schedules_end_in_noise() -> None:
    for schedule in ("linear", "cosine"):
        pure = Process(replace(SYSTEMS["diffupose"].process, schedule=schedule), a_mixture())
        assert pure.levels[-1] > 100 and pure.levels[1] < 0.1


def test_run_time_enters_where_the_noise_is_as_large_as_the_lifters_error() -> None:
    standard = Process(ProcessConfig("gaussian"), a_mixture(), lifter_error=0.05)
    assert standard.levels[standard.enter] == pytest.approx(0.05, abs=0.003)
    m = a_mixture()
    size = np.sqrt((error_size(m)[2:] ** 2).mean())
    half = Process(ProcessConfig(schedule="cosine"), m, lifter_error=0.5 * size)
    assert half.levels[half.enter] == pytest.approx(0.5, abs=0.02)
    assert Process(ProcessConfig(), m).enter == 50
    assert Process(SYSTEMS["diffupose"].process, m, lifter_error=0.05).enter == 100


class Knows(nn.Module):
    """In place of a network: answers the error e that makes its input the truth, in the process's units."""

    def __init__(self, truth: torch.Tensor, process: Process):
        super().__init__()
        self.truth, self.process = truth, process

    def guidance(self, keypoints: torch.Tensor) -> torch.Tensor:
        return keypoints

    def forward(self, state: torch.Tensor, k: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        level = self.process.level(k)[:, None, None, None]
        if self.process.shrinks:  # the network sees sqrt(abar) h
            state = torch.where(self.process.noised, state * (1 + level**2).sqrt(), state)
        rows = torch.cat([self.truth, mirrored(self.truth)])[: len(state)]
        if self.process.config.target == "pose":
            return rows[:, None].expand_as(state)
        return (state - rows[:, None]) / level / self.process.unit


def mirrored(state: torch.Tensor) -> torch.Tensor:
    return state[:, H36M17.flip_order] * torch.tensor([-1.0, 1, -1, 1, 1])


PROCESSES = {
    "mixture": ProcessConfig(),
    "cosine": ProcessConfig(schedule="cosine"),
    "gaussian": ProcessConfig("gaussian"),
    "from noise": SYSTEMS["diffupose"].process,
    "pose": ProcessConfig(target="pose"),
    "previous": ProcessConfig(target="previous"),
}


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun"])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_perfect_network_gives_the_truth_in_every_process_and_sampler(process, sampler, toy) -> None:
    batch = toy.draw(4, generator())
    run = Process(process, a_mixture(), lifter_error=0.04)
    truth = torch.cat([batch["input"][..., :2], batch["target"]], dim=-1)
    refiner = SystemRefiner(Knows(truth, run), run, SamplingConfig(sampler, calls=5, hypotheses=3, churn=0.5))
    poses = refiner.sample(*rows_of(batch))
    assert np.allclose(poses, batch["target"].numpy()[:, None], atol=2e-3)


@pytest.mark.parametrize("kind", ["mse", "l1", "mpjpe"])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_a_perfect_network_has_no_loss_and_a_silent_one_has(process, kind, toy) -> None:
    run = Process(process, a_mixture())
    batch = toy.draw(16, generator())
    batch = {**batch, "noise": run.draw(16, generator()), "u": torch.rand(16, generator=generator())}
    clean = torch.where(run.noised, batch["truth"], batch["start"])

    class Silent(Knows):
        def forward(self, state, k, guidance):
            return torch.zeros_like(state)

    class Says2d(Knows):
        """DiffuPose says the 2D again where the others say its noise."""

        def forward(self, state, k, guidance):
            return torch.where(run.noised, super().forward(state, k, guidance), clean[:, None])

    loss = system_loss(SystemLossConfig(kind), run)
    assert loss(Says2d(clean, run), batch).item() < 0.02
    assert loss(Silent(clean, run), batch).item() > 0.05


def test_previous_weighs_an_error_by_what_it_does_to_the_previous_state() -> None:
    process = Process(ProcessConfig("gaussian", target="previous"), a_mixture())
    k = torch.arange(1.0, 51.0)
    abar = 1 / (1 + process.levels**2)
    # h_{k-1} = sqrt(abar_{k-1} / abar_k) h_k + (s_{k-1} - s_k sqrt(abar_{k-1} / abar_k)) e, equation by hand.
    share = np.sqrt(1 - abar[:-1]) - np.sqrt(1 - abar[1:]) * np.sqrt(abar[:-1] / abar[1:])
    expected = -share / np.sqrt((share**2).mean())
    assert process.fall(k).numpy() == pytest.approx(expected, rel=1e-3)


def test_a_regressor_corrects_once() -> None:
    process = Process(SYSTEMS["regressor"].process, a_mixture())
    assert (process.enter, process.levels.tolist()) == (1, [0.0, 1.0])
    with pytest.raises(InputError, match="answers once"):
        SystemRefiner(Knows(torch.zeros(1, 17, 5), process), process, SamplingConfig(hypotheses=5, calls=1))


def test_processes_refuse_what_makes_no_sense() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"steps": 0}, "diffusion steps 0: expected 1 to 1000"),
        ({"components": 0}, "components 0"),
        ({"start": "noise"}, "needs gaussian"),
        ({"spread": -0.5}, "--spread -0.5: expected 0 to 10"),
    ]
    for settings, words in cases:
        with pytest.raises(InputError, match=words):
            ProcessConfig(**settings)


def test_hypotheses_start_spread_around_the_lifted_pose_or_in_noise() -> None:
    m = a_mixture()
    begin, noise = np.ones((2, 17, 5), np.float32), np.full((2, 3, 17, 5), 0.2, np.float32)
    around = Process(ProcessConfig(spread=0.25), m)
    assert around.start(begin, noise) == pytest.approx(1 + 0.25 * 0.2)
    pure = Process(SYSTEMS["diffupose"].process, m)
    state = pure.start(begin, noise)
    assert state[..., :2] == pytest.approx(1) and state[..., 2:] == pytest.approx(0.2 * pure.levels[-1])
    drawn = around.start_noise(3, 0, np.array([4, 0]))
    assert np.allclose(drawn[0], -drawn[1]) and not drawn[2].any()
    assert np.abs(pure.start_noise(1, 0, np.array([4, 0]))[0, 1:, 2:]).mean() > 0.3


def test_the_loss_weighs_joints_hides_guessed_ones_and_what_was_not_seen(toy) -> None:
    process = Process(ProcessConfig(target="pose"), a_mixture())
    batch = toy.draw(8, generator())
    batch = {**batch, "noise": process.draw(8, generator()), "u": torch.rand(8, generator=generator())}

    def loss_of(joint: int, weight: torch.Tensor, observed: torch.Tensor, **config) -> float:
        """Of a network that is wrong about one joint by a centimetre a channel."""
        wrong = batch["truth"].clone()
        wrong[:, joint] += 0.01
        given = {**batch, "weight": weight, "observed": observed}
        return system_loss(SystemLossConfig("l1", **config), process)(Knows(wrong, process), given).item()

    every, seen = torch.ones(8, 17), torch.ones(8, 17, 1)
    assert loss_of(5, every, seen, weight_2d=0.0) == pytest.approx(0.01 / 17, rel=0.01)
    assert loss_of(5, every, seen, weight_2d=1.0) == pytest.approx(0.02 / 17, rel=0.01)
    wrist, knee = (loss_of(j, every, seen, limbs=True, weight_2d=0.0) for j in (16, 5))
    assert wrist == pytest.approx(2 * knee, rel=0.01)
    no_knee, unseen = every.clone(), seen.clone()
    no_knee[:, 5], unseen[:, 5] = 0, 0
    assert loss_of(5, no_knee, seen, weight_2d=0.0) == pytest.approx(0, abs=1e-6)
    assert loss_of(5, no_knee, unseen, weight_2d=1.0) == pytest.approx(0, abs=1e-6)
