"""Schedules and samplers against formulas and problems with a known answer."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from posefix.refiner.samplers import SAMPLERS, ddim, ddpm, heun, intervals
from posefix.refiner.schedules import (
    SCHEDULES,
    cosine,
    index_steps,
    karras,
    karras_steps,
    linear,
    relative_levels,
    sigmas,
)

LEVELS = relative_levels(linear(50))


def test_linear_is_the_product_of_its_betas() -> None:
    assert linear(2, 0.1, 0.3) == pytest.approx([1.0, 0.9, 0.9 * 0.7])


def test_cosine_is_nichol_and_dhariwals_formula() -> None:
    # By hand: f(t) = cos^2((t / T + s) / (1 + s) pi / 2); the middle of T = 100.
    expected = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert cosine(100)[50] == pytest.approx(expected)
    assert cosine(100)[0] == 1 and 0 < cosine(100)[100] < 1e-4


def test_sigma_is_noise_over_signal() -> None:
    abar = np.array([1.0, 0.5, 0.2])
    assert sigmas(abar) == pytest.approx([0.0, 1.0, 2.0])


def test_karras_levels_are_edms_equation_5() -> None:
    # By hand, rho = 2: (2 + i/2 (1 - 2))^2 for i = 0, 1, 2.
    assert karras(3, 1.0, 4.0, rho=2) == pytest.approx([4.0, 2.25, 1.0])
    assert karras(1, 1.0, 4.0) == pytest.approx([4.0])


@pytest.mark.parametrize("space", [index_steps, karras_steps])
@pytest.mark.parametrize(("steps", "start"), [(1, None), (2, 50), (3, 13), (7, 7), (50, None), (5, 20)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_visited_steps_fall_from_the_start_to_zero(space, steps, start, schedule) -> None:
    for levels in (relative_levels(SCHEDULES[schedule](50)), sigmas(SCHEDULES[schedule](50))):
        visited = space(levels, steps, start)
        assert visited[0] == (start or 50) and visited[-1] == 0 and len(visited) == steps + 1
        assert (np.diff(visited) < 0).all()


@pytest.mark.parametrize("space", [index_steps, karras_steps])
@pytest.mark.parametrize("steps", [0, 14])
def test_absurd_numbers_of_steps_are_refused(space, steps) -> None:
    with pytest.raises(ValueError, match="expected 1 to 13"):
        space(LEVELS, steps, 13)


def test_index_steps_are_even() -> None:
    assert index_steps(LEVELS, 5) == [50, 40, 30, 20, 10, 0]


def test_karras_steps_are_denser_near_zero() -> None:
    levels = sigmas(cosine(50))
    visited = karras_steps(levels, 4, 40)
    gaps = -np.diff(levels[visited])
    assert (np.diff(gaps) < 0).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_a_perfect_denoiser_every_sampler_arrives_at_the_truth(name) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3, 4))
    for levels in (LEVELS, sigmas(cosine(50))):
        visited = index_steps(levels, 4)
        start = truth + levels[50] * rng.normal(size=(3, 4))
        out = SAMPLERS[name](lambda h, k: truth, start, levels, visited, lambda: rng.normal(size=(3, 4)))
        assert np.allclose(out, truth, atol=1e-9)


def gaussian_data(levels: np.ndarray, spread: float = 0.4):
    """The best denoiser for data ~ N(0, spread^2), and where its flow carries a state: a linear ODE."""

    def denoise(state: np.ndarray, k: float) -> np.ndarray:
        sigma = np.interp(k, np.arange(len(levels)), levels)
        return state * spread**2 / (spread**2 + sigma**2)

    def exact(state: np.ndarray, k: int, after: int) -> np.ndarray:
        return state * np.sqrt((spread**2 + levels[after] ** 2) / (spread**2 + levels[k] ** 2))

    return denoise, exact


def error_on_the_linear_ode(sampler, steps: int) -> float:
    """Of `steps` even steps from level 1 to level 0.2, against the exact flow."""
    levels = np.linspace(0, 1, 2001)
    denoise, exact = gaussian_data(levels)
    visited = [round(v) for v in np.linspace(2000, 400, steps + 1)]
    out = sampler(denoise, np.ones(1), levels, visited)
    return float(abs(out - exact(np.ones(1), 2000, 400))[0])


def test_heun_is_of_second_order_and_ddim_of_first_on_a_linear_ode() -> None:
    for sampler, order in ((ddim, 1), (heun, 2)):
        errors = [error_on_the_linear_ode(sampler, n) for n in (16, 32, 64)]
        orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
        assert orders == pytest.approx([order] * 2, abs=0.15)
    assert error_on_the_linear_ode(heun, 16) < 0.2 * error_on_the_linear_ode(ddim, 32)  # at equal calls


def test_heun_calls_twice_an_interval_and_once_the_last() -> None:
    met: list[float] = []

    def count(state: np.ndarray, k: float) -> np.ndarray:
        met.append(k)
        return 0 * state

    heun(count, np.ones(2), LEVELS, [50, 30, 10, 0])
    assert met == [50, 30, 30, 10, 10]
    assert intervals("heun", 5) == 3 and intervals("ddim", 5) == 5
    with pytest.raises(ValueError, match="odd number of network calls, got 4"):
        intervals("heun", 4)


def test_churn_raises_the_level_by_edms_gamma_and_not_beyond_the_schedule() -> None:
    levels = np.linspace(0, 1, 11)
    rng, met = np.random.default_rng(0), []

    def denoise(state: np.ndarray, k: float) -> np.ndarray:
        met.append(float(k))
        return np.zeros_like(state)

    heun(denoise, np.ones(1), levels, [10, 5, 0], lambda: rng.normal(size=1), churn=0.4)
    assert met == pytest.approx([10, 5, 6])  # no higher than 1; then 0.5 * (1 + 0.4 / 2) = 0.6
    for needed in (partial(heun, churn=0.4), ddpm):
        with pytest.raises(ValueError, match="needs draw"):
            needed(denoise, np.ones(1), levels, [10, 0])


@pytest.mark.parametrize("sampler", [ddpm, partial(heun, churn=3.0)])
def test_stochastic_samplers_keep_the_spread_of_gaussian_data(sampler) -> None:
    levels = np.linspace(0, 2, 401)
    denoise, _ = gaussian_data(levels, spread=0.4)
    rng = np.random.default_rng(0)
    start = rng.normal(size=20_000) * np.hypot(0.4, 2.0)
    out = sampler(denoise, start, levels, index_steps(levels, 400), lambda: rng.normal(size=20_000))
    assert out.std() == pytest.approx(0.4, rel=0.03)
