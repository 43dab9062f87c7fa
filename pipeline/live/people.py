"""Detections to people at once: nothing is held back, so no gap is bridged and nobody has to prove themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...skeleton import H36M17, Frame, FramePoses, Person, Pose2D, Pose3D
from ...skeleton.poses import FloatArray
from ..gaps import is_somebody, seen_joints
from ..leaps import is_leap
from ..people import Choice
from ..smoothing import LIVE, OneEuro
from ..tracking import KEEP_S, Tracker


class LivePeople:
    """Who is in each frame, numbered like in files.

    Args:
        person: who of several people, as on the command line.
        one: the detector finds one person at most, who is person 0.
    """

    def __init__(self, person: str, one: bool) -> None:
        self._choice = Choice(person)
        self._tracker: Tracker[None] | None = None if one else Tracker(confirm=False)
        self._seen: dict[int, float] = {}

    def push(self, frame: Frame, poses: Sequence[Pose2D]) -> FramePoses:
        """The next frame with its Human3.6M-17 poses; people without 3D yet. Who was here lately is `missing`."""
        there = {n: p for n, p in self._named(frame, poses).items() if is_somebody(p)}
        wanted = self._choice.of(frame.time_s, there)
        for number in set(there) & wanted:
            self._seen[number] = frame.time_s
        self._seen = {n: s for n, s in self._seen.items() if frame.time_s - s <= KEEP_S}
        people = (
            Person(n, "detected", _seen_only(there[n])) if n in there else Person(n, "missing")
            for n in sorted(self._seen)
        )
        return FramePoses(frame.index, frame.time_s, tuple(people))

    def _named(self, frame: Frame, poses: Sequence[Pose2D]) -> dict[int, Pose2D]:
        if self._tracker is None:
            return dict(enumerate(poses[:1]))
        size = (frame.image.shape[1], frame.image.shape[0])
        found = self._tracker.push(None, frame.time_s, poses, size)
        return {number: poses[k] for number, k in found[-1][1].items()} if found else {}


def _seen_only(pose: Pose2D) -> Pose2D:
    """The pose without its hidden joints."""
    keypoints = np.where(seen_joints(pose)[:, None], pose.keypoints, np.nan)
    return Pose2D(keypoints, pose.scores, H36M17.name, box=pose.box)


@dataclass(frozen=True, slots=True)
class _Known:
    """Somebody's filter, and where they were when last seen: (17, 2) px."""

    euro: OneEuro
    time_s: float
    points: FloatArray


class LiveSmoother:
    """One-Euro filters of everybody's 3D; a leap starts anew.

    Args:
        smooth: as on the command line.
    """

    def __init__(self, smooth: str) -> None:
        self._preset = LIVE[smooth]
        self._known: dict[int, _Known] = {}

    def push(self, poses: FramePoses) -> FramePoses:
        """The same people with smoothed 3D; `raw3d` is what it was."""
        if self._preset is None:
            return poses
        now = poses.time_s
        self._known = {n: known for n, known in self._known.items() if now - known.time_s <= KEEP_S}
        return replace(poses, people=tuple(self._smoothed(person, now) for person in poses.people))

    def _smoothed(self, person: Person, now: float) -> Person:
        if person.pose2d is None or self._preset is None:
            return person
        known, points = self._known.get(person.id), person.pose2d.keypoints
        if known is None or is_leap(known.points, points, now - known.time_s):
            known = _Known(OneEuro(*self._preset), now, points)
        self._known[person.id] = replace(known, time_s=now, points=points)
        if person.pose3d is None:
            return person
        joints = known.euro.push(now, person.pose3d.joints)
        return replace(
            person, pose3d=Pose3D(joints.astype(np.float32), person.pose3d.std), raw3d=person.pose3d
        )
