"""The rendered video: H.264 in mp4 that browsers play, with the true time of every frame."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
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
# A killed run loses at most this much of its video; it is also how finely a player can jump. Each such piece is
# encoded by an encoder of its own, so that a resumed run encodes the same bytes.
_PIECE_S = 1.0
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
_GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER; PyAV has changed its name for it
_WHEN_DONE = {"movflags": "faststart"}

Image = npt.NDArray[np.uint8]


class VideoSink:
    """Encodes images as they come; `close` makes the final file.

    Args:
        path: the mp4 to write; replaced where it exists.
        fps_hint: nominal frame rate, for the encoder's rate control and the length of a lone frame.
        pieces: CRC-32 of the pieces of an earlier run's video that are whole; as far as the file holds them they are
            kept, and images for them are not asked for.
        on_piece: told the number and the CRC-32 of each piece that is encoded.

    Raises:
        OutputError: the file cannot be written or encoded (also from `write` and `close`).
    """

    def __init__(
        self, path: str | os.PathLike[str], fps_hint: float | None = None,
        pieces: Sequence[int] = (), on_piece: Callable[[int, int], None] | None = None,
    ) -> None:  # fmt: skip
        self.path = Path(path)
        self.frames = 0
        """Frames written so far."""
        self._fps = fps_hint if fps_hint and 1 <= fps_hint <= 240 else 30.0
        self._piece = max(1, round(_PIECE_S * self._fps))  # frames
        self._on_piece = on_piece
        self._crc = self._kept = 0
        self._size: tuple[int, int] | None = None
        self._container: OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._encoder: av.VideoCodecContext | None = None
        self._waiting: av.Packet | None = None
        self._first_s = 0.0
        self._last_pts = -1
        self._steps: list[int] = []
        self._done = False
        try:
            if pieces:
                self._keep(pieces)
            if not self._kept:
                # Says now, not after the first frame, that a folder is not writable.
                self.path.open("wb").close()
        except (FFmpegError, OSError) as error:
            raise cannot_write(self.path, error) from None

    @staticmethod
    def set_aside(path: Path) -> Path:
        """Where the video of an earlier run lies while it is copied."""
        return path.with_name(path.name + ".old")

    def _keep(self, pieces: Sequence[int]) -> None:
        """Begins with the whole pieces of an earlier run's video: of the file, or of one that a kill left aside."""
        old = self.set_aside(self.path)
        self._kept, best = max((_whole(path, self._piece, pieces), path) for path in (self.path, old))
        if self._kept and best == self.path:
            os.replace(self.path, old)
        if self._kept:
            with av.open(_local(old)) as source:
                stream = source.streams.video[0]
                self._open((stream.width, stream.height))
                for packet in islice(source.demux(stream), self._kept):
                    self._mux([self._as_encoded(packet)])
        old.unlink(missing_ok=True)

    def _as_encoded(self, packet: av.Packet) -> av.Packet:
        """A packet of an mp4 file as the encoder gave it."""
        copy = av.Packet(b"".join(b"\0\0\0\1" + unit for unit in _units(bytes(packet))))
        copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
        copy.is_keyframe = packet.is_keyframe
        assert self._stream is not None
        copy.stream = self._stream
        return copy

    @property
    def has_next(self) -> bool:
        """Whether the next frame was kept: `write` needs no image for it."""
        return self.frames < self._kept

    def write(self, image: Image | None, time_s: float) -> None:
        """Appends (H, W, 3) uint8 BGR shown from `time_s` on, seconds; None where `has_next`.

        The first image sets the size (made even); others are scaled into it, with black margins. The video
        starts with its first image; a time that does not grow is moved one tick on.
        """
        if self._done:
            raise ValueError(f"{self.path} is closed")
        try:
            self._first_s = self._first_s if self.frames else time_s
            pts = max(round((time_s - self._first_s) * _TICKS), self._last_pts + 1)
            if self.frames:
                self._remember_step(pts - self._last_pts)
            self._last_pts = pts
            if not self.has_next:
                self._encode(image, pts)
            self.frames += 1
        except (FFmpegError, OSError) as error:
            self._abandon()
            raise cannot_write(self.path, error) from None

    def _encode(self, image: Image | None, pts: int) -> None:
        assert image is not None
        if self._stream is None:
            height, width = image.shape[:2]
            self._open((width + width % 2, height + height % 2))
        if self._encoder is None:
            self._encoder = av.CodecContext.create("libx264", "w")
            self._set_up(self._encoder)
        frame = av.VideoFrame.from_ndarray(self._yuv(image), "yuv420p")
        frame.pts, frame.time_base = pts, _TIME_BASE
        packets = self._encoder.encode(frame)
        whole = (self.frames + 1) % self._piece == 0
        if whole:
            packets += self._encoder.encode(None)
            self._encoder = None
        self._take(packets)
        if whole:
            if self._on_piece is not None:
                self._on_piece(self.frames // self._piece, self._crc)
            self._crc = 0

    def _take(self, packets: list[av.Packet]) -> None:
        """Muxes what an encoder gives."""
        for packet in packets:
            self._crc = _crc(re.split(rb"\x00\x00\x00?\x01", bytes(packet))[1:], self._crc)
            packet.stream = self._stream
        self._mux(packets)

    def _open(self, size: tuple[int, int]) -> None:
        self._size = size
        container = av.open(_local(self.path), "w", format="mp4", options=_WHILE_RUNNING)
        self._container = container
        self._stream = container.add_stream("libx264", rate=self._rate, options=_ENCODER)
        self._stream.time_base = _TIME_BASE
        self._set_up(self._stream.codec_context)

    @property
    def _rate(self) -> Fraction:
        return Fraction(self._fps).limit_denominator(1001)

    def _set_up(self, encoder: av.VideoCodecContext) -> None:
        encoder.width, encoder.height = self._size or (0, 0)
        encoder.pix_fmt, encoder.options = "yuv420p", dict(_ENCODER)
        encoder.time_base, encoder.framerate = _TIME_BASE, self._rate
        encoder.flags |= _GLOBAL_HEADER
        encoder.gop_size = self._piece
        # Without B-frames packets come in time order: each one's true duration is known when it is muxed.
        encoder.max_b_frames = 0

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
            if self._encoder is not None:
                self._take(self._encoder.encode(None))
            if self._waiting is not None:
                self._waiting.duration = round(median(self._steps) if self._steps else _TICKS / self._fps)
                self._container.mux_one(self._waiting)
            self._waiting = self._encoder = None
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


def _local(path: Path) -> str:
    """A path as FFmpeg takes it for one: it would take "12:30.mp4" for an address of the protocol 12."""
    return os.path.abspath(path)


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


def _crc(units: Iterable[bytes], crc: int) -> int:
    """CRC-32 of NAL units. The encoder parts them by start codes, the mp4 file gives their lengths instead."""
    for unit in units:
        crc = zlib.crc32(unit, crc)
    return crc


def _units(data: bytes) -> Iterator[bytes]:
    """The NAL units of a packet of an mp4 file."""
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def _whole(path: Path, size: int, pieces: Sequence[int]) -> int:
    """How many frames of a file belong to whole pieces of so many frames, the CRC-32 of which are given."""
    whole = crc = 0
    if not path.exists() or not path.stat().st_size:
        return 0
    with contextlib.suppress(FFmpegError, OSError, IndexError), av.open(_local(path)) as source:
        packets = (packet for packet in source.demux(source.streams.video[0]) if packet.size)
        for k, packet in enumerate(islice(packets, size * len(pieces)), 1):
            crc = _crc(_units(bytes(packet)), crc)
            if k % size == 0:
                if crc != pieces[k // size - 1]:
                    break
                whole, crc = k, 0
    return whole


def _index_in_front(path: Path) -> None:
    """Copies the fragmented mp4 into a plain one, index first. Should that fail, the first stays."""
    part = path.with_name(path.name + ".part")
    try:
        with (
            av.open(_local(path)) as source,
            av.open(_local(part), "w", format="mp4", options=_WHEN_DONE) as target,
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
