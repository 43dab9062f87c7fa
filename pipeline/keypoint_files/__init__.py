"""Other programs' keypoint files, one reader each, all into one `KeypointClip`."""

from .clip import KeypointClip, Sight
from .formats import FORMATS, read_keypoints
from .joints import ReadOptions

__all__ = ["FORMATS", "KeypointClip", "ReadOptions", "Sight", "read_keypoints"]
