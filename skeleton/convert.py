"""Detector layouts -> Human3.6M-17: every joint is a fixed weighted sum of the detector's joints.

A derived joint's score is the lowest score among its sources.

BlazePose-33 -> Human3.6M-17, with S the middle of the shoulders, H of the hips, E of the ears:

    Hip      H
    RHip, RKnee, RAnkle, LHip, LKnee, LAnkle                    the joint of the same name
    Spine    H + 0.425 (S - H)
    Thorax   S + 0.08 (S - H)      base of the neck
    Neck     S + 0.82 (E - S)      a point inside the head, about 0.12 m above Thorax
    Head     S + 1.42 (E - S)      top of the skull, about 0.115 m further along the head axis
    LShoulder, LElbow, LWrist, RShoulder, RElbow, RWrist        the joint of the same name

Where the numbers come from. Trunk: least squares over the training people of the motion-capture data
(0.080 and 0.427 of the trunk H->S; the residual is 3-4 cm of bending that a line through S and H cannot
follow). Head: in the same people Neck lies 0.165 m and Head 0.28 m above S where the trunk H->S is 0.5 m.
BlazePose puts E, again with the trunk taken as 0.5 m, 0.15-0.23 m above S in eight clips of different people
(median 0.20, as in anthropometric tables), so 0.165 / 0.20 and 0.28 / 0.20. Assumed: shoulders and hips of
BlazePose are the joint centres, and S, E and the skull's top lie on one line, which holds but for nodding.

COCO-17 -> Human3.6M-17: the same, COCO having the same shoulders, hips and ears, but for two factors:

    Neck     S + 0.87 (E - S)
    Head     S + 1.47 (E - S)

COCO has neither hip centre, spine, neck nor top of the head: these five are never seen, always derived. A network
trained on COCO (PP-TinyPose) puts E 0.17-0.23 m above S in the same eight clips (median 0.19), so 0.165 / 0.19 and
0.28 / 0.19. Nose and eyes are not used. COCO-WholeBody's first 17 joints are COCO-17.

BODY_25 -> Human3.6M-17: as COCO-17, which OpenPose was trained on too. Its MidHip and Neck are middles that are made
here anyway, of the same joints. OpenPose gives no position to an ear that it does not see: then Neck and Head are
unknown.

Halpe-26 -> Human3.6M-17: as COCO-17, but

    Head     Halpe's Head, the top of the skull
    Neck     T + 0.52 (Head - T), T the Thorax; so Neck needs hips, shoulders and Head

0.52 as Neck lies (0.165 - 0.04) of the (0.28 - 0.04) m from Thorax to Head, above. Halpe's own Neck and Hip are
not used: no network for them was at hand to measure where they lie.
"""

from __future__ import annotations

import numpy as np

from .layouts import BLAZEPOSE33, BODY25, COCO17, H36M17, HALPE26
from .poses import FloatArray, Pose2D

SPINE, THORAX, NECK, HEAD = 0.425, 0.08, 0.82, 1.42
NECK_COCO, HEAD_COCO = 0.87, 1.47
NECK_HALPE = 0.52

_MID_SHOULDER = {"LShoulder": 0.5, "RShoulder": 0.5}
_MID_HIP = {"LHip": 0.5, "RHip": 0.5}
_MID_EAR = {"LEar": 0.5, "REar": 0.5}


def _along(start: dict[str, float], end: dict[str, float], t: float) -> dict[str, float]:
    """The point `start + t (end - start)` as weights of the detector's joints."""
    return {
        name: (1 - t) * start.get(name, 0.0) + t * end.get(name, 0.0)
        for name in dict.fromkeys([*start, *end])
    }


_TRUNK = {
    "Hip": _MID_HIP,
    "Spine": _along(_MID_HIP, _MID_SHOULDER, SPINE),
    "Thorax": _along(_MID_HIP, _MID_SHOULDER, 1 + THORAX),
}
_DERIVED_FROM_BLAZEPOSE: dict[str, dict[str, float]] = {
    **_TRUNK,
    "Neck": _along(_MID_SHOULDER, _MID_EAR, NECK),
    "Head": _along(_MID_SHOULDER, _MID_EAR, HEAD),
}
_DERIVED_FROM_COCO: dict[str, dict[str, float]] = {
    **_TRUNK,
    "Neck": _along(_MID_SHOULDER, _MID_EAR, NECK_COCO),
    "Head": _along(_MID_SHOULDER, _MID_EAR, HEAD_COCO),
}
_DERIVED_FROM_HALPE: dict[str, dict[str, float]] = {
    **_TRUNK,
    "Neck": _along(_TRUNK["Thorax"], {"Head": 1.0}, NECK_HALPE),
}


def _weights(source_joints: tuple[str, ...], derived: dict[str, dict[str, float]]) -> FloatArray:
    """(17, J) weights; joints without a recipe are taken from the source joint of the same name."""
    table = np.zeros((len(H36M17.joints), len(source_joints)), np.float32)
    for row, joint in enumerate(H36M17.joints):
        for name, weight in derived.get(joint, {joint: 1.0}).items():
            table[row, source_joints.index(name)] = weight
    table.setflags(write=False)
    return table


#: layout name -> (17, J) weights; each row sums to 1.
TO_H36M17: dict[str, FloatArray] = {
    BLAZEPOSE33.name: _weights(BLAZEPOSE33.joints, _DERIVED_FROM_BLAZEPOSE),
    COCO17.name: _weights(COCO17.joints, _DERIVED_FROM_COCO),
    HALPE26.name: _weights(HALPE26.joints, _DERIVED_FROM_HALPE),
    BODY25.name: _weights(BODY25.joints, _DERIVED_FROM_COCO),
    H36M17.name: _weights(H36M17.joints, {}),
}


def to_h36m17(pose: Pose2D) -> Pose2D:
    """The same person in the Human3.6M-17 layout; box kept, heatmaps (of other joints) dropped.

    A joint is NaN exactly where one of its sources is NaN.

    Raises:
        ValueError: there is no conversion from the pose's layout.
    """
    if pose.layout == H36M17.name:
        return pose
    if pose.layout not in TO_H36M17:
        raise ValueError(f"no conversion from layout {pose.layout!r}; known: {', '.join(sorted(TO_H36M17))}")
    weights = TO_H36M17[pose.layout]  # (17, J)
    used = weights != 0  # (17, J)
    unknown = np.any(np.isnan(pose.keypoints), axis=1)  # (J,)
    keypoints = weights @ np.where(unknown[:, None], 0, pose.keypoints)  # (17, 2)
    keypoints[(used & unknown).any(axis=1)] = np.nan
    scores = np.where(used, pose.scores, np.inf).min(axis=1)  # (17,)
    return Pose2D(keypoints, scores, H36M17.name, box=pose.box)
