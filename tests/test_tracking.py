"""pipeline/tracking.py: crossings, gaps, entries, flickers; numbers that stay and depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_people import Actor, standing
from posefix.pipeline import tracking
from posefix.pipeline.tracking import CONFIRM_S, KEEP_S, Tracker, distinct, oks
from posefix.skeleton import Pose2D

SIZE = (640, 480)


def follow(
    actors: list[Actor], frames: int, fps: float = 30.0, seed: int = 0, **options
) -> list[dict[int, int]]:
    """Per frame {number: which actor has it}, the poses given in random order."""
    tracker: Tracker[list[int]] = Tracker(**options)
    out, rng = [], np.random.default_rng(seed)
    for k in range(frames):
        there = [(a, pose) for a, actor in enumerate(actors) for pose in actor.at(k, fps)]
        rng.shuffle(there)
        out += tracker.push([a for a, _ in there], k / fps, [pose for _, pose in there], SIZE)
    out += tracker.finish()
    assert len(out) == frames
    return [{number: who[k] for number, k in places.items()} for who, places in out]


def numbers_of(rows: list[dict[int, int]], actor: int) -> list[int]:
    """The numbers that an actor had, in order."""
    had = [number for row in rows for number, who in row.items() if who == actor]
    return list(dict.fromkeys(had))


@pytest.mark.parametrize("fps", [60.0, 30.0, 12.5])
def test_two_people_who_cross_keep_their_numbers(fps):
    """They meet after two seconds, and the one behind is hidden for half a second."""
    meet, half = round(2 * fps), round(0.25 * fps)
    actors = [
        Actor(lambda t: 100 + 110 * t),
        Actor(lambda t: 540 - 110 * t, hidden=range(meet - half, meet + half)),
    ]
    rows = follow(actors, round(4 * fps), fps)
    assert numbers_of(rows, 0) == [0] and numbers_of(rows, 1) == [1]
    assert [set(row) for row in rows] == [{0} if k in actors[1].hidden else {0, 1} for k in range(len(rows))]


def test_two_people_side_by_side_are_not_mixed_up():
    actors = [
        Actor(lambda t: 300 + 20 * np.sin(5 * t)),
        Actor(lambda t: 370 + 20 * np.sin(7 * t), height=190),
    ]
    rows = follow(actors, 150)
    assert numbers_of(rows, 0) == [0] and numbers_of(rows, 1) == [1]


@pytest.mark.parametrize(
    ("gap_s", "numbers"), [(0.2, [0]), (1.0, [0]), (KEEP_S + 0.2, [0, 1]), (5.0, [0, 1])]
)
def test_somebody_is_waited_for_and_then_given_up(gap_s, numbers):
    actor = Actor(lambda t: 100 + 60 * t, hidden=range(45, 45 + round(30 * gap_s)))
    assert numbers_of(follow([actor], 300), 0) == numbers


def test_somebody_who_comes_back_in_another_posture_is_the_same():
    """Lost while standing, found crouching, half a body length away."""
    tracker: Tracker[int] = Tracker()
    out = []
    for k in range(60):
        pose = [standing(300)] if k < 20 else [standing(380, 300, 100)] if k >= 30 else []
        out += tracker.push(k, k / 30, pose, SIZE)
    assert {number for _, places in out + tracker.finish() for number in places} == {0}


def test_a_newcomer_does_not_take_the_number_of_who_has_walked_out():
    out = Actor(lambda t: 560 + 120 * t, range(28))
    rows = follow([out, Actor(lambda t: 620 - 120 * (t - 1.5), range(45, 90))], 90)
    assert numbers_of(rows, 0) == [0] and numbers_of(rows, 1) == [1]


def test_numbers_follow_first_sight_the_largest_first():
    actors = [
        Actor(lambda t: 500, range(20, 90)),
        Actor(lambda t: 100, height=120),
        Actor(lambda t: 300, height=220),
    ]
    rows = follow(actors, 90)
    assert [numbers_of(rows, a) for a in range(3)] == [[2], [1], [0]]
    assert sorted(rows[19]) == [0, 1] and sorted(rows[20]) == [0, 1, 2]  # nobody's first frames are lost


@pytest.mark.parametrize(
    ("fps", "frames", "person"), [(30, 4, False), (30, 5, True), (60, 6, False), (10, 2, False)]
)
def test_who_is_seen_in_a_few_frames_only_is_nobody(fps, frames, person):
    flicker = Actor(lambda t: 500, range(20, 20 + frames))
    rows = follow([Actor(lambda t: 100), flicker], 90, fps)
    assert numbers_of(rows, 0) == [0] and bool(numbers_of(rows, 1)) == person


def test_a_thing_with_hopeless_scores_is_nobody():
    tracker: Tracker[int] = Tracker()
    out = []
    for k in range(30):
        out += tracker.push(k, k / 30, [standing(300, score=0.12), standing(100, score=0.3)], SIZE)
    assert {p for _, places in out + tracker.finish() for p in places.values()} == {1}


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_clips_have_people_too(frames):
    assert all(set(row) == {0, 1} for row in follow([Actor(lambda t: 100), Actor(lambda t: 400)], frames))


def test_without_confirmation_everybody_counts_at_once():
    tracker: Tracker[int] = Tracker(confirm=False)
    assert tracker.push(0, 0.0, [standing(100)]) == [(0, {0: 0})]
    assert tracker.push(1, 0.1, [standing(100), standing(500)]) == [(1, {0: 0, 1: 1})]


def test_two_poses_of_one_person_count_once():
    """The second box holds the upper half; its pose has the same joints, less surely."""
    half = standing(302)
    half.scores[:7] = 0.2
    assert distinct([half, standing(300), standing(500)]) == [1, 2]
    assert distinct([standing(300), standing(350)]) == [0, 1]
    assert distinct([standing(300, score=0.05)]) == []


def test_oks_is_that_of_coco():
    """By hand: every joint off by its own reach gives exp(-1/2), half as far exp(-1/8); unknown joints count not."""
    a = standing(300)
    scale = 0.5 * float(np.ptp(a.keypoints, axis=0).max())
    shift = np.stack([2 * tracking.SIGMAS * scale, np.zeros(17)], axis=1)  # leaves the height alone
    partly = a.keypoints + shift
    partly[[2, 5, 13, 16]] = np.nan
    points = np.stack([a.keypoints, a.keypoints + shift, partly, np.full((17, 2), np.nan)])
    scores = np.stack([a.scores] * 4)
    want = [1, np.exp(-0.5), np.exp(-0.5), 0]
    np.testing.assert_allclose(oks(points[:1], scores[:1], points, scores)[0], want, rtol=1e-4)
    wide = oks(points[:2], scores[:2], points[:2], scores[:2], [2.0, 1.0])
    np.testing.assert_allclose(wide, [[1, np.exp(-1 / 8)], [np.exp(-0.5), 1]], rtol=1e-4)


def test_nobody_is_followed_across_a_cut():
    tracker: Tracker[int] = Tracker()
    out = [x for k in range(10) for x in tracker.push(k, k / 30, [standing(300)])] + tracker.cut()
    out += [x for k in range(10, 20) for x in tracker.push(k, k / 30, [standing(300)])] + tracker.finish()
    assert [list(places) for _, places in out] == [[0]] * 10 + [[1]] * 10


def test_over_long_leaps_of_time_nobody_is_followed_and_nobody_is_lost():
    tracker: Tracker[int] = Tracker()
    out = [x for k in range(4) for x in tracker.push(k, 5.0 * k, [standing(300), standing(500)])]
    assert out + tracker.finish() == [(k, {2 * k: 0, 2 * k + 1: 1}) for k in range(4)]


def test_numbers_do_not_depend_on_the_order_of_the_poses():
    actors = [Actor(lambda t, a=a: 80 + 70 * a + 40 * np.sin(t + a), height=150 + 11 * a) for a in range(6)]
    first = follow(actors, 120, seed=1)
    assert first == follow(actors, 120, seed=1) == follow(actors, 120, seed=2)
    assert all(len(row) == 6 for row in first)


def test_frames_are_held_back_for_a_moment_only():
    """A newcomer in every frame, nowhere near the others: the worst that can come."""
    tracker: Tracker[int] = Tracker()
    done = 0
    for k in range(300):
        done += len(tracker.push(k, k / 30, [standing(300 + 5000 * k)]))
        assert k + 1 - done <= CONFIRM_S * 30 + 2
        assert len(tracker._tracks) <= CONFIRM_S * 30 + 2  # who was nobody is forgotten
    for k in range(300, 600):  # time stands still
        done += len(tracker.push(k, 10.0, [standing(300 + 5000 * k)]))
        assert k + 1 - done <= tracking.CONFIRM_FRAMES + 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.01, 0.04, 0.2, 1.0, 3.0]),  # seconds since the frame before
            st.lists(st.sampled_from([50, 100, 130, 300, 500]), max_size=4),  # where somebody is
        ),
        max_size=30,
    )
)
def test_every_frame_comes_back_once_in_order_and_nobody_twice_in_it(clip):
    tracker: Tracker[int] = Tracker()
    out, now, most = [], 0.0, -1
    for k, (step, columns) in enumerate(clip):
        now += step
        out += tracker.push(k, now, [standing(x) for x in columns], SIZE)
    out += tracker.finish()
    assert [item for item, _ in out] == list(range(len(clip)))
    for item, places in out:
        assert list(places) == sorted(places) and len(set(places.values())) == len(places)
        assert all(0 <= k < len(clip[item][1]) for k in places.values())
        new = [n for n in places if n > most]
        assert new == list(range(most + 1, most + 1 + len(new)))  # no number is left out
        most = max(most, *places, -1)


def test_poses_without_positions_do_no_harm():
    nothing = Pose2D(np.full((17, 2), np.nan), np.zeros(17))
    tracker: Tracker[int] = Tracker()
    assert [x for k in range(5) for x in tracker.push(k, k / 30, [nothing])] == [(k, {}) for k in range(5)]
