"""The lifter: graph layers, normalisation, GraFormer, the shipped network."""

import numpy as np
import pytest
import torch
from posefix.lifter import Lifter
from posefix.lifter.graformer import GraFormer, GraFormerConfig, Lift
from posefix.lifter.graph import (
    Attention,
    ChebConv,
    LearnedGraphLinear,
    chebyshev_terms,
    skeleton_adjacency,
)
from posefix.lifter.normalise import MIRROR_2D, MIRROR_3D, flip_average, mirror, normalise_keypoints
from posefix.lifter.runtime import checked_file, chunks, weights_folder
from posefix.skeleton import H36M17
from posefix.skeleton.errors import WeightsError


def some_keypoints(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 500, (count, 17, 2)), np.ones((count, 17), bool)


def test_adjacency_rows_sum_to_one_and_follow_the_skeleton() -> None:
    a = skeleton_adjacency(H36M17.edges, 17)
    assert torch.allclose(a.sum(dim=1), torch.ones(17))
    assert a[2, 1] > 0 and a[2, 3] > 0 and a[2, 2] > 0
    assert a[2, 5] == 0


def test_chebyshev_recurrence() -> None:
    terms = chebyshev_terms(skeleton_adjacency(H36M17.edges, 17))
    assert terms.shape == (3, 17, 17)
    assert torch.equal(terms[0], torch.eye(17))
    assert torch.allclose(terms[2], 2 * terms[1] @ terms[1] - torch.eye(17))


def test_cheb_conv_is_the_sum_over_terms() -> None:
    terms = chebyshev_terms(skeleton_adjacency(H36M17.edges, 17))
    conv = ChebConv(4, 5, terms)
    x = torch.randn(2, 17, 4)
    weights = conv.weight.reshape(4, 3, 5)
    expected = sum(terms[k] @ x @ weights[:, k] for k in range(3)) + conv.bias
    assert torch.allclose(conv(x), expected, atol=1e-5)


def test_learned_adjacency_survives_negative_rows() -> None:
    layer = LearnedGraphLinear(3, 3, 17)
    layer.adjacency.data.fill_(-1.0)
    assert torch.isfinite(layer(torch.randn(2, 17, 3))).all()


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="multiple of heads=5, got 96"):
        Attention(96, 5)


def test_graformer_size_matches_the_official_code() -> None:
    count = sum(p.numel() for p in GraFormer().parameters())
    assert 0.63e6 < count < 0.68e6  # 0.65 M


def test_graformer_output_is_root_relative() -> None:
    out = GraFormer()(torch.randn(3, 17, 3))
    assert out.shape == (3, 17, 3)
    assert torch.equal(out[:, 0], torch.zeros(3, 3))


def test_normalisation_ignores_framing_and_size() -> None:
    points, _ = some_keypoints(4)
    points, seen = torch.from_numpy(points), torch.ones(4, 17, dtype=torch.bool)
    a = normalise_keypoints(points, seen)
    b = normalise_keypoints(points * 3.7 + torch.tensor([200.0, -90.0]), seen)
    assert torch.allclose(a, b, atol=1e-9)
    assert torch.equal(a[:, 0, :2], torch.zeros(4, 2, dtype=a.dtype))
    span = a[..., :2].amax(dim=1) - a[..., :2].amin(dim=1)
    assert torch.allclose(span.amax(dim=-1), torch.full((4,), 2.0, dtype=a.dtype))


def test_hidden_joints_are_zero_and_do_not_stretch_the_box() -> None:
    points, _ = some_keypoints(1)
    points, seen = torch.from_numpy(points), torch.ones(1, 17, dtype=torch.bool)
    seen[0, 13] = False
    far = points.clone()
    far[0, 13] = 1e5
    a, b = normalise_keypoints(points, seen), normalise_keypoints(far, seen)
    assert torch.equal(a, b)
    assert torch.equal(a[0, 13], torch.zeros(3, dtype=a.dtype))


def test_mirror_twice_is_nothing() -> None:
    x = torch.randn(2, 17, 3)
    assert torch.equal(mirror(mirror(x, MIRROR_2D), MIRROR_2D), x)


def test_flip_average_makes_the_network_mirror_symmetric() -> None:
    network = GraFormer(GraFormerConfig(channels=16, layers=1)).eval()
    x = torch.randn(3, 17, 3)
    with torch.no_grad():
        there, back = flip_average(network, x), flip_average(network, mirror(x, MIRROR_2D))
    assert torch.allclose(there, mirror(back, MIRROR_3D), atol=1e-6)


def test_chunks_cover_every_row_once() -> None:
    padded, bare = list(chunks(7, 3, pad=True)), list(chunks(7, 3, pad=False))
    assert [part.tolist() for _, part in padded] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert [part.tolist() for _, part in bare] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [(where.start, where.stop) for where, _ in padded] == [(0, 3), (3, 6), (6, 7)]


def test_shipped_lifter_gives_a_human_size_whatever_the_batch() -> None:
    points = standing_figure()[None].repeat(5, axis=0) + np.random.default_rng(0).normal(0, 2, (5, 17, 2))
    seen = np.ones((5, 17), bool)
    lifter = Lifter.load("cpu")
    together = lifter(points, seen)
    alone = np.concatenate([lifter(points[i : i + 1], seen[i : i + 1]) for i in range(5)])
    assert np.array_equal(together, alone)
    thigh = np.linalg.norm(together[:, 2] - together[:, 1], axis=-1)
    assert ((thigh > 0.3) & (thigh < 0.6)).all()
    assert (together[:, 10, 1] < -0.4).all()  # the head is up: y points down


def test_onnx_and_torch_agree() -> None:
    from posefix.lifter.lift import SOURCE, build_lift

    points, seen = some_keypoints(3)
    folder = weights_folder()
    module = build_lift(folder / SOURCE)
    assert isinstance(module, Lift)
    with torch.no_grad():
        lifted, _ = module(torch.from_numpy(points).float(), torch.from_numpy(seen).float())
    assert np.allclose(Lifter.load("cpu")(points, seen), lifted.numpy(), atol=1e-4)


def test_wrong_shapes_say_expected_and_received() -> None:
    with pytest.raises(ValueError, match=r"expected keypoints \(n, 17, 2\).*got \(2, 16, 2\)"):
        Lifter.load("cpu")(np.zeros((2, 16, 2)), np.ones((2, 17)))


def test_weights_are_held_against_the_manifest(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no weights here"):
        weights_folder(tmp_path)
    (tmp_path / "manifest.json").write_text('{"sha256": {"a.onnx": "00"}}')
    with pytest.raises(WeightsError, match="is missing"):
        checked_file(tmp_path, "a.onnx")
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match="damaged"):
        checked_file(tmp_path, "a.onnx")
    with pytest.raises(WeightsError, match=r"does not list b\.onnx"):
        checked_file(tmp_path, "b.onnx")


def standing_figure() -> np.ndarray:
    """(17, 2) pixels of somebody standing upright, seen from the front."""
    return np.array(
        [
            [320, 300], [302, 300], [300, 380], [299, 455], [338, 300], [340, 380], [341, 455], [320, 262],
            [320, 205], [320, 180], [320, 158], [352, 212], [362, 262], [366, 308], [288, 212], [278, 262],
            [274, 308],
        ],
        float,
    )  # fmt: skip
