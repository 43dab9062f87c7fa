"""One line for everything that can go wrong while writing."""

from __future__ import annotations

import errno
from pathlib import Path

from ...skeleton.errors import OutputError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder with -o",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder with -o",
    errno.EFBIG: "the file would be larger than allowed here; choose another folder with -o",
    errno.EACCES: "permission denied; choose another folder with -o",
    errno.EPERM: "permission denied; choose another folder with -o",
    errno.EROFS: "the disk is read-only; choose another folder with -o",
    errno.ENOENT: "the folder does not exist; create it or choose another with -o",
    errno.EISDIR: "a folder of that name is in the way; remove it or choose another place with -o",
}


def cannot_write(path: Path, error: Exception) -> OutputError:
    """The OutputError for an exception met while writing `path`."""
    code = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    advice = _ADVICE.get(code, f"{reason}; choose another folder with -o") if code else reason
    return OutputError(f"cannot write {path}: {advice}".replace("\n", " "))
