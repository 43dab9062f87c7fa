"""Metrics: known values, invariances, the protocol's reference figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posefix.skeleton.metrics import (
    PROTOCOL_METRICS,
    auc,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck,
    procrustes_align,
)
from scipy.spatial.transform import Rotation

seeds = st.integers(0, 2**32 - 1)


def poses(seed: int, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.4, size=(n, 17, 3))


def similarity(points: np.ndarray, seed: int) -> np.ndarray:
    """Every frame turned, scaled and shifted in its own way."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(len(points), random_state=seed % 2**31).as_matrix()
    scale, shift = rng.uniform(0.2, 5, (len(points), 1, 1)), rng.normal(size=(len(points), 1, 3))
    return scale * points @ turn + shift


@settings(max_examples=40, deadline=None)
@given(seed=seeds, other=seeds)
def test_p_mpjpe_does_not_see_a_similarity_of_the_prediction(seed, other):
    target, predicted = poses(seed), poses(other)
    assert p_mpjpe(similarity(target, other), target) < 1e-6
    moved = p_mpjpe(similarity(predicted, seed), target)
    assert moved == pytest.approx(p_mpjpe(predicted, target), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, other=seeds, factor=st.floats(0.1, 10))
def test_alignments_keep_their_promises(seed, other, factor):
    target, predicted = poses(seed), poses(other)
    # Shifts never matter, a positive scale not to N-MPJPE; the same pose has error 0.
    shift = np.random.default_rng(other).normal(size=(3, 1, 3))
    for metric in PROTOCOL_METRICS.values():
        np.testing.assert_allclose(metric(predicted + shift, target), metric(predicted, target), atol=1e-8)
    assert n_mpjpe(predicted * factor, target) == pytest.approx(n_mpjpe(predicted, target))
    assert mpjpe(target, target) == 0.0
    # The aligned squared error of the best similarity is no larger than that of the best shift.
    centred = predicted - predicted.mean(1, keepdims=True) + target.mean(1, keepdims=True)
    aligned = procrustes_align(predicted, target)
    assert np.all(((aligned - target) ** 2).sum((1, 2)) <= ((centred - target) ** 2).sum((1, 2)) + 1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, other=seeds)
def test_pck_and_auc_are_percentages_in_order(seed, other):
    target = poses(seed)
    predicted = target + 0.2 * poses(other)
    assert 0 <= auc(predicted, target) <= pck(predicted, target) <= 100
    assert pck(predicted, target, threshold_mm=50) <= pck(predicted, target, threshold_mm=100)


def test_a_mirrored_person_is_not_aligned_by_reflection():
    target = poses(1)
    assert p_mpjpe(target * [-1, 1, 1], target) > 50


def test_known_values():
    target = np.zeros((2, 17, 3))
    predicted = target.copy()
    predicted[0, 1, 0] = 0.17  # one joint of 17 by 170 mm, in one of two frames
    assert mpjpe(predicted, target) == pytest.approx(5.0)
    np.testing.assert_allclose(mpjpe(predicted, target, per_frame=True), [10.0, 0.0])
    assert pck(predicted, target) == pytest.approx(100 * (1 - 1 / 32))


def test_pck_is_strict_and_leaves_out_the_root():
    target = np.zeros((1, 17, 3))
    predicted = np.full((1, 17, 3), 0.0)
    predicted[0, 1:, 2] = 0.15
    assert pck(predicted, target) == 0.0
    predicted[0, 1:, 2] = 0.1499
    assert pck(predicted, target) == 100.0
    # All distances 0: below every threshold but the first, 0 itself.
    assert auc(target, target) == pytest.approx(100 * 30 / 31)


def test_per_frame_values_average_to_the_figure():
    target, predicted = poses(3, n=7), poses(4, n=7)
    for metric in PROTOCOL_METRICS.values():
        values = metric(predicted, target, per_frame=True)
        assert values.shape == (7,)
        assert metric(predicted, target) == pytest.approx(values.mean())


def test_a_collapsed_prediction_gives_a_finite_error():
    target = poses(5)
    for metric in (p_mpjpe, n_mpjpe):
        assert np.isfinite(metric(np.zeros_like(target), target))


def test_velocity_error():
    target = np.zeros((4, 17, 3))
    predicted = target.copy()
    predicted[:, 1:, 0] = 0.017 * np.arange(4)[:, None]  # 16 of 17 joints drift 17 mm a frame
    assert mpjve(predicted, target) == pytest.approx(16.0)
    assert mpjve(predicted, target, fps=25.0) == pytest.approx(400.0)
    assert mpjve(target + 1.0, target) == 0.0  # a constant offset has no velocity
    with pytest.raises(ValueError, match="at least 2 frames"):
        mpjve(target[:1], target[:1])


@pytest.mark.parametrize("metric", [*PROTOCOL_METRICS.values(), mpjve, procrustes_align])
@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        ((17, 3), (17, 3), r"expected shape \(n, joints, 3\), got \(17, 3\)"),
        ((2, 17, 2), (2, 17, 2), r"got \(2, 17, 2\)"),
        ((2, 17, 3), (3, 17, 3), r"expected the target's shape \(3, 17, 3\), got \(2, 17, 3\)"),
        ((0, 17, 3), (0, 17, 3), "at least one frame"),
    ],
)
def test_shapes_are_checked(metric, predicted, target, message):
    with pytest.raises(ValueError, match=message):
        metric(np.zeros(predicted), np.zeros(target))


@pytest.mark.parametrize("source", ["cmu", "hdm05", "bandai"])
@pytest.mark.parametrize("name", list(PROTOCOL_METRICS))
def test_the_protocols_reference_values(shared_dir, source, name):
    with np.load(shared_dir / "protocol_check.npz", allow_pickle=False) as check:
        predicted, target = check[f"{source}_pred"], check[f"{source}_lab_cam"]
        expected = float(check[f"{source}_metric_{name}"])
    assert PROTOCOL_METRICS[name](predicted, target) == pytest.approx(expected, rel=1e-9)
