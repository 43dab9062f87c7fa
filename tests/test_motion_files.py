"""BVH and ASF/AMC: forward kinematics with answers known by hand, names, checks, and the mocap17 file."""

from __future__ import annotations

import re

import numpy as np
import pytest
from posefix.pipeline.cli import call
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.training.datasets.acclaim import find_asf, read_amc, read_asf
from posefix.training.datasets.bvh import read_bvh
from posefix.training.datasets.motion import Motion
from posefix.training.datasets.naming import find_landmarks
from posefix.training.datasets.to_mocap17 import (
    MotionConfig,
    check_bones,
    check_sides,
    cut_glitches,
    resample,
    to_sequences,
)
from posefix.training.mocap import load_mocap

J = {name: i for i, name in enumerate(H36M17.joints)}


def test_bvh_forward_kinematics_by_hand(tmp_path):
    """A root at (1, 2, 3) turned 90° about z, an arm of 2 turned 90° about x, then y, and its end 1 along y."""
    path = tmp_path / "arm.bvh"
    path.write_text(
        """HIERARCHY
ROOT hips
{
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT arm
  {
    OFFSET 2 0 0
    CHANNELS 3 Xrotation Yrotation Zrotation
    End Site
    {
      OFFSET 0 1 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.04
1 2 3 0 0 0 0 0 0
1 2 3 90 0 0 90 0 0
1 2 3 90 0 0 90 90 0
"""
    )
    motion = read_bvh(path)
    assert motion.joints == ("hips", "arm", "arm end")
    assert motion.parents == (-1, 0, 1)
    assert motion.fps == pytest.approx(25)
    expected = [
        [[1, 2, 3], [3, 2, 3], [3, 3, 3]],
        # The root takes x to y, y to -x: the arm lies at (0, 2, 0). Its own turn takes y to z, which the root keeps.
        [[1, 2, 3], [1, 4, 3], [1, 4, 4]],
        # About x first, then about the turned y: the end's y axis is not moved by it.
        [[1, 2, 3], [1, 4, 3], [1, 4, 4]],
    ]
    np.testing.assert_allclose(motion.positions, expected, atol=1e-12)


