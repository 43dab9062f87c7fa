"""Motion capture files into mocap17: names, units, axes, sides, bones, folders."""

from __future__ import annotations

import numpy as np
import pytest
from made_motion import ASF, J, person_bvh
from posefix.pipeline.cli import call
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training.datasets import to_mocap17
from posefix.training.datasets.bvh import read_bvh
from posefix.training.datasets.motion import Motion
from posefix.training.datasets.naming import Landmarks, find_landmarks
from posefix.training.datasets.to_mocap17 import (
    MotionConfig,
    check_bones,
    check_sides,
    cut_glitches,
    resample,
    to_sequences,
)
from posefix.training.mocap import load_mocap, write_mocap


def test_a_person_becomes_17_joints_in_metres_z_up(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "walk.bvh", knee=0))
    (sequence,), notes = to_sequences(
        motion, MotionConfig(source="made", subject="p", action="walk", split="val")
    )
    assert notes == []
    world = sequence.world
    assert world.shape == (30, 17, 3)  # 60 frames at 60 per second
    at = {name: world[0, j] for name, j in J.items()}
    np.testing.assert_allclose(at["Hip"], [0, 0, 0.93], atol=1e-4)
    np.testing.assert_allclose(at["LHip"], [0.09, 0, 0.93], atol=1e-4)
    np.testing.assert_allclose(at["RKnee"], [-0.09, 0, 0.51], atol=1e-4)
    np.testing.assert_allclose(at["LAnkle"], [0.09, 0, 0.09], atol=1e-4)
    np.testing.assert_allclose(at["LWrist"], [0.70, 0, 1.43], atol=1e-4)
    np.testing.assert_allclose(at["RElbow"], [-0.45, 0, 1.43], atol=1e-4)
    np.testing.assert_allclose(at["Thorax"], [0, 0, 1.47], atol=1e-4)
    # Hip to Thorax is 0.54 m; Spine lies 0.14 m up (26 %), Chest 0.36 m (67 %): only Spine is in the middle.
    np.testing.assert_allclose(at["Spine"], [0, 0, 1.07], atol=1e-4)
    # The head begins 0.1005 m above Thorax, 0.01 m in front of it; y up, z forward became z up, -y forward.
    np.testing.assert_allclose(at["Neck"], [0, -0.01, 1.57 + 0.034], atol=1e-3)
    np.testing.assert_allclose(at["Head"] - at["Neck"], [0, 0, 0.115], atol=1e-4)
    np.testing.assert_allclose(world[-1, 0] - world[0, 0], [0, -58 / 60, 0], atol=1e-3)
    assert (sequence.source, sequence.subject, sequence.action, sequence.split, sequence.fps) == (
        "made", "p", "walk", "val", 30.0,
    )  # fmt: skip


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 1 / 2.54, 0.45 / 2.54])
def test_units_are_found_from_the_legs(tmp_path, scale):
    (sequence,), _ = to_sequences(read_bvh(person_bvh(tmp_path / "walk.bvh", scale=scale)), MotionConfig())
    thigh = np.linalg.norm(sequence.world[:, J["LKnee"]] - sequence.world[:, J["LHip"]], axis=-1)
    np.testing.assert_allclose(thigh, 0.42, atol=3e-4)


def test_units_that_nobody_has(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "walk.bvh", scale=0.1))
    with pytest.raises(InputError, match=r"thigh and shin measure 8\.4 units.* give --unit"):
        to_sequences(motion, MotionConfig())
    (sequence,), _ = to_sequences(motion, MotionConfig(unit=0.1))
    assert sequence.world[0, 0, 2] == pytest.approx(0.93, abs=0.06)
    with pytest.raises(InputError, match="--unit 0: expected metres per unit"):
        MotionConfig(unit=0)


