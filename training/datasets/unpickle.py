"""Reading the pickles of published npz files, once, and nothing in them but data.

A pickle can name any function and have it called. This unpickler knows seven names, those that numpy arrays,
numpy numbers and ordered dictionaries are made with; at any other it stops. That keeps out code, not every way
to exhaust memory, so `posefix data convert` still asks whether the file's origin is trusted.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ...skeleton.errors import InputError


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    """What pickled numpy numbers are made with; the original also unpickles objects, which this refuses."""
    if dtype.hasobject:
        raise pickle.UnpicklingError("it holds a numpy number that is a Python object")
    return np.frombuffer(content, dtype)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 2's byte strings are written in pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the text encoding {encoding!r}")
    return text.encode("latin-1")


def _frombuffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """What arrays of pickle protocol 5 are made with."""
    array = np.frombuffer(buffer, dtype)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array that the pickle then fills."""
    if subtype is not np.ndarray:
        raise pickle.UnpicklingError(f"it asks for an array of type {subtype!r}")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # before and since numpy 2
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class DataUnpickler(pickle.Unpickler):
    """Makes dicts, lists, tuples, texts, numbers and numpy arrays; raises UnpicklingError at anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no data")
        return _KNOWN[module, name]


def is_pickled(path: Path) -> bool:
    """Whether an npz file has a member that only unpickling opens.

    Raises:
        InputError: not a readable npz file.
    """
    return any(_opened(path, lambda _, dtype, __: dtype.hasobject).values())


def load_pickled(path: Path) -> dict[str, Any]:
    """The members of an npz file by name; pickled ones through `DataUnpickler`.

    Raises:
        InputError: not a readable npz file, or something in it is more than data (says what).
    """

    def read(stream: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        if dtype.hasobject:
            whole = DataUnpickler(stream, encoding="latin1").load()
            return whole.item() if isinstance(whole, np.ndarray) and whole.shape == () else whole
        stream.seek(0)
        return npy.read_array(stream, allow_pickle=False)

    return _opened(path, read)


def _opened(path: Path, read: Callable[[IO[bytes], np.dtype, tuple[int, ...]], Any]) -> dict[str, Any]:
    """`read(stream behind the header, dtype, shape)` of every member."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    version = npy.read_magic(stream)
                    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = header(stream)
                    members[name.removesuffix(".npy")] = read(stream, dtype, shape)
            return members
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (
        # All that a damaged or crafted stream makes the readers raise.
        OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError,
        MemoryError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: cannot be read as an .npz file ({error})") from error
