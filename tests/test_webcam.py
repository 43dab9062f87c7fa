"""pipeline/live/: the newest frame wins, lost cameras come back, keys do what they say, recordings are whole."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from posefix.pipeline.channels import Stopped
from posefix.pipeline.live import camera as camera_module
from posefix.pipeline.live.camera import Camera
from posefix.pipeline.live.controls import HELP, KEYS, YAW_DEG, Controls, State
from posefix.pipeline.live.meter import Meter
from posefix.pipeline.live.newest import Newest
from posefix.pipeline.live.people import LivePeople, LiveSmoother
from posefix.pipeline.live.picture import Status, draw_status, mirrored
from posefix.pipeline.live.window import key_name
from posefix.pipeline.sources import Source
from posefix.skeleton import Frame, FramePoses, Person, Pose2D, Pose3D
from posefix.skeleton.errors import InputError

WAIT_S = 10.0  # for what must happen


def until(what, seconds: float = WAIT_S):
    """Waits for `what()` to be true and gives it back."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    return found


# --- the newest frame ---


def test_a_late_reader_gets_the_newest_and_nothing_else():
    channel: Newest[int] = Newest()
    for k in range(5):
        channel.put(k)
    assert channel.take(0) == 4
    assert channel.take(0) is None
    assert (channel.dropped, channel.ended) == (4, False)
    channel.put(5)
    channel.close()
    assert not channel.ended
    assert list(channel) == [5]
    assert channel.ended
    channel.abort()
    with pytest.raises(Stopped):
        channel.put(6)


def test_a_writer_may_wait_until_it_is_read():
    channel: Newest[int] = Newest()
    channel.put(1)
    threading.Timer(0.1, lambda: channel.take(1)).start()
    began = time.monotonic()
    channel.wait_until_taken()
    assert 0.05 < time.monotonic() - began < 2


class FakePictures:
    """A camera or file whose frame k is grey of level k; sends every `step_s`, frame k at `times[k]`."""

    def __init__(self, count: int, live: bool = True, step_s: float = 0.0, times=None, slow=()) -> None:
        self.live, self.fps, self.n_frames = live, 100.0, None if live else count
        self.count, self.step_s, self.slow = count, step_s, dict(slow)
        self.times = times or [k / 100 for k in range(count)]
        self.k, self.closed = -1, False

    def advance(self) -> tuple[int, float] | None:
        time.sleep(self.slow.get(self.k + 1, self.step_s))
        self.k += 1
        return (self.k, self.times[self.k]) if self.k < self.count else None

    def image(self) -> np.ndarray:
        return np.full((24, 32, 3), self.k, np.uint8)

    def nothing_readable(self) -> str:
        return "camera 7: opens but sends no picture"

    def close(self) -> None:
        self.closed = True


CAMERA = Source("camera", 7, "camera7")


def start(camera: Camera) -> Newest:
    newest = Newest()

    def work() -> None:
        camera.run(newest)
        newest.close()

    threading.Thread(target=work, daemon=True).start()
    return newest


def test_a_slow_reader_of_a_camera_sees_what_is_now():
    pictures = FakePictures(10_000, step_s=0.002)
    camera = Camera(CAMERA, lambda _: pictures)
    newest = start(camera)
    levels, ages = [], []
    for _ in range(10):
        time.sleep(0.03)
        shot = newest.take(1)
        levels.append(shot.frame.index)
        ages.append(time.monotonic() - shot.taken_s)
    camera.stop()
    assert np.diff(levels).min() >= 3  # those between were dropped
    assert np.median(ages) < 0.08  # a queue: 0.15
    assert newest.dropped >= 30
    until(lambda: pictures.closed)


def test_a_file_plays_in_real_time():
    times = [0.0, 0.1, 0.15, 0.4]
    camera = Camera(Source("video", "a.mp4", "a"), lambda _: FakePictures(4, False, times=times))
    began = time.monotonic()
    newest, shots, late = start(camera), [], []
    for shot in newest:
        shots.append(shot)
        late.append(time.monotonic() - shot.taken_s)
    assert [s.frame.time_s for s in shots] == times
    assert [s.frame.index for s in shots] == [0, 1, 2, 3]
    np.testing.assert_allclose(np.diff([s.taken_s for s in shots]), np.diff(times), atol=1e-6)
    assert time.monotonic() - began >= 0.4
    assert min(late) >= 0 and np.median(late) < 0.2