NAMINGS = {
    "maya": lambda n: {"LeftHand": "l_Hand_JNT", "RightHand": "r_Hand_JNT"}.get(n, n + "_jnt"),
    "mixamo": lambda n: "mixamorig:" + n,
    "bandai": lambda n: {
        "LeftArm": "UpperArm_L", "LeftForeArm": "LowerArm_L", "LeftHand": "Hand_L", "LeftShoulder": "Shoulder_L",
        "RightArm": "UpperArm_R", "RightForeArm": "LowerArm_R", "RightHand": "Hand_R", "RightShoulder": "Shoulder_R",
        "LeftUpLeg": "UpperLeg_L", "LeftLeg": "LowerLeg_L", "LeftFoot": "Foot_L",
        "RightUpLeg": "UpperLeg_R", "RightLeg": "LowerLeg_R", "RightFoot": "Foot_R",
    }.get(n, n),
    "xsens": lambda n: {
        "LeftShoulder": "LeftCollar", "LeftArm": "LeftShoulder", "LeftForeArm": "LeftElbow", "LeftHand": "LeftWrist",
        "RightShoulder": "RightCollar", "RightArm": "RightShoulder", "RightForeArm": "RightElbow",
        "RightHand": "RightWrist", "LeftUpLeg": "LeftHip", "LeftLeg": "LeftKnee", "LeftFoot": "LeftAnkle",
        "RightUpLeg": "RightHip", "RightLeg": "RightKnee", "RightFoot": "RightAnkle",
    }.get(n, n),
    "daz": lambda n: {
        "Hips": "hip", "Spine": "abdomen", "Chest": "chest", "Neck": "neck", "Head": "head",
        "LeftShoulder": "lCollar", "LeftArm": "lShldr", "LeftForeArm": "lForeArm", "LeftHand": "lHand",
        "RightShoulder": "rCollar", "RightArm": "rShldr", "RightForeArm": "rForeArm", "RightHand": "rHand",
        "LeftUpLeg": "lThigh", "LeftLeg": "lShin", "LeftFoot": "lFoot",
        "RightUpLeg": "rThigh", "RightLeg": "rShin", "RightFoot": "rFoot",
    }.get(n, n),
    "motive": lambda n: {
        "Hips": "Hip", "Spine": "Ab", "LeftArm": "LUArm", "LeftForeArm": "LFArm", "LeftHand": "LHand",
        "LeftShoulder": "LShoulder", "RightArm": "RUArm", "RightForeArm": "RFArm", "RightHand": "RHand",
        "RightShoulder": "RShoulder", "LeftUpLeg": "LThigh", "LeftLeg": "LShin", "LeftFoot": "LFoot",
        "RightUpLeg": "RThigh", "RightLeg": "RShin", "RightFoot": "RFoot",
    }.get(n, n),
    "biped": lambda n: {
        "LeftUpLeg": "Bip01 L Thigh", "LeftLeg": "Bip01 L Calf", "LeftFoot": "Bip01 L Foot",
        "RightUpLeg": "Bip01 R Thigh", "RightLeg": "Bip01 R Calf", "RightFoot": "Bip01 R Foot",
        "LeftArm": "Bip01 L UpperArm", "LeftForeArm": "Bip01 L Forearm", "LeftHand": "Bip01 L Hand",
        "RightArm": "Bip01 R UpperArm", "RightForeArm": "Bip01 R Forearm", "RightHand": "Bip01 R Hand",
    }.get(n, "Bip01 " + n),
}  # fmt: skip


@pytest.mark.parametrize("naming", NAMINGS)
def test_known_names(tmp_path, naming):
    plain = read_bvh(person_bvh(tmp_path / "a.bvh"))
    renamed = read_bvh(person_bvh(tmp_path / "b.bvh", rename=NAMINGS[naming]))
    assert renamed.joints != plain.joints
    assert find_landmarks(renamed) == find_landmarks(plain)


def test_unknown_names_are_listed(tmp_path):
    motion = read_bvh(
        person_bvh(
            tmp_path / "odd.bvh", rename=lambda n: n.replace("LeftLeg", "LeftBeam").replace("Head", "Top")
        )
    )
    with pytest.raises(
        InputError,
        match=r"odd: no joints of known names for left leg, head; the skeleton has Hips, .*LeftBeam",
    ):
        find_landmarks(motion)


