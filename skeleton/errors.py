"""Every error a user can cause or mend: one clear line (what, where, how to mend) and an exit code.

Exit codes of the `posefix` command
    0    done
    1    something unexpected went wrong (a defect: run again with -v and report it)
    2    bad input or usage: the file, folder, camera or option cannot be used
    3    the output cannot be written: it exists, is not writable, or the disk is full
    4    the device asked for is not there
    5    the weights are missing or damaged
    6    done and written, but no person was found in the whole input
    130  stopped by Ctrl-C (143 by SIGTERM); what was written so far is finished and kept
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_NO_PERSON = 6
EXIT_INTERRUPTED = 130


class PosefixError(Exception):
    """An error with a one-line message for the user and the exit code that scripts see."""

    exit_code: int = EXIT_UNEXPECTED

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class InputError(PosefixError):
    """The input or an option cannot be used."""

    exit_code = 2


class OutputError(PosefixError):
    """The output cannot be written."""

    exit_code = 3


class DeviceError(PosefixError):
    """The compute device asked for is not there."""

    exit_code = 4


class WeightsError(PosefixError):
    """The network weights are missing, damaged, or do not fit."""

    exit_code = 5
