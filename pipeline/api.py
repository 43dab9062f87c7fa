"""Poses in a Python loop, without files: the stages of `run.py`, one after the other in the caller's thread.

from posefix.pipeline.api import poses_of

for row in poses_of("clip.mp4"):
    for person in row.people:
        if person.pose3d is not None:
            print(row.time_s, person.id, person.pose3d.joints[16])  # RWrist: x, y, z in metres
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..detectors.doubt import as_h36m17
from ..skeleton import FramePoses
from ..skeleton.devices import resolve_device
from .batches import add_3d, in_batches
from .people import Timed, Trim
from .reader import Source, open_source
from .run import Estimator, default_rows, load_both
from .settings import Settings
from .smoothing import Smoother


def poses_of(
    source: Source | Path | str | int, settings: Settings | None = None, *, estimator: Estimator | None = None
) -> Iterator[FramePoses]:
    """Everybody in every frame of a clip, in the order of the frames.

    The rows are those of the CSVs: the same status, numbers, gaps and smoothing. They come while the clip is read, a
    second or so late (with `Settings(smooth="off")` a few frames); memory does not grow with its length. To stop
    early, leave the loop.

    Args:
        source: a video file, folder or glob of images, camera index or URL, as `reader.open_source` takes it.
        settings: how; None: all defaults. Those about files and drawing, and `resume`, have no effect.
        estimator: networks to use, from `run.load_estimator`; None loads them. Loading once serves several clips.

    Yields:
        One `FramePoses` per frame: number, seconds, and people with `pose2d` (Human3.6M-17, pixels) and `pose3d`
        ((17, 3) metres relative to Hip, camera axes x right, y down, z forward; J_std, metres), and `raw3d`, the
        3D before it was smoothed. All are None where somebody is missing, the 3D also where both hips are hidden.

    Raises:
        PosefixError: bad input, device or weights; when the first row is asked for, not at the call.
    """
    settings = settings or Settings()
    limits = {"start_s": settings.start, "end_s": settings.end, "max_frames": settings.max_frames}
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_source(source, **limits))
        estimator, detector = load_both(estimator, settings, resolve_device(settings.device), stack)
        detected = ((f, as_h36m17(detector.detect(f))) for f in reader)
        rows = default_rows(settings, reader.info)
        trim = Trim() if rows.trim else None
        timed = rows.make(detected, None if settings.start else 0)
        film = reader.info.kind != "images"
        for row in _smoothed(timed, settings, estimator, film):
            yield from trim.push(row) if trim else [row]
        yield from trim.finish() if trim else []


def _smoothed(
    timed: Iterator[Timed], settings: Settings, estimator: Estimator, film: bool
) -> Iterator[FramePoses]:
    """The rows with their 3D, smoothed as the settings say."""
    smoother = Smoother(settings.smooth, pictures=False, film=film)
    for batch in in_batches(timed, settings.batch_size):
        for item in add_3d(batch, estimator):
            yield from (row for _, row in smoother.push(item))
    yield from (row for _, row in smoother.finish())
