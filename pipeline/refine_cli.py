"""`posefix refine`: words in, `refine_file` called."""

# ruff: noqa: B008 - the groups of flags, which are defaults, are frozen

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .cli import print_out, report_error
from .flags import FileFlags, KeypointFlags, PrintFlags, RefinerFlags
from .interrupt import Interrupt
from .refine import RefineSettings, parse_size, refine_file
from .report import ProgressBar, describe, next_step, print_warnings


def refine(
    file: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    keypoints: KeypointFlags = KeypointFlags(),
    size: str | None = None,
    refiner: RefinerFlags = RefinerFlags(),
    files: FileFlags = FileFlags(),
    printed: PrintFlags = PrintFlags(),
) -> int:
    """Refine keypoints that another program, or posefix, has found.

    2D is lifted and refined, 3D is refined. docs/keypoint-files.md tells what is read.

    Parameters
    ----------
    file
        OpenPose's folder of JSON files; AlphaPose, MMPose or MediaPipe JSON;
        NAME_2d.csv or NAME_3d.csv of posefix; VideoPose3D's NPZ; TRC.
    output
        Folder for the results. Default: NAME_refined.
    size
        Width x height of the picture, e.g. 1920x1080, for coordinates that are shares of it.
    """
    settings = RefineSettings(
        output=output,
        size=None if size is None else parse_size(size),
        verbosity=printed.verbosity,
        **vars(keypoints),
        **vars(refiner),
        **vars(files),
    )

    def warn(line: str) -> None:
        if not printed.quiet:
            print(f"posefix: warning: {line}", file=sys.stderr)

    with Interrupt().listening() as interrupt:
        try:
            with ProgressBar(printed.quiet, interrupt) as bar:  # gone before anything is printed
                summary = refine_file(file, settings, warn=warn, watcher=bar, interrupt=interrupt)
        except Exception as error:
            return report_error(error, printed.verbose)
    if not printed.quiet:
        print_out(describe(summary, printed.verbose))
        if step := next_step(summary):
            print_out(f"  {step}")
        print_warnings(summary)
    return summary.exit_code
