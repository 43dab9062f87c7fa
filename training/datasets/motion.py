"""A recorded motion of any skeleton, and forward kinematics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ...skeleton.errors import InputError

Array = npt.NDArray[np.float64]
END = " end"
"""What the name of a bone's free end ends in."""


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Joint positions over time.

    Attributes:
        name: the file's name without folder and ending.
        joints: names; a joint lies where the bone of its name begins.
        parents: index of each joint's parent, smaller than its own; -1 for the root.
        positions: (T, J, 3) in the file's unit and axes.
        fps: frames per second; None where the format does not tell.
        unit: metres per unit; None where the format does not tell.
        up: "y" or "z" where the format tells; else None.
        notes: what the reader had to mend, for the user.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    positions: Array
    fps: float | None = None
    unit: float | None = None
    up: str | None = None
    notes: tuple[str, ...] = ()


def forward_kinematics(
    parents: tuple[int, ...], local: list[Array], turns: list[Rotation | None]
) -> tuple[Array, list[Rotation | None]]:
    """Joint positions from each joint's place in its parent and its rotation.

    Args:
        parents: smaller than the joint's own index; -1 for the root.
        local: per joint (T, 3) or (3,): where it lies, in its parent's axes.
        turns: per joint T rotations (or one) against the parent; None for none.

    Returns:
        (T, J, 3) positions, and each joint's rotations in the world.
    """
    frames = max(len(np.atleast_2d(p)) for p in local)
    positions = np.zeros((frames, len(parents), 3))
    world: list[Rotation | None] = []
    for j, parent in enumerate(parents):
        place = np.broadcast_to(local[j], (frames, 3)).copy()
        above = world[parent] if parent >= 0 else None
        if parent >= 0:
            place = positions[:, parent] + (above.apply(place) if above is not None else place)
        positions[:, j] = place
        own = turns[j]
        if above is None or own is None:
            world.append(own if above is None else above)
        else:
            world.append(above * own)
    return positions, world


def read_text(path: Path) -> str:
    """A text file's content. Raises InputError."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
