"""Human3.6M and MPI-INF-3DHP: readers and protocols, on tiny files in these formats."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_published import assert_networks_run, body
from posefix.pipeline.cli import call
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError
from posefix.skeleton.metrics import mpjpe, p_mpjpe
from posefix.training import evaluate as module
from posefix.training.datasets import human36m, mpi_inf_3dhp
from posefix.training.datasets.human36m_cameras import (
    LENSES,
    SUBJECTS,
    human36m_camera,
    project_with_lens,
)
from posefix.training.datasets.tree import save_tree
from posefix.training.evaluate import evaluate
from posefix.training.mocap import load_mocap

RECORDINGS = {"Walking": 3, "Walking 1": 5, "WalkTogether": 2, "Sitting 1": 4}


@pytest.fixture
def h36m(tmp_path):
    """Human3.6M's folder: two people, four recordings of a few frames; CPN is 1 pixel off in x, and runs on."""
    poses, exact, found = {}, {}, {}
    for s, subject in enumerate(("S9", "S11")):
        poses[subject], exact[subject], found[subject] = {}, {}, {}
        for r, (name, n) in enumerate(RECORDINGS.items()):
            world = body(n, 32, 10 * s + r)
            seen = []
            for k in range(4):
                rotation, centre = human36m_camera(subject, k)
                camera = (world - centre) @ rotation.T
                seen.append(project_with_lens(camera, LENSES[k]).astype(np.float32))
            poses[subject][name], exact[subject][name] = world, seen
            found[subject][name] = [
                np.concatenate([v[:, human36m.JOINTS] + [1, 0], np.zeros((2, 17, 2))]) for v in seen
            ]
    metadata = {"num_joints": 17, "keypoints_symmetry": [[4], [1]], "layout_name": "h36m"}
    save_tree(tmp_path / "data_3d_h36m.npz", {"positions_3d": poses})
    save_tree(tmp_path / "data_2d_h36m_gt.npz", {"positions_2d": exact, "metadata": metadata})
    save_tree(tmp_path / "data_2d_h36m_cpn_ft_h36m_dbb.npz", {"positions_2d": found, "metadata": metadata})
    return tmp_path, poses


def test_human36m_cameras_are_rotations_that_see_the_room():
    for subject in SUBJECTS:
        for k, lens in enumerate(LENSES):
            rotation, centre = human36m_camera(subject, k)
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(rotation) == pytest.approx(1)
            middle = rotation @ (np.array([0, 0, 1.0]) - centre)
            assert 4 < middle[2] < 6
            assert abs(middle[:2]).max() < 0.8
            assert 1.4 < centre[2] < 1.7
            assert rotation[1, 2] < -0.9  # y is down
            assert 1140 < lens.focal[0] < 1150 and lens.size[0] == 1000


def test_human36m_calibration_is_the_published_one():
    # Unit quaternions: a wrong digit would show. Single values, as in the authors' metadata.
    from posefix.training.datasets import human36m_cameras as cameras

    norms = [np.linalg.norm(q) for place in cameras._PLACES.values() for q, _ in place]
    np.testing.assert_allclose(norms, 1, atol=1e-7)
    _, centre = human36m_camera("S9", 2)
    np.testing.assert_array_equal(
        centre.astype(np.float32) * 1000,
        np.array([-1670.9921875, 5211.98583984375, 1528.387939453125], np.float32),
    )
    assert np.float32(LENSES[0].centre[0]) == np.float32(512.54150390625)


def test_projection_with_the_lens_is_the_stored_equation():
    lens = LENSES[1]
    x, y, z = 0.4, -0.3, 2.0
    u, v = x / z, y / z
    r2 = u * u + v * v
    k1, k2, k3 = lens.radial
    p1, p2 = lens.tangential
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * u + p2 * v
    expected = [
        lens.focal[0] * (u * factor + p1 * r2) + lens.centre[0],
        lens.focal[1] * (v * factor + p2 * r2) + lens.centre[1],
    ]
    np.testing.assert_allclose(project_with_lens([x, y, z], lens), expected, rtol=1e-12)
    np.testing.assert_allclose(project_with_lens([0, 0, 1.0], lens), lens.centre)


def test_the_17_of_32_joints_are_videopose3ds():
    removed = (4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31)
    assert tuple(j for j in range(32) if j not in removed) == human36m.JOINTS
    # In the 32 the right leg comes first, the left arm before the right one: as in ours.
    assert (H36M17.joints[1], H36M17.joints[4], H36M17.joints[11], H36M17.joints[14]) == (
        "RHip", "LHip", "LShoulder", "RShoulder",
    )  # fmt: skip