def test_the_neck_may_begin_at_the_chest(tmp_path):
    """As in CMU's ASF files: lower neck and collar bones begin at one point; the base of the neck is the next joint."""
    joints = ("root", "chest", "lowerneck", "upperneck", "head", "lcollar", "lhumerus", "lradius", "lhand", "rcollar",
              "rhumerus", "rradius", "rhand", "lfemur", "ltibia", "lfoot", "rfemur", "rtibia", "rfoot")  # fmt: skip
    parents = (-1, 0, 1, 2, 3, 1, 5, 6, 7, 1, 9, 10, 11, 0, 13, 14, 0, 16, 17)
    places = np.zeros((1, len(joints), 3))
    places[0, :, 1] = range(len(joints))
    places[0, [2, 5, 9]] = (0, 5, 0)
    marks = find_landmarks(Motion("x", joints, parents, places))
    assert joints[marks.thorax or 0] == "upperneck"
    places[0, 2] = (0, 9, 0)
    assert joints[find_landmarks(Motion("x", joints, parents, places)).thorax or 0] == "lowerneck"
    with pytest.raises(InputError, match="x: the head hangs from an arm"):
        find_landmarks(Motion("x", joints, (*parents[:2], 6, *parents[3:]), places))


def test_without_neck_and_spine_joints_their_places_are_computed(tmp_path):
    rename = {"Neck": "C7", "Chest": "Back"}
    motion = read_bvh(person_bvh(tmp_path / "w.bvh", knee=0, rename=lambda n: rename.get(n, n)))
    assert find_landmarks(motion).thorax is None
    (sequence,), _ = to_sequences(motion, MotionConfig())
    trunk = 1.43 - 0.93  # middle of the shoulders above Hip
    assert sequence.world[0, J["Thorax"], 2] == pytest.approx(0.93 + 1.08 * trunk, abs=1e-3)


@pytest.mark.parametrize(
    ("heights", "spine"), [((0.1, 0.5, 0.8), 0.5), ((0.35, 0.5), 0.35), ((0.1, 0.8), 0.4)]
)
def test_the_spine_is_the_joint_nearest_to_its_place_or_computed(heights, spine):
    at = np.zeros((2, len(heights) + 2, 3))
    at[:, :, 1] = (0.0, *heights, 1.0)
    last = len(heights) + 1
    marks = Landmarks({}, last, last, tuple(range(last + 1)), None)
    out = to_mocap17._spine(at, marks, at[:, 0], at[:, last])
    np.testing.assert_allclose(out[:, 1], spine)


def test_mirrored_files_are_noticed_and_mended(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "m.bvh", mirror=-1))
    with pytest.raises(InputError, match=r"knees bend backwards in 100 % of frames.*--swap-sides"):
        to_sequences(motion, MotionConfig())
    (mended,), _ = to_sequences(motion, MotionConfig(swap_sides=True))
    (true,), _ = to_sequences(read_bvh(person_bvh(tmp_path / "t.bvh")), MotionConfig())
    np.testing.assert_allclose(mended.world, true.world, atol=2e-4)


def test_straight_legs_say_nothing_about_sides(tmp_path):
    poses = to_sequences(read_bvh(person_bvh(tmp_path / "s.bvh", knee=0)), MotionConfig())[0][0].world64()
    check_sides(poses[:, H36M17.flip_order], "x")  # consistent, and no knee tells
    crossed = poses.copy()
    crossed[:, [J["LShoulder"], J["RShoulder"]]] = poses[:, [J["RShoulder"], J["LShoulder"]]]
    with pytest.raises(InputError, match="left shoulder is on the right hip's side"):
        check_sides(crossed, "x")


