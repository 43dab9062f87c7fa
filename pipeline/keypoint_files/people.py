"""Which of several people: those without identities are followed from frame to frame, and one is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...skeleton import Person
from ...skeleton.errors import InputError
from .clip import KeypointClip, Sight

_KEEP_FRAMES = 30  # somebody gone for longer is somebody new
_FARTHEST = 0.5  # of a person's size, between two sights of the same person


def one_person(clip: KeypointClip, wanted: int | None) -> KeypointClip:
    """The clip with one person alone: `wanted`, or whoever is there in most frames.

    Raises:
        InputError: nobody of that number; lists who is there.
    """
    named = clip if _identified(clip) else replace(clip, frames=_followed(clip.frames))
    counts = Counter(sight.id for people in named.frames.values() for sight in people)
    if wanted is None:
        chosen = min(counts, key=lambda person: (-counts[person], person), default=None)
    elif wanted in counts:
        chosen = wanted
    else:
        there = ", ".join(f"{p} ({n} frames)" for p, n in sorted(counts.items())[:10])
        raise InputError(f"--person {wanted}: not in the file; it has {there}")
    frames = {n: [s for s in people if s.id == chosen] for n, people in named.frames.items()}
    best = {n: max(people, key=lambda s: float(s.scores.sum())) for n, people in frames.items() if people}
    rows = clip.rows
    if rows is not None and wanted is None:
        return clip  # posefix's own: everybody stays who they are
    if rows is not None:
        gone = (Person(wanted or 0, "missing"),)
        rows = {
            n: replace(row, people=tuple(p for p in row.people if p.id == wanted) or gone)
            for n, row in rows.items()
        }
    return replace(clip, frames={n: [sight] for n, sight in best.items()}, rows=rows)


def _identified(clip: KeypointClip) -> bool:
    return all(sight.id is not None for people in clip.frames.values() for sight in people)


def _followed(frames: dict[int, list[Sight]]) -> dict[int, list[Sight]]:
    """Numbers by first appearance; each frame's people are matched to those seen last by the nearest pose."""
    last: dict[int, tuple[int, Sight]] = {}
    out: dict[int, list[Sight]] = {}
    new = 0
    for number in sorted(frames):
        people = frames[number]
        known = [k for k, (seen, _) in last.items() if number - seen <= _KEEP_FRAMES]
        cost = np.array([[_apart(last[k][1], sight) for sight in people] for k in known]).reshape(
            len(known), len(people)
        )
        matched: dict[int, int] = {}
        for a, b in zip(*linear_sum_assignment(cost), strict=True) if cost.size else ():
            if cost[a, b] < _FARTHEST:
                matched[int(b)] = known[a]
        out[number] = []
        for k, sight in enumerate(people):
            if k not in matched:
                matched[k], new = new, new + 1
            named = replace(sight, id=matched[k])
            last[matched[k]] = (number, named)
            out[number].append(named)
    return out


def _apart(a: Sight, b: Sight) -> float:
    """Mean distance of the joints that both have, in units of their size; large where they share none."""
    both = np.isfinite(a.keypoints).all(axis=1) & np.isfinite(b.keypoints).all(axis=1)
    if both.sum() < 2:
        return 1e3
    size = max(float(np.ptp(s.keypoints[both], axis=0).max()) for s in (a, b))
    return float(np.linalg.norm(a.keypoints[both] - b.keypoints[both], axis=1).mean()) / max(size, 1e-6)
