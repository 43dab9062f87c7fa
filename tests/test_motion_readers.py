"""BVH and ASF/AMC: forward kinematics with answers known by hand, and damaged files."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made_motion import AMC, ASF, PERSON, J, person_bvh
from posefix.pipeline.cli import call
from posefix.skeleton.errors import InputError
from posefix.training.datasets.acclaim import find_asf, read_amc, read_asf
from posefix.training.datasets.bvh import read_bvh
from posefix.training.datasets.to_mocap17 import (
    MotionConfig,
    to_sequences,
)
from posefix.training.mocap import load_mocap


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


def changed(text, change):
    """The text with the first of `change` replaced by the second; unchanged without one."""
    old, new = change or ("", "")
    assert old in text
    return text.replace(old, new, 1) if old else text


@pytest.mark.parametrize(
    ("asf", "amc", "message"),
    [
        ((":bonedata", ":bones"), None, "not an ASF file: it lacks :bonedata"),
        (("length 4", "length four"), None, "cannot be read as an ASF file"),
        (("length 0.45", "length 0"), None, "cannot be read as an ASF file"),
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
    (tmp_path / "p.asf").write_text(changed(ASF, asf))
    (tmp_path / "p.amc").write_text(changed(AMC, amc))
    with pytest.raises(InputError, match=re.escape(message)):
        read_amc(tmp_path / "p.amc", read_asf(tmp_path / "p.asf"))


def test_the_skeleton_of_a_motion(tmp_path):
    for name in ("HDM_bd.asf", "HDM_bk.asf", "HDM_b.asf"):
        (tmp_path / name).write_text(ASF)
    assert find_asf(tmp_path / "HDM_bd_walk_120.amc").name == "HDM_bd.asf"
    with pytest.raises(InputError, match=r"found HDM_b\.asf, HDM_bd\.asf, HDM_bk\.asf"):
        find_asf(tmp_path / "01_02.amc")


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
    (("ROOT Hips", "OFFSET 0 0 0\nROOT Hips"), "line 2: OFFSET outside of a joint"),
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
