"""Looking at results: one HTML page with video, 3D skeleton and curves; figures of joints and angles.

Reads the files that a run leaves behind and nothing else; no network, no detector is loaded.
"""

from .kinematics import ANGLES, angles, speeds
from .motion import Motion, RunFiles, Track, find_run, read_motion
from .page import write_page

__all__ = [
    "ANGLES",
    "Motion",
    "RunFiles",
    "Track",
    "angles",
    "find_run",
    "read_motion",
    "speeds",
    "write_page",
]
