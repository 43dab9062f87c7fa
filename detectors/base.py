"""What a 2D detector is, and the table that finds one by name.

A new detector is one file with a class that has the members of `Detector`, and one line in `_REGISTRY`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from ..skeleton import Frame, Pose2D
from ..skeleton.errors import InputError


class Detector(Protocol):
    """Finds people in frames. Frames of one video arrive in order; a detector may track between them.

    The same frames in the same order give the same poses, bit for bit.

    Attributes:
        name: as on the command line.
        layout: joint layout of the poses (see `posefix.skeleton.layouts`).
    """

    name: str
    layout: str

    def detect(self, frame: Frame) -> list[Pose2D]:
        """People in the frame: keypoints in pixels of the frame, scores 0..1, box; [] when nobody is seen."""
        ...

    def close(self) -> None:
        """Free the model. Calling it twice does no harm."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str  # where the class lives; imported only when the detector is asked for
    attribute: str
    install: str  # the command that installs what the module needs


_REGISTRY: dict[str, _Entry] = {
    "mediapipe": _Entry(
        "posefix.detectors.mediapipe_detector", "MediaPipeDetector", "pip install mediapipe==0.10.14"
    ),
}


def detector_names() -> list[str]:
    """Names that `create_detector` knows."""
    return sorted(_REGISTRY)


def create_detector(name: str, device: str = "cpu") -> Detector:
    """A fresh detector, ready for the first frame of one video.

    Args:
        name: one of `detector_names()`.
        device: "cpu", "cuda" or "mps"; a detector that has no use for it ignores it.

    Raises:
        InputError: no detector of that name, or its package is not installed.
    """
    entry = find_detector(name)
    try:
        factory = getattr(importlib.import_module(entry.module), entry.attribute)
    except ImportError as error:
        raise InputError(
            f"detector {name!r} needs a package that cannot be imported ({error}); "
            f"install it: {entry.install}"
        ) from error
    return cast(Callable[[str], Detector], factory)(device)


def find_detector(name: str) -> _Entry:
    """The registry's entry, without importing anything heavy. Raises InputError that lists the choices."""
    if name not in _REGISTRY:
        raise InputError(f"unknown detector {name!r}; choose from: {', '.join(detector_names())}")
    return _REGISTRY[name]
