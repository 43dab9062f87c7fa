"""`posefix data convert`: other people's files into those that posefix reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ...skeleton.errors import InputError, OutputError
from ..mocap import write_mocap
from .human36m import human36m_sequences
from .motions import Naming, convert_motions, describe
from .to_mocap17 import Floor, MotionConfig, Up
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
    split: Literal["train", "val", "test"] = "train",
    name: str | None = None,
    names: str | None = None,
    subject: str | None = None,
    action: str | None = None,
    skip: str | None = None,
    unit: float | None = None,
    up: Up = "auto",
    fps: float | None = None,
    floor: Floor = "auto",
    swap_sides: Annotated[bool, Parameter(negative="")] = False,
    trust_pickle: Annotated[bool, Parameter(negative="")] = False,
    annotation: Literal["univ_annot3", "annot3"] | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Turn published datasets and motion capture files into posefix's own.

    A pickled .npz file becomes one that opens without unpickling. Motion capture (BVH, or ASF/AMC) becomes a
    mocap17 file to train on, and so does data_3d_h36m.npz when it is converted once more. docs/datasets.md tells more.

    Args:
        source: an .npz file, a .bvh or .amc file, or a folder with such motions in it, at any depth.
        target: the .npz file to write.
        split: motion: the part that all of it belongs to. Of data_3d_h36m.npz that part's people are taken.
        name: motion: where it comes from, for `seq_source`; by default from the target's name.
        names: motion: a regular expression for file names (without ending) with groups called subject, action, style.
        subject: motion: the person, the same for all files.
        action: motion: what is done, the same for all files.
        skip: motion: a regular expression; files whose names begin so are left out.
        unit: motion: metres per unit, 0.01 for centimetres; by default found from the length of the legs.
        up: motion: which axis is up; auto finds out.
        fps: motion: frames per second, where the files do not tell (AMC: 120) or tell wrongly.
        floor: motion: keep heights, put low ankles at 0.09 m, or do that only where feet are under the floor.
        swap_sides: motion: exchange left and right; mends mirrored files.
        trust_pickle: .npz: you trust where the pickled file comes from.
        annotation: .npz of MPI-INF-3DHP: which of its 3D annotations the file was made from; `posefix eval` names it.
        overwrite: replace the target.
    """
    _check_places(source, target, overwrite)
    if source.is_file() and source.suffix.lower() == ".npz":
        if is_pickled(source):
            convert_pickled(source, target, trust_pickle, annotation)
        else:
            convert_human36m(source, target, split)
        return
    naming = Naming(
        source=name or target.stem.removeprefix("mocap17_"), subject=subject, action=action, pattern=names
    )
    config = MotionConfig(unit=unit, up=up, fps=fps, floor=floor, swap_sides=swap_sides, split=split)
    convert_motions(source, target, naming, config, skip)


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


def convert_pickled(source: Path, target: Path, trust_pickle: bool, annotation: str | None = None) -> None:
    """Rewrites a pickled npz as a plain one (`tree.save_tree`). Raises InputError, OutputError."""
    if not trust_pickle:
        raise InputError(
            f"{source}: holds pickled Python objects, which can carry more than data; if you trust where the file "
            "comes from, add --trust-pickle"
        )
    print(WARNING.format(path=source), file=sys.stderr)
    members = load_pickled(source)
    if annotation is not None:
        members["annotation"] = annotation
    arrays = save_tree(target, members)
    print(f"{target}: {arrays} arrays")


def convert_human36m(source: Path, target: Path, split: str) -> None:
    """Writes the poses of a converted data_3d_h36m.npz as a mocap17 file. Raises InputError, OutputError."""
    if source.name != "data_3d_h36m.npz":
        raise InputError(f"{source}: needs no conversion; only data_3d_h36m.npz becomes a mocap17 file")
    sequences = human36m_sequences(source, split)
    write_mocap(target, sequences)
    print(describe(target, sequences))
