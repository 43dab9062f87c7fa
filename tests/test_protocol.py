"""The MOCAP17 protocol: frame choice, cameras, simulated detector, reference values."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.skeleton.errors import InputError
from posefix.training.mocap import Mocap, Sequence, load_mocap
from posefix.training.protocol import (
    DET_SIGMA,
    choose_frames,
    default_stride,
    make_benchmark,
    simulate_detector,
)


def tiny_mocap(name: str = "tiny", lengths: tuple[int, ...] = (9, 4, 6)) -> Mocap:
    """Standing, noisy people who walk off; actions a, b, a; the last sequence but one is of `train`."""
    rng = np.random.default_rng(0)
    sequences = []
    for i, n in enumerate(lengths):
        pose = rng.integers(-3000, 3000, (n, 17, 3), dtype=np.int16)
        pose[:, 0] = 0
        root = np.stack([0.1 * np.arange(n), np.full(n, i), np.full(n, 0.9)], axis=-1).astype(np.float32)
        split = "train" if i == 1 else "test"
        sequences.append(Sequence(f"s{i}", "p", "ab"[i % 2], "", "made", split, 30.0, pose, root))
    return Mocap(name, tuple(sequences))


def test_frames_are_every_fourth_of_each_sequence_of_the_split():
    mocap = tiny_mocap()
    world, actions = choose_frames(mocap, "test", 4)
    expected = [mocap.sequences[0].world[i] for i in (0, 4, 8)] + [
        mocap.sequences[2].world[i] for i in (0, 4)
    ]
    np.testing.assert_allclose(world, expected, atol=1e-6)
    assert list(actions) == ["a"] * 5


@pytest.mark.parametrize(
    ("name", "stride"),
    [("mocap17_cmu", 4), ("mocap17_hdm05", 4), ("mocap17_bandai", 16), ("Bandai2", 16), ("x", 4)],
)
def test_stride_follows_the_files_name(name, stride):
    assert default_stride(name) == stride
    assert make_benchmark(tiny_mocap(name)).stride == stride
    assert make_benchmark(tiny_mocap(name), stride=1).stride == 1


def test_lab_rows_are_camera_major_and_centred_on_the_person():
    bench = make_benchmark(tiny_mocap(), cameras="lab")
    assert len(bench) == 20
    assert list(bench.camera) == [k for k in range(4) for _ in range(5)]
    assert list(bench.frame) == list(range(5)) * 4
    np.testing.assert_array_equal(bench.image_size, np.full((20, 2), 1000.0))
    # The pelvis is straight ahead, 5 m away on the floor plan; the camera is 0.6 m above its aim.
    np.testing.assert_allclose(bench.target_camera[:, 0, 0], 0, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(bench.target_camera[:, 0], axis=-1), np.hypot(5, 0.7), atol=1e-6
    )
    # Opposite cameras see a person mirrored in depth.
    assert np.corrcoef(bench.target[:5, :, 2].ravel(), bench.target[10:15, :, 2].ravel())[0, 1] < -0.9


def test_wild_has_one_camera_a_frame_that_does_not_depend_on_the_others():
    few, many = (make_benchmark(tiny_mocap(lengths=(n, 1, 1)), cameras="wild", stride=1) for n in (5, 9))
    np.testing.assert_allclose(many.keypoints[:5], few.keypoints[:5])
    np.testing.assert_array_equal(few.image_size[0], [1920, 1080])
    distance = np.linalg.norm(many.target_camera[:, 0], axis=-1)
    assert np.all((distance > 2.4) & (distance < 8.3))
    assert np.ptp(distance) > 1


@pytest.mark.parametrize("cameras", ["lab", "wild"])
def test_targets_are_root_relative_and_pixels_belong_to_them(cameras):
    bench = make_benchmark(tiny_mocap(), cameras=cameras)
    np.testing.assert_array_equal(bench.target[:, 0], 0)
    # The 3D behind a pixel lies on that pixel's ray: both axes have the same focal length.
    ratio = bench.target_camera[..., :2] / bench.target_camera[..., 2:]
    centre = bench.image_size[:, None] / 2
    focal = ((bench.keypoints - centre) * ratio).sum((1, 2)) / (ratio**2).sum((1, 2))
    np.testing.assert_allclose(bench.keypoints, centre + focal[:, None, None] * ratio, atol=1e-8)


def test_simulated_detector_has_the_stated_noise_and_is_repeatable():
    rng = np.random.default_rng(3)
    exact = rng.uniform(0, 1, (20000, 17, 2)) * [100, 400]
    box = np.ptp(exact, axis=1).max(axis=1)
    noise = (simulate_detector(exact) - exact) / box[:, None, None]
    # The median does not see the 2 % outliers; 0.6745 is that of a standard normal's absolute value.
    np.testing.assert_allclose(np.median(np.abs(noise), axis=(0, 2)) / 0.6745, DET_SIGMA, rtol=0.05)
    outliers = (np.abs(noise) > 5 * DET_SIGMA[:, None]).any(-1).mean()
    assert 0.005 < outliers < 0.02
    np.testing.assert_array_equal(simulate_detector(exact), simulate_detector(exact))


def test_det_differs_from_gt_in_the_input_only():
    gt, det = (make_benchmark(tiny_mocap(), input=kind) for kind in ("gt", "det"))
    np.testing.assert_array_equal(gt.target, det.target)
    np.testing.assert_array_equal(gt.keypoints, det.exact)
    assert not np.array_equal(gt.keypoints, det.keypoints)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": "studio"}, "cameras: expected one of lab, wild, got 'studio'"),
        ({"input": "noisy"}, "input: expected one of gt, det, got 'noisy'"),
        ({"split": "val"}, "the file holds test, train"),
        ({"stride": 0}, "stride: expected at least 1, got 0"),
    ],
)
def test_unknown_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_benchmark(tiny_mocap(), **options)


@pytest.mark.parametrize("source", ["cmu", "hdm05", "bandai"])
@pytest.mark.parametrize("cameras", ["lab", "wild"])
def test_the_protocols_reference_values(shared_dir, source, cameras):
    mocap = load_mocap(shared_dir / "data" / f"mocap17_{source}.npz")
    with np.load(shared_dir / "protocol_check.npz", allow_pickle=False) as archive:
        check = {
            key.removeprefix(f"{source}_"): archive[key] for key in archive.files if key.startswith(source)
        }
    gt, det = (make_benchmark(mocap, "test", cameras, kind) for kind in ("gt", "det"))
    assert len(gt) == int(check["n"]) * (4 if cameras == "lab" else 1)
    rows = check["lab_rows"] if cameras == "lab" else check["frames"]
    world, _ = choose_frames(mocap, "test", gt.stride)
    np.testing.assert_allclose(world[check["frames"]], check["world"], atol=1e-12)
    np.testing.assert_allclose(gt.target_camera[rows], check[f"{cameras}_cam"], atol=1e-12)
    np.testing.assert_allclose(gt.keypoints[rows], check[f"{cameras}_uv"], atol=1e-9)
    np.testing.assert_allclose(det.keypoints[rows], check[f"{cameras}_det"], atol=1e-9)
