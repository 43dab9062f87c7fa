"""The refiner: schedules, sampler, mixture, denoiser, hypotheses."""

import warnings

import numpy as np
import pytest
import torch
from posefix.lifter import Lifter
from posefix.lifter.runtime import TorchNetwork
from posefix.refiner import Refiner
from posefix.refiner.config import DiffusionConfig
from posefix.refiner.denoisers import CceCag, CceCagConfig, cross_channel_adjacency
from posefix.refiner.diffusion import centre_root, denoise, mask_hidden
from posefix.refiner.graphs import GuideGraph, StepGraph
from posefix.refiner.mixture import Mixture, fit, from_nodes, to_nodes
from posefix.refiner.refine import draw_noise, load_settings
from posefix.refiner.samplers import ddim
from posefix.refiner.schedules import cosine, ddim_steps, linear, relative_levels
from sklearn.mixture import GaussianMixture
from test_lifter import standing_figure


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_schedules_fall_from_one(schedule) -> None:
    abar = schedule(50)
    assert len(abar) == 51 and abar[0] == 1
    assert (np.diff(abar) < 0).all() and (abar > 0).all()
    levels = relative_levels(abar)
    assert levels[0] == 0 and levels[-1] == 1


def test_linear_schedule_is_the_papers() -> None:
    # DiffPose's supplement: beta 1e-4 to 2e-3, K = 50; abar_50 = 0.949 (computed by hand).
    assert linear(50)[-1] == pytest.approx(0.949, abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 12, 50])
def test_ddim_visits_falling_steps_from_k_to_zero(steps) -> None:
    visited = ddim_steps(relative_levels(linear(50)), steps)
    assert visited[0] == 50 and visited[-1] == 0 and len(visited) == steps + 1
    assert (np.diff(visited) < 0).all()


@pytest.mark.parametrize("steps", [0, 51, -1])
def test_ddim_refuses_absurd_steps(steps) -> None:
    with pytest.raises(ValueError, match="expected 1 to 50"):
        ddim_steps(relative_levels(linear(50)), steps)


def test_ddim_with_a_perfect_denoiser_arrives_at_the_truth() -> None:
    levels = relative_levels(linear(50))
    truth, error = np.arange(5.0), np.ones(5)
    met = []

    def perfect(state: np.ndarray, k: int) -> np.ndarray:
        met.append(np.allclose(state, truth + levels[k] * error))  # it walks along the forward process
        return truth

    out = ddim(perfect, truth + error, levels, ddim_steps(levels, 4))
    assert np.allclose(out, truth) and met == [True] * 4


def test_node_layout_round_trip() -> None:
    vectors = np.arange(2 * 85, dtype=np.float32).reshape(2, 85)
    assert np.array_equal(from_nodes(to_nodes(vectors)), vectors)


def test_mixture_is_fitted_to_the_errors_it_is_given() -> None:
    rng = np.random.default_rng(0)
    scale = np.linspace(0.01, 0.05, 17)[None, :, None]
    errors = rng.normal(size=(4000, 17, 5)) * scale
    errors[::3] += 0.2
    mixture = fit(errors, components=2)
    assert sorted(mixture.weights.round(2)) == pytest.approx([0.33, 0.67], abs=0.02)
    drawn = mixture.centred(
        mixture.pick(rng.random(4000)), rng.standard_normal((4000, 85)).astype(np.float32)
    )
    assert drawn.std(axis=(0, 2)) == pytest.approx(scale[0, :, 0], rel=0.1)
    assert abs(drawn.mean()) < 2e-3


