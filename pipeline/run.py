"""The running program: one clip from frames to files.

    reader ─frames→ detector ─2D→ gaps, lifter, refiner ─3D→ drawing, encoding, CSV

Each arrow is a bounded channel between threads, so the slowest stage sets the pace and memory does not grow
with the length of the clip.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..detectors import Detector, create_detector
from ..detectors.ahead import frames_at_once, look_ahead
from ..detectors.base import sees_one
from ..detectors.doubt import as_h36m17
from ..skeleton import Frame, FramePoses, Pose2D, Pose3D
from ..skeleton.devices import resolve_device
from ..skeleton.errors import InputError, PosefixError
from . import resume
from .advice import Advisor
from .batches import add_3d, in_batches
from .channels import Channel, Stages, Stopwatch
from .interrupt import Interrupt
from .journal import Journal
from .outputs import OutputPaths, Outputs
from .people import Detected, RowMaker, Timed, Trim, row_maker
from .placing import Stage
from .reader import Source, SourceInfo, open_source
from .record import make_record
from .render import Renderer, RenderSettings
from .settings import Settings, parse_person, results_folder
from .sinks import write_run_json
from .smoothing import Smoother
from .sources import as_source
from .summary import RunSummary

WAITING = 4  # frames that may wait between two stages

#: device, and what closes what was loaded -> networks and detector
Loader = Callable[[str, contextlib.ExitStack], "tuple[Estimator, Detector]"]


class Estimator(Protocol):
    """Human3.6M-17 2D poses and their (frame, person) keys -> 3D poses, None for a pose without hips; see
    `estimate.PoseEstimator`.
    """

    weights: dict[str, str]

    def __call__(self, poses: list[Pose2D], keys: list[tuple[int, int]]) -> Sequence[Pose3D | None]: ...
    def close(self) -> None: ...


class Frames(Protocol):
    """Where a clip's frames come from; see `reader.FrameReader`."""

    info: SourceInfo
    ended_early: str | None

    @property
    def corrupt_frames(self) -> int: ...
    def __next__(self) -> Frame: ...


class Watcher(Protocol):
    """Told how a run goes, e.g. a progress bar."""

    def begin(self, info: SourceInfo, frames: int | None) -> None: ...
    def advance(self) -> None: ...


def load_estimator(settings: Settings, device: str) -> Estimator:
    """The lifter and refiner of these settings. Raises WeightsError when their files are damaged."""
    from .estimate import PoseEstimator  # brings the networks' runtime: not needed to print help

    return PoseEstimator.load(
        device=device,
        steps=settings.steps,
        hypotheses=settings.hypotheses,
        seed=settings.seed,
        height_m=settings.height,
        refine=settings.refine,
        batch_size=settings.batch_size,
    )


def load_both(
    estimator: Estimator | None, settings: Settings, device: str, stack: contextlib.ExitStack
) -> tuple[Estimator, Detector]:
    """The networks, loaded unless given, and the detector, side by side; what was loaded is closed by `stack`."""
    with ThreadPoolExecutor(1) as pool:
        loading = None if estimator else pool.submit(load_estimator, settings, device)
        # "auto" stays auto: the detector's runtime may lack what PyTorch has.
        wanted = "auto" if settings.device == "auto" else device
        detector = create_detector(settings.detector, wanted, settings.detector_options)
        stack.callback(detector.close)
        if loading is not None:
            estimator = loading.result()
            stack.callback(estimator.close)
    assert estimator is not None
    return estimator, detector


def run_video(
    source: Source | str | int,
    settings: Settings,
    *,
    estimator: Estimator | None = None,
    watcher: Watcher | None = None,
    interrupt: Interrupt | None = None,
) -> RunSummary:
    """Process one clip and write its files.

    Args:
        source: a clip, as `reader.open_source` takes it.
        settings: how; `settings.output` is the folder of the files.
        estimator: networks to use; None loads them (loading once serves several clips).
        watcher: told of every frame that is done.
        interrupt: set from outside to stop early; what was read until then is finished and written.

    Raises:
        PosefixError: bad input, output, device or weights. Files written until then are finished and kept.
    """
    limits = {"start_s": settings.start, "end_s": settings.end, "max_frames": settings.max_frames}
    with open_source(source, **limits) as reader:
        load: Loader = functools.partial(load_both, estimator, settings)
        folder, name = settings.output or results_folder(reader.info.name), reader.info.name
        mark, paths = resume.fingerprint(as_source(source)), OutputPaths.of(name, folder)
        if settings.resume and resume.is_finished(paths, settings, mark):
            return RunSummary(name, paths, finished_before=True)
        return run_frames(
            reader, settings, folder, load, fingerprint=mark, watcher=watcher, interrupt=interrupt
        )