def test_bvh_order_of_channels_matters(tmp_path):
    """Z then X (about the turned axes): the end at x goes to y, and stays there; X then Z: the same end goes to y too,
    but one at y goes to z in the first, and to -x after z, in the second."""
    ends = {}
    for order in ("Zrotation Xrotation", "Xrotation Zrotation"):
        path = tmp_path / "two.bvh"
        path.write_text(
            f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\nCHANNELS 2 {order}\nEnd Site\n{{\nOFFSET 0 1 0\n}}\n}}\n"
            "MOTION\nFrames: 1\nFrame Time: 0.1\n90 90\n"
        )
        ends[order] = read_bvh(path).positions[0, 1]
    # R = Rz Rx: y -> z -> z. R = Rx Rz: y -> -x -> -x.
    np.testing.assert_allclose(ends["Zrotation Xrotation"], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(ends["Xrotation Zrotation"], [-1, 0, 0], atol=1e-12)


ASF = """# made by hand
:version 1.10
:name test
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
  words: that mean nothing
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 4
    axis 0 0 90 XYZ
    dof rx
    limits (-160.0 20.0)
  end
  begin
    id 2
    name shin
    direction 0 -1 0
    length 3
    axis 90 0 0 XYZ
    dof ry rz
    limits (-10.0 170.0)
           (-10.0 170.0)
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """#!OML:ASF
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
thigh 0
shin 0 0
2
root 0 0 0 0 0 0
thigh 90
shin 0 0
3
root 0 0 0 0 0 0
thigh 0
shin 90 0
4
root 0 0 0 90 0 90
thigh 0
shin 0 0
"""


def test_asf_forward_kinematics_with_axes_by_hand(tmp_path):
    (tmp_path / "p.asf").write_text(ASF)
    (tmp_path / "p_01.amc").write_text(AMC)
    motion = read_amc(tmp_path / "p_01.amc", read_asf(find_asf(tmp_path / "p_01.amc")))
    assert motion.joints == ("root", "thigh", "shin", "shin end")
    assert motion.unit == pytest.approx(0.0254 / 0.45)
    knee, foot = motion.positions[:, 2], motion.positions[:, 3]
    np.testing.assert_allclose(
        motion.positions[0], [[1, 2, 3], [1, 2, 3], [1, -2, 3], [1, -5, 3]], atol=1e-12
    )
    # The thigh's axes are turned 90° about z, so its x is the world's y: a turn about y leaves a leg along y alone.
    np.testing.assert_allclose([knee[1], foot[1]], [[0, -4, 0], [0, -7, 0]], atol=1e-12)
    # The shin's axes are turned 90° about x, so its y is the world's z: 90° about z takes -y to x.
    np.testing.assert_allclose([knee[2], foot[2]], [[0, -4, 0], [3, -4, 0]], atol=1e-12)
    # The root turns about the fixed x, then the fixed z: -y -> -z -> -z.
    np.testing.assert_allclose([knee[3], foot[3]], [[0, 0, -4], [0, 0, -7]], atol=1e-12)


def test_amc_in_radians(tmp_path):
    (tmp_path / "p.asf").write_text(ASF)
    (tmp_path / "p_01.amc").write_text(":RADIANS\n1\nroot 0 0 0 0 0 0\nthigh 0\nshin 1.5707963 0\n")
    motion = read_amc(tmp_path / "p_01.amc", read_asf(tmp_path / "p.asf"))
    np.testing.assert_allclose(motion.positions[0, 3], [3, -4, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("asf", "amc", "message"),
    [
        ((":bonedata", ":bones"), None, "not an ASF file: it lacks :bonedata"),
        (("length 4", "length four"), None, "cannot be read as an ASF file"),
        (("dof rx\n", "dof rx tx\n"), None, "only rotations are understood, found dof rx tx"),
        (("thigh shin", "thigh foot"), None, "do not agree about foot"),
        (("root thigh", "shin thigh"), None, "runs in a circle"),
        (None, ("shin 0 0", "shin 0"), "line 7: shin: expected 2 finite numbers, found 1"),
        (None, ("thigh 0", "hand 0"), "hand does not move in the skeleton file"),
        (None, ("thigh 90\n", ""), "thigh is not in every frame"),
        (None, ("thigh 90", "thigh ninety"), "line 10: expected numbers"),
        (None, (AMC, "nothing"), "line 1: nothing does not move"),
    ],
)
def test_damaged_acclaim_files(tmp_path, asf, amc, message):
    (tmp_path / "p.asf").write_text(ASF.replace(*asf, 1) if asf else ASF)
    (tmp_path / "p.amc").write_text(AMC.replace(*amc, 1) if amc else AMC)
    with pytest.raises(InputError, match=re.escape(message)):
        read_amc(tmp_path / "p.amc", read_asf(tmp_path / "p.asf"))


def test_the_skeleton_of_a_motion(tmp_path):
    for name in ("HDM_bd.asf", "HDM_bk.asf", "HDM_b.asf"):
        (tmp_path / name).write_text(ASF)
    assert find_asf(tmp_path / "HDM_bd_walk_120.amc").name == "HDM_bd.asf"
    with pytest.raises(InputError, match=r"found HDM_b\.asf, HDM_bd\.asf, HDM_bk\.asf"):
        find_asf(tmp_path / "01_02.amc")


# A person in centimetres, y up, facing z: (name, parent, offset). The left is at +x.
PERSON = [
    ("Hips", None, (0, 95, 0)),
    ("Spine", "Hips", (0, 12, 0)),
    ("Chest", "Spine", (0, 22, 0)),
    ("Neck", "Chest", (0, 18, 0)),
    ("Head", "Neck", (0, 10, 1)),
    ("HeadEnd", "Head", (0, 18, 0)),
    ("LeftShoulder", "Chest", (3, 14, 0)),
    ("LeftArm", "LeftShoulder", (14, 0, 0)),
    ("LeftForeArm", "LeftArm", (28, 0, 0)),
    ("LeftHand", "LeftForeArm", (25, 0, 0)),
    ("RightShoulder", "Chest", (-3, 14, 0)),
    ("RightArm", "RightShoulder", (-14, 0, 0)),
    ("RightForeArm", "RightArm", (-28, 0, 0)),
    ("RightHand", "RightForeArm", (-25, 0, 0)),
    ("LeftUpLeg", "Hips", (9, -2, 0)),
    ("LeftLeg", "LeftUpLeg", (0, -42, 0)),
    ("LeftFoot", "LeftLeg", (0, -42, 0)),
    ("RightUpLeg", "Hips", (-9, -2, 0)),
    ("RightLeg", "RightUpLeg", (0, -42, 0)),
    ("RightFoot", "RightLeg", (0, -42, 0)),
]


def person_bvh(
    path,
    *,
    frames=60,
    fps=60.0,
    knee=40.0,
    scale=1.0,
    rename=lambda n: n,
    mirror=1,
    jump=(),
    z_up=False,
    length=None,
):
    """Walks 1 m a second along z with both knees bent by `knee` degrees. Two joints under each other are nested."""
    lines = ["HIERARCHY"]

    def write(name, depth):
        _, parent, offset = next(p for p in PERSON if p[0] == name)
        offset = [scale * v * (mirror if i == 0 else 1) for i, v in enumerate(offset)]
        lines.append(
            f"{'JOINT' if parent else 'ROOT'} {rename(name)}\n{{\nOFFSET {' '.join(map(str, offset))}"
        )
        stretch = length and name == "LeftLeg"
        places = "Xposition Yposition Zposition " if not parent or stretch else ""
        lines.append(f"CHANNELS {6 if places else 3} {places}Zrotation Xrotation Yrotation")
        order.append((name, stretch))
        children = [p[0] for p in PERSON if p[1] == name]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.append("End Site\n{\nOFFSET 0 0 0\n}")
        lines.append("}")

    order: list[tuple[str, bool]] = []
    write("Hips", 0)
    lines.append(f"MOTION\nFrames: {frames}\nFrame Time: {1 / fps:.7f}")
    for t in range(frames):
        values = []
        for name, stretch in order:
            if name == "Hips":
                far = 500 * scale if t in jump else 0
                values += [far, 95 * scale, 100 * scale * t / fps, 0, 90 if z_up else 0, 0]
            elif stretch:
                values += [0, -length[t % len(length)] * scale, 0, 0, 0, 0]
            else:
                # Bending the thigh forward and the shin back: the knee goes to +z.
                bend = {"UpLeg": -knee / 2, "Leg": knee}.get(
                    name.removeprefix("Left").removeprefix("Right"), 0.0
                )
                values += [0, bend, 0]
        lines.append(" ".join(f"{v:.5f}" for v in values))
    path.write_text("\n".join(lines) + "\n")
    return path


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


def test_without_neck_and_spine_joints_their_places_are_computed(tmp_path):
    rename = {"Neck": "C7", "Chest": "Back"}
    motion = read_bvh(person_bvh(tmp_path / "w.bvh", knee=0, rename=lambda n: rename.get(n, n)))
    assert find_landmarks(motion).thorax is None
    (sequence,), _ = to_sequences(motion, MotionConfig())
    trunk = 1.43 - 0.93  # middle of the shoulders above Hip
    assert sequence.world[0, J["Thorax"], 2] == pytest.approx(0.93 + 1.08 * trunk, abs=1e-3)


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


def test_cgspeed_bones_are_put_back(tmp_path):
    """CMU's BVH conversion: no thorax bone, a forearm without its wrist third, a T pose first."""
    limbs = ""
    for side, x in (("Left", 1), ("Right", -1)):
        limbs += f"""JOINT {side}Shoulder
{{
OFFSET 0 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}Arm
{{
OFFSET {3 * x} 1 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}ForeArm
{{
OFFSET {5 * x} 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}Hand
{{
OFFSET {3 * x} 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
End Site
{{
OFFSET {x} 0 0
}}
}}
}}
}}
}}
"""
    legs = ""
    for side, x in (("Left", 1), ("Right", -1)):
        legs += f"""JOINT {side[0]}HipJoint
{{
OFFSET 0 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}UpLeg
{{
OFFSET {1.5 * x} -2 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}Leg
{{
OFFSET 0 -7.4 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {side}Foot
{{
OFFSET 0 -7.4 0
CHANNELS 3 Zrotation Yrotation Xrotation
End Site
{{
OFFSET 0 0 2
}}
}}
}}
}}
}}
"""
    chain, close = "", ""
    for name, y in (("LowerBack", 0), ("Spine", 2), ("Spine1", 2)):
        chain += f"JOINT {name}\n{{\nOFFSET 0 {y} 0\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        close += "}\n"
    neck, close_neck = "", ""
    for name, y in (("Neck", 0), ("Neck1", 1.7), ("Head", 1.7)):
        neck += f"JOINT {name}\n{{\nOFFSET 0 {y} 0\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        close_neck += "}\n"
    head = f"{neck}End Site\n{{\nOFFSET 0 1.7 0\n}}\n{close_neck}"
    text = (
        "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\n"
        "CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation\n"
        f"{legs}{chain}{head}{limbs}{close}}}\n"
    )
    width = 3 + 3 * (text.count("JOINT") + 1)
    frames = "\n".join("0 17 0 " + "0 " * (width - 3) for _ in range(80))
    path = tmp_path / "01_01.bvh"
    path.write_text(text + f"MOTION\nFrames: 80\nFrame Time: .0083333\n{frames}\n")
    motion = read_bvh(path)
    assert len(motion.positions) == 79
    at = dict(zip(motion.joints, motion.positions[0], strict=True))
    assert np.linalg.norm(at["Neck"] - at["Spine1"]) == pytest.approx(2)
    np.testing.assert_allclose(at["LeftShoulder"], at["Neck"])
    assert at["LeftHand"][0] - at["LeftForeArm"][0] == pytest.approx(4.5)
    sequences, notes = to_sequences(motion, MotionConfig())
    assert "put back" in notes[0]
    assert sequences[0].world[0, J["Thorax"], 2] == pytest.approx(
        (17 + 2 + 2 + 2 + 1.7) * 0.0254 / 0.45, abs=2e-3
    )


