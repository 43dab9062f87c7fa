"""Clips that the benchmarks make for themselves: any video looped to a length, or scaled to a size."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from posefix.demos.make_sample import make_sample
from posefix.pipeline.reader import open_source


def source_or_sample(video: Path | None, folder: Path) -> Path:
    """The video given, or the sample, drawn into `folder`. Raises InputError when it cannot be read."""
    if video is None:
        return make_sample(folder / "sample.mp4")
    open_source(video).close()
    return video


def scaled_clip(source: Path, target: Path, frames: int, size: tuple[int, int], fps: int = 30) -> Path:
    """`frames` frames of `source`, from its start again where it ends, fitted into `size` (width, height)."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps), options={"preset": "veryfast", "crf": "20"}
        )
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for _, image in zip(range(frames), _endless(source), strict=False):
            picture = av.VideoFrame.from_ndarray(_fitted(image, size), "bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target


def looped_clip(source: Path, target: Path, seconds: float) -> Path:
    """`source` repeated whole to about `seconds`, at least once, its packets copied as they are."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        packets = [
            (p.pts, p.dts, bytes(p), p.is_keyframe)
            for p in reader.demux(stream)
            if p.pts is not None and p.dts is not None
        ]
        base = stream.time_base or Fraction(1, av.time_base)
        times = sorted(pts for pts, *_ in packets)
        step = (times[-1] - times[0]) // max(1, len(times) - 1) or 1
        length = times[-1] - times[0] + step
        for turn in range(max(1, round(seconds / (length * base)))):
            shift = turn * length
            for pts, dts, data, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.time_base = pts + shift, dts + shift, base
                packet.is_keyframe, packet.stream = key, copy
                writer.mux_one(packet)
    return target


def _endless(source: Path) -> Iterator[np.ndarray]:
    while True:
        with open_source(source) as frames:
            yield from (frame.image for frame in frames)


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image as large as it fits, on grey."""
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    canvas = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas
