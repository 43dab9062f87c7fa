"""Image files as the frames of one clip."""

from __future__ import annotations

import cv2
import numpy as np

from .capture import Image
from .sources import Source

IMAGE_FPS = 30.0
"""Images carry no time: frame k of a folder lies at k / IMAGE_FPS seconds."""


class ImageFiles:
    """Image files as frames: mixed sizes, any depth, grey or with alpha, all as 8-bit BGR, EXIF-upright."""

    live = False
    ended_early: str | None = None
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
