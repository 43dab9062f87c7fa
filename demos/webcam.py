"""A camera with its skeletons as it happens, in a window; the keys are shown in it.

    python demos/webcam.py [--source 0 | URL | FILE] [--serve [HOST:PORT]] [OPTIONS]

The same as `posefix webcam`, which this calls; the live program itself is in `pipeline/live/`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from posefix.pipeline.cli import call


def main(words: Sequence[str] | None = None) -> int:
    """Run `posefix webcam` with these words, by default those of the command line. Returns the exit code."""
    return call(["webcam", *(sys.argv[1:] if words is None else words)])


if __name__ == "__main__":
    sys.exit(main())
