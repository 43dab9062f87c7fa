"""Renderer: sizes, honest statuses, colours by side, visible confidence, a fixed 3D view."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from posefix.pipeline.placing import Stage
from posefix.pipeline.reader import open_source
from posefix.pipeline.render import Renderer, RenderSettings
from posefix.pipeline.strokes import LEFT, PEOPLE, RIGHT, halo
from posefix.pipeline.view3d import Figure, View3D
from posefix.skeleton import H36M17, Frame, FramePoses, Person, Pose2D, Pose3D

# A standing figure facing the camera, metres relative to Hip; her right is at the image's left.
STANDING = np.array(
    [
        (0, 0, 0), (-0.13, 0, 0), (-0.14, 0.44, -0.03), (-0.15, 0.86, 0.04), (0.13, 0, 0),
        (0.14, 0.44, -0.03), (0.15, 0.86, 0.04), (0, -0.23, 0.02), (0, -0.48, 0.02), (0, -0.6, -0.05), (0, -0.71, 0),
        (0.17, -0.46, 0), (0.24, -0.2, 0.03), (0.3, 0.02, -0.1), (-0.17, -0.46, 0), (-0.24, -0.2, 0.03),
        (-0.3, 0.02, -0.1),
    ],
    np.float32,
)  # fmt: skip


def frame(height: int = 720, width: int = 1280, index: int = 0) -> Frame:
    return Frame(index, index / 30, np.full((height, width, 3), 90, np.uint8))


def person(shape=(720, 1280), ident=0, status="detected", score=1.0, std=0.01, joints=STANDING) -> Person:
    height, width = shape
    pixels = joints[:, :2] * height * 0.45 + (width / 2, height / 2)
    return Person(ident, status, Pose2D(pixels, np.full(17, score)), Pose3D(joints, np.full(17, std)))


def draw(*people: Person, shape=(720, 1280), **settings) -> np.ndarray:
    return Renderer(settings=RenderSettings(**settings)).draw(frame(*shape), FramePoses(0, 0.0, people))


def near(image: np.ndarray, colour: tuple[int, int, int], within: int = 40) -> np.ndarray:
    return (np.abs(image.astype(int) - colour) < within).all(axis=2)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((720, 1280), (720, 2000)),
        ((1080, 1920), (720, 2000)),
        ((1920, 1080), (720, 1126)),  # phone, upright
        ((2160, 3840), (720, 2000)),
        ((270, 480), (360, 1000)),  # scaled up to 360
        ((480, 640), (480, 1120)),
        ((135, 240), (270, 750)),  # never more than twice
        ((433, 769), (434, 1204)),  # odd
        ((2, 2), (160, 240)),
        ((1, 1), (160, 240)),
        ((20, 4000), (160, 2720)),
        ((4000, 20), (720, 1080)),
    ],
)
def test_size_of_the_picture(shape, size):
    image = draw(person(shape), shape=shape)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert size[0] % 2 == size[1] % 2 == 0


def test_drawing_is_pure():
    renderer, source = Renderer(), frame()
    before = source.image.copy()
    poses = FramePoses(0, 0.0, (person(), person(ident=1, score=0.3)))
    first = renderer.draw(source, poses)
    renderer.draw(frame(index=7), FramePoses(7, 1.0, (person(status="interpolated"),)))
    assert np.array_equal(first, renderer.draw(source, poses))
    assert np.array_equal(source.image, before)


def test_left_is_blue_and_right_is_orange_in_the_overlay():
    overlay = draw(person())[200:, :1280]  # below the caption
    columns_left, columns_right = np.nonzero(near(overlay, LEFT))[1], np.nonzero(near(overlay, RIGHT))[1]
    assert len(columns_left) > 500 and len(columns_right) > 500
    assert columns_left.min() > 640 - 12 and columns_right.max() < 640 + 12  # she faces us


def test_overlay_follows_the_scaled_frame():
    shape = (1080, 1920)
    whole = person(shape)
    overlay = draw(whole, shape=shape)[:, :1280]
    blank = draw(shape=shape)[:, :1280]
    x, y = whole.pose2d.keypoints[3] * 720 / 1080
    assert np.abs(overlay[int(y), int(x)].astype(int) - RIGHT).max() < 40
    rows, columns = np.nonzero((overlay != blank)[100:].any(axis=2))
    assert abs(rows.max() + 100 - y) < 12 and columns.min() > 640 - 0.4 * 324


def test_confidence_is_visible():
    sure, unsure = draw(person(score=0.95))[100:, :1280], draw(person(score=0.2))[100:, :1280]
    blank = draw()[100:, :1280]
    strength = [np.abs(x.astype(int) - blank).sum() for x in (sure, unsure)]
    assert 0.05 * strength[0] < strength[1] < 0.5 * strength[0]


def test_missing_is_said_and_nobody_is_drawn():
    blank = draw(Person(0, "missing"))
    assert np.array_equal(blank, draw(person(status="missing")))  # never a stale pose
    assert not near(blank[200:, :1280], LEFT).any()
    assert not near(blank[100:600, 1280:], LEFT).any()
    warning = near(blank, (60, 190, 250), 60)
    assert warning[:100, :300].any() and warning[250:400, 1280:].any()


def test_interpolated_is_dashed_and_said():
    detected, dashed = draw(person()), draw(person(status="interpolated"))
    for part in (np.s_[100:, :1280], np.s_[100:600, 1280:]):
        solid, broken = near(detected[part], LEFT, 70).sum(), near(dashed[part], LEFT, 70).sum()
        assert 0.1 * solid < broken < 0.85 * solid
    assert near(dashed, (60, 190, 250), 60)[:100, :300].any()
    assert not near(detected, (60, 190, 250), 60)[:100, :300].any()


def test_spread_of_the_hypotheses_is_drawn():
    small, large = draw(person(std=0.005)), draw(person(std=0.08))
    changed = (small != large).any(axis=2)
    assert not changed[:, :1280].any() and changed[:, 1280:].sum() > 1000


LEGEND = np.s_[640:, 1280:]  # the 3D panel's lower end


def only(joint: int, std: float) -> Person:
    """A person with the uncertainty of one joint known."""
    known = person()
    return Person(
        0, "detected", known.pose2d, Pose3D(STANDING, np.where(np.arange(17) == joint, std, np.nan))
    )


@pytest.mark.parametrize("height", [1.75, 1.2])
def test_halos_are_to_scale_and_lie_beneath_the_skeleton(height):
    scale = height / 1.75
    known = person(joints=STANDING * np.float32(scale))
    flat, wrist = known.pose2d, 13
    drawn = [
        draw(Person(0, "detected", flat, Pose3D(STANDING * scale, std)), height_m=height)
        for std in (np.full(17, np.nan), np.where(np.arange(17) == wrist, 0.1 * scale, np.nan))
    ]
    changed = (drawn[0] != drawn[1]).any(axis=2)[:640, 1280:]
    view = View3D(720, View3D.HALF_M, 35.0, 14.0, height)
    (centre,), _ = view.project(STANDING[[wrist]] * scale)
    # In the picture's plane 0.1 m of a person of 1.75 m are as many pixels as half the panel's width holds.
    radius = 0.1 * 360 / View3D.HALF_M * 4.6 * scale / view.project(STANDING[[wrist]] * scale)[1][0]
    rows, columns = np.nonzero(changed)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(centre[0], abs=1.5)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(centre[1], abs=1.5)
    assert np.ptp(columns) / 2 == pytest.approx(radius, rel=0.06) and 20 < radius < 40
    for joint in (wrist, 12, 2):  # and between: the skeleton is as it was
        x, y = np.round(view.project(STANDING[[joint]] * scale)[0][0]).astype(int)
        assert not changed[y, x]


def test_halos_are_see_through():
    below = np.full((100, 100, 3), 40, np.uint8)
    below[:, 50] = 200
    over = below.copy()
    halo(over, np.array([50.0, 50.0]), 30, (233, 180, 86))
    inside = over[40, 40:60].astype(int)
    assert inside[10].min() > inside[5].max() + 40  # the line still stands out
    assert (inside[5] != 40).any() and np.abs(inside[5] - 40).max() < 60  # faint
    assert np.array_equal(over[:, :15], below[:, :15])
    halo(over, np.array([-500.0, 20.0]), 30, (233, 180, 86))  # outside: nothing to draw
    halo(over, np.array([50.0, 50.0]), 1e9, (233, 180, 86))


def test_the_legend_explains_halos_only_where_there_are_some():
    none, some = draw(only(13, np.nan)), draw(only(13, 0.05))
    words = (none[LEGEND] != some[LEGEND]).any(axis=2)
    assert words.sum() > 100 and np.nonzero(words)[1].max() > 200
    assert np.array_equal(draw(person(std=np.nan))[LEGEND], none[LEGEND])  # without a refiner
    narrow = View3D(160, 1.28, 35.0, 14.0, 1.75, (("left: light", LEFT), ("right: dark", RIGHT)))
    panels = []
    for std in (np.nan, 0.05):
        panels.append(np.zeros((160, 160, 3), np.uint8))
        narrow.draw(panels[-1], [Figure(Pose3D(STANDING, np.full(17, std)), [LEFT] * 17)], H36M17)
    rows = np.nonzero((panels[0] != panels[1])[140:, :].any(axis=(1, 2)))[0]
    assert len(rows) > 5  # on a line of its own where the panel is narrow


def test_a_shadow_does_not_swallow_the_legend():
    joints = STANDING + np.array([-0.95, 0, 0], np.float32)  # so far to the left its shadow lies low
    figure = Figure(Pose3D(joints, np.full(17, np.nan)), [(90, 90, 90)] * 17)
    panels = {}
    for words in ("", "left right middle"):
        for figures in ((), (figure,)):
            panels[words, len(figures)] = np.zeros((720, 720, 3), np.uint8)
            view = View3D(720, 1.28, 35.0, 14.0, 1.75, ((words, LEFT),))
            view.draw(panels[words, len(figures)], figures, H36M17)
    words = (panels["left right middle", 0] != panels["", 0]).any(axis=2)
    over = words & (panels["", 1] != panels["", 0]).any(axis=2)
    assert over.sum() > 50  # the shadow does lie there
    assert (panels["left right middle", 1] != panels["", 1]).any(axis=2)[over].mean() > 0.7


def test_why_there_is_no_3d_stands_in_the_panel():
    panel = np.s_[100:600, 1280:]
    missing, hips = draw(Person(0, "missing")), draw(Person(0, "detected", person().pose2d, None))
    for image in (missing, hips):
        assert near(image[panel], (60, 190, 250), 60).any() and not near(image[panel], LEFT).any()
    assert not np.array_equal(missing[panel], hips[panel])  # other words
    both = draw(person(), Person(1, "missing"))
    corner = near(both[:60, 1280:], (60, 190, 250), 60)
    assert corner.any() and not near(draw(person(), person(ident=1))[:60, 1280:], (60, 190, 250), 60).any()


@pytest.mark.parametrize("hidden", [[16], [0], list(range(17))])
def test_hidden_joints_are_not_drawn(hidden):
    whole = person()
    pixels, joints, std = whole.pose2d.keypoints.copy(), STANDING.copy(), np.full(17, 0.01, np.float32)
    pixels[hidden], joints[hidden], std[hidden] = np.nan, np.nan, np.nan
    partly = Person(0, "detected", Pose2D(pixels, whole.pose2d.scores), Pose3D(joints, std))
    image, full = draw(partly), draw(whole)
    changed = (image != full).any(axis=2)
    assert changed[:, :1280].any() and changed[:, 1280:].any()
    if len(hidden) == 17:
        assert not near(image[200:, :1280], LEFT).any() and not near(image[100:600, 1280:], LEFT).any()


def test_2d_without_3d_and_3d_without_2d():
    whole = person()
    flat = draw(Person(0, "detected", whole.pose2d, None))
    deep = draw(Person(0, "detected", None, whole.pose3d))
    both = draw(whole)
    assert np.array_equal(flat[:, :1280], both[:, :1280]) and np.array_equal(deep[:, 1280:], both[:, 1280:])


def test_wild_coordinates_do_no_harm():
    wild = STANDING * np.float32(1e6)
    image = draw(person(joints=wild), person(ident=1, joints=wild * np.float32(1e20)))
    assert image.shape == (720, 2000, 3)


def middles(panel: np.ndarray, numbers=range(3)) -> list[float]:
    """Middle column of each person's colour, bright or dim."""
    hues = cv2.cvtColor(np.array([[PEOPLE[n] for n in numbers]], np.uint8), cv2.COLOR_BGR2HSV)[0, :, 0]
    hsv = cv2.cvtColor(panel, cv2.COLOR_BGR2HSV).astype(int)
    vivid = hsv[..., 1] > 110
    return [float(np.median(np.nonzero(vivid & (np.abs(hsv[..., 0] - int(hue)) < 5))[1])) for hue in hues]


