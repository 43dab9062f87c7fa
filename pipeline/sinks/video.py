"""The rendered video: H.264 in mp4 that browsers play, with the true time of every frame."""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from statistics import median
from types import TracebackType

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.error import FFmpegError

from .errors import cannot_write

_TICKS = 90_000
_TIME_BASE = Fraction(1, _TICKS)
# A killed run loses at most this much; it is also how finely a player can jump.
_KEYFRAME_S = 2.0
# superfast: 7 ms a frame at 2000 x 720 where veryfast takes 10; encoding shares the cores with the networks.
# The colour tags say what cv2's conversion does; untagged HD would be shown as BT.709, with a tint.
_ENCODER = {
    "preset": "superfast", "crf": "23", "colorspace": "smpte170m", "color_primaries": "smpte170m",
    "color_trc": "smpte170m", "color_range": "tv",
}  # fmt: skip
# While running, the file is a fragmented mp4: a killed run leaves it playable up to its last fragment.
# Closing copies the packets (no re-encoding) into a plain mp4 with its index in front, which every browser
# plays, seeks and starts before it is loaded. FFmpeg's own hybrid_fragmented does not go with faststart.
_WHILE_RUNNING = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
_WHEN_DONE = {"movflags": "faststart"}

Image = npt.NDArray[np.uint8]


class VideoSink:
    """Encodes images as they come; `close` makes the final file.

    Args:
        path: the mp4 to write; replaced where it exists.
        fps_hint: nominal frame rate, for the encoder's rate control and the length of a lone frame.

    Raises:
        OutputError: the file cannot be written or encoded (also from `write` and `close`).
    """

    def __init__(self, path: str | os.PathLike[str], fps_hint: float | None = None) -> None:
        self.path = Path(path)
        self.frames = 0
        """Frames written so far."""
        self._fps = fps_hint if fps_hint and 1 <= fps_hint <= 240 else 30.0
        self._size: tuple[int, int] | None = None
        self._container: OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._waiting: av.Packet | None = None
        self._first_s = 0.0
        self._last_pts = -1
        self._steps: list[int] = []
        self._done = False
        try:
            self.path.open("wb").close()  # says now, not after the first frame, that a folder is not writable
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def write(self, image: Image, time_s: float) -> None:
        """Appends (H, W, 3) uint8 BGR shown from `time_s` on, seconds.

        The first image sets the size (made even); others are scaled into it, with black margins. The video
        starts with its first image; a time that does not grow is moved one tick on.
        """
        if self._done:
            raise ValueError(f"{self.path} is closed")
        try:
            stream = self._stream or self._open(image, time_s)
            pts = max(round((time_s - self._first_s) * _TICKS), self._last_pts + 1)
            if self.frames:
                self._remember_step(pts - self._last_pts)
            frame = av.VideoFrame.from_ndarray(self._yuv(image), "yuv420p")
            frame.pts, frame.time_base = pts, _TIME_BASE
            self._last_pts = pts
            self._mux(stream.encode(frame))
            self.frames += 1
        except (FFmpegError, OSError) as error:
            self._abandon()
            raise cannot_write(self.path, error) from None

    def _open(self, image: Image, time_s: float) -> av.VideoStream:
        height, width = image.shape[:2]
        self._size = (width + width % 2, height + height % 2)
        self._first_s = time_s
        container = av.open(str(self.path), "w", format="mp4", options=_WHILE_RUNNING)
        self._container = container
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=_ENCODER)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.gop_size = max(1, round(_KEYFRAME_S * self._fps))
        # Without B-frames packets come in time order: each one's true duration is known when it is muxed.
        stream.codec_context.max_b_frames = 0
        self._stream = stream
        return stream

    def _yuv(self, image: Image) -> Image:
        width, height = self._size or (0, 0)
        if image.shape[:2] != (height, width):
            image = _letterbox(image, width, height)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), dtype=np.uint8)

    def _remember_step(self, step: int) -> None:
        self._steps.append(step)
        if len(self._steps) > 1000:
            del self._steps[:500]  # the median of the latest is as good, and memory stays bounded

    def _mux(self, packets: list[av.Packet]) -> None:
        """Muxes each packet once the next is here and its duration is known."""
        for packet in packets:
            waiting, self._waiting = self._waiting, packet
            if waiting is not None and self._container is not None:
                waiting.duration = (packet.pts or 0) - (waiting.pts or 0)
                self._container.mux_one(waiting)

    def close(self) -> None:
        """Finishes the file; without a single frame it is removed. May be called twice."""
        if self._done:
            return
        self._done = True
        if self._stream is None or self._container is None:
            self.path.unlink(missing_ok=True)
            return
        try:
            self._mux(self._stream.encode(None))
            if self._waiting is not None:
                self._waiting.duration = round(median(self._steps) if self._steps else _TICKS / self._fps)
                self._container.mux_one(self._waiting)
            self._waiting = None
            self._container.close()
        except (FFmpegError, OSError) as error:
            self._abandon()
            raise cannot_write(self.path, error) from None
        _index_in_front(self.path)

    def _abandon(self) -> None:
        """After an error: what was written stays, as far as it goes."""
        self._done = True
        with contextlib.suppress(FFmpegError, OSError):
            if self._container is not None:
                self._container.close()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _letterbox(image: Image, width: int, height: int) -> Image:
    """The image inside (height, width), as large as it fits, centred on black; odd sizes get a black edge."""
    rows, columns = image.shape[:2]
    if not (0 <= width - columns <= 1 and 0 <= height - rows <= 1):
        scale = min(width / columns, height / rows)
        columns, rows = max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=how), dtype=np.uint8)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = image
    return canvas


def _index_in_front(path: Path) -> None:
    """Copies the fragmented mp4 into a plain one, index first. Should that fail, the first stays."""
    part = path.with_name(path.name + ".part")
    try:
        with (
            av.open(str(path)) as source,
            av.open(str(part), "w", format="mp4", options=_WHEN_DONE) as target,
        ):
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    target.mux_one(packet)
        os.replace(part, path)
    except (FFmpegError, OSError):
        with contextlib.suppress(OSError):
            part.unlink()
