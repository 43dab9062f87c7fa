"""pipeline/keypoint_files: every format read into the one clip, with known answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import made_keypoints as made
import numpy as np
import pytest
from posefix.pipeline.keypoint_files import KeypointClip, ReadOptions, read_keypoints
from posefix.pipeline.keypoint_files.people import named, wanted
from posefix.skeleton import H36M17, Pose2D, get_layout, to_h36m17
from posefix.skeleton.convert import TO_H36M17
from real_person import PIXELS, SIZE, WORLD

BLAZE = get_layout("blazepose33").joints
LIMBS = [side + joint for side in "LR" for joint in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]


def read(path, format=None, **options) -> KeypointClip:
    return read_keypoints(path, ReadOptions(**options), format)


def check_limbs(clip: KeypointClip, number: int = 0, frame: int | None = None, atol: float = 1e-2) -> None:
    """The twelve joints of the limbs of frame `number` are the person's, left left and right right."""
    (sight,) = clip.frames[number]
    pose = to_h36m17(Pose2D(sight.keypoints, sight.scores, clip.layout))
    for joint in LIMBS:
        want = PIXELS[number if frame is None else frame, BLAZE.index(joint)]
        np.testing.assert_allclose(pose.keypoints[H36M17.joints.index(joint)], want[:2], atol=atol)
        assert pose.scores[H36M17.joints.index(joint)] == pytest.approx(want[2], abs=1e-5)
    left, right = (pose.keypoints[H36M17.joints.index(s + "Shoulder")] for s in "LR")
    assert left[0] > right[0] + 100  # he faces the camera


@pytest.mark.parametrize("layout", ["body25", "halpe26", "coco17"])
def test_openpose(tmp_path, layout):
    clip = read(made.openpose(tmp_path / "json", made.person(layout)))
    assert (clip.format, clip.layout, clip.count, clip.warnings) == ("openpose", layout, 4, ())
    for number in range(4):
        check_limbs(clip, number)


def test_openpose_zeros_are_unobserved(tmp_path):
    poses = made.person("body25")
    elbow = get_layout("body25").joints.index("LElbow")
    poses[1, elbow] = 0
    (sight,) = read(made.openpose(tmp_path / "json", poses)).frames[1]
    assert np.isnan(sight.keypoints[elbow]).all() and sight.scores[elbow] == 0
    assert np.isfinite(np.delete(sight.keypoints, elbow, axis=0)).all()


def test_openpose_numbers_are_frames_and_holes_are_told(tmp_path):
    clip = read(made.openpose(tmp_path / "json", made.person("body25"), (0, 1, 4, 5)))
    assert sorted(clip.frames) == [0, 1, 4, 5] and clip.count == 6
    assert "2 frames between 0 and 5 have no file" in clip.warnings[0]
    check_limbs(clip, 4, frame=2)


def test_openpose_one_file_is_one_frame(tmp_path):
    folder = made.openpose(tmp_path / "json", made.person("body25"))
    clip = read(folder / "clip_000000000002_keypoints.json")
    assert clip.count == 1
    check_limbs(clip, 0, frame=2)


def test_openpose_shares_of_the_picture_need_its_size_too(tmp_path):
    folder = made.openpose(tmp_path / "json", made.person("body25") / [*SIZE, 1])  # --keypoint_scale 3
    check_limbs(read(folder, size=SIZE), 1, atol=0.1)
    with pytest.raises(Exception, match="shares of width and height; add --size"):
        read(folder)
    made.openpose(folder, made.person("body25") / [SIZE[0] / 2, SIZE[1] / 2, 1] - [1, 1, 0])  # 4
    with pytest.raises(Exception, match=r"from -1 to 1, which is not read; .*--keypoint_scale 0$"):
        read(folder, size=SIZE)


@pytest.mark.parametrize("layout", ["halpe26", "coco17"])
def test_alphapose(tmp_path, layout):
    path = tmp_path / "alphapose-results.json"
    made.alphapose(path, made.person(layout))
    clip = read(path)
    assert (clip.format, clip.layout, clip.count) == ("alphapose", layout, 4)
    assert clip.frames[3][0].id == 1
    check_limbs(clip, 3)


def test_alphapose_whole_bodies_begin_with_the_body(tmp_path):
    poses = made.person("halpe26")
    path = tmp_path / "results.json"
    made.alphapose(path, np.concatenate([poses, np.ones((4, 110, 3))], axis=1))
    clip = read(path)
    assert clip.layout == "halpe26"
    check_limbs(clip)


