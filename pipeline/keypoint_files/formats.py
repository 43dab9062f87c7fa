"""The table of formats, and which one a file is, told from its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...skeleton.errors import InputError
from .alphapose import from_alphapose, is_alphapose
from .clip import KeypointClip
from .joints import ReadOptions, in_pixels
from .json_text import load_json
from .mediapipe import from_mediapipe, is_mediapipe
from .mmpose import from_mmpose, is_mmpose
from .openpose import from_openpose, is_openpose
from .posefix_csv import from_posefix_csv, is_posefix_csv
from .trc import from_trc, is_trc
from .videopose3d import from_npz, is_npz

#: JSON formats: name -> (whether content is it, reader).
_JSON = {
    "openpose": (is_openpose, from_openpose),
    "alphapose": (is_alphapose, from_alphapose),
    "mmpose": (is_mmpose, from_mmpose),
    "mediapipe": (is_mediapipe, from_mediapipe),
}
_OTHERS = {"posefix": from_posefix_csv, "npz": from_npz, "trc": from_trc}
FORMATS = (*_JSON, *_OTHERS)
_KNOWN = "OpenPose, AlphaPose, MMPose or MediaPipe JSON, posefix's CSV, VideoPose3D's NPZ, TRC"


def read_keypoints(path: Path, options: ReadOptions, format: str | None = None) -> KeypointClip:
    """Reads a keypoint file, or OpenPose's folder of files; 2D comes out in pixels.

    Args:
        format: one of `FORMATS`; None: recognised by content.

    Raises:
        InputError: nothing there, nothing known, or something wrong with it; says what and where.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"--format {format}: choose from {', '.join(FORMATS)}")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    return in_pixels(_read(path, options, format), options.size, str(path))


def _read(path: Path, options: ReadOptions, format: str | None) -> KeypointClip:
    if path.is_dir():
        if format not in (None, "openpose"):
            raise InputError(f"{path}: is a folder; only OpenPose's files come in one")
        results = sorted(path.glob("*_2d.csv"))
        if results and not any(path.glob("*_keypoints.json")):
            raise InputError(f"{path}: holds results of posefix; name the file to refine, e.g. {results[0]}")
        return from_openpose(path, options)
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({(error.strerror or 'error').lower()})") from None
    if not start:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    text = start.decode("utf-8", errors="replace")
    other = format or ("npz" if is_npz(start) else "trc" if is_trc(text) else None)
    other = other or ("posefix" if is_posefix_csv(text) else None)
    if other in _OTHERS:
        return _OTHERS[other](path, options)
    if format is None and text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "["):
        raise InputError(f"{path}: is none of {_KNOWN}; name its kind with --format")
    return _read_json(path, options, load_json(path), format)


def _read_json(path: Path, options: ReadOptions, content: Any, format: str | None) -> KeypointClip:
    for name, (fits, read) in _JSON.items():
        if name == format or (format is None and fits(content)):
            return read(path, options, content)
    raise InputError(f"{path}: is JSON, but none of {_KNOWN}; name its kind with --format")
