"""Frame in, people in 2D out. Detectors are named in `base.py` and loaded only when asked for."""

from .base import Detector, DetectorOptions, create_detector, detector_names

__all__ = ["Detector", "DetectorOptions", "create_detector", "detector_names"]
