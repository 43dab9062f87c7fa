"""`posefix refine`: words in, `refine_file` called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .cli import print_out, report_error
from .interrupt import Interrupt
from .refine import RefineSettings, parse_size, refine_file
from .report import ProgressBar, describe, next_step, print_warnings
from .settings import DeviceName
from .smoothing import SmoothName

_DEFAULT = RefineSettings()


def refine(
    file: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    format: str | None = None,
    layout: str | None = None,
    person: str = _DEFAULT.person,
    video: str | None = None,
    lift: Annotated[bool, Parameter(negative="")] = False,
    size: str | None = None,
    fps: float | None = None,
    height: float | None = None,
    device: DeviceName = _DEFAULT.device,
    steps: int = _DEFAULT.steps,
    hypotheses: int = _DEFAULT.hypotheses,
    seed: int = _DEFAULT.seed,
    smooth: SmoothName = _DEFAULT.smooth,
    batch_size: int = _DEFAULT.batch_size,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
) -> int:
    """Refine keypoints that another program, or posefix, has found.

    2D is lifted and refined, 3D is refined. docs/keypoint-files.md tells what is read.

    Parameters
    ----------
    file
        OpenPose's folder of JSON files; AlphaPose, MMPose or MediaPipe JSON; NAME_2d.csv or NAME_3d.csv of
        posefix; VideoPose3D's NPZ; TRC.
    output
        Folder for the results. Default: NAME_refined.
    format
        openpose, alphapose, mmpose, mediapipe, posefix, npz or trc. Default: recognised.
    layout
        Joints of the file: coco17, body25, halpe26, blazepose33 or h36m17. Default: recognised.
    person
        Who of several people: all, largest, or their numbers, e.g. 0,2.
    video
        The clip that the keypoints are of; its frames are drawn with the poses.
    lift
        Do not use the file's 3D: make it anew from the file's 2D.
    size
        Width x height of the picture, e.g. 1920x1080, for coordinates that are shares of it.
    fps
        Frames per second. Default: the video's, the file's, or 30.
    height
        Stature of the person in metres; scales the 3D. Default: 1.75; for 3D files their own size.
    device
        Where the networks run; auto takes the fastest there is.
    steps
        Denoising steps of the refiner, 1 to 50.
    hypotheses
        Poses drawn per frame, 1 to 200: their mean is the pose, their spread the uncertainty.
    seed
        Seed of the hypotheses; the same seed gives the same files.
    smooth
        How much the 3D is smoothed over time.
    batch_size
        Frames that go through the networks at once; changes speed and memory, not results.
    overwrite
        Replace the results of an earlier run.
    quiet
        Print nothing but errors.
    verbose
        Print more, and tracebacks of unexpected errors.
    """
    settings = RefineSettings(
        output=output,
        format=format,
        layout=layout,
        person=person,
        video=video,
        lift=lift,
        size=None if size is None else parse_size(size),
        fps=fps,
        height=height,
        device=device,
        steps=steps,
        hypotheses=hypotheses,
        seed=seed,
        smooth=smooth,
        batch_size=batch_size,
        overwrite=overwrite,
        verbosity=-1 if quiet else int(verbose),
    )

    def warn(line: str) -> None:
        if not quiet:
            print(f"posefix: warning: {line}", file=sys.stderr)

    with Interrupt().listening() as interrupt:
        try:
            with ProgressBar(quiet, interrupt) as bar:  # gone before anything is printed
                summary = refine_file(file, settings, warn=warn, watcher=bar, interrupt=interrupt)
        except Exception as error:
            return report_error(error, verbose)
    if not quiet:
        print_out(describe(summary, verbose))
        if step := next_step(summary):
            print_out(f"  {step}")
        print_warnings(summary)
    return summary.exit_code
