"""The two calibrated clips of one man, their reference, and detectors to compare on them.

The reference is not optical motion capture: it was triangulated from detections in four views, with errors of some
2-3 cm.
"""

from __future__ import annotations

import importlib.util
import itertools
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from posefix.detectors.base import DetectorOptions, check_options, create_detector, find_detector, sees_one
from posefix.detectors.doubt import as_h36m17
from posefix.pipeline.people import Detected
from posefix.pipeline.reader import open_source
from posefix.pipeline.settings import Settings
from posefix.pipeline.smoothing import Smoother
from posefix.skeleton import Frame, FramePoses, Person, Pose2D, Pose3D
from posefix.skeleton.errors import InputError
from rich.console import Console
from rich.progress import track

CLIPS = ("balance_cam01", "balance_cam03")
LIMBS = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]  # hips, knees, ankles, shoulders, elbows, wrists
DEFAULT_VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "videos"


@dataclass(frozen=True)
class Reference:
    """One clip's truth: (n, 17, 3) camera metres and its projection (n, 17, 2) pixels."""

    joints: np.ndarray
    pixels: np.ndarray


def read_reference(folder: Path, clip: str) -> Reference:
    """The clip's joints in its camera's axes, and where they fall in the image (lens distortion included)."""
    path = folder / "balance_gt.npz"
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of the clips with --videos")
    with np.load(path, allow_pickle=False) as gt:
        view = list(gt["video"]).index(f"{clip}.mp4")
        world = gt["joints17"][0].astype(np.float64)
        rotation, shift = gt["R"][view], gt["t"][view]
        matrix, lens = gt["K"][view], gt["dist"][view]
    rotation_vector, _ = cv2.Rodrigues(rotation)
    pixels, _ = cv2.projectPoints(world.reshape(-1, 3), rotation_vector, shift, matrix, lens)
    return Reference(world @ rotation.T + shift, pixels.reshape(len(world), 17, 2))


@dataclass(frozen=True)
class Choice:
    """A detector with its options, as on posefix's command line: "onnx --pose-model FILE --det-model FILE"."""

    words: str
    name: str
    options: DetectorOptions

    @classmethod
    def read(cls, words: str) -> Choice:
        """Raises InputError: no such detector, or options that it does not take."""
        name, *rest = shlex.split(words) or [""]
        find_detector(name)
        flags = [word.removeprefix("--").replace("-", "_") for word in rest[::2]]
        known = DetectorOptions.__dataclass_fields__
        bad = [w for w, flag in zip(rest[::2], flags, strict=True) if flag not in known or w[:2] != "--"]
        if bad or len(rest) % 2:
            raise InputError(
                f'--detector "{words}": expected a detector and its options, each with a value, as in '
                f'"onnx --pose-model FILE --det-model FILE"'
            )
        options = DetectorOptions(**dict(zip(flags, rest[1::2], strict=True)))
        check_options(name, options)
        return cls(words, name, options)

    @property
    def label(self) -> str:
        """The detector and the names of its files, without their folders."""
        files = [Path(v).stem for f in self.options.given() if (v := getattr(self.options, f))]
        return " + ".join([self.name, *files])

    @property
    def missing(self) -> str | None:
        """The command that installs what is not there; None where everything is."""
        absent = self.name == "mmpose" and importlib.util.find_spec("mmpose") is None
        return "posefix install-mmpose" if absent else None

    @property
    def sees_one(self) -> bool:
        """Whether it finds one person at most."""
        return sees_one(self.name, self.options)

    def detect(
        self,
        path: Path,
        device: str,
        change: Callable[[Frame], Frame] = lambda frame: frame,
        spent_s: Callable[[float], None] = lambda seconds: None,
        most: int | None = None,
    ) -> Iterator[Detected]:
        """Every frame of a clip with its people in the Human3.6M-17 layout, as posefix itself has them.

        Args:
            change: what is done to the picture first. spent_s: told the seconds that the detector took.
            most: frames to stop after; None: all.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file; give the folder of the clips with --videos")
        detector = create_detector(self.name, device, self.options)
        try:
            with open_source(str(path)) as frames:
                title = f"{path.stem}, {self.name}"
                for frame in track(
                    itertools.islice(frames, most), title, console=Console(stderr=True), transient=True
                ):
                    changed = change(frame)
                    start = time.perf_counter()
                    poses = detector.detect(changed)
                    spent_s(time.perf_counter() - start)
                    yield changed, as_h36m17(poses)
        finally:
            detector.close()


def smoothed(
    poses: Sequence[Pose2D], found: Sequence[Pose3D], frames: np.ndarray, fps: float
) -> list[Pose3D]:
    """The 3D of these frames as the pipeline's default smooths it; it does not join across frames that are left out."""
    smoother, out = Smoother(Settings.smooth), []
    there = {
        int(k): Person(0, "detected", two, three) for k, two, three in zip(frames, poses, found, strict=True)
    }
    for k in range(int(frames[-1]) + 1):
        out += smoother.push((None, FramePoses(k, k / fps, (there[k],) if k in there else ())))
    return [p.pose3d for _, row in out + smoother.finish() for p in row.people if p.pose3d is not None]
