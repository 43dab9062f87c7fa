"""Joint layouts: names, edges, mirror pairs. Conversions between layouts are in `convert.py`.

Source of the Human3.6M-17 order: VideoPose3D's 17 of 32 joints.
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

BLAZEPOSE33 = Layout(
    name="blazepose33",
    joints=_BLAZE,
    parents=(),
    left=tuple(i for i, n in enumerate(_BLAZE) if n[0] == "L"),
    right=tuple(_BLAZE.index("R" + n[1:]) for n in _BLAZE if n[0] == "L"),
)

_LAYOUTS = {layout.name: layout for layout in (H36M17, BLAZEPOSE33)}


def get_layout(name: str) -> Layout:
    """The layout of that name. Raises ValueError that lists the known names."""
    if name not in _LAYOUTS:
        raise ValueError(f"unknown joint layout {name!r}; known: {', '.join(sorted(_LAYOUTS))}")
    return _LAYOUTS[name]