def test_human36m_rows_are_the_recordings_in_each_camera(h36m):
    folder, poses = h36m
    bench = human36m.read_human36m(folder)
    assert len(bench) == 2 * 4 * sum(RECORDINGS.values())
    assert set(bench.action) == {"Walking", "WalkTogether", "Sitting"}
    assert (bench.action == "Walking").sum() == 2 * 4 * (3 + 5)  # both takes
    assert [tuple(s) for s in np.unique(bench.image_size, axis=0)] == [(1000, 1000), (1000, 1002)]
    # The second camera of the first recording, by hand.
    rotation, centre = human36m_camera("S9", 1)
    expected = (poses["S9"]["Walking"][:, human36m.JOINTS] - centre) @ rotation.T
    np.testing.assert_allclose(bench.target_camera[3:6], expected, atol=1e-6)
    np.testing.assert_allclose(bench.target[3:6], expected - expected[:, :1], atol=1e-6)
    np.testing.assert_allclose(
        bench.keypoints[3:6], project_with_lens(bench.target_camera[3:6], LENSES[1]), atol=1e-3
    )
    detected = human36m.read_human36m(folder, "det")
    assert len(detected) == len(bench)  # frames beyond the motion capture are cut
    np.testing.assert_allclose(
        detected.keypoints - bench.keypoints, np.tile([1.0, 0], (len(bench), 17, 1)), atol=1e-3
    )
    assert len(human36m.read_human36m(folder, stride=2)) == 2 * 4 * (2 + 3 + 1 + 2)


def test_human36m_mean_is_over_actions_not_frames(h36m):
    bench = human36m.read_human36m(h36m[0])
    shift = np.zeros((len(bench), 17, 3))
    for action, metres in (("Walking", 0.017), ("WalkTogether", 0.034), ("Sitting", 0.170)):
        shift[bench.action == action, 3, 0] = metres  # one joint of 17: 1, 2 and 10 mm
    report = evaluate(bench, {"lifted": lambda k, s: bench.target + shift}, human36m.SCORING)
    assert list(report["per_action"]) == ["Sitting", "Walking", "WalkTogether"]
    assert report["per_action"]["Sitting"]["lifted"]["mpjpe"] == pytest.approx(10)
    assert report["lifted"]["mpjpe"] == pytest.approx((1 + 2 + 10) / 3)
    sitting = bench.action == "Sitting"
    moved = (bench.target + shift)[sitting]
    assert report["per_action"]["Sitting"]["lifted"]["p_mpjpe"] == pytest.approx(
        p_mpjpe(moved, bench.target[sitting])
    )


def test_human36m_damaged_take_is_left_out_where_a_file_has_it(h36m):
    """VideoPose3D's files are without it; with it the rows would not be the protocol's."""
    folder, poses = h36m
    before = human36m.read_human36m(folder)
    more = {
        s: {**recordings, "Directions": body(7, 32), "Directions 1": body(2, 32)}
        for s, recordings in poses.items()
    }
    save_tree(folder / "data_3d_h36m.npz", {"positions_3d": more})
    seen = {s: {n: [np.ones((len(w), 17, 2))] * 4 for n, w in r.items()} for s, r in more.items()}
    save_tree(folder / "data_2d_h36m_gt.npz", {"positions_2d": seen})
    after = human36m.read_human36m(folder)
    assert len(after) == len(before) + 4 * (7 + 2 + 2)  # S9's two takes, S11's second
    of_s11 = human36m.read_human36m(folder, subjects=("S11",))
    assert (of_s11.action == "Directions").sum() == 4 * 2


