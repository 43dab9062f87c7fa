"""Who is who in a keypoint file: its own numbers, or those of `tracking` where it names nobody; and who is wanted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ...skeleton import FramePoses, Person, Pose2D
from ...skeleton.convert import to_h36m17
from ...skeleton.errors import InputError
from ..people import Choice
from ..settings import parse_person
from ..tracking import Tracker
from .clip import KeypointClip, Sight

_FPS = 30.0  # where the file tells no times


def named(clip: KeypointClip) -> KeypointClip:
    """The clip with a number for every sight, and everybody once a frame, by the best sight."""
    people = [sights for sights in clip.frames.values() if sights]
    nameless = [sight.id is None for sights in people for sight in sights]
    shared = _share_numbers(people)
    if any(nameless) or shared:
        if not all(nameless):
            some = (
                "people of one frame have the same number, so it tells nobody apart"
                if shared
                else f"{sum(nameless)} of {len(nameless)} poses have no person's number"
            )
            clip = clip.warned(f"{some}: all are numbered anew")
        one = all(len(sights) == 1 for sights in people)
        frames = (
            {n: [replace(s, id=0) for s in sights] for n, sights in clip.frames.items()}
            if one
            else _followed(clip)
        )
        clip = replace(clip, frames=frames)
    return replace(clip, frames={n: _once(sights) for n, sights in clip.frames.items()})


def _share_numbers(people: list[list[Sight]]) -> bool:
    """Whether numbers are not persons': AlphaPose without tracking gives everybody 0.

    A tracker's rare slip, one number twice in a few of the frames with several people, does not count.
    """
    several = [[s.id for s in sights if s.id is not None] for sights in people if len(sights) > 1]
    twice = sum(len(set(ids)) < len(ids) for ids in several)
    return 2 * twice > len(several)


def wanted(clip: KeypointClip, person: str) -> KeypointClip:
    """The clip with those people alone whom `--person` names.

    Raises:
        InputError: somebody is not in the file; lists who is.
    """
    counts = numbers(clip)
    for number in parse_person(person):
        if number not in counts:
            there = ", ".join(f"{p} ({n} frames)" for p, n in sorted(counts.items())[:10])
            raise InputError(f"--person {number}: not in the file; it has {there}")
    choice, frames, rows = Choice(person), {}, None if clip.rows is None else dict(clip.rows)
    for n in sorted(set(clip.frames) | set(clip.rows or ())):
        sights = clip.frames.get(n, [])
        keep = choice.of(_time(clip, n), {s.id or 0: _pose(clip, s) for s in sights})
        frames[n] = [s for s in sights if s.id in keep]
        if rows is not None and n in rows and person != "all":
            rows[n] = _of(rows[n], keep)
    return replace(clip, frames=frames, rows=rows)


def numbers(clip: KeypointClip) -> Counter[int]:
    """Everybody's number, and in how many frames they are."""
    return Counter(sight.id or 0 for sights in clip.frames.values() for sight in sights)


def _followed(clip: KeypointClip) -> dict[int, list[Sight]]:
    """Nobody is dropped for being seen in a few frames only: the file's word counts."""
    tracker: Tracker[tuple[int, list[Sight]]] = Tracker(confirm=False)
    decided = []
    for n, sights in sorted(clip.frames.items()):
        decided += tracker.push((n, sights), _time(clip, n), [_pose(clip, s) for s in sights])
    decided += tracker.finish()
    return {
        n: [replace(sights[k], id=number) for number, k in places.items()] for (n, sights), places in decided
    }


def _time(clip: KeypointClip, number: int) -> float:
    return clip.times.get(number, number / (clip.fps or _FPS))


def _pose(clip: KeypointClip, sight: Sight) -> Pose2D:
    return to_h36m17(Pose2D(sight.keypoints, sight.scores, clip.layout))


def _once(sights: list[Sight]) -> list[Sight]:
    best: dict[int, Sight] = {}
    for sight in sorted(sights, key=lambda s: -float(s.scores.sum())):
        best.setdefault(sight.id or 0, sight)
    return [best[number] for number in sorted(best)]


def _of(row: FramePoses, keep: set[int]) -> FramePoses:
    gone = tuple(Person(number, "missing") for number in sorted(keep)[:1])
    return replace(row, people=tuple(p for p in row.people if p.id in keep) or gone)
