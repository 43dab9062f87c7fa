"""The live program: newest frame -> people in 2D -> 3D -> picture, each step in a thread of its own.

    capture ─newest→ detect ─newest→ lift, refine, smooth, draw ─newest→ window or browser
                                                  └─ recording (a queue of its own)

No step waits for the one behind it: what is not fetched in time is dropped, so the picture stays as old as the work
takes, however slow a step is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...detectors import Detector
from ...detectors.base import sees_one
from ...detectors.doubt import as_h36m17
from ...skeleton import FramePoses, Pose2D
from ..batches import add_3d
from ..capture import Image
from ..channels import Stages, Stopwatch
from ..estimate import PoseEstimator
from ..placing import Stage
from ..render import Renderer, RenderSettings
from ..run import Estimator, load_both
from ..settings import Settings
from .camera import Camera, Shot
from .controls import Controls, State
from .meter import Meter
from .newest import Newest
from .people import LivePeople, LiveSmoother
from .picture import Status, draw_status, mirrored
from .recorder import Making, Recorder, Recording

REDRAW_S = 0.1
"""Without a new frame the picture is looked at anew so often: keys and notes show while the camera is silent."""
HINT_S = 6.0
"""How long the picture says where a recording went."""

FAREWELL_S = 4.0
"""A camera that does not let go for so long is left to the end of the process."""

#: a shot with what the detector found in it
Found = tuple[Shot, list[Pose2D]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture to show.

    Attributes:
        image: (H, W, 3) uint8 BGR. taken_s: when its frame was taken. new: False: an earlier frame drawn again.
    """

    image: Image
    taken_s: float
    new: bool


@dataclass(frozen=True, slots=True)
class Networks:
    """What finds poses: the detector, and the 3D with and without the refiner."""

    detector: Detector
    refined: Estimator
    lifted: Estimator


@contextlib.contextmanager
def load_networks(settings: Settings, device: str) -> Iterator[Networks]:
    """Both ways to 3D on the same lifter, so that a key can change between them. Raises PosefixError."""
    with contextlib.ExitStack() as stack:
        estimator, detector = load_both(None, replace(settings, refine=True), device, stack)
        yield Networks(detector, estimator, without_refiner(estimator, settings))


def without_refiner(estimator: Estimator, settings: Settings) -> Estimator:
    """The same lifter alone."""
    if not isinstance(estimator, PoseEstimator) or estimator.lifter is None:
        return estimator
    return PoseEstimator(estimator.lifter, None, settings.height, settings.batch_size, estimator.threads)