def test_several_people_stand_side_by_side_in_3d():
    first, second, third = middles(draw(*[person(ident=k) for k in range(3)])[100:650, 1280:])
    assert second - first > 80 and third - second > 80
    assert draw(*[person(ident=k) for k in range(20)]).shape == (720, 2000, 3)


def test_people_stand_where_they_are_in_the_picture_in_their_own_colours():
    """Person 1 left of person 0, and 0.8 as large."""
    whole, flat = person(), person().pose2d.keypoints
    small = Person(1, "detected", Pose2D((flat - (640, 360)) * 0.8 + (440, 360), np.ones(17)), whole.pose3d)
    people = (whole, small)
    places = Stage().place(0.0, people, 1280, 720)
    (across_0, away_0), (across_1, away_1) = places.at[0], places.at[1]
    scale = 720 * 0.45  # px a metre of person 0, so the lens of 53 degrees puts them 1280 / scale m away
    assert across_0 == pytest.approx(0, abs=1e-3)
    assert across_1 == pytest.approx((440 - 640) / (0.8 * scale), abs=1e-2)
    assert away_1 - away_0 == pytest.approx(1280 / scale / 0.8 - 1280 / scale, abs=1e-2)
    image = Renderer().draw(frame(), FramePoses(0, 0.0, people), places)
    panel, picture = middles(image[100:650, 1280:], (0, 1)), middles(image[200:, :1280], (0, 1))
    assert panel[1] + 60 < panel[0]
    assert picture[0] == pytest.approx(640, abs=60) and picture[1] == pytest.approx(440, abs=50)


