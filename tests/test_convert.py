"""skeleton/convert.py: BlazePose-33, COCO-17 and Halpe-26 -> Human3.6M-17."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.skeleton import BLAZEPOSE33, H36M17, Pose2D, get_layout
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


# COCO-17 and Halpe-26


def some(layout: str) -> Pose2D:
    rng, joints = np.random.default_rng(1), len(get_layout(layout).joints)
    return Pose2D(rng.uniform(0, 500, (joints, 2)), rng.uniform(0.2, 1, joints), layout, box=np.arange(4.0))


def middle(pose: Pose2D, *names: str) -> np.ndarray:
    joints = get_layout(pose.layout).joints
    return np.mean([pose.keypoints[joints.index(n)] for n in names], axis=0)


def lowest(pose: Pose2D, *names: str) -> float:
    joints = get_layout(pose.layout).joints
    return min(float(pose.scores[joints.index(n)]) for n in names)


@pytest.mark.parametrize("layout", ["coco17", "halpe26"])
def test_layouts_of_coco_have_its_order_and_mirror(layout):
    joints = get_layout(layout).joints
    assert joints[:6] == ("Nose", "LEye", "REye", "LEar", "REar", "LShoulder")
    assert joints[11:17] == ("LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle")
    order = get_layout(layout).flip_order
    assert [joints[j] for j in order[:5]] == ["Nose", "REye", "LEye", "REar", "LEar"]
    if layout == "halpe26":
        assert joints[17:20] == ("Head", "Neck", "Hip") and order[17:20] == [17, 18, 19]
        assert joints[20:] == ("LBigToe", "RBigToe", "LSmallToe", "RSmallToe", "LHeel", "RHeel")


@pytest.mark.parametrize("layout", ["coco17", "halpe26"])
def test_limbs_and_trunk_from_coco(layout):
    pose = some(layout)
    out = to_h36m17(pose)
    for joint in LIMBS:
        np.testing.assert_allclose(at(out, joint), middle(pose, joint), rtol=1e-6)
        assert score(out, joint) == lowest(pose, joint)
    h, s = middle(pose, "LHip", "RHip"), middle(pose, "LShoulder", "RShoulder")
    for joint, t in (("Hip", 0), ("Spine", 0.425), ("Thorax", 1.08)):
        np.testing.assert_allclose(at(out, joint), h + t * (s - h), rtol=1e-5, atol=1e-3)
    assert score(out, "Spine") == lowest(pose, "LHip", "RHip", "LShoulder", "RShoulder")
    np.testing.assert_array_equal(out.box, np.arange(4))


def test_head_from_coco_lies_on_the_line_from_shoulders_to_ears():
    pose = some("coco17")
    out = to_h36m17(pose)
    s, e = middle(pose, "LShoulder", "RShoulder"), middle(pose, "LEar", "REar")
    np.testing.assert_allclose(at(out, "Neck"), s + 0.87 * (e - s), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(at(out, "Head"), s + 1.47 * (e - s), rtol=1e-5, atol=1e-3)
    assert score(out, "Head") == lowest(pose, "LShoulder", "RShoulder", "LEar", "REar")


def test_head_from_halpe_is_its_own_and_neck_lies_under_it():
    pose = some("halpe26")
    out = to_h36m17(pose)
    np.testing.assert_allclose(at(out, "Head"), middle(pose, "Head"), rtol=1e-6)
    thorax = at(out, "Thorax")
    want = thorax + 0.52 * (at(out, "Head") - thorax)
    np.testing.assert_allclose(at(out, "Neck"), want, rtol=1e-5, atol=1e-3)
    assert score(out, "Head") == lowest(pose, "Head")
    assert score(out, "Neck") == lowest(pose, "Head", "LHip", "RHip", "LShoulder", "RShoulder")


@pytest.mark.parametrize("layout", ["coco17", "halpe26"])
def test_mirrors_and_row_sums_from_coco(layout):
    pose, order = some(layout), get_layout(layout).flip_order
    np.testing.assert_allclose(TO_H36M17[layout].sum(axis=1), 1, atol=1e-6)
    flipped = to_h36m17(Pose2D(pose.keypoints[order] * [-1, 1], pose.scores[order], layout))
    straight = to_h36m17(pose)
    np.testing.assert_allclose(flipped.keypoints, straight.keypoints[H36M17.flip_order] * [-1, 1], atol=1e-3)
    np.testing.assert_allclose(flipped.scores, straight.scores[H36M17.flip_order])
