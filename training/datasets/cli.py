"""`posefix data convert`: other people's files into those that posefix reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...skeleton.errors import InputError, OutputError
from .tree import save_tree
from .unpickle import is_pickled, load_pickled

WARNING = (
    "posefix: warning: {path} holds pickled Python objects. It is read by an unpickler that makes nothing but "
    "arrays, dictionaries, lists, numbers and text; do this only with files whose origin you trust."
)


def convert(
    source: Path,
    target: Path,
    /,
    *,
    trust_pickle: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Turn a published dataset into files that open without unpickling.

    Args:
        source: a pickled .npz file (data_3d_h36m.npz, data_2d_*.npz, data_test_3dhp.npz).
        target: the file to write.
        trust_pickle: you trust where the pickled file comes from.
        overwrite: replace the target.
    """
    _check_places(source, target, overwrite)
    convert_pickled(source, target, trust_pickle)


def _check_places(source: Path, target: Path, overwrite: bool) -> None:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if target.suffix != ".npz":
        raise InputError(f"{target}: the file to write must end in .npz")
    if target.exists() and (target.is_dir() or target.samefile(source)):
        raise InputError(f"{target}: cannot be written over; choose another name for the new file")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists; choose another name or add --overwrite")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"{target}: its folder does not exist")


def convert_pickled(source: Path, target: Path, trust_pickle: bool) -> None:
    """Rewrites a pickled npz as a plain one (`tree.save_tree`). Raises InputError, OutputError."""
    if not is_pickled(source):
        raise InputError(f"{source}: holds no pickled objects; there is nothing to convert")
    if not trust_pickle:
        raise InputError(
            f"{source}: holds pickled Python objects, which can carry more than data; if you trust where the file "
            "comes from, add --trust-pickle"
        )
    print(WARNING.format(path=source), file=sys.stderr)
    arrays = save_tree(target, load_pickled(source))
    print(f"{target}: {arrays} arrays")
