"""Keypoint files that cannot be used: one clear line each, that says what is wrong and where."""

from __future__ import annotations

import io
import json
import zipfile

import made_keypoints as made
import numpy as np
import pytest
from posefix.pipeline.keypoint_files import ReadOptions, read_keypoints, videopose3d
from posefix.pipeline.refine import RefineSettings, refine_file
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from real_person import PIXELS

COCO = made.person("coco17")


def problem(path, format=None, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_keypoints(path, ReadOptions(**options), format)
    line = str(caught.value)
    assert "\n" not in line and str(path.name) in line
    return line


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def people(*poses) -> dict:
    return {"people": [{"pose_keypoints_2d": np.asarray(p).ravel().tolist()} for p in poses]}


def alpha(keypoints, image_id="0.jpg") -> dict:
    return {"image_id": image_id, "keypoints": keypoints, "score": 1.0}


def mm(**changes) -> list:
    return [{"frame_id": 0, "instances": [made.instance(COCO[0]) | changes]}]


FLAT = COCO[0].ravel().tolist()
MARKS = made.landmarks(PIXELS[0])
FRAME = {"landmarks": MARKS, "world_landmarks": MARKS}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("hello", "is none of OpenPose"),
        ('[{"image_id": "0.jpg"', "no valid JSON .*cut short"),
        ("[" * 100_000, "nested too deeply"),
        ('{"people": [{"pose_keypoints_2d": [NaN]}]}', "NaN is no JSON number"),
        ({"anything": 1}, "is JSON, but none of"),
        ([], "is JSON, but none of"),
        # wrong joint counts
        (people(COCO[0, :5]), "person 0: 5 joints a person fit no layout; known: 17"),
        ({"people": [{"pose_keypoints_2d": [1, 2]}]}, "expected 3 numbers a joint, got 2"),
        ({"people": [{"pose_keypoints_2d": ["a"] * 75}]}, "expected lists of numbers"),
        ({"people": [{"pose_keypoints_2d": [1e999] * 75}]}, "Infinity|infinite"),
        ({"people": [{"hands": []}]}, "no pose_keypoints_2d"),
        ({"people": [3]}, "person 0: expected an object, found 3"),
        # mixed layouts
        (people(COCO[0], made.person("body25")[0]), "mixes layouts: coco17 in .*, body25 in"),
        ([alpha(FLAT), alpha(made.person("halpe26")[0].ravel().tolist())], "mixes layouts"),
        ([alpha(FLAT, "nobody.jpg")], "entry 0: image_id 'nobody.jpg' has no number"),
        ([alpha(FLAT), {"image_id": "1.jpg"}], "entry 1: has no image_id or no keypoints"),
        ([alpha(FLAT) | {"idx": "x"}], "entry 0: idx: expected a whole number"),
        (mm(keypoints=[[1, 2, 3, 4]]), r"frame 0, person 0: expected keypoints \(J, 2\)"),
        (mm(keypoint_scores=[1.0]), "17 keypoints but 1 scores"),
        (mm(keypoints=[[1, 2], [3]]), "lists of numbers of one length"),
        (mm() + mm(), "entry 1: frame_id 0 comes twice"),
        ([{"frame_id": 0, "instances": []}], "holds nobody"),
        (
            {"instance_info": [{"frame_id": 0, "instances": []}]},
            "frame_id 0 comes twice or is below the first",
        ),
        ([MARKS[:32]], "frame 0: 32 landmarks, but MediaPipe's pose has 33"),
        ([None, []], "is JSON, but none of"),
        ([{"world_landmarks": MARKS}], "world landmarks but no landmarks"),
        ([{"landmarks": MARKS, "timestamp_ms": [1]}], "frame 0: timestamp_ms: expected a number"),
        ([alpha([1e300] * 51)], "entry 0: holds a number that is no coordinate, beyond 1e\\+07"),
        ([{"landmarks": MARKS, "timestamp_ms": 0}, {"landmarks": MARKS}], "1 of 2 frames have a time"),
        ([{"landmarks": [MARKS, MARKS], "world_landmarks": [MARKS]}], "2 people in landmarks, 1 in world"),
        # numbers that are none, or of nobody
        (json.dumps(mm()).replace('"frame_id": 0', '"frame_id": 1e400'), "frame_id: expected a whole number"),
        (json.dumps(mm(track_id=7)).replace("7}", "1e400}"), "track_id: expected a whole number, found inf"),
        (mm(track_id=10**400), "track_id: 10000000000000000000 is too large for a person's number"),
        ([alpha(FLAT, "9" * 5000 + ".jpg")], "entry 0: image_id '9{100}' has no number"),
    ],
)
def test_bad_json(tmp_path, content, words):
    import re

    assert re.search(words, problem(write(tmp_path / "f.json", content))), words


def test_a_layout_that_does_not_fit(tmp_path):
    path = made.mmpose(tmp_path / "p.json", COCO)
    assert "17 joints a person, but --layout body25 has 25" in problem(path, layout="body25")


