"""Where the `posefix` command begins: from here on Ctrl-C is one line, also while the program still loads.

Imports nothing but `os`, `signal` and `sys`: until `main` runs, Ctrl-C is the interpreter's. `posefix doctor` must
work where the command line cannot be imported.
"""

from __future__ import annotations

import os
import signal
import sys

# These hold files and processes and let go of them on KeyboardInterrupt, which `cli.call` turns into a line.
_END_BY_EXCEPTION = ("train", "eval", "data")


def main() -> None:
    """Entry point of the `posefix` command; ends the process with the exit code."""
    # Not by KeyboardInterrupt: libraries that are being imported swallow it, or print it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it ignored
        signal.signal(signal.SIGINT, _leave)
    try:
        from .cli import main as command_line
    except ImportError as error:
        sys.exit(_without(error))
    if sys.argv[1:2] and sys.argv[1] in _END_BY_EXCEPTION:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Processing clips listens by itself (`interrupt.Interrupt`) as soon as there may be files to finish.
    command_line()


def _without(error: ImportError) -> int:
    """What there is where a package is missing that the command line itself needs."""
    if sys.argv[1:2] == ["doctor"]:
        from .doctor import doctor

        return doctor(json="--json" in sys.argv[2:])
    print(f"posefix: error: {error}; `posefix doctor` tells what is missing", file=sys.stderr)
    return 1


def _leave(number: int, _: object) -> None:
    try:
        os.write(2, b"posefix: stopped\n")
    finally:
        os._exit(128 + number)
