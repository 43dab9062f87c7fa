"""What a user should know of a clip and can mend: warnings, once each, with where and how.

    Advisor.see(rows of a frame) ... -> Advisor.warnings()

One class for each warning. They look at rows as they are written and keep counts only, so memory does not grow with
the clip. Thresholds, why they are what they are, and what they say of real clips: docs/warnings.md.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

from ..skeleton import FramePoses, Person
from ..skeleton.layouts import H36M17
from .leaps import is_leap
from .placing import pixels_a_metre
from .reader import SourceInfo

Size = tuple[int, int]

FEWEST = 5  # frames of a video; in fewer nothing is usual
CUT_SHARE = 0.25  # of the frames with somebody
BORDER = 0.01  # of the picture's shorter side: detectors keep joints of cut people at the border
SMALL_PX = 100  # tall
LOW_FPS = 14.5  # "15" may be a little less
LOST_SHARE = 0.1  # of the rows between somebody's first and last sight
EMPTY_SHARE = 0.5  # of all frames
LEAPS = 2  # one may be a cut of the film

#: how to mend it that somebody is not seen
_BETTER_VIEW = "where somebody is there: more light, nothing in front of them, or another --detector"
_BETTER_FILE = "where somebody is there, the file lacks their joints, or gives them scores below 0.1"

_SIDES = ("left", "right", "upper", "lower")
#: hidden joint -> joints a, b that point to it, and how many times a to b beyond b the middle of its limb lies
_BEYOND = {
    H36M17.joints.index(joint): (H36M17.joints.index(a), H36M17.joints.index(b), times)
    for joint, a, b, times in (
        ("RKnee", "Thorax", "RHip", 0.4),
        ("LKnee", "Thorax", "LHip", 0.4),
        ("RAnkle", "RHip", "RKnee", 0.5),
        ("LAnkle", "LHip", "LKnee", 0.5),
    )
}


class Watch(Protocol):
    """One thing to warn of."""

    def see(self, poses: FramePoses, size: Size | None) -> None: ...
    def say(self) -> str | None: ...


class Advisor:
    """Watches the rows of one clip.

    Args:
        info: of the source.
        several: whether the detector finds more than one person.
        wanted: numbers of people that were asked for.
        height_m: what 3D is scaled to.
    """

    def __init__(
        self, info: SourceInfo, several: bool, wanted: tuple[int, ...] = (), height_m: float = 1.75
    ) -> None:
        self._info, self._fewest = info, 1 if info.kind == "images" else FEWEST
        self._frames = 0
        given = info.kind == "keypoints"
        self._there, self._hips = There(wanted, given), NoHips()
        watches: list[Watch] = []
        if not given:  # whatever the picture was, it was another program that looked at it
            who = "the largest person" if several else "the person"
            watches += [Cut(who), Small(who, height_m)]
        if info.kind != "images":  # these may be photos that have nothing to do with each other
            watches += [Lost("somebody is" if several else "the person is", given), Rate()]
            watches += [] if several or given else [Leaps()]
        self._watches = watches

    def see(self, poses: FramePoses, size: Size | None) -> None:
        """The next frame's rows; `size` is its picture's width and height, None where it could not be decoded."""
        self._frames += size is not None
        for watch in (self._there, self._hips, *self._watches):
            watch.see(poses, size)

    def warnings(self, finished: bool = True) -> list[str]:
        """Sentences, the weightiest first; `finished`: the clip was seen to its end."""
        said = [self._there.say() if finished else None, self._hips.say()]
        if self._frames >= self._fewest and self._there.anybody:
            said += [watch.say() for watch in self._watches]
        said.append(say_lens(self._info.lens))
        return [sentence for sentence in said if sentence]


def say_lens(lens: str | None) -> str | None:
    """What to say of a lens, see `lens.lens_of`."""
    if lens is None:
        return None
    return (
        f"probably a wide-angle lens: the file says that {lens}; near the border it bends people, of which 3D knows "
        "nothing; film with the camera's linear setting, keep to the middle, or straighten the clip first"
    )


class There:
    """Whether anybody is there, and those who are asked for.

    Args:
        given: the joints come from a keypoint file.
    """

    def __init__(self, wanted: tuple[int, ...] = (), given: bool = False) -> None:
        self._wanted, self._met, self._given = wanted, set[int](), given
        self.anybody = False

    def see(self, poses: FramePoses, size: Size | None) -> None:
        found = [p.id for p in poses.people if p.status == "detected"]
        self.anybody |= bool(found)
        self._met.update(set(found) & set(self._wanted))

    def say(self) -> str | None:
        absent = ",".join(str(n) for n in self._wanted if n not in self._met)
        if absent:
            return f"--person {absent}: not seen; --person all shows everybody's number"
        if self.anybody:
            return None
        mend = (
            "the file observes too few joints; look at its scores, and whether --layout is right"
            if self._given
            else "check that somebody is in full view, upright and well lit, or try another --detector"
        )
        return f"no person found in any frame; all rows are `missing`; {mend}"


class NoHips:
    """People of whom there is no 3D."""

    def __init__(self) -> None:
        self._frames = 0

    def see(self, poses: FramePoses, size: Size | None) -> None:
        self._frames += any(p.pose2d is not None and p.pose3d is None for p in poses.people)

    def say(self) -> str | None:
        if not self._frames:
            return None
        return (
            f"no 3D in {self._frames} frames: both hips are hidden there, and 3D is relative to them; film so that the "
            "hips are in view"
        )


class Cut:
    """People cut by the border of the picture.

    Args:
        who: as the sentence calls them.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._seen = self._cut = 0
        self._sides = Counter[str]()

    def see(self, poses: FramePoses, size: Size | None) -> None:
        person = largest(poses)
        if person is None or size is None:
            return
        sides = cut_sides(person, size)
        self._seen += 1
        self._cut += bool(sides)
        self._sides.update(sides)

    def say(self) -> str | None:
        if not self._cut or self._cut < CUT_SHARE * self._seen:
            return None
        most = max(self._sides.values())
        sides = " and ".join(side for side in _SIDES if self._sides[side] >= most / 3)
        return (
            f"{self._who} is cut by the {sides} border of the picture in {self._cut} of {self._seen} frames: what is "
            "outside is guessed or empty; film from further away, or turn the camera by a quarter"
        )