def test_bad_folders_and_paths(tmp_path):
    assert "no such file" in problem(tmp_path / "absent.json")
    (tmp_path / "empty").mkdir()
    assert "holds no .json files" in problem(tmp_path / "empty")
    assert "only OpenPose's files come in one" in problem(tmp_path / "empty", "trc")
    (tmp_path / "clip_posefix").mkdir()
    write(tmp_path / "clip_posefix" / "clip_run.json", {"people": {}})
    write(tmp_path / "clip_posefix" / "clip_2d.csv", "frame")
    assert problem(tmp_path / "clip_posefix").endswith("clip_posefix/clip_2d.csv")
    folder = made.openpose(tmp_path / "two", COCO)
    write(folder / "other_000000000000_keypoints.json", people(COCO[0]))
    assert "files of several clips (clip_..., other_...)" in problem(folder)


def header(text: str, keys: str = "frame,time_s,person,status") -> str:
    columns = [f"{j}_{f}" for j in H36M17.joints for f in ("x", "y", "score")]
    return ",".join((keys, *columns)) + "\n" + text


ROW = ",".join(["1.0"] * 51)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frame,time_s,person,status,Hip_x\n", "no column Hip_y"),
        (header(""), "has no rows"),
        (header("0,0.0,0,detected,1.0\n"), "line 2: 5 cells, expected 55; was the file cut short"),
        (header(f"0,0.0,0,seen,{ROW}\n"), "line 2: status 'seen'"),
        (header(f"0,0.0,0,detected,nan{ROW[3:]}\n"), "line 2: holds a value that is no number"),
        (header(f"0,0.0,0,detected,x{ROW[3:]}\n"), "line 2: could not convert"),
        (header(f"1,0.1,0,detected,{ROW}\n0,0.0,0,detected,{ROW}\n"), "line 3: frame 0 after 1"),
        (header("0,0.0,0,missing" + "," * 51 + "\n"), "holds nobody"),
        (header(f"0,0.0,-3,detected,{ROW}\n"), "line 2: frame 0, person -3 cannot be"),
        (header(f"0,0.0,3000000000,detected,{ROW}\n"), "line 2: frame 0, person 3000000000 cannot be"),
        (header(f"0,1e999,0,detected,{ROW}\n"), "line 2: holds a value that is no number"),
        (header(f"0,0.0,0,detected,-nan{ROW[3:]}\n"), "line 2: holds a value that is no number"),
    ],
)
def test_bad_csv(tmp_path, text, words):
    assert words in problem(write(tmp_path / "clip_2d.csv", text))


def test_a_csv_that_is_no_utf8(tmp_path):
    path = tmp_path / "clip_2d.csv"
    path.write_bytes(header("").encode() + b"0,0.0,0,detected,\xff" + ROW[3:].encode() + b"\n")
    assert "cannot be read as CSV" in problem(path)


def test_two_files_of_one_frame(tmp_path):
    folder = made.openpose(tmp_path / "clip", COCO)
    (folder / "clip_01_keypoints.json").write_text(json.dumps(people(COCO[0])))
    assert "are both frame 1; keep one" in problem(folder)


def test_a_3d_csv_needs_its_2d(tmp_path):
    columns = [f"{j}_{f}" for j in H36M17.joints for f in ("x", "y", "z", "score", "std")]
    text = ",".join(("frame,time_s,person,status", *columns)) + "\n0,0.0,0,detected" + ",1.0" * 85 + "\n"
    path = write(tmp_path / "clip_3d.csv", text)
    assert "needs clip_2d.csv beside it" in problem(path)
    write(tmp_path / "clip_2d.csv", header(f"1,0.0,0,detected,{ROW}\n"))
    with pytest.raises(InputError, match="its rows are not those of the 3D file"):
        read_keypoints(path, ReadOptions())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"keypoints": COCO[..., :2]}, "17 joints may be COCO's or Human3.6M's; add --layout"),
        ({"keypoints": COCO[0]}, "2D of shape (17, 3)"),
        ({"something": COCO}, "holds something; expected keypoints"),
        ({"keypoints": COCO[:, :11, :2]}, "11 joints a person fit no layout"),
        (
            {"keypoints": COCO[..., :2], "scores": np.ones((4, 3)), "layout": "coco17"},
            "scores of shape (4, 3)",
        ),
        ({"keypoints": COCO[..., :2], "scores": np.full((4, 17), np.nan), "layout": "coco17"}, "NaN in them"),
        ({"keypoints": COCO[..., :2], "positions_3d": np.ones((3, 17, 3))}, "4 frames of 2D but 3 of 3D"),
        ({"positions_3d": np.full((3, 17, 3), np.inf)}, "3D: holds a number that is no coordinate"),
        ({"positions_3d": np.full((3, 17, 3), "a")}, "3D of type <U1; expected numbers"),
        ({"positions_3d": np.full((3, 17, 3), np.nan)}, "holds nobody"),
        ({"keypoints": np.array([None])}, "posefix data convert"),
        (
            {"keypoints": COCO, "layout": "mpii"},
            "its layout 'mpii' is unknown; name the right one with --layout",
        ),
        (
            {"keypoints": COCO[..., :2], "scores": np.full((4, 17), "a"), "layout": "coco17"},
            "scores of shape (4, 17) that do not fit",
        ),
        *(
            ({"keypoints": COCO, "layout": "coco17", "fps": np.array(fps)}, f"fps {fps}: expected one number")
            for fps in (np.nan, np.inf, 0, -25, 1e9, "fast")
        ),
    ],
)
def test_bad_npz(tmp_path, members, words):
    np.savez(tmp_path / "d.npz", **members)
    assert words in problem(tmp_path / "d.npz")