BVH_DAMAGE = [
    (("HIERARCHY", "THINGS"), "not a BVH file"),
    (("OFFSET 0.0 95.0 0.0", "OFFSET 0 high 0"), "line 4: expected a number, found high"),
    (("CHANNELS 3 Zrotation", "CHANNELS 3 Wrotation"), "expected Xposition … Zrotation, each once"),
    (("JOINT Spine", "BONE Spine"), "found BONE"),
    (("Frames: 60", "Frames: 61"), "the file is cut off or its skeleton does not belong to it"),
    (("Frame Time: 0.0166667", "Frame Time: 0"), "Frame Time: expected seconds above 0"),
    (("Frames: 60", "Frames: many"), "expected Frames, Frame Time and numbers"),
    (
        ("End Site\n{\nOFFSET 0 0 0\n}\n}", "End Site\n{\nOFFSET 0 0 0\n}\n}\n}\n}\n}\n}\n}\n}\n}\n}"),
        "one } too many",
    ),
    (("}\nMOTION", "MOTION"), "ends inside the skeleton"),
    (("JOINT Spine", "ROOT Spine"), "ROOT in the wrong place"),
]


@pytest.mark.parametrize(("change", "message"), BVH_DAMAGE)
def test_damaged_bvh_files(tmp_path, change, message):
    path = person_bvh(tmp_path / "walk.bvh")
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_bvh(path)
    assert "\n" not in str(error.value)


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