def test_everybody_is_kept_or_those_that_are_named(tmp_path):
    path = tmp_path / "results.json"
    poses = made.person("coco17")
    long = made.alphapose(path, poses, idx=7)
    short = made.alphapose(path, poses[:2], idx=3, shift=400.0)
    path.write_text(json.dumps(short + long))
    clip = read(path)
    assert [len(clip.frames[k]) for k in range(4)] == [2, 2, 1, 1]
    everybody = wanted(named(clip), "all").frames
    assert [[s.id for s in everybody[k]] for k in range(4)] == [[3, 7], [3, 7], [7], [7]]
    check_limbs(wanted(named(clip), "7"), 0)
    other = wanted(named(clip), "3")
    assert [len(other.frames[k]) for k in range(4)] == [1, 1, 0, 0]
    assert other.frames[0][0].keypoints[5, 0] == pytest.approx(
        PIXELS[0, BLAZE.index("LShoulder"), 0] + 400, abs=1e-2
    )


def test_people_without_numbers_are_followed(tmp_path):
    """Two people in changing order, the second for three frames: nobody takes the other's place."""
    folder = made.openpose(tmp_path / "json", made.person("body25"))
    for k in range(3):
        file = folder / f"clip_{k:012d}_keypoints.json"
        content = json.loads(file.read_text())
        shifted = np.array(content["people"][0]["pose_keypoints_2d"]).reshape(-1, 3) + np.array([400, 0, 0])
        other = {"pose_keypoints_2d": shifted.ravel().tolist()}
        content["people"] = [other, *content["people"]] if k != 1 else [*content["people"], other]
        file.write_text(json.dumps(content))
    clip = named(read(folder))
    assert [[s.id for s in clip.frames[k]] for k in range(4)] == [[0, 1], [0, 1], [0, 1], [1]]
    clip = wanted(clip, "1")
    for number in range(4):
        check_limbs(clip, number)


@pytest.mark.parametrize("demo", [False, True])
def test_mmpose(tmp_path, demo):
    clip = read(made.mmpose(tmp_path / "p.json", made.person("coco17"), demo))
    assert (clip.format, clip.layout, clip.count) == ("mmpose", "coco17", 4)
    for number in range(4):
        check_limbs(clip, number)


def test_mmpose_of_one_image(tmp_path):
    path = tmp_path / "image.json"
    path.write_text(json.dumps([made.instance(made.person("coco17")[0])]))
    assert read(path).count == 1
    check_limbs(read(path))


def test_mmpose_3d_is_turned_back_into_camera_axes(tmp_path):
    names = H36M17.joints
    camera = np.stack([_world(name) for name in names], axis=1)
    shown = np.stack([-camera[..., 0], camera[..., 2], -camera[..., 1]], axis=-1)
    shown[..., 2] -= shown[..., 2].min(axis=1, keepdims=True)
    frames = [
        {"frame_id": k, "instances": [{"keypoints": [pose.tolist()], "keypoint_scores": [1.0] * 17}]}
        for k, pose in enumerate(shown)
    ]
    path = tmp_path / "p3d.json"
    path.write_text(json.dumps(frames))
    clip = read(path)
    assert clip.nominal and clip.layout == "h36m17"
    np.testing.assert_allclose(clip.frames[2][0].joints, camera[2] - camera[2, :1], atol=1e-5)


def _world(name: str) -> np.ndarray:
    """(4, 3) of a Human3.6M joint, camera axes."""
    if name in BLAZE:
        return WORLD[:, BLAZE.index(name)]
    end = {"Hip": "Hip", "Spine": "Hip", "Thorax": "Shoulder", "Neck": "Ear", "Head": "Eye"}[name]
    return (WORLD[:, BLAZE.index("L" + end)] + WORLD[:, BLAZE.index("R" + end)]) / 2


def _write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_mediapipe_shares_of_the_picture_need_its_size(tmp_path):
    path = _write(tmp_path / "l.json", [made.landmarks(p, SIZE) for p in PIXELS] + [None])
    clip = read(path, size=SIZE)
    assert (clip.format, clip.layout, clip.count) == ("mediapipe", "blazepose33", 5)
    check_limbs(clip, 2)
    with pytest.raises(Exception, match="--size"):
        read(path)