def test_frames_of_a_file_that_come_too_late_are_dropped():
    pictures = FakePictures(60, False, slow={20: 0.2})  # one frame takes 20 times its step
    camera = Camera(Source("video", "a.mp4", "a"), lambda _: pictures)
    newest = start(camera)
    indices = []
    for shot in newest:
        indices.append(shot.frame.index)
    assert camera.dropped >= 10
    assert len(indices) + newest.dropped + camera.dropped == 60 and indices == sorted(indices)
    # Numbers are those of the file: what was dropped leaves a hole.
    assert max(np.diff(indices)) > 5


def test_a_file_that_cannot_be_decoded_in_time_still_shows_something(monkeypatch):
    monkeypatch.setattr(camera_module, "SHOW_S", 0.05)
    camera = Camera(Source("video", "a.mp4", "a"), lambda _: FakePictures(30, False, step_s=0.02))
    shots = list(start(camera))
    assert len(shots) >= 6


def test_a_paused_file_goes_on_where_it_stopped():
    camera = Camera(Source("video", "a.mp4", "a"), lambda _: FakePictures(40, False))
    newest = start(camera)
    until(lambda: (shot := newest.take(1)) and shot.frame.index >= 5)
    camera.pause(True)
    time.sleep(0.1)
    before = newest.take(0)
    time.sleep(0.3)
    assert newest.take(0) is None
    camera.pause(False)
    after = newest.take(1)
    assert after.frame.index <= (before.frame.index if before else 8) + 3
    assert time.monotonic() - after.taken_s < 0.2
    camera.stop()


def test_a_lost_camera_is_opened_again(monkeypatch):
    monkeypatch.setattr(camera_module, "RETRY_S", 0.02)
    there = threading.Event()
    opened = []

    def opener(_):
        opened.append(FakePictures(5 if len(opened) == 0 else 10_000, step_s=0.002))
        if len(opened) > 1 and not there.is_set():
            raise InputError("camera 7 does not open")
        return opened[-1]

    camera = Camera(CAMERA, opener)
    assert camera.trouble is None
    newest = start(camera)
    until(lambda: camera.trouble)
    assert camera.trouble.startswith("camera 7 is lost") and "opening it again" in camera.trouble
    until(lambda: len(opened) >= 4)
    last = newest.take(0)
    there.set()
    shot = until(lambda: newest.take(1))
    until(lambda: camera.trouble is None)
    assert camera.reopened == 1
    assert last is not None and shot.frame.index > last.frame.index and shot.frame.time_s > last.frame.time_s
    assert opened[0].closed
    camera.stop()
    assert until(lambda: newest.ended or newest.take(0) is None)


def test_a_silent_camera_is_said_to_be(monkeypatch):
    monkeypatch.setattr(camera_module, "QUIET_S", 0.1)
    camera = Camera(CAMERA, lambda _: FakePictures(10, step_s=0.001, slow={5: 0.6}))
    newest = start(camera)
    until(lambda: camera.trouble)
    assert camera.trouble.startswith("camera 7: no picture for ")
    until(lambda: newest.take(1) and camera.trouble is None)
    camera.stop()


def test_streams_are_opened_for_pictures_at_once(monkeypatch):
    asked = []

    class Closed:
        isOpened = release = lambda self: False

    monkeypatch.setattr(cv2, "VideoCapture", lambda *words: asked.append(words[2]) or Closed())
    with pytest.raises(InputError, match="does not open"):
        camera_module.open_pictures(Source("stream", "rtsp://x/y", "y"))
    limits = dict(zip(asked[0][::2], asked[0][1::2], strict=True))
    assert limits[cv2.CAP_PROP_N_THREADS] == 1 and limits[cv2.CAP_PROP_READ_TIMEOUT_MSEC] == 3000


def test_a_camera_without_a_picture_is_an_error_at_once():
    pictures = FakePictures(0)
    with pytest.raises(InputError, match="sends no picture"):
        Camera(CAMERA, lambda _: pictures)
    assert pictures.closed


