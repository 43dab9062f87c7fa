"""Motion capture in the mocap17 format: Human3.6M's 17 joints, 30 frames per second, one npz per source.

The arrays of a file (no pickles):
    pose (N, 17, 3) int16, relative to the pelvis, in steps of `scale` metres; root (N, 3) float32, metres.
    seq_start, seq_len (S,) int: the frames of each sequence.
    seq_name, seq_subject, seq_action, seq_style, seq_source, seq_split (S,) str; seq_fps (S,) float.
    joints (17,) str, parents (17,) int: the layout, checked on reading.
World axes: metres, right handed, z up, floor near z = 0.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..skeleton import H36M17
from ..skeleton.errors import InputError, OutputError

SPLITS = ("train", "val", "test")
SCALE = np.float32(1e-4)

_TEXTS = ("seq_name", "seq_subject", "seq_action", "seq_style", "seq_source", "seq_split")
_KEYS = ("pose", "root", "scale", "seq_start", "seq_len", "seq_fps", "parents", *_TEXTS)


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """One recording; `pose` and `root` are slices of the file's arrays, decoded by `world`.

    Attributes:
        name, subject, action, style, source: as in the file.
        split: "train", "val" or "test".
        fps: frames per second.
        pose: (n, 17, 3) int16, relative to the pelvis, in steps of `scale`.
        root: (n, 3) float32, pelvis, world metres.
        scale: metres per step.
    """

    name: str
    subject: str
    action: str
    style: str
    source: str
    split: str
    fps: float
    pose: npt.NDArray[np.int16]
    root: npt.NDArray[np.float32]
    scale: np.float32 = SCALE

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def relative(self) -> npt.NDArray[np.float32]:
        """(n, 17, 3) float32 metres relative to the pelvis, world axes. Decoded at each call."""
        return self.pose.astype(np.float32) * self.scale

    @property
    def world(self) -> npt.NDArray[np.float32]:
        """(n, 17, 3) float32 world metres. Decoded at each call."""
        return self.relative + self.root[:, None]

    def world64(self, stride: int = 1) -> npt.NDArray[np.float64]:
        """Every `stride`-th frame of `world` in float64: what the evaluation protocol measures on."""
        relative = self.pose[::stride].astype(np.float64) * np.float64(self.scale)
        return relative + self.root[::stride, None]


@dataclass(frozen=True, slots=True, eq=False)
class Mocap:
    """A mocap17 file: its name without folder and ending, and its sequences in file order."""

    name: str
    sequences: tuple[Sequence, ...]

    def split(self, name: str) -> tuple[Sequence, ...]:
        """The sequences of one split, in file order. Raises InputError when the file has none of it."""
        found = tuple(s for s in self.sequences if s.split == name)
        if not found:
            have = ", ".join(sorted({s.split for s in self.sequences})) or "nothing"
            raise InputError(f"{self.name}: no sequences of the split {name!r}; the file holds {have}")
        return found


def load_mocap(path: str | Path) -> Mocap:
    """Reads a mocap17 npz file; never unpickles.

    Args:
        path: the file. Sources cut out of one recording stay in file order.

    Returns:
        Mocap; its sequences share the file's arrays (about 115 bytes a frame).

    Raises:
        InputError: no such file, not an npz, or not in the mocap17 format (says what is wrong).
    """
    path = Path(path)
    arrays = _read_arrays(path)
    _check(arrays, path)
    ends = arrays["seq_start"] + arrays["seq_len"]
    sequences = tuple(
        Sequence(
            **{key.removeprefix("seq_"): str(arrays[key][i]) for key in _TEXTS},
            fps=float(arrays["seq_fps"][i]),
            pose=arrays["pose"][start:end],
            root=arrays["root"][start:end],
            scale=np.float32(arrays["scale"]),
        )
        for i, (start, end) in enumerate(zip(arrays["seq_start"], ends, strict=True))
    )
    return Mocap(name=path.stem, sequences=sequences)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a mocap17 .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise InputError(f"{path}: a single array, not a mocap17 .npz file")
        with loaded as archive:
            missing = [key for key in _KEYS if key not in archive.files]
            if missing:
                raise InputError(f"{path}: not a mocap17 file: it lacks {', '.join(missing)}")
            return {key: archive[key] for key in _KEYS}
    except (
        # All that a damaged or encrypted archive makes the reader raise.
        ValueError, OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        reason = "it is no archive of plain arrays" if isinstance(error, ValueError) else error
        raise InputError(f"{path}: cannot be read as a mocap17 .npz file ({reason})") from error


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    def expect(fits: bool, what: str) -> None:
        if not fits:
            raise InputError(f"{path}: not a mocap17 file: {what}")

    pose, root, start, length = (arrays[k] for k in ("pose", "root", "seq_start", "seq_len"))
    n, count = len(pose) if pose.ndim else 0, len(start) if start.ndim else 0
    expect(
        pose.shape == (n, 17, 3) and pose.dtype == np.int16,
        f"pose: expected (N, 17, 3) int16, got {pose.shape} {pose.dtype}",
    )
    expect(root.shape == (n, 3), f"root: expected {(n, 3)}, got {root.shape}")
    expect(bool(np.isfinite(root).all()), "root: has values that are not finite")
    expect(arrays["scale"].shape == (), f"scale: expected one number, got {arrays['scale'].shape}")
    for key in ("seq_start", "seq_len", "seq_fps", *_TEXTS):
        expect(arrays[key].shape == (count,), f"{key}: expected {(count,)}, got {arrays[key].shape}")
    for key in ("seq_start", "seq_len"):
        expect(arrays[key].dtype.kind in "iu", f"{key}: expected integers, got {arrays[key].dtype}")
    fits = (start >= 0) & (length > 0) & (start + length <= n)
    expect(bool(fits.all()), f"a sequence reaches outside of the {n} frames")
    parents = tuple(int(p) for p in arrays["parents"].ravel())
    expect(parents == H36M17.parents, f"parents: expected {H36M17.parents}, got {parents}")


def write_mocap(path: str | Path, sequences: Seq[Sequence]) -> None:
    """Writes sequences as a mocap17 npz file that `load_mocap` reads back unchanged.

    Args:
        path: file to write, replaced if it exists.
        sequences: at least one; all of one `scale`.

    Raises:
        ValueError: no sequences, or their scales differ.
        OutputError: the file cannot be written.
    """
    if not sequences or len({float(s.scale) for s in sequences}) != 1:
        raise ValueError("write_mocap: expected at least one sequence, all of one scale")
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    texts: dict[str, Any] = {
        key: np.array([getattr(s, key.removeprefix("seq_")) for s in sequences]) for key in _TEXTS
    }
    try:
        np.savez_compressed(
            path,
            pose=np.concatenate([s.pose for s in sequences]),
            root=np.concatenate([s.root for s in sequences]).astype(np.float32),
            scale=np.float32(sequences[0].scale),
            seq_start=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
            seq_len=lengths,
            seq_fps=np.array([s.fps for s in sequences], dtype=np.float32),
            joints=np.array(H36M17.joints),
            parents=np.array(H36M17.parents, dtype=np.int64),
            **texts,
        )
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
