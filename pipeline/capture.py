"""Videos, cameras and streams through OpenCV, with true numbers and times.

OpenCV decodes. For video files PyAV walks the same container beside it, packets only, nothing decoded: that
tells which frame of the source each decoded picture is, so a frame the decoder drops leaves a hole in the
numbering instead of shifting everything after it.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

# FFmpeg inside OpenCV reads these once, when its first file is opened; posefix reports such errors itself.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_DEBUG", "0")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.errors import InputError
from .packet_clock import PacketClock, holds_sound_only, open_clock
from .sources import Source

STREAM_TIMEOUT_S = 10.0
"""A stream that sends nothing for so long has ended."""
PROMPT_TIMEOUT_S = 3.0
"""The same where its pictures are to be seen at once: then it is rather opened again."""

_DEFAULT_FPS = 30.0  # where nothing tells
# A shorter way is decoded faster than sought. OpenCV counts frames by the average rate, which may be off.
_SEEK_FROM_S, _SEEK_EARLY_S = 2.0, 1.0
_TEXT_SUFFIXES = (".txt", ".csv", ".json", ".log", ".md", ".xml", ".nfo", ".diz", ".ans")
# A failed grab may be one bad packet or the end: only repeated failure (cheap at the end) tells.
_FILE_RETRIES = 300
_LIVE_RETRIES = 20
_STALLED_RETRIES = 2

Image = npt.NDArray[np.uint8]


class Capture:
    """cv2.VideoCapture with true numbers and times, and patience with bad packets.

    Args:
        prompt: streams are decoded in one thread, as each further one holds a frame back, and given up sooner.
    """

    def __init__(self, source: Source, prompt: bool = False) -> None:
        # Again at run time: another library may have loaded OpenCV before this module could set its level.
        cv2.setLogLevel(0)
        self._source, self._prompt = source, prompt
        self._timeout_s = PROMPT_TIMEOUT_S if prompt else STREAM_TIMEOUT_S
        self._open()
        fps, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = float(fps) if 0.1 < fps < 1000 else None
        self.n_frames = int(count) if 0 < count < 1e9 else None
        self.live = source.kind == "camera" or (source.kind == "stream" and self.n_frames is None)
        if self.live:
            self.n_frames = None

    def _open(self) -> None:
        self.corrupt = 0
        self._index, self._time_s = -1, -math.inf
        self._started = 0.0
        self._stalled = False
        self._capture = _open_capture(self._source, self._timeout_s, 1 if self._prompt else None)
        self._clock = open_clock(str(self._source.spec)) if self._source.kind == "video" else None
        # The default today; phone clips depend on it.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)

    def skip_to(self, start_s: float) -> None:
        """Goes to a frame before `start_s` near it, decoding little.

        Stays where it is, or begins anew, where numbers could then differ from those of reading through.
        """
        if self._clock is None or not self._clock.orderly or start_s - self._time_s < _SEEK_FROM_S:
            return
        key_s = self._clock.key_before(start_s - _SEEK_EARLY_S)
        if key_s is not None and key_s > self._time_s and not self._jump(self._clock, key_s, start_s):
            self.close()
            self._open()

    def _jump(self, clock: PacketClock, key_s: float, start_s: float) -> bool:
        """Seeks to a frame between a key frame and `start_s`. Returns False where its number is not sure."""
        self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * (start_s - _SEEK_EARLY_S))
        if not self._capture.grab():
            return False
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not max(key_s, self._time_s) <= stamp < start_s:
            return False
        # The clock walks all packets up to there: what it counts is what decoding would have counted.
        between = clock.skipped_before(stamp)
        if between is None or not clock.orderly:
            return False
        self._index, self._time_s = self._index + 1 + between, stamp
        return True

    def advance(self) -> tuple[int, float] | None:
        """Grabs the next decodable frame. Returns its (index, seconds), None at the end."""
        for failed in range(_LIVE_RETRIES if self.live else _FILE_RETRIES):
            if self._grab():
                self._number_and_time()
                return self._index, self._time_s
            if self._stalled and failed >= _STALLED_RETRIES:  # further attempts would wait as long again
                break
            if self.live:
                time.sleep(0.01)
        if self._clock is not None:
            self.corrupt += self._clock.rest()
        return None

    def _grab(self) -> bool:
        began = time.monotonic()
        grabbed = self._capture.grab()
        # A wait as long as that was cut off: what still comes are frames that the decoder held.
        waited = time.monotonic() - began
        self._stalled |= self._source.kind == "stream" and waited > 0.9 * self._timeout_s
        return grabbed

    @property
    def ended_early(self) -> str | None:
        """At the end: why it came before the true one, None where nothing says that it did."""
        if self._stalled:
            return f"the stream stopped sending: nothing came for {self._timeout_s:g} s"
        if self.live:
            return f"the {self._source.kind} stopped sending"
        came, expected = self._index + 1, self.n_frames or 0
        if self._source.kind == "stream" and expected - came > max(0.1 * expected, self.fps or _DEFAULT_FPS):
            return f"the stream ended after {came} of about {expected} frames"
        return None if self._clock is None else self._clock.cut_short

    def image(self) -> Image | None:
        """The current frame, (H, W, 3) uint8 BGR, upright, a new array each time; None: corrupt."""
        ok, image = self._capture.retrieve()
        if not ok or image is None or image.size == 0:
            self.corrupt += 1
            return None
        return _as_bgr8(image)

    def _number_and_time(self) -> None:
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        skipped = self._clock.skipped_before(stamp) if self._clock is not None else 0
        if self._clock is not None and skipped is None:
            self._clock.close()
            self._clock = None
        skipped = skipped or 0
        self.corrupt += skipped
        self._index += 1 + skipped
        if self.live:
            # Cameras often give no stamp at all, streams a broken one after a reconnect: arrival counts.
            now = time.monotonic()
            self._started = now if self._index == 0 else self._started
            self._time_s = max(now - self._started, self._time_s + 1e-3)
            return
        if not stamp > self._time_s:
            stamp = self._time_s + (1 + skipped) / (self.fps or _DEFAULT_FPS)
        self._time_s = max(stamp, 0.0)

    def nothing_readable(self) -> str:
        if self._source.kind in ("camera", "stream"):
            return f"{self._source.label}: opens but sends no picture; check that it is running and try again"
        return f"{self._source.label}: holds no readable video frame; check that it plays, or export it again"

    def close(self) -> None:
        self._capture.release()
        if self._clock is not None:
            self._clock.close()


def _open_capture(source: Source, timeout_s: float, threads: int | None) -> cv2.VideoCapture:
    spec = source.spec
    if isinstance(spec, int):
        capture = cv2.VideoCapture(spec)
        problem = (
            f"camera {spec} does not open; check that it is connected, allowed, and not in use elsewhere"
        )
    elif source.kind == "stream":
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * STREAM_TIMEOUT_S)]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * timeout_s)]
        limits += [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
        capture = cv2.VideoCapture(str(spec), cv2.CAP_FFMPEG, limits)
        problem = f"{source.label}: does not open; check the address, the network and the password"
    else:
        # Absolute: FFmpeg would take "a:b.mp4" for a protocol, and %d patterns are not wanted here.
        capture = cv2.VideoCapture(os.path.abspath(str(spec)), cv2.CAP_FFMPEG)
        problem = (
            f"{spec}: is no video that can be read (damaged, cut short or of another kind); export it again"
        )
        if not capture.isOpened() and holds_sound_only(str(spec)):
            problem = f"{spec}: holds sound only, no pictures; name the video itself"
    # FFmpeg "plays" any text file called .txt.
    if not capture.isOpened() or (source.kind == "video" and _is_text(str(spec))):
        capture.release()
        raise InputError(problem)
    return capture


def _is_text(path: str) -> bool:
    return Path(path).suffix.lower() in _TEXT_SUFFIXES


def _as_bgr8(image: npt.NDArray) -> Image:
    """Grey, BGRA and 16-bit pictures (cameras, streams) as (H, W, 3) uint8."""
    if image.dtype != np.uint8:
        image = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return np.asarray(image, dtype=np.uint8)