def test_a_fit_that_ends_at_its_rounds_warns_nobody(monkeypatch) -> None:
    class Hasty(GaussianMixture):
        def fit(self, *errors):
            self.max_iter = 1
            return super().fit(*errors)

    monkeypatch.setattr("sklearn.mixture.GaussianMixture", Hasty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(np.random.default_rng(0).normal(size=(400, 17, 5)), components=3)


def test_mixture_says_expected_and_received() -> None:
    with pytest.raises(ValueError, match=r"expected means \(2, 85\)"):
        Mixture(np.ones(2), np.zeros((2, 84)), np.zeros((2, 85, 85)))


def test_shipped_mixture_has_five_components_of_lifter_size() -> None:
    from posefix.lifter.runtime import weights_folder

    mixture, config, _ = load_settings(weights_folder() / "refiner.safetensors")
    assert len(mixture.weights) == config.components == 5
    assert mixture.weights.sum() == pytest.approx(1, abs=1e-5)
    spread = np.sqrt((mixture.factors**2).sum(axis=-1))[:, 34:]  # metres
    assert 0.005 < np.median(spread) < 0.2


def test_cross_channel_graph_joins_both_nodes_of_a_joint() -> None:
    a = cross_channel_adjacency()
    assert a.shape == (34, 34)
    assert a[3, 20] > 0 and a[20, 3] > 0 and a[3, 21] == 0
    assert a[1, 2] > 0 and a[18, 19] > 0


def test_an_untrained_refiner_leaves_the_pose_alone() -> None:
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2)).eval()
    state = torch.randn(2, 3, 17, 5)
    seen = torch.ones(2, 1, 17, 1)
    with torch.no_grad():
        out = denoise(
            network,
            state,
            torch.full((2,), 50.0),
            torch.ones(2),
            network.guidance(torch.rand(2, 17, 3)),
            seen,
        )
    assert torch.allclose(out, centre_root(state), atol=1e-6)


def test_guidance_and_step_reach_the_output() -> None:
    torch.manual_seed(0)
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2)).eval()
    torch.nn.init.normal_(network.out.weight)
    state, k = torch.randn(1, 1, 17, 5), torch.tensor([50.0])
    with torch.no_grad():
        one = network(state, k, network.guidance(torch.rand(1, 17, 3)))
        two = network(state, k, network.guidance(torch.rand(1, 17, 3)))
        three = network(state, torch.tensor([3.0]), network.guidance(torch.rand(1, 17, 3)))
    assert (one - two).abs().max() > 1e-3
    assert (two - three).abs().max() > 1e-3


def test_the_guide_takes_over_a_lifter() -> None:
    from posefix.lifter.graformer import GraFormer, GraFormerConfig

    lifter = GraFormer(GraFormerConfig(channels=16, layers=2, heads=2))
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    network.guide.start_from(lifter)
    x = torch.rand(1, 17, 3)
    first = lifter.attentions[0](lifter.embed(x))
    assert torch.allclose(network.guidance(x)[:, 0], first.repeat(1, 2, 1), atol=1e-6)
    with pytest.raises(ValueError, match="expected a lifter of 16 channels"):
        network.guide.start_from(GraFormer(GraFormerConfig(channels=8, heads=2, layers=1)))


def test_hidden_joints_have_no_2d() -> None:
    seen = torch.ones(1, 17, 1)
    seen[0, 4] = 0
    out = mask_hidden(torch.ones(1, 17, 5), seen)
    assert out[0, 4].tolist() == [0, 0, 1, 1, 1] and out[0, 5].tolist() == [1] * 5


def small_refiner(hypotheses: int, rows: int = 2, **settings) -> Refiner:
    torch.manual_seed(1)
    network = CceCag(CceCagConfig(channels=16, layers=2, heads=2))
    torch.nn.init.normal_(network.out.weight, std=0.05)
    mixture = fit(np.random.default_rng(0).normal(size=(600, 17, 5)) * 0.03, components=2)
    return Refiner(
        TorchNetwork(GuideGraph(network), "cpu"), TorchNetwork(StepGraph(network, DiffusionConfig()), "cpu"), mixture,
        DiffusionConfig(), hypotheses=hypotheses, rows=rows, **settings,
    )  # fmt: skip