def test_human36m_files_that_do_not_fit(h36m, tmp_path):
    folder, poses = h36m
    with pytest.raises(InputError, match=r"data_2d_h36m_hourglass\.npz: no such file"):
        human36m.read_human36m(folder, "hourglass")
    with pytest.raises(InputError, match="it lacks S1"):
        human36m.read_human36m(folder, subjects=("S1",))
    with pytest.raises(InputError, match="S2: no cameras are known"):
        human36m.read_human36m(folder, subjects=("S2",))
    short = {s: {n: [np.zeros((1, 17, 2))] * 4 for n in RECORDINGS} for s in poses}
    save_tree(folder / "data_2d_h36m_short.npz", {"positions_2d": short})
    with pytest.raises(
        InputError, match=r"S9, Walking, camera 0: expected shape \(3 or more, 17, 2\), found \(1, 17"
    ):
        human36m.read_human36m(folder, "short")
    save_tree(folder / "data_2d_h36m_coco.npz", {"positions_2d": short, "metadata": {"layout_name": "coco"}})
    with pytest.raises(InputError, match="its joints are in the layout 'coco'"):
        human36m.read_human36m(folder, "coco")
    save_tree(folder / "data_2d_h36m_few.npz", {"positions_2d": {s: {} for s in poses}})
    with pytest.raises(InputError, match="expected 2D of 4 cameras, found none"):
        human36m.read_human36m(folder, "few")
    np.savez(folder / "data_2d_h36m_raw.npz", positions_2d=np.zeros(3))
    with pytest.raises(InputError, match="not yet converted; run `posefix data convert"):
        human36m.read_human36m(folder, "raw")


def made_3dhp(path, errors_mm=()):
    """Two sequences, 6 valid frames of 9; the last member of the tree says which annotation it is."""
    data = {}
    for i, (name, n, valid) in enumerate((("TS1", 5, [1, 0, 1, 1, 0]), ("TS5", 4, [1, 1, 0, 1]))):
        points = body(n, 17, 40 + i) * 1000 + [0, 0, 4000]
        data[name] = {
            "data_2d": 1000 * points[..., :2] / points[..., 2:],
            "data_3d": points,
            "valid": np.array(valid),
        }
    save_tree(path, {"data": data, "annotation": "univ_annot3"})
    return data


def test_3dhp_rows_are_the_valid_frames_renamed(tmp_path):
    data = made_3dhp(tmp_path / "data_test_3dhp.npz")
    bench = mpi_inf_3dhp.read_mpi_inf_3dhp(tmp_path)
    assert list(bench.action) == ["TS1"] * 3 + ["TS5"] * 3
    assert [tuple(s) for s in bench.image_size[[0, -1]]] == [(2048, 2048), (1920, 1080)]
    assert bench.cameras == "own, univ_annot3"
    theirs = {
        "pelvis": 14,
        "neck": 1,
        "head": 16,
        "head_top": 0,
        "right_knee": 9,
        "left_wrist": 7,
        "spine": 15,
    }
    ours = {"Hip": "pelvis", "Thorax": "neck", "Neck": "head", "Head": "head_top", "RKnee": "right_knee",
            "LWrist": "left_wrist", "Spine": "spine"}  # fmt: skip
    for joint, name in ours.items():
        j = H36M17.joints.index(joint)
        np.testing.assert_allclose(bench.target_camera[1, j], data["TS1"]["data_3d"][2, theirs[name]] / 1000)
        np.testing.assert_allclose(bench.keypoints[1, j], data["TS1"]["data_2d"][2, theirs[name]])


def test_3dhp_pck_counts_14_joints_strictly_below_150_mm(tmp_path):
    made_3dhp(tmp_path / "data_test_3dhp.npz")
    bench = mpi_inf_3dhp.read_mpi_inf_3dhp(tmp_path)

    def scored(*errors):
        poses = bench.target.copy()
        for joint, mm in errors:
            poses[:, H36M17.joints.index(joint), 1] += mm / 1000
        return evaluate(bench, {"x": lambda k, s: poses}, mpi_inf_3dhp.SCORING)["x"]

    assert scored(("LKnee", 149.9))["pck150"] == 100
    assert scored(("LKnee", 150.1))["pck150"] == pytest.approx(100 * 13 / 14)
    # Spine and the joint they call head are not counted, the top of the head is; MPJPE counts all 17.
    far = scored(("Spine", 300), ("Neck", 300))
    assert far["pck150"] == 100 and far["auc"] == pytest.approx(100 * 30 / 31)  # 0 is not below 0
    assert far["mpjpe"] == pytest.approx(600 / 17)
    assert scored(("Head", 300))["pck150"] == pytest.approx(100 * 13 / 14)
    # 52 mm is below 55, 60, …, 150: 20 of the 31 thresholds.
    assert scored(("Head", 52))["auc"] == pytest.approx(100 * (13 * 30 + 20) / 14 / 31)
    assert sum(mpi_inf_3dhp.VALID_FRAMES.values()) == mpi_inf_3dhp.SCORING.rows == 2929