def test_an_npz_header_that_claims_ten_gigabytes_is_not_believed(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (36_000_000, 17, 2)}
    )
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("keypoints.npy", buffer.getvalue() + b"\0" * 1000)
    assert "claims 9792000000 bytes and holds 1000" in problem(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:200])
    assert "cannot be read as an .npz file" in problem(tmp_path / "e.npz")
    whole = bytearray((tmp_path / "d.npz").read_bytes())
    whole[whole.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    (tmp_path / "f.npz").write_bytes(whole)
    assert "cannot be read as an .npz file" in problem(tmp_path / "f.npz")


def test_an_npz_that_unpacks_to_more_than_a_clip_is_not_unpacked(tmp_path, monkeypatch):
    """Ten gigabytes of zeros are a file of ten megabytes."""
    np.savez_compressed(tmp_path / "d.npz", keypoints=np.zeros((1000, 17, 2)), layout="coco17")
    assert "holds nobody" in problem(tmp_path / "d.npz")
    monkeypatch.setattr(videopose3d, "MOST_BYTES", 272_000 - 1)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    assert "keypoints.npy unpacks to 0.0 GB, more than a clip's" in problem(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("\tm\t", "\tfurlongs\t"), "units furlongs; expected one of m"),
        (("LKnee", "Kneecap"), "no marker LKnee; found"),
        (("\t4\t16\t", "\t4000000000\t16\t"), "its header says 4000000000 frames, 4 are there"),
        (("0\t0.00000\t", "0\tsoon\t"), "line 6: could not convert"),
        (("0\t0.00000\t", "0\t\t"), "a row has no number or no time"),
        (("0\t0.00000\t", "0\t1e308\t"), "holds a number that is no coordinate"),
        (("0\t0.00000\t", "0\t0.00000\t1.0\t"), "line 6: "),
    ],
)
def test_bad_trc(tmp_path, change, words):
    names, points = made.opensim_markers("coco17")
    path = made.trc(tmp_path / "m.trc", names, points)
    text = path.read_text().replace("\t4\t17\t", "\t4\t16\t")
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    assert words in problem(path)
    path.write_text("PathFileType\n")
    assert "has 1 lines" in problem(path)


def settings(tmp_path, **changes) -> RefineSettings:
    return RefineSettings(output=tmp_path / "out", device="cpu", **changes)


def test_what_cannot_be_processed_leaves_no_files(tmp_path):
    alphapose = tmp_path / "a.json"
    entries = made.alphapose(alphapose, COCO)
    with pytest.raises(InputError, match=r"--person 5: not in the file; it has 1 \(4 frames\)"):
        refine_file(alphapose, settings(tmp_path, person="5"))
    write(tmp_path / "far.json", [*entries, alpha(FLAT, "4000000000.jpg")])
    with pytest.raises(InputError, match="frame numbers go up to 4000000000, but only 5 frames"):
        refine_file(tmp_path / "far.json", settings(tmp_path))
    names, points = made.opensim_markers("coco17", 1000.0)
    with pytest.raises(InputError, match="m tall; its unit is not what it should be"):
        refine_file(made.trc(tmp_path / "m.trc", names, points, "m"), settings(tmp_path))
    names, points = made.opensim_markers("coco17")
    path = made.trc(tmp_path / "m.trc", names, points)
    path.write_text(path.read_text().replace("0\t0.00000\t", "0\t9.00000\t", 1))
    with pytest.raises(InputError, match="its times do not grow"):
        refine_file(path, settings(tmp_path))
    assert not (tmp_path / "out").exists()


def test_options_that_make_no_sense():
    for changes, words in (
        ({"format": "bvh"}, "--format bvh: choose from openpose"),
        ({"layout": "smpl"}, "--layout smpl: unknown; choose from: blazepose33"),
        ({"fps": 0.0}, "--fps 0.0"),
        ({"fps": 25.0, "video": "a.mp4"}, "--fps and --video"),
        ({"height": 17.5}, "--height 17.5"),
        ({"height": 0.0}, "--height 0.0"),
        ({"steps": 0}, "--steps 0"),
    ):
        with pytest.raises(InputError) as caught:
            RefineSettings(**changes)
        assert words in str(caught.value)
