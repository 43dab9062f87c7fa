"""What a 2D detector is, and the table that finds one by name.

A new detector is one file with a class that has the members of `Detector`, and one line in `_REGISTRY`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Protocol, cast, runtime_checkable

from ..skeleton import Frame, Pose2D
from ..skeleton.errors import InputError

SEEN = 0.1  # somebody whose best joint scores less is nobody


class Detector(Protocol):
    """Finds people in frames. Frames of one video arrive in order; a detector may track between them.

    The same frames in the same order give the same poses, bit for bit.

    Attributes:
        name: as on the command line.
        layout: joint layout of the poses (see `posefix.skeleton.layouts`).
        device: where it runs, "cpu" or "cuda".
        weights: {name: SHA-256} of the weights files that the user gave; empty where there are none.
    """

    name: str
    layout: str
    weights: dict[str, str]
    device: str

    def detect(self, frame: Frame) -> list[Pose2D]:
        """People in the frame: keypoints in pixels of the frame, scores 0..1, box; [] when nobody is seen."""
        ...

    def close(self) -> None:
        """Free the model. Calling it twice does no harm."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A detector whose memory of the frames so far can be kept and given to another one of its kind.

    Without these members a run is resumed all the same, but the detector sees every frame again.
    """

    def state(self) -> bytes:
        """What it remembers of the last frame; a few bytes, as they are kept for every frame."""
        ...

    def restore(self, states: Iterable[tuple[tuple[int, int], bytes]]) -> None:
        """Go on as if it had seen the frames of these sizes (height, width), after which it had these states."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What a detector is told beside the device; None: its own default. The command line's flags of these names.

    Attributes:
        pose_model: the pose network: a file, or a name where the detector knows names.
        det_model: the person detector, likewise.
        pose_preset: name of how pictures are normalised.
        pose_weights, det_weights: files of the networks' weights, where they come apart from them.
    """

    pose_model: str | None = None
    det_model: str | None = None
    pose_preset: str | None = None
    pose_weights: str | None = None
    det_weights: str | None = None

    def given(self) -> list[str]:
        """Names of the options that are not None."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]


@dataclass(frozen=True, slots=True)
class _Entry:
    module: str  # where the class lives; imported only when the detector is asked for
    attribute: str
    install: str  # the command that installs what the module needs
    options: tuple[str, ...] = ()  # of DetectorOptions, those that it takes
    one_person: bool = False  # it never finds more


_REGISTRY: dict[str, _Entry] = {
    "cpn": _Entry(
        "posefix.detectors.cpn.detector",
        "CpnDetector",
        "pip install onnxruntime",
        ("pose_model", "pose_weights", "det_model"),
    ),
    "mediapipe": _Entry(
        "posefix.detectors.mediapipe_detector",
        "MediaPipeDetector",
        "pip install mediapipe==0.10.14",
        one_person=True,
    ),
    "mmpose": _Entry(
        "posefix.detectors.mmpose_detector",
        "MMPoseDetector",
        "posefix install-mmpose",
        ("pose_model", "pose_weights", "det_model", "det_weights"),
    ),
    "onnx": _Entry(
        "posefix.detectors.onnx_detector",
        "OnnxDetector",
        "pip install onnxruntime",
        ("pose_model", "det_model", "pose_preset"),
    ),
}


def detector_names() -> list[str]:
    """Names that `create_detector` knows."""
    return sorted(_REGISTRY)


def create_detector(name: str, device: str = "cpu", options: DetectorOptions | None = None) -> Detector:
    """A fresh detector, ready for the first frame of one video.

    Args:
        name: one of `detector_names()`.
        device: "auto", "cpu", "cuda" or "mps"; a detector that has no use for it ignores it.
        options: what else it is told.

    Raises:
        InputError: no detector of that name, its package is not installed, or it does not take an option.
        DeviceError, WeightsError: from the detector itself.
    """
    options = options or DetectorOptions()
    check_options(name, options)
    entry = find_detector(name)
    try:
        factory = getattr(importlib.import_module(entry.module), entry.attribute)
    except ImportError as error:
        raise InputError(
            f"detector {name!r} needs a package that cannot be imported ({error}); "
            f"install it: {entry.install}"
        ) from error
    return cast(Callable[..., Detector], factory)(device, *([options] if entry.options else []))


def check_options(name: str, options: DetectorOptions) -> None:
    """Raises InputError where the detector does not take one of the options, or there is no such detector."""
    for option in options.given():
        if option not in find_detector(name).options:
            takers = [other for other, entry in sorted(_REGISTRY.items()) if option in entry.options]
            raise InputError(
                f"--{option.replace('_', '-')}: the detector {name!r} has no use for it; "
                f"add --detector {' or '.join(takers)}"
            )


def find_detector(name: str) -> _Entry:
    """The registry's entry, without importing anything heavy. Raises InputError that lists the choices."""
    if name not in _REGISTRY:
        raise InputError(f"unknown detector {name!r}; choose from: {', '.join(detector_names())}")
    return _REGISTRY[name]


def sees_one(name: str, options: DetectorOptions) -> bool:
    """Whether the detector finds one person at most, as those do whose person detector is not given."""
    entry = find_detector(name)
    return entry.one_person or ("det_model" in entry.options and options.det_model is None)
