"""Fixtures shared by all tests: the folder of real clips, and tiny synthetic videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

VideoMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real clips and data next to the repository; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "videos").is_dir():
        pytest.skip("the folder ../shared with real clips is not here")
    return folder


@pytest.fixture
def make_video(tmp_path: Path) -> VideoMaker:
    """Writes a tiny clip whose frame k is a flat grey of `frame_level(k)` with a blue corner.

    `make_video(name, times, size=(w, h), codec=..., faststart=..., b_frames=..., options=...)`
    returns the path; `options` are those of the container's writer.
    """

    def make(
        name: str = "clip.mp4",
        times: Sequence[float] = tuple(k / 30 for k in range(12)),
        *,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        faststart: bool = False,
        b_frames: int = 0,
        pix_fmt: str = "yuv420p",
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        options = {"movflags": "+faststart"} if faststart else options or {}
        base = Fraction(1, 90_000) if codec == "libx264" else Fraction(1, 30)
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=30)
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
            stream.codec_context.time_base = base
            stream.codec_context.gop_size = 10
            stream.codec_context.max_b_frames = b_frames
            for k, seconds in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(k, size), "bgr24")
                frame.pts, frame.time_base = round(seconds / base), base
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


def frame_level(k: int) -> int:
    """Grey level of frame k of a synthetic clip."""
    return 30 + 5 * k % 200


def picture(k: int, size: tuple[int, int]) -> np.ndarray:
    """Frame k: flat grey, the top-left quarter blue (BGR), so that turns and mirrors show."""
    width, height = size
    image = np.full((height, width, 3), frame_level(k), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    return image