def inputs(count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    points = standing_figure()[None] + rng.normal(0, 3, (count, 17, 2))
    lifted = rng.normal(0, 0.3, (count, 17, 3))
    lifted -= lifted[:, :1]
    return (
        points,
        np.ones((count, 17), bool),
        lifted,
        np.stack([np.arange(count), np.zeros(count)], -1).astype(int),
    )


def test_hypotheses_really_differ_and_their_mean_is_the_pose() -> None:
    refiner = small_refiner(5)
    poses = refiner.sample(*inputs(3))
    assert poses.shape == (3, 5, 17, 3)
    apart = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1).mean(axis=-1)
    assert (apart[:, ~np.eye(5, dtype=bool)] > 1e-3).all()
    mean, std = refiner(*inputs(3))
    assert np.allclose(mean, poses.mean(axis=1), atol=1e-6)
    assert (std[:, 1:] > 1e-3).all() and np.allclose(std[:, 0], 0)


def test_one_hypothesis_has_no_spread_and_no_noise() -> None:
    mean, std = small_refiner(1)(*inputs(2))
    other, _ = small_refiner(1, seed=9)(*inputs(2))
    assert np.isnan(std).all() and np.array_equal(mean, other)


def test_draws_depend_on_seed_frame_and_person_only() -> None:
    mixture = fit(np.random.default_rng(0).normal(size=(600, 17, 5)), components=2)
    base = draw_noise(mixture, 5, 0, (4, 1))
    assert np.array_equal(base, draw_noise(mixture, 5, 0, (4, 1)))
    for seed, key in ((1, (4, 1)), (0, (5, 1)), (0, (4, 2))):
        assert not np.allclose(base, draw_noise(mixture, 5, seed, key))
    assert np.allclose(base[0], -base[1]) and not base[4].any()


def test_refiner_is_mirror_symmetric() -> None:
    from posefix.skeleton import H36M17

    points, seen, lifted, keys = inputs(1)
    order, sign = H36M17.flip_order, np.array([-1, 1, 1])
    mirrored_points = points[:, order] * np.array([-1, 1])
    there = small_refiner(1)(points, seen, lifted, keys)[0]
    back = small_refiner(1)(mirrored_points, seen, lifted[:, order] * sign, keys)[0]
    assert np.allclose(there, back[:, order] * sign, atol=1e-5)


@pytest.mark.parametrize("hypotheses", [1, 2, 5])
def test_shipped_refiner_is_the_same_whatever_the_batch(hypotheses) -> None:
    points, seen, _, keys = inputs(9)
    lifted = Lifter.load("cpu", threads=1)(points, seen)
    mean, std = Refiner.load("cpu", hypotheses=hypotheses, threads=1)(points, seen, lifted, keys)
    for rows in (1, 2, 4, 7):
        refiner = Refiner.load("cpu", hypotheses=hypotheses, rows=rows, threads=1)
        other_mean, other_std = refiner(points, seen, lifted, keys)
        assert np.array_equal(mean, other_mean)
        assert np.array_equal(std, other_std, equal_nan=True)


def test_shipped_refiner_agrees_in_onnx_and_torch() -> None:
    from posefix.lifter.runtime import weights_folder
    from posefix.refiner.refine import SOURCE, build_network, load_spread

    points, seen, _, keys = inputs(2)
    lifted = Lifter.load("cpu")(points, seen)
    network = build_network(weights_folder() / SOURCE)
    mixture, config, pull = load_settings(weights_folder() / SOURCE)
    twin = Refiner(
        TorchNetwork(GuideGraph(network), "cpu"),
        TorchNetwork(StepGraph(network, config), "cpu"),
        mixture,
        config,
        pull,
        load_spread(weights_folder() / SOURCE),
    )
    one, two = Refiner.load("cpu")(points, seen, lifted, keys), twin(points, seen, lifted, keys)
    assert np.allclose(one[0], two[0], atol=2e-4) and np.allclose(one[1], two[1], atol=2e-4)


def test_wrong_shapes_say_expected_and_received() -> None:
    points, seen, lifted, keys = inputs(2)
    with pytest.raises(ValueError, match=r"expected keypoints.*got \(2, 17, 2\), \(2, 17\), \(2, 16, 3\)"):
        small_refiner(1)(points, seen, lifted[:, :16], keys)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        small_refiner(0)
