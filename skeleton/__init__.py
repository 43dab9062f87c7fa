"""What a pose is: joints, layouts, cameras, metrics. Only numpy; no models, no video."""

from .layouts import BLAZEPOSE33, H36M17, Layout, get_layout
from .poses import Frame, FramePoses, Person, Pose2D, Pose3D, Status

__all__ = [
    "BLAZEPOSE33", "H36M17", "Frame", "FramePoses", "Layout", "Person", "Pose2D", "Pose3D", "Status", "get_layout",
]  # fmt: skip
