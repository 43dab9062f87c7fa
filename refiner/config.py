"""Settings of the diffusion that ship with the weights; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DiffusionConfig:
    steps: int = 50  # K
    components: int = 5  # M of the mixture
    spread: float = 0.5  # drawn start error against the lifter's own
    start: int = 50  # the step at which run time enters
    # Share of the network's correction that the pose follows; the hypotheses keep their spread. Chosen on
    # val people, in their own and in strange bodies.
    trust: float = 1.0
    # What the network answers: the error in its input, so that it starts at the lifter's pose, or the
    # pose afresh. "error" ships; docs/results.md has the comparison.
    predict: Literal["error", "pose"] = "error"