def test_amc_needs_no_frame_rate_but_says_what_it_took(tmp_path, capsys):
    """A whole person in ASF/AMC, through the command; the legs hang, so nothing tells the sides."""
    u = 0.45 / 2.54  # centimetres to the file's unit
    bones, moves = [], []
    names = {"LeftUpLeg": "lfemur", "LeftLeg": "ltibia", "LeftFoot": "lfoot", "LeftArm": "lhumerus",
             "LeftForeArm": "lradius", "LeftHand": "lhand", "LeftShoulder": "lclavicle", "Neck": "upperneck",
             "Head": "head"}  # fmt: skip
    names |= {k.replace("Left", "Right"): "r" + v[1:] for k, v in names.items() if "Left" in k}
    tree = []
    for name, parent, offset in PERSON[1:]:
        # A bone begins where its parent ends: "way" leads from the parent's joint to this one's, which has no length.
        way, length = np.array(offset, float) * u, np.linalg.norm(offset) * u
        for bone, vector, size in (("way_", way / length, length), ("", (0, 1, 0), 0.0)):
            bones.append(
                f"begin\nname {bone}{names.get(name, name)}\ndirection {' '.join(map(str, vector))}\n"
                f"length {size}\naxis 0 0 0 XYZ\n{'' if bone else 'dof rx'}\nend"
            )
        tree.append(
            f"{'root' if parent == 'Hips' else names.get(parent, parent)} way_{names.get(name, name)}"
        )
        tree.append(f"way_{names.get(name, name)} {names.get(name, name)}")
        moves.append(f"{names.get(name, name)} 0")
    asf = (
        ASF.split(":bonedata")[0]
        + ":bonedata\n"
        + "\n".join(bones)
        + "\n:hierarchy\nbegin\n"
        + "\n".join(tree)
        + "\nend\n"
    )
    (tmp_path / "07.asf").write_text(asf)
    frames = "\n".join(f"{t}\nroot 0 {95 * u} 0 0 0 0\n" + "\n".join(moves) for t in range(1, 122))
    (tmp_path / "07_01.amc").write_text(":DEGREES\n" + frames + "\n")
    out = tmp_path / "mocap17_amc.npz"
    assert call(["data", "convert", str(tmp_path / "07_01.amc"), str(out)]) == 0
    assert "taken as 120" in capsys.readouterr().out
    (read,) = load_mocap(out).sequences
    assert len(read) == 31 and read.subject == "amc07"
    thigh = read.world[0, J["LHip"]] - read.world[0, J["LKnee"]]
    np.testing.assert_allclose(thigh, [0, 0, 0.42], atol=1e-3)
    assert call(["data", "convert", str(tmp_path / "07_01.amc"), str(out), "--fps", "60", "--overwrite"]) == 0
    assert len(load_mocap(out).sequences[0]) == 61
