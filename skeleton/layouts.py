"""Joint layouts: names, edges, mirror pairs. Conversions between layouts are in `convert.py`.

Sources of the orders: Human3.6M-17, VideoPose3D's 17 of 32 joints; COCO-17, the COCO keypoint task; Halpe-26,
Halpe-FullBody's body part (COCO-17, then head, neck, hip and feet); BODY_25, OpenPose's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """A named set of joints.

    Attributes:
        name: how the layout is called in settings and files.
        joints: joint names, in array order.
        parents: index of each joint's parent, -1 for the root; empty where a layout has no tree.
        left, right: mirror pairs: `left[i]` and `right[i]` swap in a horizontal flip.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) pairs."""
        return tuple((p, j) for j, p in enumerate(self.parents) if p >= 0)

    @property
    def flip_order(self) -> list[int]:
        """Joint order after a horizontal mirror: `flipped = pose[..., flip_order, :]`."""
        order = list(range(len(self.joints)))
        for a, b in zip(self.left, self.right, strict=True):
            order[a], order[b] = b, a
        return order


H36M17 = Layout(
    name="h36m17",
    joints=(
        "Hip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Spine", "Thorax", "Neck", "Head",
        "LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    left=(4, 5, 6, 11, 12, 13),
    right=(1, 2, 3, 14, 15, 16),
)  # fmt: skip

_BLAZE = (
    "Nose", "LEyeInner", "LEye", "LEyeOuter", "REyeInner", "REye", "REyeOuter", "LEar", "REar",
    "LMouth", "RMouth", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist",
    "LPinky", "RPinky", "LIndex", "RIndex", "LThumb", "RThumb", "LHip", "RHip", "LKnee", "RKnee",
    "LAnkle", "RAnkle", "LHeel", "RHeel", "LFootIndex", "RFootIndex",
)  # fmt: skip


def _by_names(name: str, joints: tuple[str, ...]) -> Layout:
    """A layout without a tree, whose mirror pairs are the names that differ in L and R only."""
    left = tuple(i for i, n in enumerate(joints) if n[0] == "L")
    return Layout(name, joints, (), left, tuple(joints.index("R" + joints[i][1:]) for i in left))


_COCO = (
    "Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist",
    "LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle",
)  # fmt: skip

BLAZEPOSE33 = _by_names("blazepose33", _BLAZE)
COCO17 = _by_names("coco17", _COCO)

_FEET = ("BigToe", "SmallToe", "Heel")
HALPE26 = _by_names(
    "halpe26", (*_COCO, "Head", "Neck", "Hip", *(side + part for part in _FEET for side in "LR"))
)

BODY25 = _by_names(
    "body25",
    (
        "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip",
        "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar",
        *("L" + part for part in _FEET), *("R" + part for part in _FEET),
    ),
)  # fmt: skip

_LAYOUTS = {layout.name: layout for layout in (H36M17, BLAZEPOSE33, COCO17, HALPE26, BODY25)}


def get_layout(name: str) -> Layout:
    """The layout of that name. Raises ValueError that lists the known names."""
    if name not in _LAYOUTS:
        raise ValueError(f"unknown joint layout {name!r}; known: {', '.join(sorted(_LAYOUTS))}")
    return _LAYOUTS[name]
