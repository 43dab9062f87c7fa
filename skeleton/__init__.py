"""What a pose is: joints, layouts, conversions, cameras, metrics, errors. Only numpy; no models, no video."""

from .convert import to_h36m17
from .errors import DeviceError, InputError, OutputError, PosefixError, WeightsError
from .layouts import BLAZEPOSE33, BODY25, COCO17, H36M17, HALPE26, Layout, get_layout
from .poses import Frame, FramePoses, Person, Pose2D, Pose3D, Status

__all__ = [
    "BLAZEPOSE33",
    "BODY25",
    "COCO17",
    "H36M17",
    "HALPE26",
    "DeviceError",
    "Frame",
    "FramePoses",
    "InputError",
    "Layout",
    "OutputError",
    "Person",
    "Pose2D",
    "Pose3D",
    "PosefixError",
    "Status",
    "WeightsError",
    "get_layout",
    "to_h36m17",
]
