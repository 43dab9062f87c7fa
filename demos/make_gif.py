"""A GIF of a rendered video, small enough for a README.

python -m posefix.demos.make_gif clip_posefix/clip_pose.mp4 clip.gif --width 640 --fps 12 --seconds 4
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cyclopts
from av import error as av_error
from av.filter import Graph
from av.video.frame import VideoFrame

from ..skeleton.errors import InputError, OutputError, PosefixError


def make_gif(
    video: Path, picture: Path, *, width: int = 640, fps: int = 12, start: float = 0.0, seconds: float = 4.0,
    slower: float = 1.0, colours: int = 128,
) -> Path:  # fmt: skip
    """Write a stretch of a video as a GIF that repeats.

    Args:
        video: what to show. picture: the GIF to write; replaced where it exists.
        width: pixels of the GIF; the height follows. fps: its frames per second.
        start, seconds: the stretch of the video.
        slower: how many times slower than the video it plays.
        colours: of the one palette, 2 to 256; fewer make a smaller file.

    Raises:
        InputError: the video cannot be read, has nothing in that stretch, or a number makes no sense.
        OutputError: the GIF cannot be written.
    """
    numbers = (width >= 16, 1 <= fps <= 50, start >= 0, seconds > 0, slower > 0, 2 <= colours <= 256)
    if not all(numbers):
        raise InputError(
            "width from 16, fps 1 to 50, colours 2 to 256, and positive times are what a GIF needs"
        )
    frames = _through(_filters(width, fps, slower, colours), _stretch(video, start, seconds), video)
    try:
        with av.open(str(picture.absolute()), "w", format="gif") as container:
            stream = container.add_stream("gif", rate=Fraction(fps))
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "pal8"
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (OSError, av_error.FFmpegError) as error:
        raise OutputError(
            f"cannot write {picture}: {error.strerror or error}; choose another place"
        ) from error
    return picture


def _stretch(video: Path, start: float, seconds: float) -> Iterator[VideoFrame]:
    """The video's frames of that stretch, their times from 0."""
    try:
        with av.open(str(video.absolute())) as container:
            if not container.streams.video:
                raise InputError(f"{video}: holds no video")
            for frame in container.decode(video=0):
                if frame.time is not None and start <= frame.time < start + seconds:
                    frame.pts, frame.time_base = round((frame.time - start) * 90_000), Fraction(1, 90_000)
                    yield frame
                if frame.time is not None and frame.time >= start + seconds:
                    return
    except (OSError, av_error.FFmpegError) as error:
        raise InputError(f"{video}: cannot be read as a video ({error.strerror or error})") from error


def _filters(width: int, fps: int, slower: float, colours: int) -> list[tuple[str, str]]:
    """The filters that every frame goes through; the palette is made of all frames before the first comes out."""
    return [
        ("setpts", f"{slower}*PTS"),
        ("fps", str(fps)),
        ("scale", f"{width}:-2:flags=area"),
        ("split", ""),
        ("palettegen", f"max_colors={colours}:stats_mode=full"),
        ("paletteuse", "dither=none:diff_mode=rectangle"),
    ]


def _through(filters: list[tuple[str, str]], frames: Iterator[VideoFrame], video: Path) -> list[VideoFrame]:
    """The frames with one palette. Raises InputError when there are none."""
    first = next(frames, None)
    if first is None:
        raise InputError(f"{video}: has no frame in that stretch; see --start and --seconds")
    graph = Graph()
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 90_000)
    )
    *line, split, palette, use = [graph.add(name, options) for name, options in filters]
    sink = graph.add("buffersink")
    for a, b in zip([source, *line], [*line, split], strict=True):
        a.link_to(b)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    source.push(first)
    for frame in frames:
        source.push(frame)
    source.push(None)
    done: list[VideoFrame] = []
    while True:
        try:
            frame = sink.pull()
        except (av_error.EOFError, av_error.BlockingIOError):
            return done
        assert isinstance(frame, VideoFrame)
        done.append(frame)


app = cyclopts.App(help="Make a GIF of a rendered video.", version_flags=[])


@app.default
def _main(
    video: Path, picture: Path, /, *, width: int = 640, fps: int = 12, start: float = 0.0, seconds: float = 4.0,
    slower: float = 1.0, colours: int = 128,
) -> int:  # fmt: skip
    """Write a stretch of a video as a GIF.

    Args:
        video: what to show.
        picture: the GIF to write.
        width: pixels of the GIF.
        fps: its frames per second.
        start: second of the video to begin at.
        seconds: length of the stretch.
        slower: how many times slower than the video it plays.
        colours: of its palette; fewer make a smaller file.
    """
    try:
        make_gif(
            video, picture, width=width, fps=fps, start=start, seconds=seconds, slower=slower, colours=colours
        )
    except PosefixError as error:
        print(f"make_gif: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {picture}, {picture.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(app())