@pytest.mark.parametrize(
    "frame",
    [
        lambda p: p.tolist(),  # lists: x, y, and as third z; the score is then 1
        lambda p: {"landmarks": made.landmarks(p)},
        lambda p: {"poseLandmarks": made.landmarks(p)},
        lambda p: {"pose_landmarks": [made.landmarks(p)]},  # of several people, here one
        lambda p: {"landmark": made.landmarks(p)},  # protobuf's MessageToDict(results.pose_landmarks)
        lambda p: {"pose_landmarks": {"landmark": made.landmarks(p)}},
        lambda p: {"pose_landmarks": [{"landmark": made.landmarks(p)}]},
    ],
)
def test_mediapipe_dumps_of_several_kinds(tmp_path, frame):
    poses = PIXELS.copy()
    poses[..., 2] = 1.0
    clip = read(_write(tmp_path / "l.json", [frame(p) for p in poses]))
    (sight,) = clip.frames[1]
    np.testing.assert_allclose(sight.keypoints, poses[1, :, :2], rtol=1e-5)
    np.testing.assert_array_equal(sight.scores, 1)


def test_mediapipe_world_landmarks_are_the_3d_and_times_are_kept(tmp_path):
    frames = [
        {"landmarks": made.landmarks(p), "world_landmarks": made.world_landmarks(w), "timestamp_ms": 40 * k}
        for k, (p, w) in enumerate(zip(PIXELS, WORLD, strict=True))
    ]
    clip = read(_write(tmp_path / "l.json", frames))
    assert clip.has_3d and not clip.nominal and clip.times[3] == pytest.approx(0.12)
    for frame in frames:  # as MessageToDict gives both
        frame["landmarks"] = {"landmark": frame["landmarks"]}
        frame["world_landmarks"] = {"landmark": frame["world_landmarks"]}
    wrapped = read(_write(tmp_path / "m.json", frames))
    np.testing.assert_array_equal(wrapped.frames[1][0].joints, clip.frames[1][0].joints)
    check_limbs(clip, 1)
    joints = clip.frames[1][0].joints
    wrist = WORLD[1, BLAZE.index("RWrist")] - WORLD[1, [BLAZE.index("LHip"), BLAZE.index("RHip")]].mean(
        axis=0
    )
    np.testing.assert_allclose(joints[H36M17.joints.index("RWrist")], wrist, atol=1e-6)


@pytest.mark.parametrize("layout", ["coco17", "h36m17"])
def test_npz_of_plain_arrays(tmp_path, layout):
    names = get_layout(layout).joints
    poses = made.joints(names) if layout == "coco17" else np.stack([_pixels(n) for n in names], axis=1)
    np.savez(tmp_path / "d.npz", keypoints=poses[..., :2], scores=poses[..., 2], fps=50.0)
    clip = read(tmp_path / "d.npz", layout=layout)
    assert (clip.format, clip.layout, clip.count, clip.fps) == ("npz", layout, 4, 50.0)
    check_limbs(clip, 3)


def _pixels(name: str) -> np.ndarray:
    return PIXELS[:, BLAZE.index(name if name in BLAZE else "Nose")]


def test_npz_nan_and_zero_are_unobserved(tmp_path):
    poses = made.person("coco17")
    poses[0, 9, :2], poses[0, 10, :2] = np.nan, 0
    np.savez(tmp_path / "d.npz", keypoints=poses[..., :2])
    (sight,) = read(tmp_path / "d.npz", layout="coco17").frames[0]
    assert np.flatnonzero(np.isnan(sight.keypoints[:, 0])).tolist() == [9, 10]


def test_npz_of_videopose3d_after_its_conversion(tmp_path, capsys):
    from posefix.pipeline.cli import call

    poses = made.person("coco17")[..., :2]
    metadata = {
        "layout_name": "coco",
        "num_joints": 17,
        "video_metadata": {"clip.mp4": {"w": 1080, "h": 1920}},
    }
    np.savez(tmp_path / "old.npz", positions_2d={"clip.mp4": {"custom": [poses]}}, metadata=metadata)
    with pytest.raises(Exception, match=r"posefix data convert \S*old.npz NEW.npz"):
        read(tmp_path / "old.npz")
    words = ["data", "convert", str(tmp_path / "old.npz"), str(tmp_path / "new.npz"), "--trust-pickle"]
    assert call(words) == 0
    clip = read(tmp_path / "new.npz")
    assert clip.layout == "coco17"
    np.testing.assert_allclose(clip.frames[2][0].keypoints, poses[2], rtol=1e-6)