def test_up_axis(tmp_path):
    upright = to_sequences(read_bvh(person_bvh(tmp_path / "y.bvh")), MotionConfig())[0][0].world
    # Turned about x by 90°, y goes to z: a file with z up. It walks along z in the file, so only poses are the same.
    motion = read_bvh(person_bvh(tmp_path / "z.bvh", z_up=True))
    turned = to_sequences(motion, MotionConfig())[0][0]
    np.testing.assert_allclose(turned.relative[0], upright[0] - upright[0, 0], atol=3e-4)
    with pytest.raises(InputError, match="hangs head down along y"):
        to_sequences(
            Motion("u", motion.joints, motion.parents, -read_bvh(tmp_path / "y.bvh").positions, 60.0),
            MotionConfig(swap_sides=True),
        )


def test_bones_that_change_length(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "b.bvh", length=(38, 46)))
    with pytest.raises(InputError, match=r"the one to LKnee is 0\.38 to 0\.46 m"):
        to_sequences(motion, MotionConfig())
    poses = np.zeros((3, 17, 3))
    with pytest.raises(InputError, match="has no length"):
        check_bones(poses, "x")


def test_the_floor(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "f.bvh", knee=0))
    sunk = Motion("f", motion.joints, motion.parents, motion.positions - [0, 95, 0], 60.0)
    (auto,), notes = to_sequences(sunk, MotionConfig())
    assert auto.world[:, J["LAnkle"], 2] == pytest.approx(0.09, abs=1e-3)
    assert notes == ["floor moved by +0.95 m"]
    (kept,), notes = to_sequences(sunk, MotionConfig(floor="keep"))
    assert kept.world[0, 0, 2] == pytest.approx(-0.02, abs=1e-3) and notes == []


@pytest.mark.parametrize(("fps", "count"), [(120.0, 11), (30.0, 41), (25.0, 49), (100.0, 13)])
def test_resampling_keeps_the_time(fps, count):
    seconds = np.arange(41) / fps
    poses = np.broadcast_to(seconds[:, None, None], (41, 17, 3))
    out = resample(poses, fps)
    assert len(out) == count
    np.testing.assert_allclose(out[:, 0, 0], np.arange(count) / 30, atol=1e-9)


def test_whole_multiples_take_frames_as_they_are():
    poses = np.random.default_rng(0).normal(size=(4001, 17, 3))
    np.testing.assert_array_equal(resample(poses, 1 / 0.0083333), poses[::4])  # rounded frame times included


def test_glitches_are_cut_out(tmp_path):
    motion = read_bvh(person_bvh(tmp_path / "j.bvh", frames=200, jump=(80, 81)))
    sequences, notes = to_sequences(motion, MotionConfig(source="s"))
    assert [s.name for s in sequences] == ["j#0", "j#1"]
    assert [len(s) for s in sequences] == [40, 59]
    assert notes == ["1 of 100 frames dropped at glitches"]
    assert all(abs(s.root[0, :2]).max() == 0 for s in sequences)
    with pytest.raises(InputError, match=r"nothing left: less than 0\.5 s"):
        to_sequences(read_bvh(person_bvh(tmp_path / "k.bvh", frames=20)), MotionConfig())
    assert cut_glitches(np.zeros((15, 17, 3)))[0].shape == (15, 17, 3)


