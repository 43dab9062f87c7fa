"""What a video file itself says about a wide-angle lens: tags of the camera in its container.

Whether straight lines bend cannot be told honestly from people's joints, so nothing is told from the picture. Cameras
that are wide by make sign their streams (GoPro: "GoPro AVC" or "GoPro H.265" and a track "gpmd"; Insta360: "INS.AVC" or
"INS.HVC"); Apple's write the focal length. Editing and messengers take such tags away.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping

import av
from av.container import InputContainer
from av.error import FFmpegError

from .sources import Source

_MAKERS = {"gopro": "GoPro", "ins.avc": "Insta360", "ins.hvc": "Insta360"}
_FOCAL = "focal_length.35mm_equivalent"
#: mm on 35 mm film. Below, the picture is wider than 84 degrees; phones' main lenses have 23 to 28, ultra-wide ones 13.
WIDE_MM = 20.0


def lens_of(source: Source) -> str | None:
    """Why a source is likely to be filmed with a wide-angle lens; None where its file says nothing of the kind."""
    if source.kind != "video":
        return None
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        with _opened(os.path.abspath(str(source.spec))) as container:
            tags = [container.metadata, *(stream.metadata for stream in container.streams)]
            return wide_lens(tags)
    except (FFmpegError, ValueError, OSError):
        return None  # whether it opens at all is OpenCV's to say


def _opened(path: str) -> InputContainer:
    """The file, also where its tags are no good UTF-8."""
    try:
        return av.open(path, metadata_errors="replace")
    except TypeError:  # PyAV 19 has no such word, and takes any bytes
        return av.open(path)


def wide_lens(tags: Iterable[Mapping[str, str]]) -> str | None:
    """The same from the tags of a container and of its streams."""
    for key, value in ((key.lower(), value) for one in tags for key, value in one.items()):
        if key in ("handler_name", "encoder", "make"):
            sign = value.strip().lower()
            for start, maker in _MAKERS.items():
                if sign.startswith(start):
                    return f"it comes from a {maker} camera"
        if key.endswith(_FOCAL):
            millimetres = _number(value)
            if 0 < millimetres < WIDE_MM:
                return f"its focal length is that of {millimetres:g} mm on 35 mm film"
    return None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return 0.0
