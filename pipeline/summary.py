"""What a run did: counts, times, how it ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..skeleton import FramePoses, Status
from ..skeleton.errors import EXIT_NO_PERSON, EXIT_OK
from .outputs import OutputPaths


@dataclass
class RunSummary:
    """What a run did.

    Attributes:
        name: the clip's short name. paths: where its files are.
        detected, interpolated, missing: frames by the best status of anybody in them.
        without_3d: frames with somebody of whom there is no 3D, because both hips are hidden.
        people: person's number -> rows of each status, of everybody who was detected.
        wanted: numbers that were asked for; none where any will do.
        read: frames that were decoded. corrupt: frames that could not be.
        seconds: wall time. stages: seconds of work of each stage.
        signal: number of the signal that stopped the run, None when it ran to the end.
        ended_early: why the source ended before its true end, None when nothing says that it did.
        error: what ended the run early, None when nothing did.
        video_start_s: time of the frame that the rendered video begins with, seconds; None without a video.
        warnings: what the user should know and can mend, see `advice`.
        finished_before: there was nothing to resume, an earlier run had come to its end.
        known: frames that the run that was resumed had searched for people.
    """

    name: str
    paths: OutputPaths
    read: int = 0
    detected: int = 0
    interpolated: int = 0
    missing: int = 0
    without_3d: int = 0
    people: dict[int, Counter[Status]] = field(default_factory=dict)
    wanted: tuple[int, ...] = ()
    corrupt: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    signal: int | None = None
    ended_early: str | None = None
    error: str | None = None
    finished_before: bool = False
    known: int = 0
    video_start_s: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """128 + signal after an interruption, `EXIT_NO_PERSON` when nobody was found, else 0."""
        if self.signal is not None:
            return 128 + self.signal
        if self.finished_before:
            return EXIT_OK
        return EXIT_OK if self.detected else EXIT_NO_PERSON

    @property
    def files(self) -> list[Path]:
        """The files that were written."""
        return self.paths.existing

    def count(self, poses: FramePoses) -> None:
        """Add a frame to the counts."""
        found = {person.status for person in poses.people}
        order: tuple[Status, ...] = ("detected", "interpolated", "missing")
        best = next((status for status in order if status in found), "missing")
        setattr(self, best, getattr(self, best) + 1)
        for person in poses.people:
            if person.status == "detected" or person.id in self.people:
                self.people.setdefault(person.id, Counter())[person.status] += 1
        self.without_3d += any(p.pose2d is not None and p.pose3d is None for p in poses.people)