def test_3dhp_files_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        mpi_inf_3dhp.read_mpi_inf_3dhp(tmp_path)
    file = tmp_path / "data_test_3dhp.npz"
    save_tree(file, {"other": 1})
    with pytest.raises(InputError, match="it has no `data`"):
        mpi_inf_3dhp.read_mpi_inf_3dhp(file)
    save_tree(file, {"data": {"TS1": {"data_2d": np.zeros((2, 17, 2))}}})
    with pytest.raises(InputError, match="TS1: expected data_2d, data_3d and valid"):
        mpi_inf_3dhp.read_mpi_inf_3dhp(file)
    entry = {"data_2d": np.zeros((2, 17, 2)), "data_3d": np.zeros((2, 16, 3)), "valid": np.ones(2)}
    save_tree(file, {"data": {"TS1": entry}})
    with pytest.raises(InputError, match=r"found \(2, 17, 2\) and \(2, 16, 3\)"):
        mpi_inf_3dhp.read_mpi_inf_3dhp(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["3dhp", "--input", "det"], "3dhp has exact 2D only"),
        (["h36m", "--cameras", "wild"], "leave out --split and --cameras"),
        (["humaneva", "--input", "det"], "name the 2D file with --keypoints"),
        (["h36m", "--stride", "0"], "stride: expected at least 1"),
        (["h36m"], "data_3d_h36m.npz: no such file"),
    ],
)
def test_options_that_a_dataset_does_not_have(tmp_path, capsys, words, message):
    assert call(["eval", "--data", str(tmp_path), "--dataset", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_eval_prints_and_writes_the_table_of_human36m(h36m, monkeypatch, tmp_path, capsys):
    truth = human36m.read_human36m(h36m[0])

    def stages(stage, settings, advance=lambda rows: None):
        return {"lifted": lambda k, s: truth.target * 0.9, "refined": lambda k, s: truth.target}, {}

    monkeypatch.setattr(module, "load_stages", stages)
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "figures.json"
    assert (
        call(["eval", "--dataset", "h36m", "--data", str(h36m[0]), "--json", str(out), "--device", "cpu"])
        == 0
    )
    report = json.loads(out.read_text())
    assert report["refined"]["mpjpe"] == 0
    actions = [truth.action == a for a in ("Sitting", "Walking", "WalkTogether")]
    expected = np.mean([mpjpe(truth.target[a] * 0.9, truth.target[a]) for a in actions])
    assert report["lifted"]["mpjpe"] == pytest.approx(expected)
    assert report["settings"]["data"] == "h36m" and report["settings"]["mean_of"] == "actions"
    text = capsys.readouterr().out
    assert "WalkTogether" in text and f"{expected:.2f}" in text
    assert "112 of the protocol's 543344 rows" in text


def test_the_shipped_networks_run_on_them(h36m, tmp_path):
    made_3dhp(tmp_path / "data_test_3dhp.npz")
    for dataset in ("h36m", "3dhp"):
        assert_networks_run(dataset, tmp_path)


def test_human36m_poses_become_mocap17_files_by_people(h36m, tmp_path, capsys):
    folder, poses = h36m
    out = tmp_path / "mocap17_h36m.npz"
    assert call(["data", "convert", str(folder / "data_3d_h36m.npz"), str(out), "--split", "test"]) == 0
    assert "8 sequences" in capsys.readouterr().out
    read = load_mocap(out).split("test")
    first = read[1]
    assert (first.name, first.subject, first.action, first.source) == (
        "h36m_S9_Walking_1",
        "h36m_S9",
        "Walking",
        "h36m",
    )
    # 5 frames at 50 per second are 3 at 30; the first is kept, the next lies two thirds of the way from 1 to 2.
    world = poses["S9"]["Walking 1"][:, human36m.JOINTS]
    assert len(first) == 3
    between = world[1] / 3 + 2 * world[2] / 3
    np.testing.assert_allclose(first.relative[1], between - between[0], atol=1e-4)
    assert first.root[0, 2] == pytest.approx(world[0, 0, 2], abs=1e-4)
    for split, message in (("train", "it lacks S1, S5"), ("val", "has train")):
        words = [
            "data",
            "convert",
            str(folder / "data_3d_h36m.npz"),
            str(tmp_path / "o.npz"),
            "--split",
            split,
        ]
        assert call(words) == 2
        assert message in capsys.readouterr().err
    assert call(["data", "convert", str(folder / "data_2d_h36m_gt.npz"), str(tmp_path / "o.npz")]) == 2
    assert "needs no conversion" in capsys.readouterr().err
