"""Short gaps in the 2D poses are bridged, long ones are left open and said to be so.

- A joint is hidden where its score is below HIDDEN_BELOW. In MediaPipe's scores that parts joints outside
  the picture or behind tables (medians 0.00-0.10) from those of a person in full view (1 % are below 0.12,
  even from behind).
- A person counts as detected where at least MIN_CORE of shoulders, hips and knees are seen.
- What was seen before and after a gap of at most MAX_GAP_S is joined by a straight line in time; the score
  is the lower of both ends, halved. A gap lasts from the first frame without to the next frame with.
- Status: `detected`, also where single hidden joints were bridged; `interpolated` where the whole person was
  gone for a short time; `missing` else, without a pose. Joints hidden for longer have NaN coordinates and
  keep the detector's score.
- Frames that could not be decoded are gaps like any other; their time is interpolated.
- Across a leap (`leaps.py`) nothing is bridged: those before and after it are two people.

Nothing is repeated or extrapolated: before the first and after the last sight there is no pose.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ..skeleton import H36M17, FramePoses, Person, Pose2D
from ..skeleton.poses import FloatArray
from .leaps import is_leap

MAX_GAP_S = 0.25
MAX_GAP_FRAMES = 60  # also bounds what is held back when times are broken or the rate is extreme
FORGET_FRAMES = 360  # somebody gone for more is forgotten where anybody is, also when times are broken
HIDDEN_BELOW = 0.1
BRIDGED_SCORE = 0.5
CORE = tuple(H36M17.joints.index(s + j) for s in "LR" for j in ("Shoulder", "Hip", "Knee"))
MIN_CORE = 3
_EPS_S = 1e-6

_JOINTS = len(H36M17.joints)


@dataclass(slots=True)
class _Sight:
    """One person in one held frame: what was seen, and what bridges have added so far."""

    present: bool
    keypoints: FloatArray  # (17, 2), NaN where hidden
    scores: FloatArray  # (17,)
    box: FloatArray | None = None

    @classmethod
    def absent(cls) -> _Sight:
        return cls(False, np.full((_JOINTS, 2), np.nan, np.float32), np.zeros(_JOINTS, np.float32))

    @classmethod
    def of(cls, pose: Pose2D | None) -> _Sight:
        """What counts as seen of a detection."""
        if pose is None:
            return cls.absent()
        seen = seen_joints(pose)
        if not is_somebody(pose):
            return cls.absent()
        return cls(True, np.where(seen[:, None], pose.keypoints, np.nan), pose.scores.copy(), pose.box)

    @property
    def seen(self) -> np.ndarray:
        """(17,) bool"""
        return ~np.isnan(self.keypoints[:, 0])


@dataclass(slots=True)
class _Slot:
    """One frame held back until its gaps are decided. `number` counts frames without holes."""

    number: int
    index: int
    time_s: float
    sights: dict[int, _Sight]


@dataclass(slots=True)
class _Track:
    """What is known of one person: where each joint was last seen, and when each gap began."""

    last: list[tuple[_Slot, FloatArray, float] | None] = field(default_factory=lambda: [None] * _JOINTS)
    gap_start: np.ndarray = field(default_factory=lambda: np.full(_JOINTS, np.nan))  # seconds; NaN: no gap
    gap_number: np.ndarray = field(default_factory=lambda: np.zeros(_JOINTS, np.int64))
    last_box: tuple[_Slot, FloatArray] | None = None
    last_s: float = np.inf  # seconds; of the last sight
    last_number: int = 0  # its frame
    last_points: FloatArray | None = None  # (17, 2), as seen then

    def has_leapt(self, sight: _Sight, time_s: float) -> bool:
        """Whether a new sight is that of somebody else."""
        points = self.last_points
        return points is not None and is_leap(points, sight.keypoints, time_s - self.last_s)


class GapFiller:
    """Takes frames one by one and gives back rows in order, late by at most the gap limit.

    Args:
        first_index: frames from here on get a row, also when the first ones cannot be decoded.
        people: ids that have a row in every frame; others from their first detection on.
        forget_s: others have rows until so long after their last detection, seconds; None: to the end.
    """

    def __init__(
        self, first_index: int | None = None, people: tuple[int, ...] = (0,), forget_s: float | None = None
    ) -> None:
        self._always, self._forget_s = people, np.inf if forget_s is None else forget_s
        self._tracks = {person: _Track() for person in people}
        self._held: deque[_Slot] = deque()
        self._count = 0
        self._next_index = first_index
        self._last_time_s: float | None = None

    def push(self, index: int, time_s: float, people: dict[int, Pose2D]) -> list[FramePoses]:
        """The next frame with its people (person id -> Human3.6M-17 pose). Returns the rows now decided.

        Raises:
            ValueError: the index does not grow.
        """
        if self._next_index is not None and index < self._next_index:
            raise ValueError(f"frame {index} after frame {self._next_index - 1}: expected growing numbers")
        rows: list[FramePoses] = []
        for lost_index, lost_time_s in self._undecoded(index, time_s):
            rows += self._add(lost_index, lost_time_s, {})
        self._next_index, self._last_time_s = index + 1, time_s
        return rows + self._add(index, time_s, people)

    def cut(self) -> list[FramePoses]:
        """The picture changes altogether: no gap is bridged across this point. Returns all rows held."""
        kept = self._tracks if self._forget_s == np.inf else self._always
        rows = [self._release() for _ in range(len(self._held))]
        self._tracks = {person: _Track() for person in kept}
        return rows

    def finish(self) -> list[FramePoses]:
        """No more frames. Returns all rows held."""
        return self.cut()

    def _undecoded(self, index: int, time_s: float) -> list[tuple[int, float]]:
        """Numbers that were skipped before `index`, with times between their neighbours'."""
        first = index if self._next_index is None else self._next_index
        since = self._last_time_s
        if since is None:  # lost from the very start: nothing tells their rate but the time of this frame
            return [(k, time_s * (k - first) / (index - first)) for k in range(first, index)]
        step = (time_s - since) / (index - first + 1)
        return [(k, since + step * (k - first + 1)) for k in range(first, index)]

    def _add(self, index: int, time_s: float, people: dict[int, Pose2D]) -> list[FramePoses]:
        sights = {person: _Sight.of(pose) for person, pose in people.items()}
        for person, sight in sights.items():
            if sight.present:
                track = self._tracks.setdefault(person, _Track())
                if track.has_leapt(sight, time_s):
                    track = self._tracks[person] = _Track()  # open gaps stay open
                track.last_s, track.last_number = time_s, self._count
                track.last_points = sight.keypoints.copy()  # without what bridges will add
        for person, track in list(self._tracks.items()):
            if person not in self._always and self._gone(track, time_s):
                del self._tracks[person]
        slot = _Slot(self._count, index, time_s, {p: sights.get(p) or _Sight.absent() for p in self._tracks})
        self._count += 1
        self._held.append(slot)
        for person, track in self._tracks.items():
            self._follow(track, person, slot)
        rows = []
        while self._held and self._decided(self._held[0], slot):
            rows.append(self._release())
        return rows

    def _gone(self, track: _Track, now: float) -> bool:
        """Whether somebody is forgotten."""
        long = now - track.last_s > self._forget_s or self._count - track.last_number > FORGET_FRAMES
        return long and self._forget_s < np.inf

    def _follow(self, track: _Track, person: int, slot: _Slot) -> None:
        """Close the gaps that end in this frame, note those that begin."""
        sight = slot.sights[person]
        seen, may_bridge = sight.seen, self._open(track, slot)
        for joint in range(_JOINTS):
            if not seen[joint]:
                if track.last[joint] is not None and np.isnan(track.gap_start[joint]):
                    track.gap_start[joint], track.gap_number[joint] = slot.time_s, slot.number
                continue
            point, score = sight.keypoints[joint].copy(), float(sight.scores[joint])
            if may_bridge[joint]:
                self._bridge(track, person, joint, slot, point, score)
            track.gap_start[joint] = np.nan
            track.last[joint] = (slot, point, score)
        if sight.present and sight.box is not None:
            self._bridge_box(track, person, slot, sight.box)
            track.last_box = (slot, sight.box)

    def _open(self, track: _Track, now: _Slot) -> np.ndarray:
        """(17,) bool: gaps that may still be bridged by a sight at `now`."""
        short = now.time_s - track.gap_start <= MAX_GAP_S + _EPS_S  # False without a gap: NaN
        return short & (now.number - track.gap_number <= MAX_GAP_FRAMES)

    def _between(self, first: _Slot, last: _Slot) -> list[tuple[_Slot, float]]:
        """Held frames strictly between two, each with its share 0..1 of the way in time."""
        span = last.time_s - first.time_s
        held = [s for s in self._held if first.number < s.number < last.number]
        return [(s, (s.time_s - first.time_s) / span if span > 0 else 0.5) for s in held]

    def _bridge(
        self, track: _Track, person: int, joint: int, slot: _Slot, point: FloatArray, score: float
    ) -> None:
        last = track.last[joint]
        assert last is not None
        start, start_point, start_score = last
        for between, t in self._between(start, slot):
            sight = between.sights[person]
            sight.keypoints[joint] = (1 - t) * start_point + t * point
            sight.scores[joint] = BRIDGED_SCORE * min(start_score, score)

    def _bridge_box(self, track: _Track, person: int, slot: _Slot, box: FloatArray) -> None:
        if track.last_box is None:
            return
        for between, t in self._between(track.last_box[0], slot):
            if person in between.sights and not between.sights[person].present:
                box_here = (1 - t) * track.last_box[1] + t * box
                between.sights[person].box = box_here.astype(np.float32)

    def _decided(self, slot: _Slot, now: _Slot) -> bool:
        """Whether no later sight can change this frame."""
        for person, sight in slot.sights.items():
            track = self._tracks.get(person)
            if track is None:  # given up since
                continue
            began = track.gap_number <= slot.number
            if (~sight.seen & began & self._open(track, now)).any():
                return False
        return True

    def _release(self) -> FramePoses:
        slot = self._held.popleft()
        people = (_as_person(person, sight) for person, sight in sorted(slot.sights.items()))
        return FramePoses(slot.index, slot.time_s, tuple(people))


def seen_joints(pose: Pose2D) -> np.ndarray:
    """(17,) bool: joints of a Human3.6M-17 pose that are not hidden."""
    return (pose.scores >= HIDDEN_BELOW) & np.isfinite(pose.keypoints).all(axis=1)


def is_somebody(pose: Pose2D) -> bool:
    """Whether enough is seen for a person to be there."""
    return bool(seen_joints(pose)[list(CORE)].sum() >= MIN_CORE)


def _as_person(person: int, sight: _Sight) -> Person:
    if not sight.present and sight.seen[list(CORE)].sum() < MIN_CORE:
        return Person(person, "missing")
    pose = Pose2D(sight.keypoints, sight.scores, H36M17.name, box=sight.box)
    return Person(person, "detected" if sight.present else "interpolated", pose)
