"""Whether a clip that somebody names is a video, and one that browsers play."""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError

from ..skeleton.errors import InputError

_PLAYED = {"mp4": ("h264", "av1", "vp9"), "webm": ("vp8", "vp9", "av1")}  # by every browser of today


def check_clip(path: Path) -> str | None:
    """What to say of a clip that browsers may not play; None where they do.

    Raises:
        InputError: it is no video.
    """
    try:
        with av.open(str(path)) as container:
            stream = next((s for s in container.streams.video if s.codec_context is not None), None)
            if stream is None:
                raise InputError(f"{path}: no video in it")
            codec, kinds = stream.codec_context.name, container.format.name.split(",")
    except FFmpegError:
        raise InputError(f"{path}: not a video that can be read") from None
    if any(codec in _PLAYED.get(kind, ()) for kind in kinds):
        return None
    return f"{path}: {kinds[0]} with {codec}; not every browser plays that (MP4 with h264 all do)"
