"""pipeline/smoothing.py: jumps are damped, fast motion is kept, and nothing is joined that does not belong together."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from made_people import standing
from posefix.pipeline.smoothing import LIVE, LOOK_AHEAD_S, LOOK_BACK_S, MAX_ROWS, OneEuro, Smoother
from posefix.skeleton import Frame, FramePoses, Person, Pose2D, Pose3D
from posefix.training.mocap import load_mocap

FPS = 30.0
KNEE, ANKLE, WRIST = 2, 3, 16
OTHERS = np.arange(17) != WRIST
HOW = ["light", "strong"]


def one_euro(poses: np.ndarray, how: str = "light", fps: float = FPS) -> np.ndarray:
    preset = LIVE[how]
    assert preset is not None
    live = OneEuro(*preset)
    return np.stack([live.push(k / fps, pose) for k, pose in enumerate(poses)])


def still(frames: int) -> np.ndarray:
    """(n, 17, 3) metres."""
    return np.tile(np.linspace(-0.5, 0.5, 51).reshape(17, 3), (frames, 1, 1))


def sway(frames: int, hz: float, metres: float, fps: float = FPS) -> np.ndarray:
    """(n, 17, 3): every joint swings along x by `metres` to either side."""
    poses = still(frames)
    poses[:, :, 0] += metres * np.sin(2 * np.pi * hz * np.arange(frames) / fps)[:, None]
    return poses


def jitter(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses, 2, axis=0), axis=2).mean())


@pytest.mark.parametrize(("how", "left"), [("light", 0.5), ("strong", 0.3)])
def test_one_euro_calms_somebody_at_rest(how, left):
    noise = np.random.default_rng(0).normal(0, 0.01, (90, 17, 3))
    assert jitter(one_euro(still(90) + noise, how)[30:]) < left * jitter(noise[30:])


@pytest.mark.parametrize(("how", "left"), [("light", 0.7), ("strong", 0.5)])
def test_one_euro_damps_a_jump(how, left):
    poses = still(60)
    poses[40, 13] += (0.2, 0, 0)
    moved = np.linalg.norm(one_euro(poses, how) - still(60), axis=2)
    assert 0.01 < moved[:, 13].max() < left * 0.2
    assert moved[:, np.arange(17) != 13].max() < 1e-9


@pytest.mark.parametrize(("how", "kept"), [("light", 0.95), ("strong", 0.8)])
def test_one_euro_keeps_a_fast_swing(how, kept):
    smooth = one_euro(sway(120, 2.0, 0.4), how)[60:]  # a foot at up to 5 m/s
    assert np.ptp(smooth[:, 3, 0]) > kept * 0.8


def test_one_euro_starts_joints_anew_after_they_were_hidden():
    poses = sway(30, 1.0, 0.3)
    poses[10:13, 5] = np.nan
    smooth = one_euro(poses)
    assert np.isnan(smooth[10:13, 5]).all() and np.isfinite(smooth[:, 6]).all()
    assert (smooth[13, 5] == poses[13, 5]).all()
    assert (smooth[13, 6] != poses[13, 6]).any()


@pytest.mark.parametrize("step", [0.3, 0.0, -5.0])
def test_one_euro_starts_anew_after_a_gap_and_where_time_stands_still(step):
    preset = LIVE["strong"]
    assert preset is not None
    live = OneEuro(*preset)
    live.push(10.0, still(1)[0])
    assert (live.push(10.0 + step, still(1)[0] + 1) == still(1)[0] + 1).all()
    assert (live.push(10.0 + step + 1 / 30, still(1)[0]) != still(1)[0]).all()


def test_one_euro_gives_nothing_away_that_it_still_needs():
    preset = LIVE["light"]
    assert preset is not None
    live, twin = OneEuro(*preset), OneEuro(*preset)
    first = live.push(0.0, still(1)[0])
    first[:] = 9
    twin.push(0.0, still(1)[0])
    pose = still(1)[0] + 0.1
    assert (live.push(0.03, pose) == twin.push(0.03, pose)).all()


# --- files -------------------------------------------------------------------------------------------------------


def times_of(frames: int, fps: float = FPS) -> np.ndarray:
    return np.arange(frames) / fps


def rows_of(poses, times=None, std=None, people=(0,), points=None, size=(48, 64)):
    """Rows of poses (n, 17, 3); None: nobody there."""
    times = times_of(len(poses)) if times is None else times
    picture = np.zeros((*size, 3), np.uint8)
    points = np.stack([np.arange(17.0) * 3, 100 - np.arange(17.0) * 2], axis=1) if points is None else points
    rows = []
    for k, (time_s, pose) in enumerate(zip(times, poses, strict=True)):
        if pose is None:
            found = tuple(Person(n, "missing") for n in people)
        else:
            two = Pose2D(np.where(np.isnan(pose[:, :2]), np.nan, points), np.ones(17))
            three = Pose3D(pose, np.full(17, 0.05) if std is None else std[k])
            found = tuple(Person(n, "detected", two, three) for n in people)
        rows.append((Frame(k, float(time_s), picture), FramePoses(k, float(time_s), found)))
    return rows


def through(rows, how: str = "light", size: int = 1):
    """What comes out of the smoother for rows given `size` at a time."""
    smoother, out = Smoother(how), []
    for begin in range(0, len(rows), size):
        for row in rows[begin : begin + size]:
            out += smoother.push(row)
    return out + smoother.finish()


def joints_of(out, person: int = 0) -> np.ndarray:
    found = [next((p.pose3d for p in row.people if p.id == person), None) for _, row in out]
    return np.stack([np.full((17, 3), np.nan) if pose is None else pose.joints for pose in found])


def smooth(poses, how: str = "light", **options) -> np.ndarray:
    return joints_of(through(rows_of(poses, **options), how))


def kick(fps: float, metres: float = 0.8, seconds: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """(n, 17, 3): after a second the ankle goes out and back, at up to 6.3 m/s; and the times."""
    times = times_of(int(2.4 * fps), fps)
    phase = np.clip((times - 1.0) / seconds, 0, 1)
    poses = still(len(times))
    poses[:, ANKLE, 2] += metres * (1 - np.cos(2 * np.pi * phase)) / 2
    return poses, times


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("fps", [10.0, 15.0, 24.0, 30.0, 60.0, 120.0])
def test_a_jump_of_one_joint_leaves_less_than_a_twentieth(how, fps):
    noise = np.random.default_rng(1).normal(0, 0.004, (int(2 * fps), 17, 3))
    poses = still(len(noise)) + noise
    jumped = poses.copy()
    jumped[len(poses) // 2, WRIST] += (0.15, -0.1, 0.1)
    times = times_of(len(poses), fps)
    change = np.linalg.norm(smooth(jumped, how, times=times) - smooth(poses, how, times=times), axis=2)
    assert change[:, WRIST].max() < 0.05 * np.linalg.norm((0.15, -0.1, 0.1))
    assert change[:, OTHERS].max() == 0


@pytest.mark.parametrize(
    ("how", "fps", "amplitude", "speed"),
    [
        ("light", 24.0, 0.97, 0.89),
        ("light", 30.0, 0.97, 0.95),
        ("light", 60.0, 0.97, 0.95),
        ("light", 120.0, 0.97, 0.95),
        ("strong", 30.0, 0.9, 0.8),
        ("strong", 60.0, 0.9, 0.8),
    ],
)
def test_a_fast_kick_is_not_clipped(how, fps, amplitude, speed):
    poses, times = kick(fps)
    out = smooth(poses, how, times=times)
    assert np.abs(np.delete(out - poses, ANKLE, axis=1)).max() < 1e-6
    was, now = poses[:, ANKLE, 2], out[:, ANKLE, 2]
    assert amplitude * np.ptp(was) < np.ptp(now) < 1.02 * np.ptp(was)
    assert np.abs(np.diff(now)).max() > speed * np.abs(np.diff(was)).max()
    assert abs(int(now.argmax()) - int(was.argmax())) <= 1


@pytest.mark.parametrize(("how", "amplitude", "speed"), [("light", 0.95, 0.9), ("strong", 0.9, 0.8)])
def test_the_fastest_of_real_motion_stays(shared_dir, how, amplitude, speed):
    """Kicks, throws and hops of `val` people: wrists and ankles, wherever they move faster than 4 m/s."""
    sequences = load_mocap(shared_dir / "data" / "mocap17_hdm05.npz").split("val")
    extents, speeds = [], []
    for sequence in (s for s in sequences if re.search("kick|throw", s.action)):
        poses = sequence.relative.astype(np.float64)
        out = smooth(poses, how)
        for joint in (ANKLE, 6, 13, WRIST):
            was, now = (np.linalg.norm(np.gradient(p[:, joint], axis=0), axis=1) * FPS for p in (poses, out))
            for k in np.flatnonzero(was > 4):
                part = slice(max(0, k - 8), k + 9)
                far = [
                    np.linalg.norm(p[part, None, joint] - p[None, part, joint], axis=2).max()
                    for p in (poses, out)
                ]
                extents.append(far[1] / far[0])
                speeds.append(now[part].max() / was[part].max())
    assert len(extents) >= 30
    assert np.percentile(extents, 5) > amplitude
    assert np.mean(speeds) > speed


@pytest.mark.parametrize(("how", "left"), [("light", 0.12), ("strong", 0.05)])
def test_jitter_goes(how, left):
    noise = np.random.default_rng(2).normal(0, 0.01, (90, 17, 3))
    out = smooth(still(90) + noise, how)
    assert jitter(out[15:-15]) < left * jitter(noise[15:-15])
    assert np.linalg.norm(out - still(90), axis=2).mean() < 0.65 * np.linalg.norm(noise, axis=2).mean()


@pytest.mark.parametrize("how", HOW)
def test_nothing_lags(how):
    noise = np.random.default_rng(3).normal(0, 0.01, (60, 17, 3))
    poses = sway(60, 1.0, 0.3) + noise
    assert np.allclose(smooth(poses[::-1], how), smooth(poses, how)[::-1], atol=2e-5)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    assert np.allclose(smooth(poses @ turn, how), smooth(poses, how) @ turn, atol=1e-5)


@pytest.mark.parametrize("how", HOW)
def test_steady_acceleration_stays_as_it_is_at_any_frame_times(how):
    times = np.cumsum(np.random.default_rng(5).uniform(0.008, 0.06, 80))
    poses = still(80)
    poses[:, KNEE, 0] += 1.0 * (times - 1) ** 2 - 0.5 * times
    assert np.abs(smooth(poses, how, times=times) - poses)[12:-12].max() < 0.002


@pytest.mark.parametrize("how", HOW)
def test_how_rows_come_and_where_they_begin_changes_nothing(how):
    rng = np.random.default_rng(6)
    poses = list(sway(120, 1.5, 0.3) + rng.normal(0, 0.02, (120, 17, 3)))
    poses[60] = poses[61] = None
    poses[80][5] = np.nan
    rows = rows_of(poses, people=(0, 3))
    whole = joints_of(through(rows, how), 3)
    for size in (4, 120):
        assert np.array_equal(joints_of(through(rows, how, size), 3), whole, equal_nan=True)
    back, ahead = int(np.ceil(LOOK_BACK_S * FPS)), int(np.ceil(LOOK_AHEAD_S * FPS))
    for begin, end in ((20, 110), (59, 115)):
        part = joints_of(through(rows[begin:end], how), 3)[back:-ahead]
        assert np.array_equal(part, whole[begin + back : end - ahead], equal_nan=True)


@pytest.mark.parametrize("how", HOW)
def test_somebody_missing_ends_the_smoothing(how):
    poses = [*still(20), None, *(still(20) + 0.1)]
    out = through(rows_of(poses), how)
    assert np.abs(joints_of(out)[:20] - still(20)).max() < 1e-6
    assert np.abs(joints_of(out)[21:] - still(20) - 0.1).max() < 1e-6
    assert out[20][1].people == (Person(0, "missing"),)


@pytest.mark.parametrize("how", HOW)
def test_a_hidden_joint_ends_its_smoothing_and_no_other_joints(how):
    poses = sway(60, 1.0, 0.02) + np.random.default_rng(7).normal(0, 0.005, (60, 17, 3))
    hidden = poses.copy()
    hidden[30, WRIST] = np.nan
    out, whole, first = smooth(hidden, how), smooth(poses, how), smooth(poses[:30], how)
    assert np.isnan(out[30, WRIST]).all() and np.isnan(out).sum() == 3
    assert np.array_equal(out[:, OTHERS], whole[:, OTHERS])
    assert np.abs(out[:30, WRIST] - first[:, WRIST]).max() < 1e-6
    assert np.abs(out[28:30, WRIST] - whole[28:30, WRIST]).max() > 1e-4


def test_a_long_step_in_time_ends_the_smoothing():
    poses = np.concatenate([still(20), still(20) + 0.1])
    times = times_of(40) + np.where(np.arange(40) < 20, 0, 0.26)
    assert np.abs(smooth(poses, "strong", times=times) - poses).max() < 1e-6
    assert np.abs(smooth(poses, "strong") - poses).max() > 0.01


def test_another_size_of_pictures_ends_the_smoothing():
    rows = rows_of(still(20)) + [
        (frame, FramePoses(20 + k, (20 + k) / FPS, row.people))
        for k, (frame, row) in enumerate(rows_of(still(20) + 0.1, size=(64, 48)))
    ]
    assert np.abs(joints_of(through(rows, "strong"))[:20] - still(20)).max() < 1e-6
    assert np.abs(joints_of(through(rows, "strong"))[20:] - still(20) - 0.1).max() < 1e-6


@pytest.mark.parametrize("how", HOW)
def test_another_shot_ends_the_smoothing(how):
    first, second = still(20), still(20)[:, :, [1, 0, 2]] * (1.0, -1.0, 0.5) + 0.4
    poses = np.concatenate([first, second])
    assert np.abs(smooth(poses, how) - poses).max() < 1e-6
    # The same pose elsewhere in the picture: somebody else, or another camera.
    moved = rows_of(still(20)) + [
        (Frame(20 + k, (20 + k) / FPS, f.image), FramePoses(20 + k, (20 + k) / FPS, r.people))
        for k, (f, r) in enumerate(rows_of(still(20) + 0.03, points=np.arange(34.0).reshape(17, 2) + 200))
    ]
    assert np.abs(joints_of(through(moved, how)) - np.concatenate([still(20), still(20) + 0.03])).max() < 1e-6


def in_turn(poses: np.ndarray, parts: list[tuple[int, float]], **options):
    """Rows of poses whose 2D stands for so many frames at x pixels, and so on; 200 pixels tall."""
    rows, at = rows_of(poses, **options), [x for count, x in parts for _ in range(count)]
    return [
        (f, replace(r, people=tuple(replace(p, pose2d=standing(x)) for p in r.people)))
        for (f, r), x in zip(rows, at, strict=True)
    ]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("frames", [1, 2, 10])
def test_nothing_is_smoothed_across_a_leap(how, frames):
    """However short somebody else is seen, and however alike the poses are."""
    poses = sway(50, 1.0, 0.02) + np.random.default_rng(11).normal(0, 0.005, (50, 17, 3))
    parts = [(20, 100.0), (frames, 900.0), (30 - frames, 110.0)]
    rows = in_turn(poses, parts)
    out, begin = joints_of(through(rows, how)), 0
    for count, _ in parts:
        part = slice(begin, begin + count)
        assert np.array_equal(out[part], joints_of(through(rows[part], how)))
        begin += count
    assert np.abs(out - smooth(poses, how)).max() > 1e-3
    for size in (3, 50):
        assert np.array_equal(joints_of(through(rows, how, size)), out)


@pytest.mark.parametrize("how", HOW)
def test_whoever_runs_is_smoothed_like_anybody(how):
    poses = sway(40, 1.0, 0.02) + np.random.default_rng(12).normal(0, 0.005, (40, 17, 3))
    step = 11.0 * 200 / 1.75 / FPS  # pixels a frame at 11 m/s
    run = joints_of(through(in_turn(poses, [(1, step * k) for k in range(40)]), how))
    assert np.array_equal(run, joints_of(through(in_turn(poses, [(40, 0.0)]), how)))


@pytest.mark.parametrize("how", HOW)
def test_one_frame_of_a_wrong_pose_is_no_other_shot(how):
    poses = still(40)
    poses[20] = poses[20][:, [1, 0, 2]] * (1.0, -1.0, 0.5) + 0.4
    assert np.linalg.norm(smooth(poses, how) - still(40), axis=2).max() < 0.01


@pytest.mark.parametrize("film", [True, False])
@pytest.mark.parametrize("how", HOW)
def test_pictures_that_are_no_film_are_left_alone(how, film):
    rng = np.random.default_rng(10)
    poses = rng.normal(0, 0.25, (40, 17, 3))  # in the same place of the picture
    smoother, rows, out = Smoother(how, film=film), rows_of(poses), []
    for row in rows:
        out += smoother.push(row)
    assert np.array_equal(joints_of(out + smoother.finish()), joints_of(rows))


def test_pictures_must_be_more_alike_than_those_of_a_film():
    poses = still(40)
    poses[:, :, 0] += 0.18 * (np.arange(40) % 2)[:, None]  # for a film, 5 m/s to and fro
    rows = rows_of(poses)
    film, pictures = Smoother("light"), Smoother("light", film=False)
    out = [[r for row in rows for r in s.push(row)] + s.finish() for s in (film, pictures)]
    assert np.abs(joints_of(out[0]) - poses).max() > 0.02
    assert np.array_equal(joints_of(out[1]), joints_of(rows))


def test_somebody_doubtful_counts_for_less():
    poses, std = still(21), np.full((21, 17), 0.05)
    poses[10, WRIST] += (0.03, 0, 0)
    sure = np.linalg.norm(smooth(poses, std=std) - still(21), axis=2).max()
    std[10, WRIST] = 0.5
    unsure = np.linalg.norm(smooth(poses, std=std) - still(21), axis=2).max()
    assert unsure < 0.5 * sure
    unknown = smooth(poses, std=np.full((21, 17), np.nan))
    assert np.isfinite(unknown).all()
    assert np.allclose(unknown, smooth(poses, std=np.full((21, 17), 0.05)), atol=1e-7)


def test_only_the_3d_changes_and_the_raw_pose_stays():
    poses = still(30) + np.random.default_rng(8).normal(0, 0.02, (30, 17, 3))
    rows = rows_of(poses, people=(0, 1))
    out = through(rows)
    assert [row.index for _, row in out] == list(range(30))
    for (frame, row), (was_frame, was) in zip(out, rows, strict=True):
        assert frame is was_frame and row.time_s == was.time_s
        for person, before in zip(row.people, was.people, strict=True):
            assert person.raw3d is before.pose3d and person.pose2d is before.pose2d
            assert person.pose3d is not None and before.pose3d is not None
            assert np.array_equal(person.pose3d.std, before.pose3d.std)
            assert (person.pose3d.joints != before.pose3d.joints).all()
    alone = rows_of(poses[:1])
    assert through(alone)[0][1].people[0].pose3d is alone[0][1].people[0].pose3d


def test_off_hands_everything_through():
    rows = rows_of(sway(5, 2.0, 0.2))
    smoother = Smoother("off")
    assert [smoother.push(row) for row in rows] == [[row] for row in rows] and smoother.finish() == []


@pytest.mark.parametrize("step", [0.0, 1e-4, -0.01])
def test_what_is_held_is_bounded_where_times_are_broken(step):
    smoother, given = Smoother("strong"), 0
    for k, row in enumerate(rows_of(still(300), times=step * np.arange(300.0))):
        given += len(smoother.push(row))
        assert k + 1 - given <= MAX_ROWS
    assert given + len(smoother.finish()) == 300


def test_rows_come_as_soon_as_their_window_is_full():
    smoother, late = Smoother("light"), []
    for k, row in enumerate(rows_of(still(60))):
        late += [k - done.index for _, done in smoother.push(row)]
    assert set(late) == {8}  # 0.25 s


def test_pictures_are_dropped_where_nobody_looks_at_them():
    lean = Smoother("light", pictures=False)
    given = [frame for row in rows_of(still(60)) for frame, _ in lean.push(row)]
    assert len(given) == 52 and {frame.image.shape for frame in given if frame} == {(48, 64, 3)}
    assert all(frame is not None and frame.image.strides == (0, 0, 0) for frame in given)
