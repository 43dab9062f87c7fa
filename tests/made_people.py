"""Made people for the tests of tracking and of several people: standing figures that slide over the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from posefix.skeleton import Frame, Pose2D

# A standing figure of height 1 in Human3.6M-17, its hip at the origin, y down.
FIGURE = np.array(
    [
        (0, 0), (-0.07, 0), (-0.08, 0.25), (-0.08, 0.5), (0.07, 0), (0.08, 0.25), (0.08, 0.5), (0, -0.13), (0, -0.27),
        (0, -0.34), (0, -0.42), (0.1, -0.27), (0.13, -0.12), (0.14, 0.02), (-0.1, -0.27), (-0.13, -0.12), (-0.14, 0.02),
    ]
)  # fmt: skip


def standing(x: float, y: float = 240.0, height: float = 200.0, score: float = 0.8) -> Pose2D:
    """Somebody whose hip is at (x, y) pixels."""
    return Pose2D((FIGURE * height + (x, y)).astype(np.float32), np.full(17, score, np.float32))


@dataclass
class Actor:
    """Somebody who is there in `frames`, with the hip at `x(seconds)`, hidden in `hidden`."""

    x: Callable[[float], float]
    frames: range = range(10_000)
    hidden: range = range(0)
    y: float = 240.0
    height: float = 200.0

    def at(self, frame: int, fps: float) -> list[Pose2D]:
        if frame not in self.frames or frame in self.hidden:
            return []
        return [standing(self.x(frame / fps), self.y, self.height)]


class FakeCrowd:
    """A detector that sees `actors`, in an order that changes from frame to frame."""

    name, layout, device = "crowd", "h36m17", "cpu"
    actors: tuple[Actor, ...] = ()
    fps = 30.0

    def __init__(self, device: str = "cpu") -> None:
        self.weights: dict[str, str] = {}

    def detect(self, frame: Frame) -> list[Pose2D]:
        people = [pose for actor in self.actors for pose in actor.at(frame.index, self.fps)]
        order = np.random.default_rng(frame.index).permutation(len(people))
        return [people[k] for k in order]

    def close(self) -> None:
        pass
