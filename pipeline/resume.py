"""`--resume`: a run that was interrupted is finished, with the bytes of a run that was not.

While a run lasts, its journal (`journal.py`) keeps what is slow to find: the detections of every frame, the 3D of
every pose, which pieces of the video are whole. A resumed run goes through the same stages from the first frame on, so
that everything that crosses from frame to frame (numbers of people, gaps, smoothing, places in the 3D panel) comes
about as it did; but what the journal knows is taken from there, and what the video has is neither drawn nor encoded
again. The clip is decoded from its beginning: a seek that is off by one frame, or a picture that the decoder
conceals otherwise, would be another run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..detectors import Detector
from ..detectors.ahead import frames_at_once, look_ahead
from ..detectors.base import Resumable
from ..detectors.doubt import as_h36m17
from ..skeleton import Frame, Pose2D, Pose3D
from ..skeleton.errors import InputError
from .journal import Journal, digest
from .record import PACKAGES, package_version
from .sources import Source

if TYPE_CHECKING:
    from .outputs import OutputPaths
    from .run import Estimator
    from .settings import Settings

#: settings that do not change what is found; "device" counts as what it stands for
FREE = ("output", "overwrite", "resume", "verbosity", "batch_size", "device")
CLIP = "clip"  # key of the clip's fingerprint
_BLOCK, _BLOCKS, _BLOCK_OF_MANY = 1 << 16, 64, 1 << 12
_BEGIN_ANEW = "or begin anew with --overwrite instead of --resume"


def fingerprint(source: Source) -> str | None:
    """Text that differs for other clips: of sizes, and of bytes from all parts of the files, not of all bytes.

    None where there are no files: cameras, streams and pipes cannot be read again.

    Raises:
        InputError: a file cannot be read.
    """
    if source.kind not in ("video", "images"):
        return None
    paths = source.spec if isinstance(source.spec, tuple) else (str(source.spec),)
    if not all(Path(path).is_file() for path in paths):
        return None  # /dev/video0, or a pipe
    blocks, size = (_BLOCKS, _BLOCK) if len(paths) == 1 else (1, _BLOCK_OF_MANY)
    found = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with open(path, "rb") as file:
                length = file.seek(0, 2)
                found.update(length.to_bytes(8, "little"))
                for k in range(1, blocks + 1):  # the last block ends with the file
                    file.seek(max(0, length - size) * (k - (blocks > 1)) // max(1, blocks - 1))
                    found.update(file.read(size))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{path}: cannot be read ({reason}); check its permissions") from None
    return found.hexdigest()


def of_settings(settings: Settings) -> dict[str, Any]:
    """The settings that change what is found, by name, as JSON gives them back."""
    named = {name: value for name, value in asdict(settings).items() if name not in FREE}
    return json.loads(json.dumps(named, default=str))


def identity(
    settings: Settings, device: str, detector: Detector, weights: Mapping[str, str], clip: str
) -> dict[str, Any]:
    """What must be the same for the results to be: by the words that messages call it."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in of_settings(settings).items()}
    packages = {f"version of {name}": package_version(name) for name in ("posefix", *PACKAGES)}
    files = {f"weights {name}": value for name, value in sorted({**weights, **detector.weights}.items())}
    where = {"--device": device, "device of the detector": detector.device}
    return {CLIP: clip, **flags, **where, **packages, **files}


