"""Which frame of a file a decoded picture is: packet times, walked beside the decoder without decoding."""

from __future__ import annotations

import heapq
import logging
import math
import os

import av
from av.error import FFmpegError

_SAME_TIME_S = 5e-4
_CUT_S = 0.1  # a file whose pictures end so long before its own word is cut short
_INDEXED = frozenset(("mp4", "mov", "matroska", "webm"))  # hold a list of their key frames: seeking is exact


class PacketClock:
    """Presentation times of all packets of a file, in order, read just ahead of the decoder.

    Only as many times are held as the codec reorders frames, whatever the length of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._container = av.open(path)
        self._times: list[float] = []
        self._decoded_s = self._shown_s = -math.inf
        self._orderly = True
        self._packets_seen, self._end_s = 0, 0.0
        try:
            stream = self._container.streams.video[0]
            self._codec = stream.codec_context.name if stream.codec_context else ""
            self._origin, self._base = stream.start_time or 0, float(stream.time_base or 0)
            self._listed, self._listed_s = stream.frames, (stream.duration or 0) * self._base
            self._packets = self._container.demux(stream)
        except BaseException:
            self._container.close()
            raise

    @property
    def orderly(self) -> bool:
        """Whether numbers can be told by the times alone: the container lists its key frames, and so far
        every frame had a time of its own.
        """
        return self._orderly and not _INDEXED.isdisjoint(self._container.format.name.split(","))

    @property
    def cut_short(self) -> str | None:
        """At the end: how much of the file is there, None where it is whole or nothing tells.

        An mp4 or mov file begins or ends with a list of all its frames. Where an edit list leaves frames out, the
        duration is without them: only what ends before it is cut.
        """
        listed = "mp4" in self._container.format.name and self._listed > self._packets_seen
        if not listed or self._listed_s - self._end_s < _CUT_S:
            return None
        return f"the file is cut short: it holds {self._packets_seen} of {self._listed} frames"

    def key_before(self, time_s: float) -> float | None:
        """Time of the key frame that the container's own list leads to from `time_s`; None: it does not."""
        try:
            with av.open(self._path) as container:
                stream = container.streams.video[0]
                container.seek(self._origin + int(time_s / self._base), stream=stream)
                packet = next(container.demux(stream))
        except (FFmpegError, ValueError, OSError, OverflowError, StopIteration, ZeroDivisionError):
            return None
        if packet.pts is None or not packet.is_keyframe:
            return None
        found_s = (packet.pts - self._origin) * self._base
        return found_s if found_s <= time_s + _SAME_TIME_S else None

    def skipped_before(self, stamp: float) -> int | None:
        """Frames of the file that the decoder left out before the one at `stamp`; None: no such frame."""
        skipped = 0
        while self._decoded_s <= stamp + _SAME_TIME_S and self._pull():
            skipped += self._drop_before(min(stamp - _SAME_TIME_S, self._decoded_s))
        skipped += self._drop_before(stamp - _SAME_TIME_S)
        if not self._times or self._times[0] > stamp + _SAME_TIME_S:
            return None
        self._pop()
        return skipped

    def _drop_before(self, stamp: float) -> int:
        dropped = 0
        while self._times and self._times[0] < stamp:
            self._pop()
            dropped += 1
        return dropped

    def _pop(self) -> None:
        time_s = heapq.heappop(self._times)
        self._orderly &= time_s > self._shown_s + 2 * _SAME_TIME_S
        self._shown_s = time_s

    def rest(self) -> int:
        """Frames that are in the file but were never decoded, up to its end."""
        while self._pull():
            pass
        return len(self._times)

    def _pull(self) -> bool:
        """Takes in one packet; False at the end."""
        try:
            packet = next(self._packets, None)
        except (FFmpegError, ValueError):
            packet = None
        if packet is None or packet.size == 0:
            self._decoded_s = math.inf
            return False
        self._packets_seen += 1
        if packet.is_discard or (self._codec.startswith(("vp8", "libvpx")) and not bytes(packet)[0] & 0x10):
            # Cut away by an edit list, or a VP8 reference frame that is never shown.
            return True
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            heapq.heappush(self._times, (stamp - self._origin) * self._base)
            self._end_s = max(self._end_s, (stamp - self._origin + (packet.duration or 0)) * self._base)
        if packet.dts is not None:
            self._decoded_s = (packet.dts - self._origin) * self._base
        self._orderly &= packet.pts is not None
        return True

    def close(self) -> None:
        self._container.close()


def open_clock(path: str) -> PacketClock | None:
    """The clock of a video file, None where PyAV cannot walk it."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        return PacketClock(os.path.abspath(path))
    except (FFmpegError, ValueError, IndexError, OSError):
        return None  # frames are then numbered as they come; whether it opens at all is OpenCV's to say


def holds_sound_only(path: str) -> bool:
    """Whether a file can be read, and has sound but no pictures in it."""
    try:
        with av.open(os.path.abspath(path)) as container:
            return bool(container.streams.audio) and not container.streams.video
    except (FFmpegError, ValueError, OSError):
        return False