@pytest.mark.parametrize("size", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("x", [20, 1260])
def test_who_is_far_off_stays_in_the_panel(size, x):
    whole, flat = person(), person().pose2d.keypoints
    other = Person(1, "detected", Pose2D((flat - (640, 360)) * size + (x, 360), np.ones(17)), whole.pose3d)
    stage = Stage()
    stage.place(0.0, (whole,), 1280, 720)
    places = stage.place(0.1, (whole, other), 1280, 720)
    view = View3D(720, places.half_m, 35.0, 14.0, 1.75)
    hips = [view.project(np.zeros((1, 3)), at)[0][0] for at in places.at.values()]
    assert all(30 < x < 690 for x, _ in hips)


def test_places_follow_calmly_and_stay_while_somebody_is_missing():
    stage, start = Stage(), person()
    first = stage.place(0.0, (start,), 1280, 720).at[0]
    jumped = Person(
        0, "detected", Pose2D(start.pose2d.keypoints + np.array([300, 0]), np.ones(17)), start.pose3d
    )
    second = stage.place(1 / 30, (jumped,), 1280, 720).at[0]
    assert 0 < second[0] - first[0] < 0.2 * 300 / 324
    assert stage.place(2 / 30, (Person(0, "missing"),), 1280, 720).at[0] == second
    assert stage.place(5.0, (jumped,), 1280, 720).at[0][0] == pytest.approx(300 / 324, abs=1e-2)


def test_view_is_fixed_and_puts_the_ground_below_the_feet():
    view = View3D(720, 1.28, 35.0, 14.0, 1.75)
    points, depth = view.project(STANDING)
    assert (points > 0).all() and (points < 720).all() and depth.min() > 3
    ground, _ = view.project(np.array([[STANDING[3, 0], 0.93, STANDING[3, 2]]]))
    assert 0 < ground[0, 1] - points[3, 1] < 40
    raised, _ = view.project(np.array([[0.2, -1.25, 0.0], [-0.2, -1.25, 0.0]]))
    assert (raised > 0).all() and (raised < 720).all()
    near_hand, far_hand = view.project(np.array([[0, 0, -0.5], [0, 0, 0.5]]))[1]
    assert near_hand < far_hand  # camera's front is the view's front
    tall = View3D(720, 1.28, 35.0, 14.0, 1.75 * 1.2).project(STANDING * 1.2)[0]
    np.testing.assert_allclose(tall, points, atol=1e-3)


def test_drawing_is_fast_enough():
    renderer, source, poses = Renderer(), frame(1080, 1920), FramePoses(0, 0.0, (person((1080, 1920)),))
    renderer.draw(source, poses)
    spent = []
    for _ in range(15):
        start = time.process_time()
        renderer.draw(source, poses)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # about 4 ms on one core; the limit only catches a blunder


def test_real_frame(shared_dir):
    with open_source(shared_dir / "videos" / "worker_walk.mp4") as reader:
        real = next(reader)
    image = Renderer().draw(real, FramePoses(0, real.time_s, (person(real.image.shape[:2]),)))
    assert image.shape == (360, 1000, 3)
    right_edge = image[:, 500:640].astype(int)  # nobody is drawn there: the picture itself
    expected = cv2.resize(real.image, (640, 360), interpolation=cv2.INTER_LINEAR)[:, 500:]
    assert np.abs(right_edge - expected).max() <= 2
