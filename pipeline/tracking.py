"""Who is who: each frame's poses -> people with numbers that stay.

Poses are matched to the people known so far by the Hungarian method (Kuhn 1955, `scipy.optimize.linear_sum_assignment`)
on their object keypoint similarity (OKS, the measure of the COCO keypoint task), each person moved on at the speed seen
last. As in DeepSORT (Wojke et al. 2017) those seen in the frame before choose first, then those out of sight; as in
ByteTrack (Zhang et al. 2022) somebody out of sight is kept for a while and then given up.

- Two poses of a frame that are as good as one are one: detectors give a second box to one person, and where two people
  cover each other, the pose of the one in front twice.
- Somebody counts as a person if seen in at least half of the frames of the first CONFIRM_S seconds, and in
  MIN_SIGHTS at least (in all of a shorter clip), with a mean score of MIN_SCORE. Until that is known frames are
  held back, so that nobody's first frames are lost.
- Who turns up in another posture is somebody out of sight, if near enough to their place and that is in the picture.
- Somebody gone for more than KEEP_S gets a new number. Looks are not compared, only place, size and posture.
- Numbers count from 0 by first sight; in the same frame the largest comes first.

Nothing is drawn by chance: the same poses give the same numbers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ..skeleton import H36M17, Pose2D
from ..skeleton.poses import FloatArray
from .gaps import FORGET_FRAMES, is_somebody, seen_joints

KEEP_S = 1.5  # somebody out of sight for longer is given up
CONFIRM_S = 0.25
CONFIRM_FRAMES = 60  # bounds what is held back when times are broken or the rate is extreme
MIN_SIGHTS = 3
MIN_SCORE = (
    0.15  # mean of all joints: a bin that was taken for a person has 0.09, people half out of the picture 0.2
)
MIN_OKS = 0.3  # less is somebody else
REACH, REACH_S = (
    1.0,
    1.0,
)  # body lengths that somebody out of sight may have gone astray, and more every second
MAX_RATIO = 2.5  # of the sizes of two sights of one person: who crouches is 0.4 of their height
SAME_OKS = 0.7  # two poses of a frame that are more alike are one person's
WIDEN_S = 0.4  # out of sight for so long, OKS forgives twice the distance
SPEED_S = 0.2  # how far back the speed looks
SIZE_S = 10.0  # how long a size is remembered
COAST_S = 1.0  # how long somebody out of sight moves on

#: OKS's sigmas, COCO's (cocoeval.py) by joint; those of joints that COCO lacks are taken from their neighbours.
_SIGMA = {"Hip": 0.107, "Knee": 0.087, "Ankle": 0.089, "Shoulder": 0.079, "Elbow": 0.072, "Wrist": 0.062,
          "Spine": 0.107, "Thorax": 0.079, "Neck": 0.079, "Head": 0.079}  # fmt: skip
SIGMAS = np.array([_SIGMA[j if j in _SIGMA else j[1:]] for j in H36M17.joints], np.float32)

Item = TypeVar("Item")


@dataclass(slots=True, eq=False)
class _Track:
    """Somebody who is followed."""

    pose: Pose2D  # as seen last
    frame: int  # number of the frame of that sight
    time_s: float
    first_frame: int
    first_s: float
    speed: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))  # px / s
    size: float = 0.0  # px, the longest lately: who bends is not smaller
    scores: float = 0.0  # sum over the sights of the joints' mean
    sights: int = 1
    person: bool | None = None  # None: not yet known
    number: int | None = None  # once its first frame is released

    def __post_init__(self) -> None:
        self.size, self.scores = _size(self.pose), _score(self.pose)

    def at(self, time_s: float) -> FloatArray:
        """(17, 2) px: where its joints are expected."""
        moved = COAST_S * (1 - math.exp(-(time_s - self.time_s) / COAST_S))
        return np.asarray(self.pose.keypoints + self.speed * moved, np.float32)

    def middle(self, time_s: float) -> FloatArray:
        """(2,) px: the middle of what was seen of it, moved on."""
        return _middle(self.at(time_s), seen_joints(self.pose))

    def see(self, pose: Pose2D, frame: int, time_s: float) -> None:
        """The next sight."""
        both = seen_joints(pose) & seen_joints(self.pose)
        step = time_s - self.time_s
        if both.any() and step > 0:
            # The median: single joints jump.
            now = np.median((pose.keypoints - self.pose.keypoints)[both], axis=0) / step
            share = 1 - math.exp(-step / SPEED_S)
            self.speed = ((1 - share) * self.speed + share * now).astype(np.float32)
        self.size = max(_size(pose), self.size * math.exp(-step / SIZE_S))
        self.scores += _score(pose)
        self.pose, self.frame, self.time_s = pose, frame, time_s
        self.sights += 1


@dataclass(slots=True)
class _Held(Generic[Item]):
    """A frame held back until everybody in it is known to be a person or not."""

    item: Item
    frame: int
    found: list[tuple[_Track, int]]  # and the pose's place in its frame


class Tracker(Generic[Item]):
    """Takes frames one by one and gives them back in order, late by at most CONFIRM_S, with numbers for the people.

    Args:
        confirm: False takes everybody for a person at once.
    """

    def __init__(self, confirm: bool = True) -> None:
        self._confirm = confirm
        self._tracks: list[_Track] = []
        self._held: deque[_Held[Item]] = deque()
        self._frame = 0
        self._time_s = math.inf
        self._began = 0  # frame that the clip, or its part after a cut, began with
        self._next_number = 0

    def push(
        self, item: Item, time_s: float, poses: Sequence[Pose2D], size: tuple[int, int] | None = None
    ) -> list[tuple[Item, dict[int, int]]]:
        """The next frame.

        Args:
            item: what comes back with the frame's people.
            poses: Human3.6M-17, pixels.
            size: (w, h) of the picture where known: who walks out of it has left.

        Returns:
            The frames now decided: item, and {person's number: place of their pose among the frame's `poses`}.
        """
        # Nobody can be followed over so long a leap, nor confirmed.
        done = self.cut() if time_s - self._time_s > KEEP_S else []
        self._time_s = time_s
        self._forget(time_s)
        there = distinct(poses)
        found = self._match(time_s, {k: poses[k] for k in there}, size)
        for k in sorted(set(there) - {k for _, k in found}, key=lambda k: (-_size(poses[k]), k)):
            track = _Track(poses[k], self._frame, time_s, self._frame, time_s)
            self._tracks.append(track)
            found.append((track, k))
        self._held.append(_Held(item, self._frame, found))
        self._frame += 1
        for track in self._tracks:
            if track.person is None:
                self._judge(track, time_s, last=False)
        return done + self._release()

    def cut(self) -> list[tuple[Item, dict[int, int]]]:
        """The picture changes altogether: nobody is followed across this point. Returns all frames held."""
        for track in self._tracks:
            if track.person is None:
                self._judge(track, track.time_s, last=True)
        self._tracks, self._began = [], self._frame
        return self._release()

    def finish(self) -> list[tuple[Item, dict[int, int]]]:
        """No more frames. Returns all frames held."""
        return self.cut()

    def _forget(self, now: float) -> None:
        kept: list[_Track] = []
        for track in self._tracks:
            gone = now - track.time_s > KEEP_S or self._frame - track.frame > FORGET_FRAMES
            if gone and track.person is None:  # at few frames a second
                self._judge(track, now, last=True)
            if not gone and track.person is not False:
                kept.append(track)
        self._tracks = kept

    def _match(
        self, time_s: float, poses: dict[int, Pose2D], size: tuple[int, int] | None
    ) -> list[tuple[_Track, int]]:
        """Which of the poses (place -> pose) are somebody known."""
        from scipy.optimize import linear_sum_assignment  # slow to import: not for one person's sake

        found: list[tuple[_Track, int]] = []

        def take(
            tracks: list[_Track], alike: Callable[[list[_Track], list[Pose2D], float], np.ndarray]
        ) -> None:
            tracks = [t for t in tracks if t.frame < self._frame]
            free = sorted(set(poses) - {k for _, k in found})
            if not tracks or not free:
                return
            table = alike(tracks, [poses[k] for k in free], time_s)  # (tracks, free)
            for a, b in zip(*linear_sum_assignment(-table), strict=True):
                if table[a, b] > 0:
                    tracks[a].see(poses[free[b]], self._frame, time_s)
                    found.append((tracks[a], free[b]))

        take([t for t in self._tracks if t.frame == self._frame - 1], _as_expected)
        take(self._tracks, _as_expected)
        take([t for t in self._tracks if t.person and _inside(t.middle(time_s), size)], _within_reach)
        return found

    def _judge(self, track: _Track, now: float, last: bool) -> None:
        """Whether somebody new is a person, where that can be said; `last`: there are no more frames."""
        frames = self._frame - track.first_frame
        timely = now - track.first_s >= CONFIRM_S - 1e-6 and frames > MIN_SIGHTS
        if not (timely or last or frames >= CONFIRM_FRAMES or not self._confirm):
            return
        enough = min(MIN_SIGHTS, self._frame - self._began) if last else MIN_SIGHTS
        often = track.sights >= enough and 2 * track.sights >= frames
        track.person = not self._confirm or (often and track.scores >= MIN_SCORE * track.sights)

    def _release(self) -> list[tuple[Item, dict[int, int]]]:
        done: list[tuple[Item, dict[int, int]]] = []
        while self._held and all(track.person is not None for track, _ in self._held[0].found):
            held = self._held.popleft()
            people: dict[int, int] = {}
            for track, k in held.found:
                if track.person:
                    people[self._number(track)] = k
            done.append((held.item, dict(sorted(people.items()))))
        return done

    def _number(self, track: _Track) -> int:
        if track.number is None:
            track.number, self._next_number = self._next_number, self._next_number + 1
        return track.number


def _as_expected(tracks: list[_Track], poses: list[Pose2D], time_s: float) -> np.ndarray:
    """(tracks, poses): OKS of the poses and the tracks moved on; 0 where it is too small."""
    forgive = np.array([1 + (time_s - t.time_s) / WIDEN_S for t in tracks])
    expected = np.stack([t.at(time_s) for t in tracks])
    alike = oks(expected, _scores([t.pose for t in tracks]), _points(poses), _scores(poses), forgive)
    return np.where(alike >= MIN_OKS, alike, 0.0)


def _within_reach(tracks: list[_Track], poses: list[Pose2D], time_s: float) -> np.ndarray:
    """(tracks, poses): 1 where a pose lies at the place expected, 0 where it is out of reach or of another size."""
    sizes = np.array([max(t.size, 1e-6) for t in tracks])[:, None]
    ratio = np.array([_size(p) for p in poses]) / sizes
    reach = (REACH + REACH_S * np.array([[time_s - t.time_s] for t in tracks])) * sizes
    there = np.array([_middle(p.keypoints, seen_joints(p)) for p in poses])  # (poses, 2)
    astray = np.linalg.norm(there - np.array([[t.middle(time_s)] for t in tracks]), axis=2)
    fits = (ratio >= 1 / MAX_RATIO) & (ratio <= MAX_RATIO)
    return np.where(fits, 1 - astray / reach, 0.0).clip(min=0)


def _inside(point: FloatArray, size: tuple[int, int] | None) -> bool:
    return size is None or bool((point >= 0).all() and (point <= size).all())


def oks(
    a: FloatArray, a_scores: FloatArray, b: FloatArray, b_scores: FloatArray, forgive: npt.ArrayLike = 1.0
) -> np.ndarray:
    """Object keypoint similarity of every a with every b, 0 to 1; joints count by the lower of their scores.

    Args:
        a, b: (m, 17, 2) and (n, 17, 2) px, NaN where unknown. a_scores, b_scores: (m, 17) and (n, 17).
        forgive: (m,) factors of the distances that are forgiven, or one for all.

    Returns:
        (m, n).
    """
    apart = ((a[:, None] - b[None]) ** 2).sum(axis=3)  # (m, n, 17)
    weights = np.where(np.isnan(apart), 0.0, np.minimum(a_scores[:, None], b_scores[None]))
    # COCO's scale is the root of the person's area; half the longer side is near it, and bears a turn of the body.
    scale = 0.25 * (_extents(a, a_scores)[:, None] + _extents(b, b_scores)[None])  # (m, n)
    reach = 2 * SIGMAS * (scale.clip(min=1) * np.reshape(forgive, (-1, 1)))[..., None]  # (m, n, 17)
    alike = weights * np.exp(-np.nan_to_num(apart) / (2 * reach**2))
    return alike.sum(axis=2) / weights.sum(axis=2).clip(min=1e-9)


def distinct(poses: Sequence[Pose2D]) -> list[int]:
    """Places of the poses that are somebody, each person once, by the best pose."""
    somebody = [k for k, pose in enumerate(poses) if is_somebody(pose)]
    best = sorted(somebody, key=lambda k: (-float(np.nansum(poses[k].scores)), k))
    if len(best) < 2:
        return best
    points, scores = _points([poses[k] for k in best]), _scores([poses[k] for k in best])
    same = oks(points, scores, points, scores) >= SAME_OKS
    kept: list[int] = []  # rows of `same`
    for k in range(len(best)):
        if not same[k, kept].any():
            kept.append(k)
    return sorted(best[k] for k in kept)


def _points(poses: Sequence[Pose2D]) -> FloatArray:
    return np.stack([p.keypoints for p in poses])  # (n, 17, 2)


def _scores(poses: Sequence[Pose2D]) -> FloatArray:
    return np.stack([p.scores for p in poses])  # (n, 17)


def _extents(points: FloatArray, scores: FloatArray) -> np.ndarray:
    """(n, 17, 2) px, (n, 17) -> (n,) longer sides, px, of what is seen of poses; 0 where nothing is."""
    seen = (np.isfinite(points).all(axis=2) & (scores > 0))[..., None]  # (n, 17, 1)
    low, high = np.where(seen, points, np.inf).min(axis=1), np.where(seen, points, -np.inf).max(axis=1)
    return np.maximum(high - low, 0.0).max(axis=1)  # nothing seen: inf from inf, no less than 0


def _size(pose: Pose2D) -> float:
    return float(_extents(pose.keypoints[None], pose.scores[None])[0])


def _middle(points: FloatArray, seen: np.ndarray) -> FloatArray:
    return np.median(points[seen], axis=0)


def _score(pose: Pose2D) -> float:
    return float(np.nanmean(pose.scores))