def test_a_folder_becomes_one_file(tmp_path, capsys):
    folder = tmp_path / "cmu"
    for name in ("02/02_01", "02/02_02", "13/13_05"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        person_bvh(folder / f"{name}.bvh")
    (folder / "02" / "broken.bvh").write_text("HIERARCHY")
    out = tmp_path / "mocap17_mycmu.npz"
    assert call(["data", "convert", str(folder), str(out), "--split", "val"]) == 0
    captured = capsys.readouterr()
    assert "3 sequences, 90 frames" in captured.out and "2 people, split val; 1 files skipped" in captured.out
    assert "skipped: " in captured.err and "broken.bvh: not a BVH file" in captured.err
    read = load_mocap(out).split("val")
    assert [(s.name, s.subject, s.source) for s in read] == [
        ("mycmu_02_01", "mycmu02", "mycmu"), ("mycmu_02_02", "mycmu02", "mycmu"), ("mycmu_13_05", "mycmu13", "mycmu"),
    ]  # fmt: skip


def test_names_from_a_pattern_and_from_folders(tmp_path, capsys):
    person_bvh(tmp_path / "dataset-1_bow_angry_001.bvh")
    out = tmp_path / "x.npz"
    pattern = r"dataset-(?P<subject>\d)_(?P<action>[^_]+)_(?P<style>[^_]+)_"
    words = [
        "data",
        "convert",
        str(tmp_path / "dataset-1_bow_angry_001.bvh"),
        str(out),
        "--name",
        "bn",
        "--overwrite",
    ]
    assert call([*words, "--names", pattern]) == 0
    (read,) = load_mocap(out).sequences
    assert (read.subject, read.action, read.style, read.source) == ("bn1", "bow", "angry", "bn")
    assert call([*words, "--subject", "anna", "--action", "bow"]) == 0
    assert load_mocap(out).sequences[0].subject == "anna"
    capsys.readouterr()
    for bad, message in (
        ("(", "no regular expression"),
        ("abc", "expected groups like"),
        ("(?P<who>a)", "expected groups"),
    ):
        assert call([*words, "--names", bad]) == 2
        assert message in capsys.readouterr().err
    for name in ("anna/take", "ben/take"):
        (tmp_path / "two" / name).parent.mkdir(parents=True)
        person_bvh(tmp_path / "two" / f"{name}.bvh")
    assert call(["data", "convert", str(tmp_path / "two"), str(out), "--overwrite"]) == 0
    assert [(s.name, s.subject) for s in load_mocap(out).sequences] == [
        ("x_anna_take", "x_anna"),
        ("x_ben_take", "x_ben"),
    ]


def test_files_are_left_out_by_name(tmp_path, capsys):
    for name in ("02_01", "13_05", "14_02"):
        person_bvh(tmp_path / f"{name}.bvh")
    out = tmp_path / "x.npz"
    words = ["data", "convert", str(tmp_path), str(out)]
    assert call([*words, "--skip", "(02|14)_"]) == 0
    assert [s.subject for s in load_mocap(out).sequences] == ["x13"]
    for skip, message in (("(", "no regular expression"), (".", "but those that --skip skips")):
        assert call([*words, "--overwrite", "--skip", skip]) == 2
        assert message in capsys.readouterr().err


def test_files_of_ones_own_are_trained_on(tmp_path, monkeypatch):
    from posefix.training import pool

    motion = read_bvh(person_bvh(tmp_path / "a.bvh"))
    for place in ("mocap17_cmu", "more/mine"):
        path = tmp_path / "data" / f"{place}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mocap(path, to_sequences(motion, MotionConfig(source=place, subject=place))[0])
    monkeypatch.setattr(pool, "TRAIN_FILES", ("mocap17_cmu",))
    assert [s.source for s in pool.training_sequences(tmp_path / "data")] == ["mocap17_cmu", "more/mine"]
    write_mocap(tmp_path / "data" / "more" / "val.npz", to_sequences(motion, MotionConfig(split="val"))[0])
    with pytest.raises(InputError, match="val: no sequences of the split 'train'"):
        pool.training_sequences(tmp_path / "data")


def test_places_without_motion(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "p.asf").write_text(ASF)
    (tmp_path / "p.txt").write_text("x")
    (tmp_path / "bad").mkdir()
    for name in ("a.bvh", "b.bvh"):
        (tmp_path / "bad" / name).write_text("x")
    for source, message in (
        ("empty", "no .bvh or .amc files"),
        ("p.asf", "a skeleton without motion"),
        ("p.txt", "expected a pickled .npz file, a .bvh or .amc file"),
        ("bad", "none of 2 files can be used"),
    ):
        assert call(["data", "convert", str(tmp_path / source), str(tmp_path / "o.npz")]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "o.npz").exists()
