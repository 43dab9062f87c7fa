"""From detections to rows: who is who, who is wanted, gaps bridged, each number one row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..skeleton import Frame, FramePoses, Pose2D
from .gaps import GapFiller
from .settings import ALL, LARGEST, parse_person
from .tracking import KEEP_S, Tracker

#: a frame with what the detector found
Detected = tuple[Frame, list[Pose2D]]
#: a frame with its people, person's number -> pose
Named = tuple[Frame, dict[int, Pose2D]]
#: a frame's rows with its picture; without where the picture could not be decoded
Timed = tuple[Frame | None, FramePoses]


@dataclass(frozen=True, slots=True)
class RowMaker:
    """How a clip's rows come about.

    Attributes:
        make: detections, and the number of the first row (None: of the first frame) -> rows.
        trim: somebody's rows end with their last sight, so the `missing` ones after it are not written.
        several: whether more than one person may come.
    """

    make: Callable[[Iterable[Detected], int | None], Iterator[Timed]]
    trim: bool = False
    several: bool = False


def row_maker(person: str, one: bool = False, confirm: bool = True) -> RowMaker:
    """What makes rows of a clip's detections.

    Args:
        person: as on the command line. one: the detector sees one person at most, who is person 0 then.
        confirm: who is seen in a few frames only is nobody (see `tracking`).
    """
    if one:
        return rows_of(name_one, (0,), several=False)

    def name(detected: Iterable[Detected]) -> Iterator[Named]:
        return choose(follow(detected, confirm), person)

    return rows_of(name, parse_person(person))


def rows_of(
    name: Callable[[Iterable[Detected]], Iterator[Named]], always: tuple[int, ...] = (),
    several: bool = True, forget_s: float | None = KEEP_S,
) -> RowMaker:  # fmt: skip
    """Rows of the people whom `name` tells apart; the rest as of `bridge_gaps`."""

    def make(detected: Iterable[Detected], first_index: int | None) -> Iterator[Timed]:
        return bridge_gaps(name(detected), first_index, always, forget_s)

    return RowMaker(make, trim=not always, several=several)


def name_one(detected: Iterable[Detected]) -> Iterator[Named]:
    """Whoever is found first in a frame is person 0."""
    for frame, poses in detected:
        yield frame, dict(enumerate(poses[:1]))


def follow(detected: Iterable[Detected], confirm: bool = True) -> Iterator[Named]:
    """People are followed from frame to frame, and numbered by first appearance."""
    tracker: Tracker[Detected] = Tracker(confirm)
    shape = None
    for frame, poses in detected:
        if shape not in (None, frame.image.shape):  # other pictures, not a video
            yield from _named(tracker.cut())
        shape = frame.image.shape
        yield from _named(tracker.push((frame, poses), frame.time_s, poses, (shape[1], shape[0])))
        del frame, poses
    yield from _named(tracker.finish())


def _named(decided: list[tuple[Detected, dict[int, int]]]) -> Iterator[Named]:
    for (frame, poses), places in decided:
        yield frame, {number: poses[k] for number, k in places.items()}


def choose(named: Iterable[Named], person: str) -> Iterator[Named]:
    """The people that are wanted, as on the command line."""
    choice = Choice(person)
    for frame, people in named:
        wanted = choice.of(frame.time_s, people)
        yield frame, {n: p for n, p in people.items() if n in wanted}


class Choice:
    """Who is wanted: "all", numbers, or "largest", which stays with somebody until they have been gone for KEEP_S."""

    def __init__(self, person: str) -> None:
        self._person, self._numbers = person, set(parse_person(person))
        self._seen_s = -np.inf

    def of(self, time_s: float, people: Mapping[int, Pose2D]) -> set[int]:
        """Numbers of those of the next frame's people, and of whoever is still followed."""
        if self._person == ALL:
            return set(people)
        if self._person == LARGEST and time_s - self._seen_s > KEEP_S and not self._numbers & set(people):
            self._numbers = set(sorted(people, key=lambda n: (-_area(people[n]), n))[:1])
        if self._numbers & set(people):
            self._seen_s = time_s
        return self._numbers


def _area(pose: Pose2D) -> float:
    """Square pixels of what is seen of a pose."""
    seen = pose.keypoints[np.isfinite(pose.keypoints).all(axis=1)]
    return float(np.ptp(seen, axis=0).prod()) if len(seen) else 0.0


def bridge_gaps(
    named: Iterable[Named], first_index: int | None = None, always: tuple[int, ...] = (),
    forget_s: float | None = KEEP_S,
) -> Iterator[Timed]:  # fmt: skip
    """People -> rows, gaps filled, every number one row or more; pictures are held back with their rows.

    Args:
        always: numbers of people who have a row in every frame; others from their first sight on.
        forget_s: until so long after their last one, seconds; None: to the end.
    """
    filler = GapFiller(first_index, always, forget_s)
    held, shape = deque[Frame](), None
    for frame, people in named:
        rows = filler.cut() if shape not in (None, frame.image.shape) else []  # other pictures, not a video
        shape = frame.image.shape
        held.append(frame)
        rows += filler.push(frame.index, frame.time_s, people)
        del frame
        yield from _with_pictures(rows, held)
    yield from _with_pictures(filler.finish(), held)


def _with_pictures(rows: list[FramePoses], held: deque[Frame]) -> Iterator[Timed]:
    for row in rows:
        yield (held.popleft() if held and held[0].index == row.index else None), row


class Trim:
    """Holds rows back while somebody is missing, and leaves that out where they do not come back.

    Rows without their pictures are small; they are late by KEEP_S at most, as nobody is missing for longer.
    """

    def __init__(self) -> None:
        self._held: deque[FramePoses] = deque()
        self._since: dict[int, int] = {}  # who is missing, and from which frame on

    def push(self, row: FramePoses) -> list[FramePoses]:
        """The next row. Returns those now decided."""
        now = {p.id: p.status for p in row.people}
        for number in [n for n in self._since if now.get(n) != "missing"]:
            since = self._since.pop(number)
            if number not in now:
                self._leave_out(number, since)
        for number in (n for n, status in now.items() if status == "missing"):
            self._since.setdefault(number, row.index)
        self._held.append(row)
        return self._release()

    def finish(self) -> list[FramePoses]:
        """No more rows. Returns all that are held."""
        for number, since in self._since.items():
            self._leave_out(number, since)
        self._since = {}
        return self._release()

    def _leave_out(self, number: int, since: int) -> None:
        for k, row in enumerate(self._held):
            if row.index >= since:
                self._held[k] = replace(row, people=tuple(p for p in row.people if p.id != number))

    def _release(self) -> list[FramePoses]:
        done: list[FramePoses] = []
        while self._held and not self._open(self._held[0]):
            done.append(self._held.popleft())
        return done

    def _open(self, row: FramePoses) -> bool:
        return any(p.status == "missing" and row.index >= self._since.get(p.id, np.inf) for p in row.people)
