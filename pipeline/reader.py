"""The one frame reader: video files, images, cameras and streams through OpenCV, as timed `Frame`s.

OpenCV decodes. For video files PyAV walks the same container beside it, packets only, nothing decoded: that
tells which frame of the source each decoded picture is, so a frame the decoder drops leaves a hole in the
numbering instead of shifting everything after it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# FFmpeg inside OpenCV reads these once, when its first file is opened; posefix reports such errors itself.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_DEBUG", "0")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.errors import InputError
from ..skeleton.poses import Frame
from .packet_clock import PacketClock, open_clock
from .sources import Source, SourceKind, as_source, expand_sources

__all__ = ["IMAGE_FPS", "FrameReader", "Source", "SourceInfo", "expand_sources", "open_source"]

IMAGE_FPS = 30.0
"""Images carry no time: frame k of a folder lies at k / IMAGE_FPS seconds."""

# A shorter way is decoded faster than sought. OpenCV counts frames by the average rate, which may be off.
_SEEK_FROM_S, _SEEK_EARLY_S = 2.0, 1.0
_TEXT_SUFFIXES = (".txt", ".csv", ".json", ".log", ".md", ".xml", ".nfo", ".diz", ".ans")
_STREAM_TIMEOUT_MS = 10_000
# A failed grab may be one bad packet or the end: only repeated failure (cheap at the end) tells.
_FILE_RETRIES = 300
_LIVE_RETRIES = 20

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its frames are read.

    Attributes:
        name: short name for outputs. kind: sort of source.
        width, height: pixels of the first readable frame, upright. Images may differ from frame to frame.
        fps: nominal rate (average where it varies), None where unknown.
        n_frames: frames to come by the container's word, an estimate; None where unknown.
        live: True where frames come at the pace of the world (camera, stream without an end).
    """

    name: str
    kind: SourceKind
    width: int
    height: int
    fps: float | None
    n_frames: int | None
    live: bool


def open_source(
    source: Source | str | Path | int | Sequence[str],
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    max_frames: int | None = None,
) -> FrameReader:
    """Opens a video file, folder or glob of images, list of images, camera index or URL.

    Args:
        source: what to read; see `expand_sources` for how words are understood.
        start_s, end_s: read frames with start_s <= time < end_s, seconds of the source's own clock.
        max_frames: stop after that many frames.

    Returns:
        A context manager that iterates over `Frame`s; indices and times stay those of the whole source.

    Raises:
        InputError: it cannot be opened, holds no readable frame, or the limits make no sense.
    """
    _check_limits(start_s, end_s, max_frames)
    resolved = as_source(source)
    pictures = _ImageFiles(resolved) if resolved.kind == "images" else _Capture(resolved)
    return FrameReader(resolved, pictures, start_s or 0.0, math.inf if end_s is None else end_s, max_frames)


def _check_limits(start_s: float | None, end_s: float | None, max_frames: int | None) -> None:
    if start_s is not None and not 0 <= start_s < math.inf:
        raise InputError(f"start {start_s:g} s: expected zero or more seconds")
    if end_s is not None and not end_s > (start_s or 0.0):
        raise InputError(f"end {end_s:g} s: expected more than the start, {start_s or 0.0:g} s")
    if max_frames is not None and max_frames < 1:
        raise InputError(f"max frames {max_frames}: expected 1 or more")