def test_npz_3d(tmp_path):
    camera = np.stack([_world(name) for name in H36M17.joints], axis=1)
    np.savez(tmp_path / "d.npz", positions_3d=camera)
    clip = read(tmp_path / "d.npz")
    assert clip.nominal
    np.testing.assert_allclose(clip.frames[1][0].joints, camera[1] - camera[1, :1], atol=1e-6)


@pytest.mark.parametrize(("unit", "scale"), [("m", 1.0), ("mm", 1000.0)])
def test_trc_markers_become_camera_metres(tmp_path, unit, scale):
    names, points = made.opensim_markers("halpe26", scale)
    clip = read(made.trc(tmp_path / "m.trc", names, points, unit))
    assert (clip.format, clip.count, clip.fps, clip.nominal) == ("trc", 4, 60.0, True)
    assert clip.times[3] == pytest.approx(0.05)
    hips = WORLD[:, [BLAZE.index("LHip"), BLAZE.index("RHip")]].mean(axis=1)
    for joint in LIMBS:
        want = WORLD[2, BLAZE.index(joint)] - hips[2]
        np.testing.assert_allclose(clip.frames[2][0].joints[H36M17.joints.index(joint)], want, atol=1e-5)


def test_trc_nominal_2d_is_the_projection_and_absent_markers_are_unobserved(tmp_path):
    names, points = made.opensim_markers("coco17")
    points[1, names.index("LWrist")] = np.nan
    points[2, names.index("LWrist")] = 0
    clip = read(made.trc(tmp_path / "m.trc", names, points))
    wrist = H36M17.joints.index("LWrist")
    x, y, z = clip.frames[0][0].joints[wrist]
    want = [500 + 1000 * x / (5 + z), 500 + 1000 * y / (5 + z)]
    np.testing.assert_allclose(clip.frames[0][0].keypoints[wrist], want, rtol=1e-5)
    for t in (1, 2):
        assert np.isnan(clip.frames[t][0].joints[wrist]).all() and clip.frames[t][0].scores[wrist] == 0
        assert np.isnan(clip.frames[t][0].keypoints[wrist]).all()


def test_trc_markers_may_be_called_otherwise(tmp_path):
    names, points = made.opensim_markers("coco17")
    others = tuple(n.replace("L", "Left_", 1) if n[0] == "L" else n.replace("R", "right ", 1) for n in names)
    clip = read(made.trc(tmp_path / "m.trc", others, points))
    want = read(made.trc(tmp_path / "n.trc", names, points))
    np.testing.assert_array_equal(clip.frames[0][0].joints, want.frames[0][0].joints)


def test_a_format_may_be_named(tmp_path):
    path = made.mmpose(tmp_path / "p.json", made.person("coco17"))
    assert read(path, "mmpose").format == "mmpose"
    with pytest.raises(Exception, match="entry 0: has no image_id"):
        read(path, "alphapose")


def test_body25_is_made_into_the_17_as_coco_is():
    """The same person's joints in both orders give the same 17, scores too."""
    a, b = (
        to_h36m17(Pose2D(pose[1, :, :2], pose[1, :, 2], layout))
        for layout, pose in ((n, made.person(n)) for n in ("body25", "coco17"))
    )
    np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_a_hidden_ear_leaves_neck_and_head_unobserved_and_nothing_else(tmp_path):
    poses = made.person("body25")
    poses[:, get_layout("body25").joints.index("LEar")] = 0
    (sight,) = read(made.openpose(tmp_path / "json", poses)).frames[0]
    pose = to_h36m17(Pose2D(sight.keypoints, sight.scores, "body25"))
    assert [H36M17.joints[j] for j in np.flatnonzero(np.isnan(pose.keypoints[:, 0]))] == ["Neck", "Head"]


