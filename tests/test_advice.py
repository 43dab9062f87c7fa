"""pipeline/advice.py and lens.py: which clips are warned of, and which are not."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Sequence

import av
import numpy as np
import pytest
from made_people import FIGURE, standing
from posefix.pipeline.advice import LEAPS, LOW_FPS, SMALL_PX, Advisor
from posefix.pipeline.cli import call
from posefix.pipeline.lens import lens_of, wide_lens
from posefix.pipeline.reader import SourceInfo, open_source
from posefix.pipeline.sources import Source
from posefix.skeleton import H36M17, FramePoses, Person, Pose2D, Pose3D
from posefix.skeleton.poses import Status

SIZE = (640, 480)
ANKLES = [H36M17.joints.index(j) for j in ("RAnkle", "LAnkle")]
KNEES = [H36M17.joints.index(j) for j in ("RKnee", "LKnee")]


def there(
    x: float = 320, y: float = 240, height: float = 200, hidden: Sequence[int] = (), number: int = 0,
    status: Status = "detected",
) -> Person:  # fmt: skip
    """Somebody 1.75 m tall and `height` pixels, the hip at (x, y)."""
    flat = standing(x, y, height)
    points, joints = flat.keypoints.copy(), np.column_stack([FIGURE * 1.75, np.zeros(17)])
    points[list(hidden)], joints[list(hidden)] = np.nan, np.nan
    return Person(number, status, Pose2D(points, flat.scores), Pose3D(joints, np.full(17, 0.02)))


def gone(number: int = 0) -> Person:
    return Person(number, "missing")


def advised(
    frames: Iterable[Person | tuple[Person, ...]], fps: float = 30, several: bool = False, kind: str = "video",
    finished: bool = True, **more,
) -> list[str]:  # fmt: skip
    info = SourceInfo("clip", kind, *SIZE, fps, None, False, more.pop("lens", None))  # pyright: ignore[reportArgumentType]
    advisor = Advisor(info, several, **more)
    for k, people in enumerate(frames):
        row = FramePoses(k, k / fps, people if isinstance(people, tuple) else (people,))
        advisor.see(row, SIZE)
    return advisor.warnings(finished)


def walk(frames: int = 60, **changes) -> list[Person]:
    """From left to right at 1.5 m/s."""
    return [there(120 + 1.5 * 200 / 1.75 * k / 30, **changes) for k in range(frames)]


@pytest.mark.parametrize(
    "frames",
    [
        walk(),
        walk(height=105),
        [gone()] * 15 + walk(40) + [gone()] * 15,  # comes and goes
        [*walk(57), gone(), gone(), gone()],
        walk(50) + [there(y=400)] * 10,  # cut in a sixth of the frames
        [there(320 + 200 * np.sin(k / 6)) for k in range(60)],  # to and fro at up to 8.8 m/s
        [there(100)] * 30 + [there(500)] * 30,  # one leap: a cut of the film
        [there(hidden=[*KNEES, *ANKLES])] * 60,  # behind a table in the middle of the picture
        [there()] * 4,
    ],
)
def test_good_clips_are_left_alone(frames):
    assert advised(frames) == []


@pytest.mark.parametrize(
    ("person", "sides"),
    [
        (there(y=390), "lower"),  # ankles outside
        (there(y=405, hidden=ANKLES), "lower"),  # and hidden
        (there(y=460, hidden=[*KNEES, *ANKLES]), "lower"),
        (there(y=70), "upper"),
        (there(x=15), "left"),
        (there(x=625), "right"),
        (there(y=240, height=620), "upper and lower"),
    ],
)
def test_people_cut_by_the_border(person, sides):
    (sentence,) = advised([person] * 20 + [there()] * 40)
    assert sentence.startswith(f"the person is cut by the {sides} border of the picture in 20 of 60 frames:")
    assert "film from further away" in sentence


def test_of_several_people_the_largest_counts():
    small_and_cut = there(x=10, height=60, number=1)
    assert advised([(there(), small_and_cut)] * 30, several=True) == []
    (sentence,) = advised([(there(x=15), there(height=80, number=1))] * 30, several=True)
    assert sentence.startswith("the largest person is cut by the left border")


def test_small_people():
    (sentence,) = advised(walk(height=60))
    assert (
        sentence.startswith("the person is small: some 58 pixels")
        and f"where {SMALL_PX} are needed" in sentence
    )
    assert advised(walk(50) + walk(20, height=60)) == []  # not most of the time
    # A child of 1.2 m: all 3D is scaled to that, the pixels are the same.
    child = [
        Person(0, "detected", p.pose2d, Pose3D(p.pose3d.joints * 1.2 / 1.75, p.pose3d.std)) for p in walk()
    ]  # pyright: ignore
    assert advised(child, height_m=1.2) == []


def test_crouching_is_not_small():
    flat, deep = there().pose2d, there().pose3d
    assert flat is not None and deep is not None
    squash = np.array([1, 0.4])
    crouched = Person(
        0, "detected",
        Pose2D(flat.keypoints * squash, flat.scores), Pose3D(deep.joints * [*squash, 1], deep.std),
    )  # fmt: skip
    assert advised([crouched] * 20) == []


@pytest.mark.parametrize(
    ("fps", "warned"), [(10, True), (14, True), (14.985, False), (16.67, False), (240, False)]
)
def test_few_frames_per_second(fps, warned):
    said = advised([there()] * 60, fps=fps)
    assert len(said) == warned
    if warned:
        assert said[0].startswith(f"{fps:.1f} frames per second are few") and fps < LOW_FPS
    assert advised([there()] * 60, fps=fps, kind="images") == []


def test_people_lost_on_the_way():
    (sentence,) = advised(walk(20) + [gone()] * 5 + walk(10) + [gone()] * 9 + walk(16) + [gone()] * 30)
    assert sentence.startswith(
        "the person is missing in 14 of 60 rows between first and last sight (longest: 9 "
    )
    assert "frames, from 1.2 s on" in sentence and "more light" in sentence


def test_somebody_of_several_lost():
    row = [(there(200), there(450, number=1))] * 20
    lost = [(there(200), gone(1))] * 15
    (sentence,) = advised(row + lost + row, several=True)
    assert sentence.startswith("somebody is missing in 15 of 110 rows")
    assert advised(row + lost + [(there(200),)] * 20, several=True) == []  # has left


def test_hardly_anybody():
    (sentence,) = advised([gone()] * 40 + walk(30))
    assert sentence.startswith("nobody is found in 40 of 70 frames") and "--start and --end" in sentence


def test_nobody_is_one_warning():
    (sentence,) = advised([gone()] * 60, fps=5)
    assert sentence.startswith("no person found in any frame")
    assert advised([gone()] * 60, finished=False) == []  # somebody may have come


@pytest.mark.parametrize(
    "frames", [[gone()] * 60, [gone()] * 40 + walk(30), walk(30) + [gone()] * 20 + walk(30)]
)
def test_of_a_keypoint_file_no_advice_is_given_that_is_for_cameras(frames):
    """`posefix refine` has no --detector, --start and --end, and nobody can film the file anew."""
    (sentence,) = advised(frames, kind="keypoints")
    assert not any(word in sentence for word in ("--detector", "--start", "light", "view"))
    assert "the file" in sentence and "scores" in sentence


def test_those_who_were_asked_for():
    row = [(there(200, number=0), gone(7))] * 20
    (sentence,) = advised(row, several=True, wanted=(0, 7))
    assert sentence == "--person 7: not seen; --person all shows everybody's number"


def test_hidden_hips():
    desk = Person(0, "detected", there().pose2d, None)
    (sentence,) = advised([desk] * 3 + [there()] * 30)
    assert sentence.startswith("no 3D in 3 frames: both hips are hidden")


@pytest.mark.parametrize("between", [[], [there(310, status="interpolated")], [gone()] * 3])
def test_a_detector_of_one_that_sees_two(between):
    one, other = [there(150)] * 40, [there(520)] * 40
    said = advised(one + between + other + between + one, fps=30)
    assert LEAPS == 2 and len(said) == 1
    assert said[0].startswith(
        f"the person leaps to another place 2 times, first at {(40 + len(between)) / 30:.1f} s"
    )
    assert "--det-model" in said[0]
    assert not any("leaps" in s for s in advised(one + between + other + between + one, several=True))


def test_photos_are_looked_at_one_by_one():
    assert advised([there(100), there(500), there(100), gone(), gone()], kind="images") == []
    (sentence,) = advised([there(y=460, hidden=[*KNEES, *ANKLES])], kind="images")
    assert "cut by the lower border" in sentence


def test_memory_does_not_grow_with_the_clip():
    info = SourceInfo("clip", "video", *SIZE, 30, None, False)
    advisor = Advisor(info, several=True)

    def see(frames: range) -> None:
        for k in frames:
            advisor.see(FramePoses(k, k / 30, (there(number=k // 3), gone(k // 3 - 1))), SIZE)

    see(range(200))
    tracemalloc.start()
    see(range(200, 300))
    before = tracemalloc.get_traced_memory()[0]
    see(range(300, 1500))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000


# --- lenses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"handler_name": "GoPro AVC  "}, "GoPro"),
        ({"handler_name": "\tGoPro H.265"}, "GoPro"),
        ({"handler_name": "INS.HVC"}, "Insta360"),
        ({"make": "GoPro"}, "GoPro"),
        ({"com.apple.quicktime.camera.focal_length.35mm_equivalent": "13"}, "13 mm"),
        ({"com.apple.quicktime.camera.focal_length.35mm_equivalent": "26"}, None),
        ({"com.apple.quicktime.camera.focal_length.35mm_equivalent": "-13"}, None),
        ({"com.apple.quicktime.camera.focal_length.35mm_equivalent": "wide"}, None),
        ({"handler_name": "VideoHandle", "encoder": "Lavf58", "title": "GoPro tricks"}, None),
        ({}, None),
    ],
)
def test_tags_of_wide_lenses(tags, said):
    found = wide_lens([{}, tags])
    assert found is None if said is None else found is not None and said in found


def test_a_clip_with_such_tags_is_warned_of(tmp_path):
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.apple.quicktime.camera.focal_length.35mm_equivalent"] = "13"
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "bgr24")))
        container.mux(stream.encode())
    with open_source(path) as reader:
        lens = reader.info.lens
    assert lens is not None and "13 mm" in lens
    (sentence,) = advised(walk(), lens=lens)
    assert sentence.startswith(
        "probably a wide-angle lens: the file says that its focal length is that of 13 mm"
    )


def test_tags_are_read_by_newer_pyav_as_well(tmp_path, monkeypatch):
    """PyAV 19 took `metadata_errors` away: its `open` refuses words that it does not know."""
    opened = av.open

    def newer(file, mode="r", *, format=None, options=None):
        return opened(file, mode, format=format, options=options)

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "x"
        stream = container.add_stream("mpeg4", rate=30)
        stream.metadata["handler_name"] = "GoPro AVC"
        stream.width, stream.height = 64, 48
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "bgr24")))
        container.mux(stream.encode())
    monkeypatch.setattr(av, "open", newer)
    assert "GoPro" in (lens_of(Source("video", str(path), "clip")) or "")


def test_nothing_is_said_of_files_that_are_none(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    assert lens_of(Source("video", str(tmp_path / "bad.mp4"), "bad")) is None
    assert lens_of(Source("camera", 0, "camera0")) is None


# --- real clips -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "words", "expected"),
    [
        ("balance_cam01", "--end 0.2", []),
        ("classroom_sitting", "--end 1", []),  # legs hidden by tables are not cut by the border
        ("sign_walk", "--end 0.5", ["cut by the lower border"]),
        ("worker_walk", "--end 2", ["cut by the lower border"]),
        ("two_walking", "--end 1.5", ["12.5 frames per second"]),
        ("two_walking", "--start 1.5", ["cut by the lower border", "12.5 frames per second"]),
    ],
)
def test_real_clips(tmp_path, shared_dir, capsys, clip, words, expected):
    path = shared_dir / "videos" / f"{clip}.mp4"
    options = "--device cpu --no-refine --no-render"
    assert call([str(path), "-o", str(tmp_path), *words.split(), *options.split()]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(expected), lines
    for line, words in zip(lines, expected, strict=True):
        assert line.startswith(f"posefix: warning: {clip}: ") and words in line
    record = json.loads((tmp_path / f"{clip}_run.json").read_text())
    assert [f"posefix: warning: {clip}: {sentence}" for sentence in record["warnings"]] == lines
