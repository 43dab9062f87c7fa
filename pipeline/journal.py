"""What a run has found so far, kept on disk while it lasts, so that `--resume` need not find it again.

A file of records that is only ever appended to:

    kind, 1 byte | length, u32 | CRC-32 of kind and content, u32 | content

    H   JSON: what the run is (see `resume.identity`)
    D   a frame's detections: index, seconds, size, people's joints, the detector's state after it
    P   a 3D pose: frame, person, digest of the 2D it was made of, joints and std
    V   a piece of the video is whole: its number, CRC-32 of its packets

Numbers are kept bit for bit. What a kill or a power failure left half-written fails its checksum: it does not count,
nor does what follows. About half a kilobyte a frame and person.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..skeleton import H36M17, Frame, Pose2D, Pose3D
from ..skeleton.errors import InputError
from .sinks.errors import cannot_write

SYNC_S = 1.0  # a power failure loses no more than that
_HEAD = struct.Struct("<cII")
_FRAME = struct.Struct("<qdIIHI")
_KEY = struct.Struct("<qq16s")
_PIECE = struct.Struct("<QI")
_LONGEST = 64 << 20  # bytes: a length beyond is none
_JOINTS = len(H36M17.joints)
_POSE = 3 * _JOINTS + 4  # x, y, score of every joint, box


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a frame.

    Attributes:
        index, time_s, size: of the frame; size is height and width, pixels.
        poses: Human3.6M-17, without heatmaps.
        state: of the detector after the frame; empty for one that keeps none.
    """

    index: int
    time_s: float
    size: tuple[int, int]
    poses: list[Pose2D]
    state: bytes


class Journal:
    """The journal of one run; opened by `create` or `reopen`, written from several threads.

    Attributes:
        about: what the run is.
        pieces: CRC-32 of each whole piece of the video.
        frames: how many were searched for people when the journal was opened.
        old: whether it is of an earlier run.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        self.pieces: list[int] = []
        self.frames, self.old = 0, False
        self._known = 0  # bytes that were there when it was opened
        self._lock = threading.Lock()
        self._synced_s = time.monotonic()
        try:
            # Unbuffered: what is written is in the system's hands, whatever happens to this process.
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from None

    @classmethod
    def create(cls, path: Path, about: Mapping[str, Any]) -> Journal:
        """An empty journal, in the place of an old one."""
        path.unlink(missing_ok=True)
        journal = cls(path, about)
        journal._append(b"H", json.dumps(journal.about).encode())
        return journal

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """The journal of an earlier run; what was left half-written is cut off.

        Raises:
            InputError: it is none.
        """
        about: dict[str, Any] | None = None
        pieces: list[int] = []
        frames = end = 0
        for kind, content in _records(path):
            end += _HEAD.size + len(content)
            if kind == b"H":
                about = json.loads(content)
            elif kind == b"D":
                frames += 1
            elif kind == b"V":
                number, crc = _PIECE.unpack(content)
                pieces[number:] = [crc]
        if about is None:
            raise InputError(f"{path}: holds nothing to resume from; begin anew with --overwrite")
        journal = cls(path, about)
        journal.pieces, journal.frames, journal._known, journal.old = pieces, frames, end, True
        try:
            journal._file.truncate(end)
            journal._file.seek(end)
        except OSError as error:
            raise cannot_write(path, error) from None
        return journal

    def found(self) -> Iterator[Found]:
        """What was known when the journal was opened, frame by frame."""
        return (_found(content) for kind, content in _records(self.path, self._known) if kind == b"D")

    def poses(self) -> Iterator[tuple[tuple[int, int, bytes], Pose3D | None]]:
        """3D poses that were known when the journal was opened, and their keys, in the order they were made."""
        return (_pose(content) for kind, content in _records(self.path, self._known) if kind == b"P")

    def add_found(self, frame: Frame, poses: list[Pose2D], state: bytes) -> None:
        """Append what was found in a frame: Human3.6M-17 poses, and the detector's state after it."""
        values = np.full((len(poses), _POSE), np.nan, np.float32)
        for row, pose in zip(values, poses, strict=True):
            row[: 2 * _JOINTS] = pose.keypoints.ravel()
            row[2 * _JOINTS : 3 * _JOINTS] = pose.scores
            row[3 * _JOINTS :] = np.nan if pose.box is None else pose.box
        height, width = frame.image.shape[:2]
        head = _FRAME.pack(frame.index, frame.time_s, height, width, len(poses), len(state))
        self._append(b"D", head + values.tobytes() + state)

    def add_pose(self, key: tuple[int, int, bytes], pose: Pose3D | None) -> None:
        """Append a 3D pose, None where there can be none: frame, person and `digest` of its 2D are its key."""
        content = b"" if pose is None else np.column_stack([pose.joints, pose.std]).tobytes()
        self._append(b"P", _KEY.pack(*key) + content)

    def add_piece(self, number: int, crc: int) -> None:
        """Append that a piece of the video is whole."""
        self._append(b"V", _PIECE.pack(number, crc))

    def _append(self, kind: bytes, content: bytes) -> None:
        record = memoryview(_HEAD.pack(kind, len(content), zlib.crc32(content, zlib.crc32(kind))) + content)
        try:
            with self._lock:
                while record:
                    record = record[self._file.write(record) or 0 :]
                if time.monotonic() - self._synced_s > SYNC_S:
                    os.fsync(self._file.fileno())
                    self._synced_s = time.monotonic()
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def close(self) -> None:
        """Close the file; it stays. May be called twice."""
        self._file.close()

    def remove(self) -> None:
        """Close the file and take it away: the run is done."""
        self.close()
        with contextlib.suppress(OSError):  # beside a finished run it does no harm
            self.path.unlink()


def digest(pose: Pose2D) -> bytes:
    """16 bytes that tell the 2D of a pose from any other."""
    return hashlib.blake2b(pose.keypoints.tobytes() + pose.scores.tobytes(), digest_size=16).digest()


def _records(path: Path, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the whole records of a file, up to a byte."""
    try:
        with path.open("rb") as file:
            at = 0
            while (end is None or at < end) and len(head := file.read(_HEAD.size)) == _HEAD.size:
                kind, length, crc = _HEAD.unpack(head)
                content = file.read(length) if length <= _LONGEST else b""
                if len(content) < length or zlib.crc32(content, zlib.crc32(kind)) != crc:
                    return
                at += _HEAD.size + length
                yield kind, content
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: cannot be read ({reason}); begin anew with --overwrite") from None


def _found(content: bytes) -> Found:
    index, time_s, height, width, count, length = _FRAME.unpack_from(content)
    state = content[len(content) - length :] if length else b""
    values = np.frombuffer(content, np.float32, count * _POSE, _FRAME.size).reshape(count, _POSE)
    poses = []
    for row in values:
        points, scores, box = np.split(row.copy(), [2 * _JOINTS, 3 * _JOINTS])
        poses.append(Pose2D(points.reshape(_JOINTS, 2), scores, box=None if np.isnan(box).all() else box))
    return Found(index, time_s, (height, width), poses, state)


def _pose(content: bytes) -> tuple[tuple[int, int, bytes], Pose3D | None]:
    key = _KEY.unpack_from(content)
    if len(content) == _KEY.size:
        return key, None
    values = np.frombuffer(content, np.float32, 4 * _JOINTS, _KEY.size).reshape(_JOINTS, 4)
    return key, Pose3D(values[:, :3].copy(), values[:, 3].copy())