def test_the_joints_page_names_the_joints_that_the_code_uses():
    """docs/joints.md, joint by joint: the numbers in each cell are the sources of that joint."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "joints.md").read_text(encoding="utf-8")
    table = page.split("## Joint by joint")[1].split("## ")[0]
    lines = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines() if re.match(r"\| \d", line)
    ]
    assert [line[1] for line in lines] == list(H36M17.joints)
    for k, line in enumerate(lines):
        for layout, cell in zip(("coco17", "body25", "halpe26"), line[2:], strict=True):
            listed = re.findall(r"\d+", (re.search(r"\(([\d, ]+)\)$", cell) or re.search(r"(\d+)$", cell))[1])
            assert set(map(int, listed)) == set(np.flatnonzero(TO_H36M17[layout][k]).tolist()), (
                line[1],
                layout,
            )


@pytest.mark.parametrize("untracked", [-1, -2])
def test_a_number_below_0_is_nobody_s(tmp_path, untracked):
    """Trackers write -1 for whom they do not follow."""
    poses = made.person("coco17")
    made.alphapose(tmp_path / "a.json", poses, idx=untracked)
    content = [
        {"frame_id": k, "instances": [made.instance(p) | {"track_id": untracked}]}
        for k, p in enumerate(poses)
    ]
    for path in (tmp_path / "a.json", _write(tmp_path / "m.json", content)):
        assert [s.id for people in read(path).frames.values() for s in people] == [None] * len(poses)


@pytest.mark.parametrize("rate", ["nan", "inf", "-60", "0", "fast"])
def test_trc_rates_that_are_none_are_left_to_the_times(tmp_path, rate):
    names, points = made.opensim_markers("coco17")
    path = made.trc(tmp_path / "m.trc", names, points)
    assert read(path).fps == 60
    path.write_text(path.read_text().replace("\n60.0\t", f"\n{rate}\t", 1))
    assert read(path).fps is None


def test_clips_may_have_3d_in_their_name(tmp_path):
    fields = {"3d": ("x", "y", "z", "score", "std"), "2d": ("x", "y", "score")}
    for kind, parts in fields.items():
        columns = [f"{joint}_{part}" for joint in H36M17.joints for part in parts]
        cells = (
            ",".join(["frame,time_s,person,status", *columns]) + "\n0,0.0,0,detected" + ",9.0" * len(columns)
        )
        for name in {"3d": ("3dwalk3d_3d", "3dwalk3d_3d_raw"), "2d": ("3dwalk3d_2d",)}[kind]:
            (tmp_path / f"{name}.csv").write_text(cells + "\n")
    for name in ("3dwalk3d_3d", "3dwalk3d_3d_raw"):
        assert read(tmp_path / f"{name}.csv").has_3d


def test_a_number_that_all_share_tells_nobody_apart(tmp_path):
    """AlphaPose without tracking writes "idx": [0.0] for everybody."""
    poses, path = made.person("coco17"), tmp_path / "a.json"
    one = [e | {"idx": [0.0]} for e in made.alphapose(path, poses)]
    two = [e | {"idx": [0.0]} for e in made.alphapose(path, poses, shift=400.0)]
    pairs = zip(one, two, strict=True)
    changing = [e for k, pair in enumerate(pairs) for e in (pair if k % 2 else pair[::-1])]
    clip = named(read(_write(path, changing)))
    assert [[s.id for s in clip.frames[k]] for k in range(4)] == [[0, 1]] * 4
    places = np.array([[s.keypoints[5, 0] for s in clip.frames[k]] for k in range(4)])
    np.testing.assert_allclose(abs(places[:, 1] - places[:, 0]), 400, atol=1e-2)
    assert (np.diff(np.sign(places[:, 1] - places[:, 0])) == 0).all()  # nobody takes the other's place
    (said,) = clip.warnings
    assert "same number" in said and "numbered anew" in said


def test_a_tracker_that_slips_once_keeps_its_numbers(tmp_path):
    poses, path = made.person("coco17"), tmp_path / "a.json"
    one, two = made.alphapose(path, poses, idx=7), made.alphapose(path, poses, idx=3, shift=400.0)
    two[1]["idx"] = 7
    clip = named(read(_write(path, one + two)))
    assert [[s.id for s in clip.frames[k]] for k in range(4)] == [[3, 7], [7], [3, 7], [3, 7]]
    assert clip.warnings == ()


def test_numbers_that_not_everybody_has_are_made_anew_and_that_is_said(tmp_path):
    poses = made.person("coco17")
    entries = made.alphapose(tmp_path / "a.json", poses, idx=7)
    assert named(read(tmp_path / "a.json")).warnings == ()
    entries[2]["idx"] = -1
    clip = named(read(_write(tmp_path / "a.json", entries)))
    assert [s.id for people in clip.frames.values() for s in people] == [0] * 4
    (said,) = clip.warnings
    assert said.startswith("1 of 4 poses have no person's number")
