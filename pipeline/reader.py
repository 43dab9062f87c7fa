"""The one frame reader: video files, images, cameras and streams through OpenCV, as timed `Frame`s."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..skeleton.errors import InputError
from ..skeleton.poses import Frame
from .capture import Capture, Image
from .image_files import IMAGE_FPS, ImageFiles
from .lens import lens_of
from .sources import Source, SourceKind, as_source, expand_sources

__all__ = ["IMAGE_FPS", "FrameReader", "Source", "SourceInfo", "expand_sources", "open_source"]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its frames are read.

    Attributes:
        name: short name for outputs. kind: sort of source.
        width, height: pixels of the first readable frame, upright. Images may differ from frame to frame.
        fps: nominal rate (average where it varies), None where unknown.
        n_frames: frames to come by the container's word, an estimate; None where unknown.
        live: True where frames come at the pace of the world (camera, stream without an end).
        lens: why it is likely to be filmed with a wide-angle lens, None where nothing says so.
    """

    name: str
    kind: SourceKind
    width: int
    height: int
    fps: float | None
    n_frames: int | None
    live: bool
    lens: str | None = None


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
    pictures = ImageFiles(resolved) if resolved.kind == "images" else Capture(resolved)
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
        ended_early: at the end, why it came before the true one: a stream that stopped sending, say, or a file that
            is cut short.
    """

    def __init__(
        self,
        source: Source,
        pictures: Capture | ImageFiles,
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
            source.name, source.kind, width, height, pictures.fps, pictures.n_frames, pictures.live,
            lens_of(source),
        )  # fmt: skip
        self.ended_early: str | None = None
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
        self.ended_early = self._pictures.ended_early if at is None else None
        if count == 0 and self.ended_early:
            why = f"{self.ended_early}, before the first frame asked for"
            file = self._source.kind == "video"
            mend = "choose earlier times" if file else "check that it is running and try again"
            raise InputError(f"{self._source.label}: {why}; {mend}")
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