def cut_sides(person: Person, size: Size) -> set[str]:
    """The borders, of `_SIDES`, beyond which joints of a person lie.

    Of a leg whose end is hidden the middle must be outside, straight on from what is seen: legs under a table, or
    bent, are hidden in the picture as well.
    """
    assert person.pose2d is not None
    points = person.pose2d.keypoints.astype(np.float64)  # (17, 2)
    for joint, (a, b, times) in _BEYOND.items():
        if np.isnan(points[joint, 0]):
            points[joint] = points[b] + times * (points[b] - points[a])
    low = BORDER * min(size)
    high = np.array(size) - low
    out = np.stack([points < low, points > high]).any(axis=1)  # (2 ends, 2 axes)
    return {side for side, beyond in zip(_SIDES, out.T.ravel(), strict=True) if beyond}


class Small:
    """People of few pixels.

    Args:
        who: as the sentence calls them.
        height_m: what 3D is scaled to.
    """

    _STEP = 5  # pixels

    def __init__(self, who: str, height_m: float) -> None:
        self._who, self._height_m = who, height_m
        self._counts = np.zeros(400, np.int64)  # frames by the person's height, in steps

    def see(self, poses: FramePoses, size: Size | None) -> None:
        person = largest(poses)
        scale = None if person is None else pixels_a_metre(person)
        if scale is not None:
            self._counts[min(int(scale * self._height_m / self._STEP), len(self._counts) - 1)] += 1

    def say(self) -> str | None:
        frames = int(self._counts.sum())
        middle = int(np.searchsorted(self._counts.cumsum(), frames / 2)) if frames else len(self._counts)
        if middle * self._STEP >= SMALL_PX:
            return None
        return (
            f"{self._who} is small: some {(middle + 0.5) * self._STEP:.0f} pixels tall in half of {frames} frames, "
            f"where {SMALL_PX} are needed; film from nearer, zoom in, or take a higher resolution"
        )


