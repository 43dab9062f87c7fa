"""Nested dictionaries of arrays in a plain npz, which opens without unpickling anything.

The datasets of the literature are npz files that hold a pickled dictionary of dictionaries. `posefix data
convert` rewrites each once: every array becomes a member of its own (`a00000`, `a00001`, …), and `tree`,
a JSON text, says where it belongs. In it a leaf is {"array": name} or {"value": number, text or null}; a node
is {"dict": {key: …}} or {"list": […]}. Keys become text.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton.errors import InputError, OutputError

KEY = "tree"
Keep = Callable[[tuple[str, ...]], bool]
"""(keys from the root to a node) -> whether that node is read."""


def save_tree(path: Path, tree: Mapping[Any, Any]) -> int:
    """Writes nested dicts and lists of arrays, numbers and texts; returns the number of arrays.

    Raises:
        InputError: something else is in it.
        OutputError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_describe(tree, arrays, ()))
    part = path.with_name(path.name + ".part.npz")
    try:
        np.savez_compressed(part, **{KEY: np.array(text)}, **arrays)  # pyright: ignore[reportArgumentType]
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)
    return len(arrays)


def _describe(node: Any, arrays: dict[str, np.ndarray], where: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(node, np.ndarray) and node.dtype.hasobject:
        # VideoPose3D wraps its dictionaries in an array of one object; lists of unequal arrays become one too.
        node = node.item() if node.shape == () else list(node)
    if isinstance(node, Mapping):
        return {"dict": {str(k): _describe(v, arrays, (*where, str(k))) for k, v in node.items()}}
    if isinstance(node, (list, tuple)):
        return {"list": [_describe(v, arrays, (*where, str(i))) for i, v in enumerate(node)]}
    if isinstance(node, np.generic):
        node = node.item()
    if isinstance(node, np.ndarray) and node.dtype.kind in "biufcSU":
        name = f"a{len(arrays):05d}"
        arrays[name] = node
        return {"array": name}
    if node is None or isinstance(node, (bool, int, float, str)):
        return {"value": node}
    raise InputError(
        f"{'/'.join(where) or 'the file'}: holds a {type(node).__name__}, which has no place here"
    )


def load_tree(path: str | Path, keep: Keep = lambda keys: True) -> Any:
    """Reads what `save_tree` wrote, or those parts of it that `keep` says; never unpickles.

    Args:
        path: the file.
        keep: asked for every dictionary entry, from the root on; what it refuses is left out, and not read.

    Raises:
        InputError: no such file, still pickled (says how to convert it), or not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; docs/datasets.md tells where each file goes")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if KEY not in archive.files:
                raise InputError(
                    f"{path}: not yet converted; run `posefix data convert {path} NEW.npz --trust-pickle` once"
                )
            return _build(json.loads(str(archive[KEY])), archive, keep, ())
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as a converted .npz file ({error})") from error


def _build(node: Mapping[str, Any], archive: Any, keep: Keep, where: tuple[str, ...]) -> Any:
    if "array" in node:
        return archive[node["array"]]
    if "value" in node:
        return node["value"]
    if "list" in node:
        return [_build(v, archive, keep, where) for v in node["list"]]
    return {k: _build(v, archive, keep, (*where, k)) for k, v in node["dict"].items() if keep((*where, k))}


def check_layout(path: Path, expected: str) -> None:
    """Raises InputError where a 2D file's `metadata` says that its joints are in another layout (COCO, MPII)."""
    tree = load_tree(path, lambda keys: keys[0] == "metadata")
    metadata = tree.get("metadata") if isinstance(tree, dict) else None
    layout = metadata.get("layout_name") if isinstance(metadata, dict) else None
    if layout not in (None, expected):
        raise InputError(
            f"{path}: its joints are in the layout {layout!r}; only {expected!r} can be measured"
        )
