"""`posefix refine`: a keypoint file in the place of reader and detector, then the stages of `run.py`.

    2D    file -> gaps -> lifter -> refiner -> files
    3D    file -> gaps ----------> refiner -> files      the lifter fills in what the file's 3D leaves out

With a video its frames go through the stages with the poses, and are drawn.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..skeleton import H36M17, Frame, FramePoses, Pose2D
from ..skeleton.errors import InputError
from ..skeleton.poses import FloatArray
from .estimate import TRAINED_HEIGHT_M, PoseEstimator
from .flags import KeypointFlags
from .interrupt import Interrupt
from .keypoint_files import FORMATS, KeypointClip, ReadOptions, read_keypoints
from .keypoint_files.joints import NOMINAL_SIZE, layout_name
from .keypoint_files.people import named, numbers, wanted
from .outputs import OutputPaths
from .people import Detected, Named, RowMaker, Timed, rows_of
from .reader import IMAGE_FPS, FrameReader, SourceInfo, open_source
from .run import Estimator, Frames, RunSummary, Watcher, run_frames
from .settings import Settings, parse_person

#: Thighs, shins, upper arms and forearms together, metres, as the lifter makes people (2.61 to 2.73 in three clips).
TRAINED_LIMBS_M = 2.66
LIMBS = tuple((j, H36M17.parents[j]) for j in (2, 3, 5, 6, 12, 13, 15, 16))
MAX_EMPTY = 100_000  # frames without anybody that a file may claim beyond a thousand for each that it has
MEASURED = (
    "3D without 2D of a picture; the refiner mends lifted poses: "
    "measured 3D (markers, several cameras) gets some 3 cm worse"
)
_BLANK = np.zeros((1, 1, 3), np.uint8)
_BLANK.setflags(write=False)


@dataclass(frozen=True, kw_only=True)
class RefineSettings(KeypointFlags, Settings):  # pyright: ignore[reportIncompatibleVariableOverride]
    """How to process a keypoint file; what `Settings` and `flags.KeypointFlags` have, and:

    Attributes:
        detector: "file"; nothing is detected.
        size: width and height of the picture, for normalised coordinates.

    Raises:
        InputError: a value makes no sense.
    """

    detector: str = "file"
    render: bool = False
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        common = {f.name: getattr(self, f.name) for f in fields(Settings)}
        common |= {"detector": Settings.detector, "height": self.height or Settings.height, "person": "all"}
        Settings(**common)  # its checks
        parse_person(self.person)
        if self.height is not None and self.height <= 0:
            raise InputError(f"--height {self.height}: expected metres, e.g. 1.75")
        if self.format is not None and self.format not in FORMATS:
            raise InputError(f"--format {self.format}: choose from {', '.join(FORMATS)}")
        if self.layout is not None:
            object.__setattr__(self, "layout", layout_name(self.layout))
        if self.fps is not None and not 0.1 <= self.fps <= 1000:
            raise InputError(f"--fps {self.fps}: expected 0.1 to 1000 frames per second")
        if self.fps is not None and self.video is not None:
            raise InputError("--fps and --video: the video has times of its own; leave one out")


def parse_size(word: str) -> tuple[int, int]:
    """(width, height) of "1920x1080". Raises InputError."""
    parts = word.lower().split("x")
    if len(parts) != 2 or not all(p.isascii() and p.isdecimal() and len(p) <= 5 and int(p) for p in parts):
        raise InputError(f"--size {word}: expected width x height in pixels, e.g. 1920x1080")
    return int(parts[0]), int(parts[1])


def refine_file(
    path: Path,
    settings: RefineSettings,
    *,
    warn: Callable[[str], None] = lambda line: None,
    watcher: Watcher | None = None,
    interrupt: Interrupt | None = None,
) -> RunSummary:
    """Process one keypoint file and write its files.

    Args:
        path: the file, or OpenPose's folder.
        warn: told what the user should know of the file, one line each.

    Raises:
        PosefixError: as `run.run_video`, and a file that cannot be used.
    """
    with contextlib.ExitStack() as stack:
        video = stack.enter_context(open_source(settings.video)) if settings.video is not None else None
        size = settings.size or ((video.info.width, video.info.height) if video else None)
        clip = read_keypoints(path, ReadOptions(settings.layout, size), settings.format)
        clip = wanted(named(_checked(_in_picture(clip, path, size), path, video)), settings.person)
        clip = without_3d(clip, path) if settings.lift else clip
        clip = clip.warned(f"{path}: {MEASURED}") if clip.nominal else clip
        for line in clip.warnings:
            warn(line)
        folder, name = _places(path, clip, settings)
        frames: Frames = (
            VideoFrames(clip, name, video) if video else FileFrames(clip, name, settings.fps, size)
        )
        settings = replace(settings, height=settings.height or own_height(clip), render=video is not None)

        def load(device: str, _: contextlib.ExitStack) -> tuple[Estimator, FileDetector]:
            estimator = GivenEstimator.of(clip, settings, device)
            _.callback(estimator.close)
            return estimator, FileDetector(clip)

        rows = (
            ready_rows(clip.rows, settings.fps is not None)
            if clip.rows
            else rows_of_file(clip, settings.person)
        )
        return run_frames(frames, settings, folder, load, rows=rows, watcher=watcher, interrupt=interrupt)


def _checked(clip: KeypointClip, path: Path, video: FrameReader | None) -> KeypointClip:
    """The clip, if its numbers make sense together with the video."""
    if clip.count > MAX_EMPTY + 1000 * len(clip.frames):
        raise InputError(
            f"{path}: frame numbers go up to {clip.count - 1}, but only {len(clip.frames)} frames have anybody; "
            "number the files from 0"
        )
    times = [clip.times[k] for k in sorted(clip.times)]
    if any(b <= a for a, b in pairwise(times)):
        raise InputError(
            f"{path}: its times do not grow from frame to frame; mend them, or name another file"
        )
    if video is not None and clip.nominal:
        raise InputError(f"{path}: has 3D but no 2D in a picture, so nothing can be drawn; leave out --video")
    expected = video.info.n_frames if video else None
    if expected is not None and clip.count > 1.1 * expected + 10:
        raise InputError(
            f"{path}: has {clip.count} frames, the video about {expected}; is it the right video?"
        )
    return clip


def _in_picture(clip: KeypointClip, path: Path, size: tuple[int, int] | None) -> KeypointClip:
    """The clip, with a warning where most of it is not in the picture."""
    people = [sight for sights in clip.frames.values() for sight in sights]
    if size is None or clip.nominal or not people:
        return clip
    there = np.concatenate([s.keypoints[s.scores > 0] for s in people])  # (n, 2)
    if 2 * ((there < 0) | (there > size)).any(axis=1).sum() <= len(there):
        return clip
    line = f"{path}: most joints lie outside of the picture, {size[0]}x{size[1]}; is it the right video or --size?"
    return clip.warned(line)


def without_3d(clip: KeypointClip, path: Path) -> KeypointClip:
    """The clip's 2D alone. Raises InputError where it is not of a picture."""
    if clip.nominal:
        raise InputError(f"{path}: has no 2D of a picture to lift; leave out --lift")
    frames = {n: [replace(s, joints=None) for s in people] for n, people in clip.frames.items()}
    return replace(clip, frames=frames)


