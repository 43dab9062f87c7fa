"""skeleton/convert.py: BlazePose-33 -> Human3.6M-17."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.skeleton import BLAZEPOSE33, H36M17, Pose2D
from posefix.skeleton.convert import TO_H36M17, to_h36m17

BLAZE, H36M = BLAZEPOSE33.joints, H36M17.joints


@pytest.fixture
def blaze() -> Pose2D:
    rng = np.random.default_rng(0)
    return Pose2D(rng.uniform(0, 500, (33, 2)), rng.uniform(0.2, 1, 33), "blazepose33", box=np.arange(4.0))


def at(pose: Pose2D, *names: str) -> np.ndarray:
    joints = BLAZE if pose.layout == "blazepose33" else H36M
    return np.mean([pose.keypoints[joints.index(n)] for n in names], axis=0)


def score(pose: Pose2D, *names: str) -> float:
    joints = BLAZE if pose.layout == "blazepose33" else H36M
    return min(float(pose.scores[joints.index(n)]) for n in names)


LIMBS = [s + j for s in "LR" for j in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]


@pytest.mark.parametrize("joint", LIMBS)
def test_limbs_are_taken_over_unchanged(blaze, joint):
    out = to_h36m17(blaze)
    np.testing.assert_allclose(at(out, joint), at(blaze, joint), rtol=1e-6)
    assert score(out, joint) == score(blaze, joint)


@pytest.mark.parametrize(
    ("joint", "start", "end", "t"),
    [
        ("Hip", "Hip", "Shoulder", 0.0),
        ("Spine", "Hip", "Shoulder", 0.425),
        ("Thorax", "Hip", "Shoulder", 1.08),
        ("Neck", "Shoulder", "Ear", 0.82),
        ("Head", "Shoulder", "Ear", 1.42),
    ],
)
def test_derived_joints_lie_where_documented(blaze, joint, start, end, t):
    a, b = at(blaze, "L" + start, "R" + start), at(blaze, "L" + end, "R" + end)
    np.testing.assert_allclose(at(to_h36m17(blaze), joint), a + t * (b - a), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("joint", "sources"),
    [
        ("Hip", ("LHip", "RHip")),
        ("Spine", ("LHip", "RHip", "LShoulder", "RShoulder")),
        ("Thorax", ("LHip", "RHip", "LShoulder", "RShoulder")),
        ("Neck", ("LShoulder", "RShoulder", "LEar", "REar")),
        ("Head", ("LShoulder", "RShoulder", "LEar", "REar")),
    ],
)
def test_derived_score_is_the_lowest_of_its_sources(blaze, joint, sources):
    assert score(to_h36m17(blaze), joint) == score(blaze, *sources)


def test_rows_sum_to_one_so_shifts_and_scales_carry_over(blaze):
    np.testing.assert_allclose(TO_H36M17["blazepose33"].sum(axis=1), 1, atol=1e-6)
    moved = Pose2D(blaze.keypoints * 3 + [10, -20], blaze.scores, "blazepose33")
    want = to_h36m17(blaze).keypoints * 3 + [10, -20]
    np.testing.assert_allclose(to_h36m17(moved).keypoints, want, rtol=1e-4, atol=1e-2)


def test_a_mirrored_person_converts_to_the_mirrored_pose(blaze):
    flip = Pose2D(
        blaze.keypoints[BLAZEPOSE33.flip_order] * [-1, 1], blaze.scores[BLAZEPOSE33.flip_order], "blazepose33"
    )
    a, b = to_h36m17(flip), to_h36m17(blaze)
    np.testing.assert_allclose(a.keypoints, b.keypoints[H36M17.flip_order] * [-1, 1], atol=1e-3)
    np.testing.assert_allclose(a.scores, b.scores[H36M17.flip_order])


def test_nan_sources_make_only_their_joints_nan(blaze):
    keypoints = blaze.keypoints.copy()
    keypoints[BLAZE.index("LEar")] = np.nan
    out = to_h36m17(Pose2D(keypoints, blaze.scores, "blazepose33"))
    bad = {H36M[j] for j in np.flatnonzero(np.isnan(out.keypoints).any(axis=1))}
    assert bad == {"Neck", "Head"}


def test_finite_in_finite_out_and_box_kept(blaze):
    out = to_h36m17(blaze)
    assert out.layout == "h36m17" and np.isfinite(out.keypoints).all() and np.isfinite(out.scores).all()
    np.testing.assert_array_equal(out.box, np.arange(4))


def test_h36m17_passes_through(blaze):
    once = to_h36m17(blaze)
    assert to_h36m17(once) is once


def test_mocap_thorax_and_spine_are_where_the_recipe_puts_them(shared_dir):
    """On real bodies: the trunk recipe is within 4 cm (Thorax) and 5 cm (Spine) in the mean."""
    data = np.load(shared_dir / "data" / "mocap17_cmu.npz")
    pose = data["pose"][::20].astype(np.float32) * data["scale"]
    s = (pose[:, 11] + pose[:, 14]) / 2
    for joint, t, limit in ((8, 1.08, 0.04), (7, 0.425, 0.05)):
        assert np.linalg.norm(pose[:, joint] - t * s, axis=1).mean() < limit