class FrameReader:
    """Iterator over the frames of one source, one frame in memory at a time; close it or use `with`.

    Attributes:
        info: what the source is.
        corrupt_frames: frames skipped so far, from the start asked for on, because they could not be decoded;
            their numbers stay unused.
    """

    def __init__(
        self,
        source: Source,
        pictures: _Capture | _ImageFiles,
        start_s: float,
        end_s: float,
        max_frames: int | None,
    ) -> None:
        self._source, self._pictures = source, pictures
        self._start_s, self._end_s, self._max_frames = start_s, end_s, max_frames
        try:
            # Reading ahead by one frame proves the source and shows its upright size.
            at, image = pictures.advance(), None
            while at is not None and (image := pictures.image()) is None:
                at = pictures.advance()
            if at is None or image is None:
                raise InputError(pictures.nothing_readable())
        except BaseException:
            pictures.close()
            raise
        height, width = image.shape[:2]
        self.info = SourceInfo(
            source.name, source.kind, width, height, pictures.fps, pictures.n_frames, pictures.live
        )
        self._frames = self._read(at, image)

    @property
    def corrupt_frames(self) -> int:
        return self._pictures.corrupt

    def _read(self, at: tuple[int, float] | None, image: Image | None) -> Generator[Frame]:
        count = 0
        if at is not None and at[1] < self._start_s:
            self._pictures.skip_to(self._start_s)
            while at is not None and at[1] < self._start_s:
                at, image = self._pictures.advance(), None
            self._pictures.corrupt = 0
        while at is not None and at[1] < self._end_s:
            image = self._pictures.image() if image is None else image
            if image is not None:
                yield Frame(at[0], at[1], image)
                count += 1
                if count == self._max_frames:
                    return
            at, image = self._pictures.advance(), None
        if count == 0:
            until = "" if self._end_s == math.inf else f" and before {self._end_s:g} s"
            limits = f"no frame from {self._start_s:g} s on{until}"
            raise InputError(f"{self._source.label}: {limits}; choose times inside the clip")

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the file, camera or connection. May be called twice; only from the thread that reads."""
        self._frames.close()
        self._pictures.close()


class _ImageFiles:
    """Image files as frames: mixed sizes, any depth, grey or with alpha, all as 8-bit BGR, EXIF-upright."""

    live = False
    fps = IMAGE_FPS

    def __init__(self, source: Source) -> None:
        assert isinstance(source.spec, tuple)
        self._source, self._paths = source, source.spec
        self.n_frames: int = len(source.spec)
        self.corrupt = 0
        self._next = 0
        self._image: Image | None = None

    def advance(self) -> tuple[int, float] | None:
        """Decodes the next readable image. Returns its (index, seconds), None at the end."""
        while self._next < self.n_frames:
            index = self._next
            self._next += 1
            self._image = _read_image(self._paths[index])
            if self._image is not None:
                return index, index / IMAGE_FPS
            self.corrupt += 1
        return None

    def skip_to(self, start_s: float) -> None:
        """Leaves out images before a time without opening them."""
        self._next = max(self._next, min(self.n_frames, int(start_s * IMAGE_FPS) - 1))

    def image(self) -> Image | None:
        """The current image, (H, W, 3) uint8 BGR."""
        return self._image

    def nothing_readable(self) -> str:
        what = f"none of {self.n_frames} images" if self.n_frames > 1 else "nothing"
        return f"{self._source.label}: {what} can be decoded; check that the files are whole and are images"

    def close(self) -> None:
        self._image = None


def _read_image(path: str) -> Image | None:
    try:
        # Not cv2.imread: it cannot open every path on every system.
        data = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


class _Capture:
    """cv2.VideoCapture with true numbers and times, and patience with bad packets."""

    def __init__(self, source: Source) -> None:
        # Again at run time: another library may have loaded OpenCV before this module could set its level.
        cv2.setLogLevel(0)
        self._source = source
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
        self._capture = _open_capture(self._source)
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
        for _ in range(_LIVE_RETRIES if self.live else _FILE_RETRIES):
            if self._capture.grab():
                self._number_and_time()
                return self._index, self._time_s
            if self.live:
                time.sleep(0.01)
        if self._clock is not None:
            self.corrupt += self._clock.rest()
        return None

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
            stamp = self._time_s + (1 + skipped) / (self.fps or IMAGE_FPS)
        self._time_s = max(stamp, 0.0)

    def nothing_readable(self) -> str:
        if self._source.kind in ("camera", "stream"):
            return f"{self._source.label}: opens but sends no picture; check that it is running and try again"
        return f"{self._source.label}: holds no readable video frame; check that it plays, or export it again"

    def close(self) -> None:
        self._capture.release()
        if self._clock is not None:
            self._clock.close()


def _open_capture(source: Source) -> cv2.VideoCapture:
    spec = source.spec
    if isinstance(spec, int):
        capture = cv2.VideoCapture(spec)
        problem = (
            f"camera {spec} does not open; check that it is connected, allowed, and not in use elsewhere"
        )
    elif source.kind == "stream":
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        limits = [word for key in timeouts for word in (key, _STREAM_TIMEOUT_MS)]
        capture = cv2.VideoCapture(str(spec), cv2.CAP_FFMPEG, limits)
        problem = f"{source.label}: does not open; check the address, the network and the password"
    else:
        # Absolute: FFmpeg would take "a:b.mp4" for a protocol, and %d patterns are not wanted here.
        capture = cv2.VideoCapture(os.path.abspath(str(spec)), cv2.CAP_FFMPEG)
        problem = (
            f"{spec}: is no video that can be read (damaged, cut short or of another kind); export it again"
        )
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
