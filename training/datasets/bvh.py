"""BVH (Biovision Hierarchy) files: a skeleton, and its joint angles over time.

Rotations are about the joint's own axes, one after the other in the order of the channels. Position channels
replace the joint's OFFSET (they are written so by all but a few exporters, and for roots, whose place is set to
the origin anyway, it makes no difference).

cgspeed's conversion of CMU's database (Bruce Hahne's) leaves out two bones: the thorax, so that neck and
shoulders start one vertebra too low, and the wrist, so that the forearm is a third too short. They are put back:
the thorax as long as the bone below it and bent forward as far as CMU's skeletons have it, and the wrist as half
the forearm (as in all of CMU's ASF files). Its first frame is a T pose, and goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ...skeleton.errors import InputError
from .motion import END, Motion, forward_kinematics, read_text

WRIST = 0.5  # of the forearm, in every CMU skeleton
THORAX = np.array([0.0, 1.0, 0.035])  # its direction at rest, y up, z forward
_CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    channels: list[str] = field(default_factory=list)


class _Words:
    """The words of the hierarchy part, one after the other, with line numbers for errors."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.words = [(w, n) for n, line in enumerate(text.splitlines(), 1) for w in line.split()]
        self.at = 0

    def next(self) -> str:
        if self.at >= len(self.words):
            raise InputError(f"{self.path}: ends inside the skeleton; the file is cut off or no BVH file")
        self.at += 1
        return self.words[self.at - 1][0]

    def line(self) -> str:
        """The rest of the last word's line."""
        number, words = self.words[self.at - 1][1], []
        while self.at < len(self.words) and self.words[self.at][1] == number:
            words.append(self.next())
        return " ".join(words)

    def expect(self, word: str) -> None:
        found = self.next()
        if found.lower() != word.lower():
            self.fail(f"expected {word}, found {found}")

    def number(self) -> float:
        word = self.next()
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(f"expected a number, found {word}")
        return value

    def fail(self, what: str) -> None:
        raise InputError(f"{self.path}: line {self.words[self.at - 1][1]}: {what}")


def read_bvh(path: Path) -> Motion:
    """Reads a BVH file and computes its joint positions.

    Raises:
        InputError: not a BVH file, cut off, or with values that are not numbers (says where).
    """
    text = read_text(path)
    head, motion, tail = text.partition("MOTION")
    if not motion or "HIERARCHY" not in head.upper():
        raise InputError(f"{path}: not a BVH file: it lacks HIERARCHY or MOTION")
    joints = _hierarchy(_Words(path, head))
    frames, seconds = _frames(path, tail, sum(len(j.channels) for j in joints))
    notes: tuple[str, ...] = ()
    if _is_cgspeed(joints):
        _restore_bones(joints)
        frames = frames[1:] if len(frames) > 1 else frames
        notes = ("CMU's thorax and wrist bones, which this conversion leaves out, put back; T pose dropped",)
    local, turns, column = [], [], 0
    for joint in joints:
        values = frames[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        local.append(_places(joint, values))
        turns.append(_turns(joint, values))
    parents = tuple(j.parent for j in joints)
    positions, _ = forward_kinematics(parents, local, turns)
    names = tuple(j.name for j in joints)
    return Motion(path.stem, names, parents, positions, fps=1.0 / seconds, notes=notes)


def _hierarchy(words: _Words) -> list[_Joint]:
    joints: list[_Joint] = []
    stack: list[int] = []
    words.expect("HIERARCHY")
    while words.at < len(words.words):
        word = words.next().upper()
        if word in ("ROOT", "JOINT"):
            if (word == "ROOT") != (not joints):
                words.fail(f"{word} in the wrong place; one skeleton with one ROOT is expected")
            joints.append(_Joint(words.line() or f"joint {len(joints)}", stack[-1] if stack else -1))
        elif word == "END":
            words.expect("Site")
            if not stack:
                words.fail("End Site outside of a joint")
            joints.append(_Joint(joints[stack[-1]].name + END, stack[-1]))
        elif word == "{":
            stack.append(len(joints) - 1)
        elif word == "}":
            if not stack:
                words.fail("one } too many")
            stack.pop()
        elif word in ("OFFSET", "CHANNELS") and not joints:
            words.fail(f"{word} outside of a joint")
        elif word == "OFFSET":
            joints[-1].offset = [words.number() for _ in range(3)]
        elif word == "CHANNELS":
            joints[-1].channels = _channels(words)
        else:
            words.fail(f"expected ROOT, JOINT, End Site, OFFSET or CHANNELS, found {word}")
    if stack or not joints:
        raise InputError(f"{words.path}: ends inside the skeleton; the file is cut off or no BVH file")
    return joints


def _channels(words: _Words) -> list[str]:
    channels = [words.next().lower() for _ in range(int(words.number()))]
    for name in channels:
        if name not in _CHANNELS or channels.count(name) > 1:
            words.fail(f"channels {' '.join(channels)}: expected Xposition … Zrotation, each once")
    if [c[0] for c in channels if c.endswith("rotation")] and len(channels) > 6:
        words.fail(f"{len(channels)} channels: expected at most 6")
    return channels


def _frames(path: Path, tail: str, width: int) -> tuple[npt.NDArray[np.float64], float]:
    """(T, channels) values and seconds per frame."""
    header, _, body = tail.partition("Time:")
    words, lines = header.replace(":", " ").split(), body.split("\n", 1)
    try:
        count = int(words[words.index("Frames") + 1])
        seconds = float(lines[0])
        values = np.array(lines[1].split() if len(lines) > 1 else [], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: MOTION: expected Frames, Frame Time and numbers ({error})") from error
    if not 0 < seconds < 10:
        raise InputError(f"{path}: Frame Time: expected seconds above 0, found {lines[0].strip()}")
    if len(values) != count * width or count < 1:
        raise InputError(
            f"{path}: MOTION: expected {count} frames of {width} values, found {len(values)} values; "
            "the file is cut off or its skeleton does not belong to it"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{path}: MOTION: has values that are not finite")
    return values.reshape(count, width), seconds


def _places(joint: _Joint, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(T, 3) or (3,): where the joint lies in its parent."""
    given = {c[0]: values[:, i] for i, c in enumerate(joint.channels) if c.endswith("position")}
    if not given:
        return np.array(joint.offset)
    columns = [given.get(a, np.full(len(values), joint.offset[i])) for i, a in enumerate("xyz")]
    return np.stack(columns, axis=-1)


def _turns(joint: _Joint, values: npt.NDArray[np.float64]) -> Rotation | None:
    columns = [i for i, c in enumerate(joint.channels) if c.endswith("rotation")]
    if not columns:
        return None
    order = "".join(joint.channels[i][0] for i in columns).upper()  # upper case: about the joint's own axes
    angles = values[:, columns]
    return Rotation.from_euler(order, angles, degrees=True)


def _is_cgspeed(joints: list[_Joint]) -> bool:
    by_name = {j.name: j for j in joints}
    needed = {
        "LHipJoint",
        "RHipJoint",
        "LowerBack",
        "Spine1",
        "Neck",
        "LeftShoulder",
        "LeftHand",
        "RightHand",
    }
    return needed <= set(by_name) and not any(by_name["Neck"].offset)


def _restore_bones(joints: list[_Joint]) -> None:
    by_name = {j.name: j for j in joints}
    length = np.linalg.norm(by_name["Spine1"].offset)
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        by_name[name].offset = (length * THORAX / np.linalg.norm(THORAX)).tolist()
    for name in ("LeftHand", "RightHand"):
        by_name[name].offset = [v * (1 + WRIST) for v in by_name[name].offset]