def run_frames(
    reader: Frames,
    settings: Settings,
    folder: Path,
    load: Loader,
    *,
    rows: RowMaker | None = None,
    fingerprint: str | None = None,
    watcher: Watcher | None = None,
    interrupt: Interrupt | None = None,
) -> RunSummary:
    """Process the frames of an open source and write their files; `run_video` for frames from elsewhere.

    Args:
        reader: open; closing it is the caller's.
        folder: where the files go.
        load: gives the networks and the detector, once the source and the outputs are known to be usable.
        rows: makes rows of detections; by default people are followed and gaps bridged.
        fingerprint: the source's, see `resume`; with it a journal is kept, from which a run can be resumed.

    Raises:
        PosefixError: as `run_video`.
    """
    began = time.perf_counter()
    interrupt = interrupt or Interrupt()
    with contextlib.ExitStack() as stack:
        paths = OutputPaths.of(reader.info.name, folder)
        paths.check(settings.overwrite or settings.resume)
        device = resolve_device(settings.device)
        first = next(reader, None)  # before anything is written: a clip without frames leaves no files
        if first is None:
            raise InputError(f"{reader.info.name}: no frame to read")
        estimator, detector = load(device, stack)
        if interrupt.signal is not None:
            raise PosefixError("stopped before the first frame; nothing written", 128 + interrupt.signal)
        journal, stages = None, Stages()
        if fingerprint is None:
            paths.prepare(settings.render)
        else:
            about = resume.identity(settings, device, detector, estimator.weights, fingerprint)
            journal = resume.open_journal(paths, settings, about)
            stack.callback(journal.close)
            detector = resume.KnownDetector(detector, journal)
            estimator = resume.KnownEstimator(estimator, journal)
        outputs = open_outputs(
            paths, settings, reader.info, journal, lambda: interrupt.signal is None and not stages.errors
        )
        stack.enter_context(outputs)
        known = journal.frames if journal is not None else 0
        summary = RunSummary(reader.info.name, paths, wanted=parse_person(settings.person), known=known)
        clock = Stopwatch()
        if watcher is not None:
            watcher.begin(reader.info, expected_frames(reader.info, settings))
        clip = _Clip(
            reader, first, settings, detector, estimator, outputs, summary, clock, stages, interrupt, watcher,
            rows := rows or default_rows(settings, reader.info),
            Advisor(reader.info, rows.several, summary.wanted, settings.height),
        )  # fmt: skip
        try:
            clip.process()
            with clock("encode"):
                outputs.finish() if interrupt.signal is None else outputs.close()
        except BaseException as error:
            summary.error = str(error) or type(error).__name__
            raise
        finally:
            summary.signal, summary.corrupt = interrupt.signal, reader.corrupt_frames
            summary.ended_early = reader.ended_early
            summary.warnings = clip.advisor.warnings(finished=not (summary.error or summary.signal))
            summary.seconds, summary.stages = time.perf_counter() - began, dict(clock.seconds)
            record = make_record(
                summary, settings, device, detector, estimator.weights, reader.info, fingerprint
            )
            with contextlib.suppress(PosefixError) if summary.error else contextlib.nullcontext():
                write_run_json(paths.run_json, record)
        if journal is not None and summary.signal is None:
            journal.remove()
    return summary


def open_outputs(
    paths: OutputPaths,
    settings: Settings,
    info: SourceInfo,
    journal: Journal | None,
    sound: Callable[[], bool],
) -> Outputs:
    """The files of a run.

    Args:
        sound: whether neither an interruption nor an error has come: what is drawn after one may have been decided too
            early, and the journal is not told of it.

    Raises:
        OutputError: one cannot be written.
    """

    def note_piece(number: int, crc: int) -> None:
        if journal is not None and sound():
            journal.add_piece(number, crc)

    pieces = journal.pieces if journal is not None and journal.old else None
    try:
        return Outputs(paths, settings.render, info.fps, pieces, note_piece, settings.smooth != "off")
    except BaseException:
        if journal is not None and not journal.old:
            journal.remove()
        raise


