"""pipeline/gaps.py: bridging short gaps, leaving long ones open, one row a frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_people import standing
from posefix.pipeline import gaps
from posefix.pipeline.gaps import BRIDGED_SCORE, CORE, HIDDEN_BELOW, MAX_GAP_S, MIN_CORE, GapFiller
from posefix.pipeline.leaps import is_leap
from posefix.skeleton import FramePoses, Pose2D

WRIST = 13


def pose(k: float, hidden: tuple[int, ...] = ()) -> Pose2D:
    """A person who moves in a line: joint j at (10 j + k, 5 j - k), score 0.8."""
    j = np.arange(17)
    scores = np.full(17, 0.8)
    scores[list(hidden)] = 0.01
    return Pose2D(np.stack([10 * j + k, 5 * j - k], 1), scores, box=np.array([k, k, k + 9, k + 9]))


def run(people: list[Pose2D | None], fps: float = 30.0, first: int = 0) -> list[FramePoses]:
    filler, rows = GapFiller(), []
    for k, one in enumerate(people, first):
        rows += filler.push(k, k / fps, {} if one is None else {0: one})
    return rows + filler.finish()


def statuses(rows: list[FramePoses]) -> str:
    """One letter a row: d(etected), i(nterpolated), m(issing)."""
    return "".join(row.people[0].status[0] for row in rows)


# 30 frames/s: 7 frames last 0.233 s, 8 last 0.267 s.
@pytest.mark.parametrize(("gap", "letter"), [(1, "i"), (7, "i"), (8, "m"), (40, "m")])
def test_absence_is_bridged_up_to_a_quarter_second(gap, letter):
    rows = run([pose(0)] * 2 + [None] * gap + [pose(1)] * 2)
    assert statuses(rows) == "dd" + letter * gap + "dd"
    for row in rows[2 : 2 + gap]:
        assert (row.people[0].pose2d is None) == (letter == "m")


def test_bridge_is_linear_in_time_with_lowered_score():
    times = [0.0, 0.02, 0.1, 0.12]  # variable frame rate
    filler, rows = GapFiller(), []
    for k, (time_s, one) in enumerate(zip(times, [pose(0), None, None, pose(12)], strict=True)):
        rows += filler.push(k, time_s, {0: one} if one else {})
    rows += filler.finish()
    for row in rows:
        bridged = row.people[0].pose2d
        np.testing.assert_allclose(bridged.keypoints, pose(100 * row.time_s).keypoints, atol=1e-4)
        np.testing.assert_allclose(bridged.box, pose(100 * row.time_s).box, atol=1e-4)
    np.testing.assert_allclose(rows[1].people[0].pose2d.scores, BRIDGED_SCORE * 0.8)


def test_nothing_before_the_first_and_after_the_last_sight():
    rows = run([None, None, pose(0), pose(1), None, None])
    assert statuses(rows) == "mmddmm"
    assert [row.index for row in rows] == list(range(6))


def test_nobody_at_all_still_gives_a_row_a_frame():
    rows = run([None] * 100)
    assert statuses(rows) == "m" * 100 and all(r.people[0].pose2d is None for r in rows)


def test_a_hidden_joint_is_bridged_and_the_person_stays_detected():
    rows = run([pose(0), pose(1, (WRIST,)), pose(2)])
    assert statuses(rows) == "ddd"
    middle = rows[1].people[0].pose2d
    np.testing.assert_allclose(middle.keypoints, pose(1).keypoints, atol=1e-5)
    assert middle.scores[WRIST] == pytest.approx(BRIDGED_SCORE * 0.8) and middle.scores[0] == pytest.approx(
        0.8
    )


def test_a_joint_hidden_for_long_is_nan_and_keeps_its_score():
    rows = run([pose(0)] + [pose(k, (WRIST,)) for k in range(1, 20)] + [pose(20)])
    assert statuses(rows) == "d" * 21
    for row in rows[1:20]:
        hidden = row.people[0].pose2d
        assert (
            np.isnan(hidden.keypoints[WRIST]).all()
            and np.isfinite(np.delete(hidden.keypoints, WRIST, 0)).all()
        )
        assert hidden.scores[WRIST] == pytest.approx(0.01)


def test_too_few_core_joints_are_no_person():
    assert statuses(run([pose(0, CORE[: 6 - MIN_CORE])])) == "d"
    assert statuses(run([pose(0, CORE[: 6 - MIN_CORE + 1])])) == "m"


def test_undecoded_frames_get_rows_and_interpolated_times():
    filler = GapFiller(first_index=0)
    rows = filler.push(2, 0.2, {0: pose(2)}) + filler.push(5, 0.35, {0: pose(5)}) + filler.finish()
    assert [row.index for row in rows] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose([row.time_s for row in rows], [0, 0.1, 0.2, 0.25, 0.3, 0.35])
    assert statuses(rows) == "mmdiid"


def test_rows_begin_with_the_first_frame_read():
    rows = run([pose(0), pose(1)], first=90)  # --start
    assert [row.index for row in rows] == [90, 91]


def test_no_bridge_across_a_cut():
    filler = GapFiller()
    rows = filler.push(0, 0.0, {0: pose(0)}) + filler.push(1, 0.03, {}) + filler.cut()
    rows += filler.push(2, 0.06, {0: pose(2)}) + filler.finish()
    assert statuses(rows) == "dmd"


# --- leaps: who was seen before and after is not one person ---


@pytest.mark.parametrize("gap", [1, 2, 7])
def test_no_bridge_between_two_people(gap):
    one, other = standing(100), standing(900)  # 200 pixels tall
    rows = run([one] * 3 + [None] * gap + [other] * 3)
    assert statuses(rows) == "ddd" + "m" * gap + "ddd"
    assert all(row.people[0].pose2d is None for row in rows[3 : 3 + gap])
    back = run([one, None, other, None, one, None, one])
    assert statuses(back) == "dmdmdid"


def test_frames_that_could_not_be_decoded_are_not_bridged_between_two_people():
    filler = GapFiller()
    rows = filler.push(0, 0.0, {0: standing(100)}) + filler.push(3, 0.1, {0: standing(900)}) + filler.finish()
    assert statuses(rows) == "dmmd"


def test_whoever_runs_is_bridged():
    px_s = 11.0 * 200 / 1.75  # 11 m/s
    for gap in (1, 3, 6):
        rows = run([standing(100), *[None] * gap, standing(100 + px_s * (gap + 1) / 30)])
        assert statuses(rows) == "d" + "i" * gap + "d"


def test_no_joint_is_bridged_between_two_people():
    def without_wrist(x: float) -> Pose2D:
        pose = standing(x)
        pose.scores[WRIST] = 0.01
        return pose

    people = [
        standing(100),
        without_wrist(103),
        without_wrist(900),
        standing(903),
        without_wrist(905),
        standing(907),
    ]
    poses = [row.people[0].pose2d for row in run(people)]
    for k in (1, 2):  # the last frame of one, the first of the other
        assert np.isnan(poses[k].keypoints[WRIST]).all() and poses[k].scores[WRIST] == pytest.approx(0.01)
        assert np.isfinite(np.delete(poses[k].keypoints, WRIST, 0)).all()
    np.testing.assert_allclose(poses[4].keypoints[WRIST], standing(905).keypoints[WRIST], atol=1e-3)


def test_whose_leap_it_is_matters_to_nobody_else():
    filler, rows = GapFiller(people=(0, 1)), []
    for k, people in enumerate([(100, 500), None, (900, 505), None, (905, 510)]):
        rows += filler.push(k, k / 30, {n: standing(x) for n, x in enumerate(people or ())})
    rows += filler.finish()
    letters = ["".join(p.status[0] for p in row.people) for row in rows]
    assert letters == ["dd", "mi", "dd", "ii", "dd"]


def test_a_leap_holds_nothing_back():
    filler = GapFiller()
    assert filler.push(0, 0.0, {0: standing(100)}) and not filler.push(1, 0.03, {})
    assert [row.index for row in filler.push(2, 0.06, {0: standing(900)})] == [1, 2]


def test_frames_must_advance():
    filler = GapFiller()
    filler.push(3, 0.1, {})
    with pytest.raises(ValueError, match="expected growing numbers"):
        filler.push(3, 0.2, {})


def test_a_second_person_has_rows_from_the_first_sight_on():
    filler = GapFiller()
    rows = filler.push(0, 0.0, {0: pose(0)}) + filler.push(1, 0.1, {0: pose(1), 7: pose(5)})
    rows += filler.push(2, 0.2, {0: pose(2)}) + filler.push(3, 0.3, {7: pose(9)}) + filler.finish()
    assert [[(p.id, p.status[0]) for p in row.people] for row in rows] == [
        [(0, "d")],
        [(0, "d"), (7, "d")],
        [(0, "d"), (7, "i")],
        [(0, "m"), (7, "d")],
    ]


def reference(times: np.ndarray, points: np.ndarray, scores: np.ndarray, present: np.ndarray):
    """The whole clip at once: what must come out, written as plainly as possible."""
    seen = present[:, None] & (scores >= HIDDEN_BELOW)
    present = present & (seen[:, list(CORE)].sum(1) >= MIN_CORE)
    seen &= present[:, None]
    known = np.where(seen[..., None], points, np.nan)
    leaps = {
        b
        for a, b in itertools.pairwise(np.flatnonzero(present))
        if is_leap(known[a], known[b], times[b] - times[a])
    }
    out = np.where(seen[..., None], points, np.nan)
    for joint in range(17):
        ends = np.flatnonzero(seen[:, joint])
        for a, b in itertools.pairwise(ends):
            if (
                b > a + 1
                and times[b] - times[a + 1] <= MAX_GAP_S + 1e-6
                and not leaps & {*range(a + 1, b + 1)}
            ):
                for axis in (0, 1):
                    out[a + 1 : b, joint, axis] = np.interp(
                        times[a + 1 : b], times[[a, b]], points[[a, b], joint, axis]
                    )
    whole = np.isfinite(out[:, list(CORE), 0]).sum(1) >= MIN_CORE
    letters = "".join("d" if p else "i" if w else "m" for p, w in zip(present, whole, strict=True))
    return out, letters


clips = st.lists(
    st.tuples(
        st.sampled_from([0.01, 0.04, 0.1, 0.2]),  # seconds since the frame before
        st.booleans(),  # present
        st.sets(st.integers(0, 16), max_size=9),  # hidden joints
        st.integers(0, 9).map(lambda k: k == 0),  # somebody else
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(clips, st.integers(0, 2**32 - 1))
def test_streaming_equals_the_whole_clip_at_once(clip, seed):
    times = np.cumsum([c[0] for c in clip])
    present = np.array([c[1] for c in clip])
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 500, (len(clip), 17, 2)).astype(np.float32)
    points[[c[3] for c in clip]] += 20_000
    scores = np.full((len(clip), 17), 0.9, np.float32)
    for k, (_, _, hidden, _) in enumerate(clip):
        scores[k, list(hidden)] = 0.02
    filler, rows, held = GapFiller(), [], 0
    for k, time_s in enumerate(times):
        rows += filler.push(k, time_s, {0: Pose2D(points[k], scores[k])} if present[k] else {})
        held = max(held, k + 1 - len(rows))
        if rows and len(rows) <= k:  # look-ahead is bounded by the gap limit
            assert time_s - times[len(rows)] <= MAX_GAP_S + 1e-6
    rows += filler.finish()
    want, letters = reference(times, points, scores, present)
    assert [row.index for row in rows] == list(range(len(clip)))
    assert [row.time_s for row in rows] == list(times)
    assert statuses(rows) == letters
    for k, row in enumerate(rows):
        if letters[k] != "m":
            np.testing.assert_allclose(row.people[0].pose2d.keypoints, want[k], atol=1e-3)
    assert held <= gaps.MAX_GAP_FRAMES + 1


def test_held_frames_are_bounded_even_when_time_stands_still():
    filler, rows = GapFiller(), []
    for k in range(500):
        rows += filler.push(k, k * 1e-6, {0: pose(k)} if k == 0 else {})
        assert k + 1 - len(rows) <= gaps.MAX_GAP_FRAMES + 1
