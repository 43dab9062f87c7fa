"""Reading a source as it happens: a thread that always has the newest frame, and opens a lost camera again.

Cameras and streams are read as fast as they send, so nothing old waits in a driver's or a connection's buffer. A file
plays at its own pace by its time stamps; what comes too late is dropped, as it would be from a camera.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...skeleton import Frame
from ...skeleton.errors import InputError
from ..capture import Capture, Image
from ..image_files import ImageFiles
from ..reader import SourceInfo
from ..sources import Source
from .newest import Newest

QUIET_S = 1.5
"""A camera or stream that has sent nothing for so long is said to be silent."""
RETRY_S = 1.0
"""Between two attempts to open a lost camera again."""
BEHIND_S = 1.0
"""A file that cannot be decoded in time is put off by what it is behind, once that is so much."""
SHOW_S = 0.25
"""Of a file at least one frame in so long a time is handed over, however late."""
_STEP_S = 0.05  # waits are cut into such pieces, so that stopping and pausing are heard

# What FFmpeg inside OpenCV is told of streams: keep nothing back. Users may set the variable themselves.
_STREAM_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame and when it was taken.

    Attributes:
        frame: its number counts all frames of the source; its time is that of a clock that began with the first.
        taken_s: by `time.monotonic`: when it arrived; of a file, when its time had come.
    """

    frame: Frame
    taken_s: float


class Pictures(Protocol):
    """An open source; see `capture.Capture`."""

    live: bool

    @property
    def fps(self) -> float | None: ...
    @property
    def n_frames(self) -> int | None: ...
    def advance(self) -> tuple[int, float] | None: ...
    def image(self) -> Image | None: ...
    def nothing_readable(self) -> str: ...
    def close(self) -> None: ...


def open_pictures(source: Source) -> Pictures:
    """Opens a source. Raises InputError when it cannot be opened."""
    if source.kind == "images":
        return ImageFiles(source)
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _STREAM_OPTIONS)
    return Capture(source, prompt=True)


class Camera:
    """The newest frame of a source.

    Args:
        source: what to read.
        opener: opens it, also again.

    Attributes:
        info: what the source is.
        dropped: frames of a file that came too late. corrupt: frames that could not be decoded.
        reopened: how often the camera was lost and found again.

    Raises:
        InputError: it does not open, or gives no picture.
    """

    def __init__(self, source: Source, opener: Callable[[Source], Pictures] = open_pictures) -> None:
        self._source, self._opener = source, opener
        self._pictures = opener(source)
        try:
            self._first = self._first_image()
        except BaseException:
            self._pictures.close()
            raise
        height, width = self._first[1].shape[:2]
        p = self._pictures
        self.info = SourceInfo(source.name, source.kind, width, height, p.fps, p.n_frames, p.live)
        self.dropped = self.corrupt = self.reopened = 0
        self._stop, self._go_on = threading.Event(), threading.Event()
        self._go_on.set()
        self._lost: str | None = None
        self._heard_s = time.monotonic()
        self._index = -1

    def _first_image(self) -> tuple[float, Image]:
        """Seconds of the first frame that can be decoded, and the frame."""
        while (at := self._pictures.advance()) is not None:
            image = self._pictures.image()
            if image is not None:
                return at[1], image
        raise InputError(self._pictures.nothing_readable())

    @property
    def trouble(self) -> str | None:
        """What the viewer must know: the camera is lost, or silent; None while all is well."""
        if self._lost is not None:
            return self._lost
        silent_s = time.monotonic() - self._heard_s
        if self.info.live and silent_s > QUIET_S:
            return f"{self._source.label}: no picture for {silent_s:.0f} s"
        return None

    def pause(self, paused: bool) -> None:
        """Stand still or go on. A file stops there; of a camera the frames of meanwhile are dropped."""
        self._go_on.clear() if paused else self._go_on.set()

    def stop(self) -> None:
        """Ends `run`, as soon as a read that is under way returns."""
        self._stop.set()
        self._go_on.set()

    def run(self, newest: Newest[Shot]) -> None:
        """Reads until the end of a file, or `stop`; call it in a thread of its own."""
        try:
            if not self.info.live:
                self._play_file(newest)
                return
            began = self._heard_s = time.monotonic()
            self._hand_over(newest, self._first[1], 0.0, began)
            while not self._stop.is_set():
                self._read_live(newest, began)
                self._open_again()
        finally:
            self._pictures.close()

    def _hand_over(self, newest: Newest[Shot], image: Image, time_s: float, taken_s: float) -> None:
        self._index += 1
        newest.put(Shot(Frame(self._index, time_s, image), taken_s))

    def _read_live(self, newest: Newest[Shot], began: float) -> None:
        """Reads a camera or stream until it is lost."""
        while not self._stop.is_set() and self._pictures.advance() is not None:
            now = self._heard_s = time.monotonic()
            if self._lost is not None:
                self.reopened += 1
                self._lost = None
            if not self._go_on.is_set():
                continue
            image = self._pictures.image()
            if image is None:
                self.corrupt += 1
            else:
                self._hand_over(newest, image, now - began, now)

    def _open_again(self) -> None:
        """Tries until the camera opens again; whether it sends anything is for `_read_live` to see."""
        self._pictures.close()
        while not self._stop.is_set():
            gone_s = time.monotonic() - self._heard_s
            self._lost = f"{self._source.label} is lost ({gone_s:.0f} s); opening it again"
            if self._stop.wait(RETRY_S):
                return
            try:
                self._pictures = self._opener(self._source)
            except InputError:
                continue
            return

    def _play_file(self, newest: Newest[Shot]) -> None:
        time_s, image = self._first
        zero, shown = time.monotonic() - time_s, time.monotonic()
        while True:
            zero += self._wait_until(zero + time_s)
            if self._stop.is_set():
                return
            late = time.monotonic() - (zero + time_s)
            if late > BEHIND_S:
                zero, late = zero + late, 0.0
            self._hand_over(newest, image, time_s, zero + time_s)
            shown = time.monotonic()
            found = self._next_in_time(zero, shown)
            if found is None:
                return
            time_s, image = found

    def _next_in_time(self, zero: float, shown: float) -> tuple[float, Image] | None:
        """The next frame of a file whose time has not passed yet."""
        while not self._stop.is_set() and (at := self._pictures.advance()) is not None:
            now = time.monotonic()
            step = 1.0 / (self.info.fps or 30.0)
            if now - (zero + at[1]) > step and now - shown < SHOW_S:
                self.dropped += 1
                self._index += 1
                continue
            image = self._pictures.image()
            if image is not None:
                return at[1], image
            self.corrupt += 1
        return None

    def _wait_until(self, due: float) -> float:
        """Waits for a moment, and while paused. Returns by how much the pause has put it off, seconds."""
        paused_s = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            if not self._go_on.is_set():
                self._go_on.wait(_STEP_S)
                paused_s += time.monotonic() - now
                continue
            left = due + paused_s - now
            if left <= 0:
                break
            self._stop.wait(min(left, _STEP_S))
        return paused_s
