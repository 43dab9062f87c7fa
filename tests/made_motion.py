"""A person as BVH, and a leg as ASF and AMC, for the tests of motion capture files."""

from __future__ import annotations

from posefix.skeleton import H36M17

J = {name: i for i, name in enumerate(H36M17.joints)}


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
    length=(),
):
    """Walks 1 m a second along z with both knees bent by `knee` degrees. Two joints under each other are nested."""
    lines = ["HIERARCHY"]

    def write(name, depth):
        _, parent, offset = next(p for p in PERSON if p[0] == name)
        offset = [scale * v * (mirror if i == 0 else 1) for i, v in enumerate(offset)]
        lines.append(
            f"{'JOINT' if parent else 'ROOT'} {rename(name)}\n{{\nOFFSET {' '.join(map(str, offset))}"
        )
        stretch = bool(length) and name == "LeftLeg"
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