def is_finished(paths: OutputPaths, settings: Settings, clip: str | None) -> bool:
    """Whether an earlier run of this clip came to its end; what is left of its journal is taken away.

    Raises:
        InputError: it is the run of another clip or with other settings, or cannot be resumed.
    """
    if clip is None:
        raise InputError("--resume: a camera or stream cannot be read again; leave out --resume")
    try:
        record = json.loads(paths.run_json.read_text(encoding="utf-8"))
        whole = not record["interrupted"] and record["error"] is None
        was = {CLIP: record["source"].get("fingerprint", clip), **record["settings"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole, was = False, {}
    if whole:
        now = {CLIP: clip, **of_settings(settings)}
        _compare(paths.run_json, {k: v for k, v in was.items() if k in now}, now)
        paths.journal.unlink(missing_ok=True)
        return True
    if paths.existing and not paths.journal.exists():
        raise InputError(
            f"{paths.existing[0]}: cannot be finished, {paths.journal.name} is gone; begin anew with --overwrite"
        )
    return False


def open_journal(paths: OutputPaths, settings: Settings, about: Mapping[str, Any]) -> Journal:
    """The journal of the run to be finished, or a new one; makes the folder ready for the outputs.

    Raises:
        InputError: that run was another. OutputError: something cannot be written.
    """
    if not settings.resume or not paths.journal.exists():
        paths.prepare(settings.render)
        return Journal.create(paths.journal, about)
    journal = Journal.reopen(paths.journal)
    try:
        _compare(paths.journal, journal.about, json.loads(json.dumps(about)))
        paths.prepare(settings.render, resume=True)
    except BaseException:
        journal.close()
        raise
    return journal


def _compare(path: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError where a run is not the one that a file tells of."""
    for key in (k for k in [*was, *now] if was.get(k) != now.get(k)):
        if key == CLIP:
            raise InputError(f"{path}: is of another clip of this name; name that one, {_BEGIN_ANEW}")
        told = [json.dumps(side.get(key)) for side in (was, now)]
        if key.startswith("weights"):
            raise InputError(f"{path}: the {key} were others; use those, {_BEGIN_ANEW}")
        raise InputError(f"{path}: {key} was {told[0]} there, now it is {told[1]}; use that, {_BEGIN_ANEW}")


class KnownDetector:
    """A detector that takes what the journal knows from there, and writes down what it finds; gives Human3.6M-17."""

    def __init__(self, detector: Detector, journal: Journal) -> None:
        self.name, self.layout, self.device = detector.name, detector.layout, detector.device
        self.weights, self.at_once = detector.weights, frames_at_once(detector)
        self._detector, self._journal = detector, journal
        self._keeps = isinstance(detector, Resumable)
        self._known = journal.found()
        self._next = next(self._known, None)

    def detect(self, frame: Frame) -> list[Pose2D]:
        """As of the detector.

        Raises:
            InputError: the clip is not the one of the journal. OutputError: the journal cannot be written.
        """
        known = self._next
        if known is None:
            return self._find(frame)
        if (known.index, known.time_s, known.size) != (frame.index, frame.time_s, frame.image.shape[:2]):
            raise InputError(
                f"{self._journal.path}: frame {frame.index} of the clip is not as it was; begin anew with --overwrite"
            )
        self._next = next(self._known, None)
        if not self._keeps:  # it may remember what came before: it sees all of it again
            self._detector.detect(frame)
        elif self._next is None:
            self._restore()
        return known.poses

    def look_ahead(self, frames: Sequence[Frame]) -> None:
        """As of the detector, once the journal knows no more."""
        if self._next is None:
            look_ahead(self._detector, frames)

    def _restore(self) -> None:
        assert isinstance(self._detector, Resumable)
        self._detector.restore((known.size, known.state) for known in self._journal.found())

    def _find(self, frame: Frame) -> list[Pose2D]:
        poses = as_h36m17(self._detector.detect(frame))
        poses = [replace(pose, heatmaps=None, heatmap_box=None) for pose in poses]
        state = self._detector.state() if isinstance(self._detector, Resumable) else b""
        self._journal.add_found(frame, poses, state)
        return poses

    def close(self) -> None:
        """Closes the detector."""
        self._detector.close()


class KnownEstimator:
    """Networks whose poses are taken from the journal where it knows them, and written down where it does not."""

    def __init__(self, estimator: Estimator, journal: Journal) -> None:
        self.weights = estimator.weights
        self._estimator, self._journal = estimator, journal
        self._known: Iterator[tuple[tuple[int, int, bytes], Pose3D | None]] = journal.poses()
        self._ahead = next(self._known, None)
        self._near: dict[tuple[int, int, bytes], Pose3D | None] = {}

    def __call__(self, poses: list[Pose2D], keys: list[tuple[int, int]]) -> Sequence[Pose3D | None]:
        """As of the estimator. Raises OutputError: the journal cannot be written."""
        named = [(*key, digest(pose)) for key, pose in zip(keys, poses, strict=True)]
        self._read_up_to(max((key[0] for key in keys), default=0))
        new = [k for k, name in enumerate(named) if name not in self._near]
        made = self._estimator([poses[k] for k in new], [keys[k] for k in new]) if new else []
        for k, pose in zip(new, made, strict=True):
            self._journal.add_pose(named[k], pose)
            self._near[named[k]] = pose
        out = [self._near[name] for name in named]
        # What an interruption closed early is never asked for: it goes with the frames before it.
        first = min((key[0] for key in keys), default=0)
        self._near = {name: pose for name, pose in self._near.items() if name[0] > first}
        return out

    def _read_up_to(self, frame: int) -> None:
        """Poses lie in the order of frames, but for the few that an interruption had made early."""
        while self._ahead is not None and self._ahead[0][0] <= frame:
            name, self._near[name] = self._ahead
            self._ahead = next(self._known, None)

    def close(self) -> None:
        """Closes the networks."""
        self._estimator.close()