def _places(path: Path, clip: KeypointClip, settings: RefineSettings) -> tuple[Path, str]:
    """The folder for the results and the name they are called after. Raises InputError."""
    name = path.resolve().name if path.is_dir() else path.stem
    if clip.format == "posefix":
        name = re.sub(r"_(2d|3d|3d_raw)$", "", name) or name
    folder = settings.output or Path(f"{name}_refined")
    to = OutputPaths.of(name, folder)
    if path.resolve() in {p.resolve() for p in (to.csv_2d, to.csv_3d, to.csv_raw, to.video, to.run_json)}:
        raise InputError(f"{path}: the results would replace it; choose another folder with -o")
    return folder, name


class FileFrames:
    """A keypoint file's frames, without pictures, as `run.Frames`.

    Args:
        fps: frames per second that the user gave; else the file's times, its rate, or 30 count.
        size: width, height of the picture, None where unknown.
    """

    ended_early: str | None = None
    corrupt_frames = 0

    def __init__(
        self, clip: KeypointClip, name: str, fps: float | None, size: tuple[int, int] | None
    ) -> None:
        first = min(clip.rows) if clip.rows else 0
        self._next, self._end = first, clip.count
        self._times = {} if fps else clip.times
        times = [clip.times[k] for k in sorted(clip.times)]
        measured = (
            (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
        )
        self._fps = fps or clip.fps or IMAGE_FPS
        width, height = NOMINAL_SIZE if clip.nominal else size or (0, 0)
        rate = fps or clip.fps or measured or IMAGE_FPS
        self.info = SourceInfo(name, "keypoints", width, height, rate, clip.count - first, False)

    def __next__(self) -> Frame:
        if self._next >= self._end:
            raise StopIteration
        index = self._next
        self._next += 1
        return Frame(index, self._times.get(index, index / self._fps), _BLANK)

    def __iter__(self) -> Iterator[Frame]:
        return self


class VideoFrames:
    """The frames of the video that a keypoint file is of, as `run.Frames`."""

    def __init__(self, clip: KeypointClip, name: str, video: FrameReader) -> None:
        self._video, self._count, self._last = video, clip.count, -1
        self.info = replace(video.info, name=name, kind="keypoints")
        self.ended_early: str | None = None

    @property
    def corrupt_frames(self) -> int:
        return self._video.corrupt_frames

    def __next__(self) -> Frame:
        try:
            frame = next(self._video)
        except StopIteration:
            if self._last + 1 < self._count:
                self.ended_early = (
                    f"the video ended after frame {self._last}, the keypoints go on to {self._count - 1}"
                )
            raise
        self._last = frame.index
        return frame

    def __iter__(self) -> Iterator[Frame]:
        return self


class FileDetector:
    """A keypoint file in the place of a detector: finds in frame k who is in the file's frame k."""

    def __init__(self, clip: KeypointClip) -> None:
        self.name, self.layout = clip.format, clip.layout
        self.weights: dict[str, str] = {}
        self.device = "cpu"
        self._frames = clip.frames

    def detect(self, frame: Frame) -> list[Pose2D]:
        """The people of this frame; see `detectors.Detector`."""
        return [Pose2D(s.keypoints, s.scores, self.layout) for s in self._frames.get(frame.index, [])]

    def close(self) -> None:
        """Nothing to free."""


class GivenEstimator(PoseEstimator):
    """A `PoseEstimator` that refines the file's 3D where there is some, else what the lifter makes.

    Attributes:
        given: (frame, person) -> (17, 3) metres of a TRAINED_HEIGHT_M person, NaN where unknown.
    """

    given: Mapping[tuple[int, int], FloatArray]

    @classmethod
    def of(cls, clip: KeypointClip, settings: RefineSettings, device: str) -> GivenEstimator:
        """Loads the networks; results come out at `settings.height`. Raises WeightsError."""
        assert settings.height is not None
        estimator = cls.load(
            device, settings.steps, settings.hypotheses, settings.seed, settings.height, settings.refine,
            settings.batch_size,
        )  # fmt: skip
        assert isinstance(estimator, cls)
        scale = np.float32(TRAINED_HEIGHT_M / own_height(clip))
        estimator.given = {
            (number, sight.id or 0): sight.joints * scale
            for number, people in clip.frames.items()
            for sight in people
            if sight.joints is not None
        }
        return estimator

    def first(self, points: FloatArray, seen: np.ndarray, keys: list[tuple[int, int]]) -> FloatArray:
        """The file's 3D; single joints and poses that it leaves out are the lifter's."""
        lifted = super().first(points, seen, keys)
        given = np.stack([self.given.get(key, _UNKNOWN) for key in keys])
        return np.where(np.isfinite(given).all(axis=2, keepdims=True), given, lifted)


_UNKNOWN = np.full((17, 3), np.nan, np.float32)


def own_height(clip: KeypointClip) -> float:
    """The person's stature by the limbs of the file's 3D, metres; the default of `Settings` without 3D.

    Raises:
        InputError: nobody is that tall: the unit is wrong.
    """
    poses = [s.joints for people in clip.frames.values() for s in people if s.joints is not None]
    if not poses:
        return Settings.height
    stack = np.stack(poses)
    lengths = np.stack([np.linalg.norm(stack[:, a] - stack[:, b], axis=1) for a, b in LIMBS], axis=1)
    known = [
        float(np.median(column[np.isfinite(column)])) for column in lengths.T if np.isfinite(column).any()
    ]
    if len(known) < len(LIMBS):
        return Settings.height
    height = TRAINED_HEIGHT_M * sum(known) / TRAINED_LIMBS_M
    if not 0.3 <= height <= 3:
        raise InputError(f"the 3D is that of a person {height:.3g} m tall; its unit is not what it should be")
    return height


def rows_of_file(clip: KeypointClip, person: str) -> RowMaker:
    """Rows of people who have numbers; the only one of a file, and those whom `--person` numbers, in every frame."""
    there = tuple(sorted(numbers(clip)))

    def name(detected: Iterable[Detected]) -> Iterator[Named]:
        for frame, poses in detected:
            sights = clip.frames.get(frame.index, [])
            yield frame, {sight.id or 0: pose for sight, pose in zip(sights, poses, strict=True)}

    always = there if len(there) < 2 else parse_person(person)
    return rows_of(name, always, several=len(there) > 1, forget_s=None)


def ready_rows(rows: Mapping[int, FramePoses], retimed: bool = False) -> RowMaker:
    """Rows that are decided already; `retimed`: with the frames' times."""

    def make(detected: Iterable[Detected], first_index: int | None) -> Iterator[Timed]:
        before = None
        for frame, _ in detected:
            for lost in range(frame.index if before is None else before + 1, frame.index):
                if lost in rows:  # of a frame that the video does not show
                    yield None, rows[lost]
            before = frame.index
            row = rows.get(frame.index, FramePoses(frame.index, frame.time_s))
            yield frame, replace(row, time_s=frame.time_s) if retimed else row

    return RowMaker(make, several=any(p.id for row in rows.values() for p in row.people))
