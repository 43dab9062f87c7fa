"""The flags that commands share, in groups: names, types, defaults, and the help that users read.

A command takes the groups it has as parameters; `Settings` has their fields. What a value may be is checked there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from .smoothing import SmoothName

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
#: a flag without --no-NAME
Switch = Annotated[bool, Parameter(negative="")]
_spread = Parameter(name="*")  # the fields are the flags, without the group's name


@_spread
@dataclass(frozen=True, kw_only=True)
class DetectorFlags:
    """What finds people in the pictures.

    Attributes:
        detector: 2D detector: mediapipe, or onnx, mmpose or cpn with networks of your choice.
        pose_model: Pose network. onnx: an .onnx file with heatmaps or SimCC.
            mmpose: a config, or a name of its model zoo; default: human (RTMPose-m).
            cpn: 256x192 or 384x288. Default: recognised.
        det_model: Person detector: an .onnx file of RTMDet or YOLOX;
            for mmpose also a config or name of MMDetection. Default: the whole frame.
        pose_preset: How the pose network's pictures are normalised. Default: recognised.
        pose_weights: Weights of CPN or of MMPose's config: a .pth.tar or .pth file.
        det_weights: Weights of MMDetection's config: a .pth file.
    """

    detector: str = "mediapipe"
    pose_model: str | None = None
    det_model: str | None = None
    pose_preset: str | None = None
    pose_weights: str | None = None
    det_weights: str | None = None


@_spread
@dataclass(frozen=True, kw_only=True)
class PersonFlags:
    """Whose 3D is made of pictures, and how large.

    Attributes:
        person: Who of several people: all, largest, or their numbers, e.g. 0,2; they count from 0 by first appearance.
        height: Stature of the person in metres; scales the 3D.
        refine: Refine the lifted pose; without, there is no uncertainty.
    """

    person: str = "all"
    height: float = 1.75
    refine: bool = True


@_spread
@dataclass(frozen=True, kw_only=True)
class RefinerFlags:
    """How the 3D is refined, and where.

    Attributes:
        device: Where the networks run; auto takes the fastest there is.
        steps: Denoising steps of the refiner, 1 to 50.
        hypotheses: Poses drawn per frame, 1 to 200; fewer are faster.
            Their mean is the pose, their spread the uncertainty.
        seed: Seed of the hypotheses; the same seed gives the same files.
        smooth: How much the 3D is smoothed over time.
    """

    device: DeviceName = "auto"
    steps: int = 2
    hypotheses: int = 5
    seed: int = 0
    smooth: SmoothName = "light"


@_spread
@dataclass(frozen=True, kw_only=True)
class ClipFlags:
    """What of a clip is processed.

    Attributes:
        render: Write the rendered video.
        start: Begin at this second.
        end: Stop at this second.
        max_frames: Stop after so many frames.
        resume: Finish an earlier run that was interrupted.
    """

    render: bool = True
    start: float | None = None
    end: float | None = None
    max_frames: int | None = None
    resume: Switch = False


@_spread
@dataclass(frozen=True, kw_only=True)
class KeypointFlags:
    """What a keypoint file leaves open.

    Attributes:
        format: openpose, alphapose, mmpose, mediapipe, posefix, npz or trc. Default: recognised.
        layout: Joints of the file: coco17, body25, halpe26, blazepose33 or h36m17. Default: recognised.
        person: Who of several people: all, largest, or their numbers, e.g. 0,2.
        video: The clip that the keypoints are of; its frames are drawn with the poses.
        lift: Do not use the file's 3D: make it anew from the file's 2D.
        fps: Frames per second. Default: the video's, the file's, or 30.
        height: Stature of the person in metres; scales the 3D. Default: 1.75; for 3D files their own size.
    """

    format: str | None = None
    layout: str | None = None
    person: str = "all"
    video: str | None = None
    lift: Switch = False
    fps: float | None = None
    height: float | None = None


@_spread
@dataclass(frozen=True, kw_only=True)
class FileFlags:
    """How files are made of it.

    Attributes:
        overwrite: Replace the results of an earlier run.
        batch_size: Frames that go through the networks at once; changes speed and memory, not results.
    """

    overwrite: Switch = False
    batch_size: int = 8


@_spread
@dataclass(frozen=True, kw_only=True)
class PrintFlags:
    """What is printed.

    Attributes:
        quiet: Print nothing but errors.
        verbose: Print more, and tracebacks of unexpected errors.
    """

    quiet: Annotated[Switch, Parameter(name=["--quiet", "-q"])] = False
    verbose: Annotated[Switch, Parameter(name=["--verbose", "-v"])] = False

    @property
    def verbosity(self) -> int:
        """-1 quiet, 0 normal, 1 verbose."""
        return -1 if self.quiet else int(self.verbose)
