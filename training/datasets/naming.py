"""Which joints of a skeleton are hips, knees, …, by their names.

Known are the names of CMU's and HDM05's ASF files, of the BVH files of cgspeed (all three kinds), Mixamo, Xsens,
Motive, Bandai Namco, and of others that follow the same few patterns: a side (left, right, l, r, before or after) and a
word for the joint. Case, punctuation and prefixes like "mixamorig:" do not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...skeleton.errors import InputError
from .motion import END, Motion

# Words for (hip, knee, ankle): bones are called by where they begin. The first family of which all three are
# there is taken.
_LEGS = (
    ("upleg", "leg", "foot"),
    ("upperleg", "lowerleg", "foot"),
    ("upleg", "lowleg", "foot"),
    ("upperleg", "leg", "foot"),
    ("thigh", "shin", "foot"),
    ("thigh", "calf", "foot"),
    ("thigh", "leg", "foot"),
    ("femur", "tibia", "foot"),
    ("hip", "knee", "ankle"),
    ("hip", "knee", "foot"),
)
_ARMS = (
    ("arm", "forearm", "hand"),
    ("upperarm", "lowerarm", "hand"),
    ("uparm", "lowarm", "hand"),
    ("upperarm", "forearm", "hand"),
    ("uparm", "forearm", "hand"),
    ("uarm", "farm", "hand"),
    ("shldr", "forearm", "hand"),
    ("humerus", "radius", "hand"),
    ("shoulder", "elbow", "wrist"),
    ("shoulder", "elbow", "hand"),
    ("upperarm", "elbow", "wrist"),
)
_PREFIX = re.compile(r"^(mixamorig\d*|bip\d*|character\d*|joint|jnt|def|b)[_\s.-]+", re.IGNORECASE)
_SUFFIX = re.compile(r"[_\s.-]+(jnt|joint|bone)$", re.IGNORECASE)
_SIDES = (
    re.compile(r"^(?P<side>left|right)[_\s.-]*(?P<word>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<word>.+?)[_\s.-]*(?P<side>left|right)$", re.IGNORECASE),
    re.compile(r"^(?P<side>[lr])[_\s.-]+(?P<word>.+)$", re.IGNORECASE),
    re.compile(r"^(?P<word>.+?)[_\s.-]+(?P<side>[lr])$", re.IGNORECASE),
    re.compile(r"^(?P<side>[lrLR])(?P<word>[A-Z].*)$"),
    re.compile(r"^(?P<side>[lr])(?P<word>.+)$", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Joint numbers of a skeleton.

    Attributes:
        limbs: "RHip" … "LWrist", as in Human3.6M-17: the twelve joints of the limbs.
        head: where the head turns, at the base of the skull.
        thorax: the base of the neck; None where no joint is there.
        trunk: the chain from the root to the base of the neck, or to the head.
        head_end: the head's free end; None where it has none.
    """

    limbs: dict[str, int]
    head: int
    thorax: int | None
    trunk: tuple[int, ...]
    head_end: int | None


def find_landmarks(motion: Motion) -> Landmarks:
    """The joints that make Human3.6M's 17.

    Raises:
        InputError: a limb or the head has no joint of a known name; lists the names that there are.
    """
    sided: dict[tuple[str, str], int] = {}
    plain: dict[str, int] = {}
    for i, name in enumerate(motion.joints):
        if name.endswith(END):
            continue
        short = _SUFFIX.sub("", _PREFIX.sub("", name.rsplit(":", 1)[-1]))
        plain.setdefault(_word(short), i)
        for pattern in _SIDES:
            if match := pattern.match(short):
                sided.setdefault((match["side"][0].lower(), _word(match["word"])), i)
    limbs: dict[str, int] = {}
    missing = []
    for part, families, joints in (
        ("leg", _LEGS, ("Hip", "Knee", "Ankle")),
        ("arm", _ARMS, ("Shoulder", "Elbow", "Wrist")),
    ):
        for side in ("l", "r"):
            found = next((f for f in families if all((side, word) in sided for word in f)), None)
            if found is None:
                missing.append(f"{'left' if side == 'l' else 'right'} {part}")
                continue
            limbs |= {side.upper() + j: sided[side, word] for j, word in zip(joints, found, strict=True)}
    head = plain.get("head")
    if head is None:
        missing.append("head")
    if missing or head is None:
        raise InputError(
            f"{motion.name}: no joints of known names for {', '.join(missing)}; the skeleton has "
            f"{', '.join(n for n in motion.joints if not n.endswith(END))}"
        )
    trunk = _chain(motion.parents, head)
    thorax = _base_of_neck(motion, trunk, limbs["LShoulder"])
    return Landmarks(
        limbs, head, thorax, trunk[: trunk.index(thorax) + 1] if thorax else trunk, _tip(motion, head)
    )


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _chain(parents: tuple[int, ...], joint: int) -> tuple[int, ...]:
    """From the root to the joint, both included."""
    chain = [joint]
    while parents[chain[-1]] >= 0:
        chain.append(parents[chain[-1]])
    return tuple(reversed(chain))


def _base_of_neck(motion: Motion, trunk: tuple[int, ...], shoulder: int) -> int | None:
    """The first neck joint above where the collar bones begin: the first bone of the neck may begin at the chest."""
    necks = [j for j in trunk[1:-1] if "neck" in motion.joints[j].lower()]
    # The collar bone, or the arm.
    branch = next((j for j in _chain(motion.parents, shoulder) if j not in trunk), None)
    if branch is None:
        raise InputError(f"{motion.name}: the head hangs from an arm, which is no person's skeleton")
    at_chest = motion.positions[0, branch]
    size = abs(motion.positions[0] - motion.positions[0, trunk[0]]).max()
    above = [j for j in necks if abs(motion.positions[0, j] - at_chest).max() > 0.01 * size]
    return next(iter(above or necks), None)


def _tip(motion: Motion, head: int) -> int | None:
    """The head's end: of its children the one called so, or the only one."""
    children = [j for j, p in enumerate(motion.parents) if p == head]
    named = [j for j in children if "head" in motion.joints[j].lower()]
    return next(iter(named if named else children if len(children) == 1 else []), None)