# --- keys ---


@pytest.mark.parametrize(
    ("key", "field", "values"),
    [
        ("r", "record", [True, False]),
        ("p", "paused", [True, False]),
        (" ", "paused", [True, False]),
        ("m", "mirror", [True, False]),
        ("M", "mirror", [True, False]),
        ("f", "refine", [False, True]),
        ("h", "help", [False, True]),
        ("]", "yaw_deg", [YAW_DEG + 15, YAW_DEG + 30]),
        ("right", "yaw_deg", [YAW_DEG + 15, YAW_DEG + 30]),
        ("left", "yaw_deg", [YAW_DEG - 15, YAW_DEG - 30]),
        ("q", "quit", [True, True]),
        ("esc", "quit", [True, True]),
    ],
)
def test_what_each_key_changes(key, field, values):
    controls = Controls()
    for value in values:
        before = controls.state
        assert controls.press(key)
        assert getattr(controls.state, field) == value
        others = {f: getattr(before, f) for f in State.__slots__ if f != field}
        assert all(getattr(controls.state, f) == was for f, was in others.items())


def test_other_keys_do_nothing_and_the_view_goes_round():
    controls = Controls()
    for key in ("x", "", "rr", "enter"):
        assert not controls.press(key)
    assert controls.state == State()
    for _ in range(24):
        controls.press("]")
    assert controls.state.yaw_deg == YAW_DEG


def test_every_key_is_in_the_help():
    assert "".join(KEYS) == "".join(HELP).replace(" ", "")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ord("r"), "r"), (65361, "left"), (0x270000, "right"), (27, "esc"), (0x100000 | ord("q"), "q"),
        (-1, None), (9, None),
    ],
)  # fmt: skip
def test_codes_of_keys(code, name):
    assert key_name(code) == name


# --- people, smoothing, the picture ---


def person_at(x: float, score: float = 0.9) -> Pose2D:
    j = np.arange(17)
    return Pose2D(
        np.stack([x + 3 * (j % 5), 20 + 5 * j], 1), np.full(17, score), box=np.array([x, 20, x + 15, 100])
    )


def frame_at(k: int) -> Frame:
    return Frame(k, k / 30, np.zeros((120, 200, 3), np.uint8))


def test_people_are_there_at_once_and_missing_for_a_while():
    people = LivePeople("all", one=True)
    assert people.push(frame_at(0), []).people == ()
    (seen,) = people.push(frame_at(1), [person_at(30)]).people
    assert (seen.id, seen.status) == (0, "detected")
    (gone,) = people.push(frame_at(2), []).people
    assert (gone.status, gone.pose2d) == ("missing", None)
    assert people.push(frame_at(90), []).people == ()


def test_hidden_joints_have_no_place():
    pose = person_at(30)
    pose.scores[16] = 0.05
    (seen,) = LivePeople("all", one=True).push(frame_at(0), [pose]).people
    assert np.isnan(seen.pose2d.keypoints[16]).all() and np.isfinite(seen.pose2d.keypoints[:16]).all()


def test_several_people_keep_their_numbers():
    people, first = LivePeople("all", one=False), {}
    for k in range(10):
        poses = [person_at(20 + k), person_at(120 - k)]
        rows = people.push(frame_at(k), poses if k % 2 else poses[::-1]).people
        places = {p.id: p.pose2d.keypoints[0, 0] for p in rows}
        first = first or places
        assert sorted(places) == [0, 1]
        assert all(abs(places[n] - first[n]) <= k for n in places)
    chosen = LivePeople("1", one=False)
    assert [p.id for p in chosen.push(frame_at(0), [person_at(20), person_at(120)]).people] == [1]


def still(k: int, noise: float = 0.0) -> FramePoses:
    joints = np.zeros((17, 3)) + np.random.default_rng(k).normal(0, noise, (17, 3))
    return FramePoses(k, k / 30, (Person(0, "detected", person_at(0), Pose3D(joints, np.full(17, 0.03))),))