class Rate:
    """Few frames per second, by the frames' times."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def see(self, poses: FramePoses, size: Size | None) -> None:
        self._last = (poses.index, poses.time_s)
        self._first = self._first or self._last

    def say(self) -> str | None:
        frames, seconds = (np.subtract(self._last, self._first or self._last)).tolist()
        if seconds <= 0 or frames / seconds >= LOW_FPS:
            return None
        return (
            f"{frames / seconds:.1f} frames per second are few: what happens between them is lost, and speeds come out "
            "too low; film at 30 or more"
        )


class Lost:
    """People who are lost between their first and last sight; clips in which hardly anybody is.

    Args:
        who: as the sentence calls them, with "is".
        given: the joints come from a keypoint file.
    """

    def __init__(self, who: str, given: bool = False) -> None:
        self._who, self._given = who, given
        self._frames = self._empty = 0
        self._rows = self._lost = 0
        #: who was seen -> rows lost since, and the time of the first
        self._gaps: dict[int, tuple[int, float]] = {}
        self._longest, self._longest_s = 0, 0.0

    def see(self, poses: FramePoses, size: Size | None) -> None:
        self._frames += 1
        self._empty += all(p.status == "missing" for p in poses.people)
        now = {p.id: p.status for p in poses.people}
        # Who has no row any more was not lost but has left.
        self._gaps = {number: gap for number, gap in self._gaps.items() if number in now}
        for number, status in now.items():
            lost, since_s = self._gaps.get(number, (0, poses.time_s))
            if status != "missing":
                self._rows, self._lost = self._rows + 1 + lost, self._lost + lost
                if lost > self._longest:
                    self._longest, self._longest_s = lost, since_s
                self._gaps[number] = 0, 0.0
            elif number in self._gaps:
                self._gaps[number] = lost + 1, since_s if lost else poses.time_s

    def say(self) -> str | None:
        mend = _BETTER_FILE if self._given else _BETTER_VIEW
        if self._empty >= EMPTY_SHARE * self._frames:
            found = f"nobody is found in {self._empty} of {self._frames} frames; {mend}"
            return found if self._given else f"{found}; --start and --end leave parts out"
        if self._lost < LOST_SHARE * self._rows:
            return None
        return (
            f"{self._who} missing in {self._lost} of {self._rows} rows between first and last sight "
            f"(longest: {self._longest} frames, from {self._longest_s:.1f} s on); {mend}"
        )


class Leaps:
    """One person who leaps from place to place, as when a detector of one person sees several in turn."""

    def __init__(self) -> None:
        self._last: tuple[float, np.ndarray] | None = None  # seconds, (17, 2) px
        self._leaps, self._first_s = 0, 0.0

    def see(self, poses: FramePoses, size: Size | None) -> None:
        # Bridged rows would hide the leap.
        person = next((p for p in poses.people if p.status == "detected"), None)
        if person is None or person.pose2d is None:
            return
        points = person.pose2d.keypoints
        if self._last is not None and is_leap(self._last[1], points, poses.time_s - self._last[0]):
            self._first_s = self._first_s if self._leaps else poses.time_s
            self._leaps += 1
        self._last = poses.time_s, points

    def say(self) -> str | None:
        if self._leaps < LEAPS:
            return None
        return (
            f"the person leaps to another place {self._leaps} times, first at {self._first_s:.1f} s: probably there "
            "are several people, or things taken for one, and this detector finds one at a time; a detector with "
            "--det-model finds everybody"
        )


def largest(poses: FramePoses) -> Person | None:
    """Whoever of the people detected in a frame is largest in the picture."""
    seen = [p for p in poses.people if p.status == "detected" and p.pose2d is not None]
    return max(seen, key=_extent, default=None)


def _extent(person: Person) -> float:
    assert person.pose2d is not None
    known = person.pose2d.keypoints[np.isfinite(person.pose2d.keypoints).all(axis=1)]
    return float(np.ptp(known, axis=0).max()) if len(known) else 0.0
