"""Recording what is seen: the same files that `posefix` writes of a clip, from key press to key press."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ...detectors import Detector
from ...skeleton import FramePoses
from ...skeleton.errors import PosefixError
from ..capture import Image
from ..outputs import OutputPaths, Outputs
from ..reader import SourceInfo
from ..record import make_record
from ..run import RunSummary
from ..settings import Settings
from ..sinks import write_run_json
from .newest import Newest

WAITING = 60  # frames that may wait for the encoder; memory stays bounded, the picture never waits

#: a frame as drawn, its rows, and whether the refiner was on
Drawn = tuple[Image, FramePoses, bool]


@dataclass(frozen=True, slots=True)
class Making:
    """How frames come about, for the record: settings, device, detector, the networks' weights, the source."""

    settings: Settings
    device: str
    detector: Detector
    weights: dict[str, str]
    info: SourceInfo

    def record(self, summary: RunSummary, refine: bool) -> dict[str, Any]:
        """The content of NAME_run.json; `refine` as it was while it was recorded, which a key changes."""
        settings = replace(self.settings, refine=refine)
        return make_record(summary, settings, self.device, self.detector, self.weights, self.info)


class Recording:
    """Files of one recording, written by a thread of its own.

    Frames are numbered from 0 without holes and timed from the first, so that video and CSV agree.

    Attributes:
        paths: the files. dropped: frames that the disk or the encoder was too slow for.
        error: why it ended by itself, None while it goes on.

    Raises:
        OutputError: the files cannot be made.
    """

    def __init__(self, paths: OutputPaths, making: Making, fps: float | None) -> None:
        paths.check(making.settings.overwrite)
        paths.prepare(render=True)
        self.paths = paths
        self.error: str | None = None
        self.began_s = time.monotonic()
        self._making, self._summary = making, RunSummary(making.info.name, paths)
        self._outputs = Outputs(paths, True, fps, raw=making.settings.smooth != "off")
        self._waiting: Newest[Drawn] = Newest(WAITING)
        self._zero_s: float | None = None
        self._refined: set[bool] = set()
        self._thread = threading.Thread(target=self._write, name="record", daemon=True)
        self._thread.start()

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._summary.read

    @property
    def dropped(self) -> int:
        return self._waiting.dropped

    def push(self, image: Image, poses: FramePoses, refined: bool = True) -> None:
        """The next frame as drawn, (H, W, 3) uint8 BGR, not changed afterwards; never waits."""
        self._waiting.put((image, poses, refined))

    def close(self) -> None:
        """No more frames come; what waits is still written."""
        self._waiting.close()

    def join(self) -> None:
        """Wait until the files are finished; after `close`."""
        self._thread.join()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def _write(self) -> None:
        try:
            with self._outputs:
                for image, poses, refined in self._waiting:
                    self._refined.add(refined)
                    self._write_frame(image, poses)
                self._outputs.finish()
        except Exception as error:  # whatever ends it ends this recording only, and is said
            self.error = self._summary.error = str(error) or type(error).__name__
        self._summary.seconds = time.monotonic() - self.began_s
        if len(self._refined) > 1:
            self._summary.warnings.append(
                "the refiner was switched while it was recorded: rows without it have no J_std"
            )
        refine = True in self._refined if self._refined else self._making.settings.refine
        try:
            write_run_json(self.paths.run_json, self._making.record(self._summary, refine))
        except PosefixError as error:
            self.error = self.error or str(error)

    def _write_frame(self, image: Image, poses: FramePoses) -> None:
        self._zero_s = poses.time_s if self._zero_s is None else self._zero_s
        row = replace(poses, index=self._summary.read, time_s=poses.time_s - self._zero_s)
        self._outputs.write_poses(row)
        self._outputs.write_image(image, row.time_s)
        self._summary.video_start_s = 0.0
        self._summary.read += 1
        self._summary.count(row)


class Recorder:
    """Starts and ends recordings.

    Args:
        folder: each recording has a folder of its own in it.
        now: tells the time that names them.

    Attributes:
        finished: recordings that have ended, in order.
        problem: why the last one could not begin or go on, None when nothing went wrong.
    """

    def __init__(self, folder: Path, making: Making, now: Callable[[], datetime] = datetime.now) -> None:
        self._folder, self._making, self._now = folder, making, now
        self.finished: list[Recording] = []
        self.problem: str | None = None
        self.current: Recording | None = None

    def switch(self, wanted: bool, fps: float | None) -> bool:
        """Begin or end a recording where that is not so yet. Returns whether one goes on now."""
        if self.current is not None and self.current.done:  # by an error
            self.problem = self.current.error
            self.finished.append(self.current)
            self.current = None
            return False
        if wanted and self.current is None:
            try:
                self.current, self.problem = Recording(self._paths(), self._making, fps), None
            except PosefixError as error:
                self.problem = str(error)
        elif not wanted and self.current is not None:
            self.current.close()
            self.finished.append(self.current)
            self.current = None
        return self.current is not None

    def close(self) -> None:
        """End the recording that goes on, and wait until all files are finished."""
        self.switch(False, None)
        for recording in self.finished:
            recording.join()
            self.problem = recording.error or self.problem

    def _paths(self) -> OutputPaths:
        stamp = f"{self._now():%Y%m%d-%H%M%S}"
        name, count = f"{self._making.info.name}_{stamp}", 1
        while (self._folder / name).exists():
            count += 1
            name = f"{self._making.info.name}_{stamp}_{count}"
        return OutputPaths.of(name, self._folder / name)