def test_smoothing_calms_a_person_who_stands_still():
    spreads = {}
    for strength in ("off", "light", "strong"):
        smoother = LiveSmoother(strength)
        rows = [smoother.push(still(k, 0.02)).people[0].pose3d for k in range(40)]
        spreads[strength] = np.std([r.joints for r in rows[10:]])
        assert all((r.std == np.float32(0.03)).all() for r in rows)
    assert spreads["off"] == pytest.approx(0.02, rel=0.1)
    assert spreads["strong"] < spreads["light"] < 0.8 * spreads["off"]


@pytest.mark.parametrize("between", [[], [Person(0, "missing")], [Person(0, "detected", person_at(300))]])
def test_smoothing_begins_anew_with_somebody_else(between):
    def seen(x: float, joints: float) -> Person:
        return Person(0, "detected", person_at(x), Pose3D(np.full((17, 3), joints), np.full(17, 0.03)))

    people = [seen(20, 0.0)] * 3 + between + [seen(300, 0.1), seen(302, 0.2)]
    smoother, out = LiveSmoother("strong"), []
    for k, person in enumerate(people):
        out += smoother.push(FramePoses(k, k / 30, (person,))).people
    assert (out[-2].pose3d.joints == np.float32(0.1)).all()
    assert (out[-1].pose3d.joints < 0.2).all()  # one motion again


def test_what_was_smoothed_is_kept():
    smoother = LiveSmoother("strong")
    for k in range(5):
        (person,) = smoother.push(still(k, 0.02)).people
    assert (person.raw3d.joints == still(4, 0.02).people[0].pose3d.joints).all()
    assert (person.pose3d.joints != person.raw3d.joints).any()


def test_a_mirror_swaps_sides_on_the_screen_and_keeps_the_joints():
    frame = Frame(0, 0.0, np.random.default_rng(0).integers(0, 255, (120, 200, 3), np.uint8))
    joints = np.random.default_rng(1).normal(size=(17, 3)).astype(np.float32)
    row = FramePoses(
        0, 0.0, (Person(0, "detected", person_at(30), Pose3D(joints, np.zeros(17))), Person(1, "missing"))
    )
    turned, poses = mirrored(frame, row)
    assert (turned.image == frame.image[:, ::-1]).all()
    flat, deep = poses.people[0].pose2d, poses.people[0].pose3d
    np.testing.assert_allclose(flat.keypoints[:, 0], 200 - person_at(30).keypoints[:, 0])
    np.testing.assert_allclose(flat.box, [155, 20, 170, 100])
    np.testing.assert_allclose(deep.joints, joints * [-1, 1, 1])
    again, back = mirrored(turned, poses)
    assert (again.image == frame.image).all()
    np.testing.assert_allclose(back.people[0].pose3d.joints, joints)


def test_words_in_the_picture_change_with_the_state():
    def drawn(state: State = State(help=False), **changes) -> np.ndarray:  # noqa: B008
        image = np.full((480, 1120, 3), 200, np.uint8)
        draw_status(
            image,
            Status(**{"fps": 20.0, "latency_ms": 80.0, "smooth": "light", "refined": True, **changes}),
            state,
        )
        return image

    plain = drawn()
    assert (plain[100:, :] == 200).all()  # the figures only
    assert (drawn(State())[440:, :640] != 200).any()
    assert (drawn(State(help=False, paused=True))[100:400, :640] < 150).all(axis=2).mean() > 0.9
    lost = drawn(notes=("camera 0 is lost",))
    assert (lost[200:280, :640] != plain[200:280, :640]).all(axis=2).mean() > 0.9
    red = drawn(recorded_s=5.0)[:40, 400:640].astype(int)
    assert ((red[..., 2] - red[..., 0]) > 100).any()
    assert (drawn(refined=False) != plain).any() and (drawn(fps=21.0) != plain).any()


def test_the_meter_forgets_what_is_long_ago():
    meter = Meter()
    assert (meter.fps, meter.latency_ms) == (0.0, 0.0)
    for k in range(100):
        meter.shown(k / 10 - 0.5, k / 10)
    for k in range(100):
        meter.shown(10 + k / 25 - 0.08, 10 + k / 25)
    assert meter.frames == 200
    assert meter.fps == pytest.approx(25, rel=0.01)
    assert meter.latency_ms == pytest.approx(80)
    assert len(meter._shown) <= 52
