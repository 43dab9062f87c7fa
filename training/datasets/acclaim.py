"""ASF/AMC (Acclaim) files: CMU's and HDM05's motion capture. The skeleton (.asf) and its motions (.amc).

A bone of the ASF has a direction and a length in the rest pose, in world axes, and axes of its own C, given as
angles about the fixed x, y and z in the order that `axis` ends in. In a frame it is turned by M, the angles of
its degrees of freedom in the order of `dof`, also about fixed axes: its rotation is that of its parent times
C M C⁻¹, and it ends `length` × that rotation × direction away from where its parent ends.

Length is in units of 1 / length inches: 1 / 0.45 inches in CMU's and HDM05's files. y is up. AMC files do not
tell their frame rate: CMU's and HDM05's are 120.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ...skeleton.errors import InputError
from .motion import END, Motion, forward_kinematics, read_text

INCH = 0.0254
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Bone:
    """A bone at rest: direction × length is the way to its end; `axes` its C; `dof` like ("rx", "rz")."""

    name: str
    vector: npt.NDArray[np.float64]
    axes: Rotation
    dof: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """An ASF file: bones after their parents (`parents` by name), root channels, metres per unit, degrees or not."""

    bones: tuple[Bone, ...]
    parents: dict[str, str]
    order: tuple[str, ...]
    axes: Rotation
    position: npt.NDArray[np.float64]
    unit: float
    degrees: bool


def read_asf(path: Path) -> Skeleton:
    """Reads a skeleton. Raises InputError: not an ASF file, or something in it is not understood (says what)."""
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in read_text(path).splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif words:
            current.append(words)
    missing = [name for name in ("units", ROOT, "bonedata", "hierarchy") if name not in sections]
    if missing:
        raise InputError(f"{path}: not an ASF file: it lacks :{', :'.join(missing)}")
    try:
        return _skeleton(path, sections)
    except (ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise InputError(f"{path}: cannot be read as an ASF file ({error!r})") from error


def _skeleton(path: Path, sections: dict[str, list[list[str]]]) -> Skeleton:
    units = {words[0].lower(): words[1] for words in sections["units"]}
    root = {words[0].lower(): words[1:] for words in sections[ROOT]}
    degrees = units.get("angle", "deg").lower().startswith("deg")
    bones = {b.name: b for b in (_bone(path, lines, degrees) for lines in _blocks(sections["bonedata"]))}
    parents: dict[str, str] = {}
    for words in sections["hierarchy"]:
        if words[0] not in ("begin", "end"):
            parents |= {child: words[0] for child in words[1:]}
    unknown = [n for n in (*parents, *parents.values()) if n not in bones and n != ROOT]
    if unknown or set(bones) - set(parents):
        odd = ", ".join(unknown or sorted(set(bones) - set(parents)))
        raise InputError(f"{path}: :hierarchy and :bonedata do not agree about {odd}")
    length = float(units.get("length", "0.45"))
    order = "".join(root.get("axis", ["XYZ"])).lower()
    return Skeleton(
        bones=tuple(bones[name] for name in _parents_first(path, parents)),
        parents=parents,
        order=tuple(word.lower() for word in root.get("order", ["TX", "TY", "TZ", "RX", "RY", "RZ"])),
        axes=Rotation.from_euler(
            order, [float(v) for v in root.get("orientation", ["0"] * 3)], degrees=degrees
        ),
        position=np.array([float(v) for v in root.get("position", ["0"] * 3)]),
        unit=INCH / length,
        degrees=degrees,
    )


def _blocks(lines: list[list[str]]) -> Iterator[list[list[str]]]:
    block: list[list[str]] = []
    for words in lines:
        if words[0] == "end":
            yield block
        elif words[0] == "begin":
            block = []
        else:
            block.append(words)


def _bone(path: Path, lines: list[list[str]], degrees: bool) -> Bone:
    entry = {words[0].lower(): words[1:] for words in lines}
    direction = np.array([float(v) for v in entry["direction"][:3]])
    *angles, order = entry["axis"]
    dof = tuple(word.lower() for word in entry.get("dof", []))
    if any(word not in ("rx", "ry", "rz") for word in dof):
        raise InputError(
            f"{path}: bone {entry['name'][0]}: only rotations are understood, found dof {' '.join(dof)}"
        )
    return Bone(
        name=entry["name"][0],
        vector=direction * float(entry["length"][0]),
        # Lower case: about fixed axes.
        axes=Rotation.from_euler(order.lower(), [float(v) for v in angles], degrees=degrees),
        dof=dof,
    )


def _parents_first(path: Path, parents: dict[str, str]) -> list[str]:
    order: list[str] = []
    while len(order) < len(parents):
        ready = [n for n, p in parents.items() if n not in order and (p == ROOT or p in order)]
        if not ready:
            raise InputError(f"{path}: :hierarchy runs in a circle")
        order += ready
    return order


def find_asf(amc: Path) -> Path:
    """The skeleton of a motion: in its folder, the .asf file with the longest name that the motion's begins with.

    Raises:
        InputError: there is none, or several and none fits.
    """
    skeletons = sorted(p for p in amc.parent.iterdir() if p.suffix.lower() == ".asf")
    fitting = [p for p in skeletons if amc.stem.lower().startswith(p.stem.lower())]
    if fitting:
        return max(fitting, key=lambda p: len(p.stem))
    if len(skeletons) == 1:
        return skeletons[0]
    found = ", ".join(p.name for p in skeletons) or "none"
    raise InputError(
        f"{amc}: its skeleton (.asf) must lie beside it with the same beginning of name; found {found}"
    )


def read_amc(path: Path, skeleton: Skeleton) -> Motion:
    """Reads a motion and computes joint positions. Raises InputError: damaged, or of another skeleton."""
    values, degrees = _channels(path, skeleton)
    names = (ROOT, *(b.name for b in skeleton.bones))
    index = {name: i for i, name in enumerate(names)}
    bones = {b.name: b for b in skeleton.bones}
    parents = [-1, *(index[skeleton.parents[b.name]] for b in skeleton.bones)]
    place, turn = _root(skeleton, values[ROOT], degrees)
    local: list[npt.NDArray[np.float64]] = [place]
    turns: list[Rotation | None] = [turn]
    for bone in skeleton.bones:
        above = skeleton.parents[bone.name]
        local.append(np.zeros(3) if above == ROOT else bones[above].vector)
        turns.append(_turn(bone, values, degrees))
    joints = list(names)
    for bone in skeleton.bones:  # free ends
        if bone.name not in skeleton.parents.values():
            joints.append(bone.name + END)
            parents.append(index[bone.name])
            local.append(bone.vector)
            turns.append(None)
    positions, _ = forward_kinematics(tuple(parents), local, turns)
    return Motion(path.stem, tuple(joints), tuple(parents), positions, unit=skeleton.unit, up="y")


def _root(
    skeleton: Skeleton, values: npt.NDArray[np.float64], degrees: bool
) -> tuple[npt.NDArray[np.float64], Rotation]:
    column = {name: values[:, i] for i, name in enumerate(skeleton.order)}
    zero = np.zeros(len(values))
    place = np.stack([column.get(f"t{a}", zero) for a in "xyz"], axis=-1) + skeleton.position
    turning = [name for name in skeleton.order if name.startswith("r")]
    angles = np.stack([column[name] for name in turning], axis=-1)
    motion = Rotation.from_euler("".join(n[1] for n in turning), angles, degrees=degrees)
    return place, skeleton.axes * motion * skeleton.axes.inv()


def _turn(bone: Bone, values: dict[str, npt.NDArray[np.float64]], degrees: bool) -> Rotation | None:
    if not bone.dof or bone.name not in values:
        return None
    angles = values[bone.name]
    order = "".join(word[1] for word in bone.dof)
    motion = Rotation.from_euler(order, angles, degrees=degrees)
    return bone.axes * motion * bone.axes.inv()


def _channels(path: Path, skeleton: Skeleton) -> tuple[dict[str, npt.NDArray[np.float64]], bool]:
    """(T, channels) values of each bone, and whether angles are degrees."""
    widths = {ROOT: len(skeleton.order), **{b.name: len(b.dof) for b in skeleton.bones if b.dof}}
    rows: dict[str, list[list[float]]] = {}
    degrees, frames = skeleton.degrees, 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0].startswith(":"):
            degrees = {":degrees": True, ":radians": False}.get(words[0].lower(), degrees)
        elif len(words) == 1 and words[0].isdigit():
            frames += 1
        else:
            _add(rows, words, widths, f"{path}: line {number}")
    lacking = [name for name, values in rows.items() if len(values) != frames]
    if not frames or ROOT not in rows or lacking:
        what = f"{lacking[0]} is not in every frame" if lacking else "it has no frames with a root"
        raise InputError(f"{path}: not a whole AMC file: {what}")
    return {name: np.array(values) for name, values in rows.items()}, degrees


def _add(rows: dict[str, list[list[float]]], words: list[str], widths: dict[str, int], where: str) -> None:
    name = words[0]
    if name not in widths:
        raise InputError(f"{where}: {name} does not move in the skeleton file; is it another person's?")
    try:
        values = [float(word) for word in words[1:]]
    except ValueError as error:
        raise InputError(f"{where}: expected numbers ({error})") from error
    if len(values) != widths[name] or not all(math.isfinite(v) for v in values):
        raise InputError(f"{where}: {name}: expected {widths[name]} finite numbers, found {len(values)}")
    rows.setdefault(name, []).append(values)
