"""VideoPose3D's NPZ, and plain arrays: 2D detections, or 3D predictions.

    keypoints or positions_2d    (T, J, 2) pixels, or (T, J, 3) pixels and score; optional: scores (T, J)
    positions_3d                 (T, J, 3) metres, camera axes, with or without 2D of the same frames
    fps, layout                  a number; a name

VideoPose3D's own files are pickled and never opened here. `posefix data convert` rewrites them once; what it writes
is read, if it holds one clip. NaN and (0, 0) are unobserved.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ...skeleton import H36M17
from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight
from .joints import Array, ReadOptions, bounded, layout_name, nominal_2d, observed, recognise, to_17

MOST_BYTES = 2**30  # of an array: 36 hours of COCO-17 at 30 frames/s; zeros pack a thousand times smaller

_TWO, _THREE = ("keypoints", "positions_2d", "keypoints_2d"), ("positions_3d", "joints_3d", "keypoints_3d")


def is_npz(start: bytes) -> bool:
    return start.startswith(b"PK\x03\x04")


def from_npz(path: Path, options: ReadOptions) -> KeypointClip:
    """Reads one clip.

    Raises:
        InputError: pickled members, sizes that the file cannot hold, no or several clips, or other shapes.
    """
    members = _members(path)
    if "tree" in members:
        members = _of_tree(members, path)
    two = next((members[k] for k in _TWO if k in members), None)
    three = next((members[k] for k in _THREE if k in members), None)
    if two is None and three is None:
        names = ", ".join(sorted(members)) or "nothing"
        raise InputError(f"{path}: holds {names}; expected keypoints (T, J, 2) or positions_3d (T, J, 3)")
    named = options.layout or (_layout(members["layout"], path) if "layout" in members else None)
    fps = _rate(members["fps"], path) if "fps" in members else None
    return _clip(path, two, three, members.get("scores"), named, fps)


def _layout(word: np.ndarray, path: Path) -> str:
    """The layout that the file names. Raises InputError."""
    try:
        return layout_name(str(word))
    except InputError:
        shown = " ".join(str(word).split())[:40]
        raise InputError(
            f"{path}: its layout {shown!r} is unknown; name the right one with --layout"
        ) from None


def _rate(fps: np.ndarray, path: Path) -> float:
    """Frames per second. Raises InputError."""
    rate = fps.reshape(-1)[0] if fps.size == 1 and fps.dtype.kind in "fiu" else np.nan
    if not 0.1 <= rate <= 1000:
        shown = " ".join(str(fps).split())[:40]
        raise InputError(f"{path}: fps {shown}: expected one number, 0.1 to 1000 frames per second")
    return float(rate)


def _clip(
    path: Path,
    two: Array | None,
    three: Array | None,
    scores: Array | None,
    named: str | None,
    fps: float | None,
) -> KeypointClip:
    _check(path, two, three)
    layout, take = H36M17.name, 17
    if two is not None:
        layout, take = recognise(two.shape[1], named, str(path), seventeen=None)
        seen = two[..., 2] if two.shape[2] == 3 else np.ones(two.shape[:2]) if scores is None else scores
        if seen.shape != two.shape[:2] or seen.dtype.kind not in "fiu" or not np.isfinite(seen).all():
            raise InputError(f"{path}: scores of shape {seen.shape} that do not fit the 2D, or NaN in them")
    frames: dict[int, list[Sight]] = {}
    for t in range(len(two if two is not None else three)):  # pyright: ignore[reportArgumentType]
        joints = None
        if three is not None:
            other, kept = recognise(
                three.shape[1], None if two is not None else named, str(path), H36M17.name
            )
            joints = to_17(three[t, :kept].astype(np.float64), other)
        if two is not None:
            keypoints, known = observed(
                two[t, :take, :2].astype(np.float64), seen[t, :take].astype(np.float64)
            )
        else:
            assert joints is not None
            keypoints, known = nominal_2d(joints)
        if known.any():
            frames[t] = [Sight(keypoints, known, joints)]
    if not frames:
        raise InputError(f"{path}: holds nobody: no joint is observed in any frame")
    count = len(two if two is not None else three)  # pyright: ignore[reportArgumentType]
    return KeypointClip("npz", layout, frames, count, fps=fps, nominal=two is None)


def _check(path: Path, two: Array | None, three: Array | None) -> None:
    """Raises InputError where the arrays are not (T, J, 2 or 3) numbers of the same frames."""
    for what, array, last in (("2D", two, (2, 3)), ("3D", three, (3,))):
        if array is not None and (array.ndim != 3 or array.shape[2] not in last or not len(array)):
            raise InputError(
                f"{path}: {what} of shape {array.shape}; expected (T, J, {' or '.join(map(str, last))})"
            )
        if array is not None and array.dtype.kind not in "fiu":
            raise InputError(f"{path}: {what} of type {array.dtype}; expected numbers")
        if array is not None:
            bounded(array, f"{path}: {what}")
    if two is not None and three is not None and len(two) != len(three):
        raise InputError(f"{path}: {len(two)} frames of 2D but {len(three)} of 3D")


def _members(path: Path) -> dict[str, np.ndarray]:
    """Every array, after a look at what its header claims."""
    members = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as stream:
                    version = npy.read_magic(stream)
                    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = header(stream)
                    if dtype.hasobject:
                        raise InputError(
                            f"{path}: holds pickled Python objects; run `posefix data convert {path} NEW.npz "
                            "--trust-pickle` once, then refine NEW.npz"
                        )
                    claimed = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
                    if claimed != info.file_size - stream.tell():
                        raise InputError(
                            f"{path}: {info.filename} claims {claimed} bytes and holds "
                            f"{info.file_size - stream.tell()}; it is damaged"
                        )
                    if claimed > MOST_BYTES:
                        raise InputError(
                            f"{path}: {info.filename} unpacks to {claimed / 1e9:.1f} GB, more than a clip's "
                            "keypoints have; split it, or name another file"
                        )
                with archive.open(info) as stream:
                    members[info.filename.removesuffix(".npy")] = npy.read_array(stream, allow_pickle=False)
    except MemoryError:
        raise InputError(f"{path}: too large for this machine's memory; split it") from None
    except (
        # All that a damaged or encrypted archive makes the readers raise.
        OSError, EOFError, ValueError, TypeError, KeyError, NotImplementedError, RuntimeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: cannot be read as an .npz file ({error})") from None
    return members


def _of_tree(members: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The one clip of a file that `posefix data convert` made of VideoPose3D's."""
    try:
        tree = json.loads(str(members["tree"]))["dict"]
        out: dict[str, np.ndarray] = {}
        for name in ("positions_2d", "positions_3d"):
            found = _leaves(tree.get(name, {"dict": {}}), name)
            if len(found) > 1:
                raise InputError(
                    f"{path}: holds {len(found)} clips ({', '.join(list(found)[:3])}, ...); save the one to refine "
                    "as keypoints (T, J, 2) with numpy.savez"
                )
            if found:
                out[name] = members[next(iter(found.values()))]
        metadata = tree.get("metadata", {}).get("dict", {})
        layout = metadata.get("layout_name", {}).get("value")
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: its tree of arrays is damaged ({type(error).__name__}: {error})") from None
    return out | ({"layout": np.array(layout)} if layout else {})


def _leaves(node: dict[str, Any], where: str) -> dict[str, str]:
    """Where an array belongs -> the member's name."""
    if "array" in node:
        return {where: node["array"]}
    inside = node.get("dict") or dict(enumerate(node.get("list", [])))
    return {k: v for key, child in inside.items() for k, v in _leaves(child, f"{where}/{key}").items()}