class Engine:
    """Everything between the camera and the screen.

    Args:
        camera: open. networks: loaded; closing both is the caller's (the camera closes with its thread).
        settings: how. folder: of the recordings. device: for their records.

    Attributes:
        controls: what keys change. meter: told by whoever shows the pictures. clock: work of each step.
    """

    def __init__(
        self, camera: Camera, networks: Networks, settings: Settings, controls: Controls, *,
        folder: Path, device: str,
    ) -> None:  # fmt: skip
        self.camera, self.controls, self.meter, self.clock = camera, controls, Meter(), Stopwatch()
        self._networks, self._settings = networks, settings
        one = sees_one(settings.detector, settings.detector_options)
        self._people, self._smoother = LivePeople(settings.person, one), LiveSmoother(settings.smooth)
        weights = networks.refined.weights
        self.recorder = Recorder(folder, Making(settings, device, networks.detector, weights, camera.info))
        self._newest: Newest[Shot] = Newest()
        self._found: Newest[Found] = Newest()
        self._pictures: Newest[Seen] = Newest()
        self._stages = Stages()
        # Not one of the stages that are waited for: a read from a dead connection may take long to return.
        self._capture = threading.Thread(target=self._run_camera, name="capture", daemon=True)
        self._artist = Artist(settings.height, several=not one)
        self._last: tuple[Shot, FramePoses] | None = None
        self._hint = ("", 0.0)

    @property
    def dropped(self) -> int:
        """Frames that were read, or came too late to be read, and are not shown."""
        return self.camera.dropped + self._newest.dropped + self._found.dropped + self._pictures.dropped

    def __enter__(self) -> Engine:
        stages = self._stages
        self._capture.start()
        stages.start("detect", self._detect, reads=self._newest, feeds=self._found)
        stages.start("draw", self._draw, reads=self._found, feeds=self._pictures)
        return self

    def pictures(self, patience_s: float) -> Iterator[Seen | None]:
        """Pictures until the source ends or somebody quits; None after each `patience_s` seconds without one.

        Raises:
            PosefixError: whatever stopped a step.
        """
        while not self.controls.state.quit:
            picture = self._pictures.take(patience_s)
            if picture is None and self._pictures.ended:
                break
            yield picture
        if self._stages.errors:
            raise self._stages.errors[0]

    def __exit__(self, *_: object) -> None:
        self.camera.stop()
        self._stages.abort()
        self._stages.wait()
        self.recorder.close()
        self._capture.join(FAREWELL_S)

    @property
    def camera_hangs(self) -> bool:
        """At the end: whether a read is still under way that does not return."""
        return self._capture.is_alive()

    def _run_camera(self) -> None:
        self._stages.run(lambda: self.camera.run(self._newest), feeds=self._newest)

    def _detect(self) -> None:
        for shot in self._newest:
            with self.clock("detect"):
                poses = as_h36m17(self._networks.detector.detect(shot.frame))
            self._found.put((shot, poses))
            # Then, not before, the newest frame: where 3D and drawing are slower, more detections would be wasted.
            self._found.wait_until_taken()

    def _draw(self) -> None:
        before: tuple[State, Status] | None = None
        while not self._found.ended:
            found = self._found.take(REDRAW_S)
            state = self.controls.state
            self.camera.pause(state.paused)
            if found is not None and not state.paused:
                with self.clock("estimate"):
                    self._last = found[0], self._poses(*found, state)
            new = found is not None and not state.paused
            status = self._status(state)
            # The figures change with every frame anyway; alone they are no reason to draw.
            now = state, replace(status, fps=0.0, latency_ms=0.0)
            if self._last is not None and (new or now != before):
                with self.clock("draw"):
                    self._show(*self._last, state, status, new)
            before = now

    def _poses(self, shot: Shot, poses: Sequence[Pose2D], state: State) -> FramePoses:
        row = self._people.push(shot.frame, poses)
        estimator = self._networks.refined if state.refine else self._networks.lifted
        ((_, row),) = add_3d([(shot.frame, row)], estimator)
        return self._smoother.push(row)

    def _status(self, state: State) -> Status:
        recording = self._switch_recording(state)
        began = None if recording is None else time.monotonic() - recording.began_s
        hint, until = self._hint
        trouble = self.camera.trouble
        return Status(
            0.0 if trouble else self.meter.fps, self.meter.latency_ms, self._settings.smooth, state.refine,
            None if began is None else float(int(began)),
            (trouble,) if trouble else (),
            hint if time.monotonic() < until else "",
        )  # fmt: skip

    def _switch_recording(self, state: State) -> Recording | None:
        """Begins and ends recordings as the state says. Returns the one that goes on."""
        before = self.recorder.current
        goes_on = self.recorder.switch(state.record, self.meter.fps or self.camera.info.fps)
        if state.record and not goes_on:
            self.controls.set(record=False)
            self._hint = (f"not recorded: {self.recorder.problem}", time.monotonic() + HINT_S)
        elif before is not None and not goes_on:
            self._hint = (f"recorded: {before.paths.folder}", time.monotonic() + HINT_S)
        return self.recorder.current

    def _show(self, shot: Shot, poses: FramePoses, state: State, status: Status, new: bool) -> None:
        image = self._artist.draw(shot, poses, state)
        recording = self.recorder.current
        if new and recording is not None:
            recording.push(image, poses, state.refine)
            image = image.copy()
        draw_status(image, status, state)
        self._pictures.put(Seen(image, shot.taken_s, new))


class Artist:
    """The renderer, turned and mirrored as wanted."""

    def __init__(self, height_m: float, several: bool) -> None:
        self._height_m, self._several = height_m, several
        self._yaw: float | None = None

    def draw(self, shot: Shot, poses: FramePoses, state: State) -> Image:
        """(H, W, 3) uint8 BGR, a new array."""
        if state.yaw_deg != self._yaw:
            self._yaw = state.yaw_deg
            look = RenderSettings(yaw_deg=state.yaw_deg, height_m=self._height_m)
            self._renderer, self._stage = Renderer(settings=look), Stage(state.yaw_deg)
        frame = shot.frame
        if state.mirror:
            frame, poses = mirrored(frame, poses)
        height, width = frame.image.shape[:2]
        places = None
        if self._several:
            places = self._stage.place(poses.time_s, poses.people, width, height)
        return self._renderer.draw(frame, poses, places)