@dataclass
class _Clip:
    """One clip on its way through the stages."""

    reader: Frames
    first: Frame
    settings: Settings
    detector: Detector
    estimator: Estimator
    outputs: Outputs
    summary: RunSummary
    clock: Stopwatch
    stages: Stages
    interrupt: Interrupt
    watcher: Watcher | None
    rows: RowMaker
    advisor: Advisor

    def process(self) -> None:
        """All frames through all stages. Raises the first error of any stage, after the others have ended."""
        frames: Channel[Frame] = Channel(max(WAITING, frames_at_once(self.detector)))
        detected: Channel[Detected] = Channel(WAITING)
        finished: Channel[Timed] = Channel(WAITING)
        stages = self.stages
        stages.start("read", lambda: self._read(frames), feeds=frames)
        stages.start("detect", lambda: self._detect(frames, detected), reads=frames, feeds=detected)
        stages.start("write", lambda: self._write(finished), reads=finished)
        try:
            # This thread does the 3D, and hears Ctrl-C.
            stages.run(lambda: self._estimate(detected, finished), reads=detected, feeds=finished)
            stages.join()
        except BaseException:
            stages.abort()
            stages.wait()  # nobody may still be reading when the caller closes the source
            raise

    def _read(self, frames: Channel[Frame]) -> None:
        frame: Frame | None = self.first
        while frame is not None and self.interrupt.signal is None:
            self.summary.read += 1
            frames.put(frame)
            with self.clock("read"):
                frame = next(self.reader, None)

    def _detect(self, frames: Channel[Frame], detected: Channel[Detected]) -> None:
        for some in frames.several(frames_at_once(self.detector)):
            with self.clock("detect"):
                look_ahead(self.detector, some)
            for frame in some:
                with self.clock("detect"):
                    poses = as_h36m17(self.detector.detect(frame))
                detected.put((frame, poses))

    def _estimate(self, detected: Channel[Detected], finished: Channel[Timed]) -> None:
        rows = self.rows.make(detected, None if self.settings.start else 0)
        for batch in in_batches(rows, self.settings.batch_size):
            with self.clock("estimate"):
                done = add_3d(batch, self.estimator)
            for item in done:
                finished.put(item)

    def _write(self, finished: Channel[Timed]) -> None:
        renderer = (
            Renderer(settings=RenderSettings(height_m=self.settings.height)) if self.settings.render else None
        )
        stage = Stage() if self.rows.several else None
        trim = Trim() if self.rows.trim else None
        for frame, poses in self._smooth(finished):
            self.advisor.see(poses, None if frame is None else frame.image.shape[1::-1])
            self._write_rows(trim.push(poses) if trim else [poses])
            if renderer is not None and frame is not None:
                with self.clock("render"):
                    height, width = frame.image.shape[:2]
                    places = stage.place(poses.time_s, poses.people, width, height) if stage else None
                    image = None if self.outputs.has_image else renderer.draw(frame, poses, places)
                with self.clock("encode"):
                    self.outputs.write_image(image, frame.time_s)
                if self.summary.video_start_s is None:
                    self.summary.video_start_s = frame.time_s
            if self.watcher is not None and frame is not None:
                self.watcher.advance()
        self._write_rows(trim.finish() if trim else [])

    def _smooth(self, finished: Iterable[Timed]) -> Iterator[Timed]:
        film = self.reader.info.kind != "images"  # those may have nothing to do with each other
        smoother = Smoother(self.settings.smooth, pictures=self.settings.render, film=film)
        for item in finished:
            with self.clock("smooth"):
                done = smoother.push(item)
            yield from done
        yield from smoother.finish()

    def _write_rows(self, rows: list[FramePoses]) -> None:
        for poses in rows:
            with self.clock("csv"):
                self.outputs.write_poses(poses)
            self.summary.count(poses)


def default_rows(settings: Settings, info: SourceInfo) -> RowMaker:
    """Rows of what the detector of these settings finds in a clip."""
    one = sees_one(settings.detector, settings.detector_options)
    # Pictures may have nothing to do with each other: who is in one only is somebody.
    return row_maker(settings.person, one, confirm=info.kind != "images")


def expected_frames(info: SourceInfo, settings: Settings) -> int | None:
    """How many frames will come, for the progress bar; None when nobody knows."""
    counts = [settings.max_frames] if settings.max_frames is not None else []
    if info.n_frames is not None:
        begin = (settings.start or 0.0) * (info.fps or 0.0)
        end = min(info.n_frames, settings.end * info.fps if settings.end and info.fps else info.n_frames)
        counts.append(max(0, round(end - begin)))
    return min(counts, default=None)
