"""`posefix data convert` on pickled files: nothing but data gets through, and only when asked for."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest
from posefix.pipeline.cli import call
from posefix.skeleton.errors import InputError
from posefix.training.datasets.mpi_inf_3dhp import read_mpi_inf_3dhp
from posefix.training.datasets.tree import load_tree, save_tree
from posefix.training.datasets.unpickle import is_pickled, load_pickled


def nested():
    rng = np.random.default_rng(0)
    return {
        "S9": {
            "Walking 1": rng.normal(size=(3, 32, 3)).astype(np.float32),
            "Eating": np.arange(6).reshape(2, 3),
        },
        "Train/S1": {"Jog 1 chunk0": [np.zeros((2, 15, 2)), None, np.ones((2, 15, 2), np.float32)]},
    }


def save_objects(path, **members):
    """An npz file whose members are pickled, as VideoPose3D's are."""
    arrays: dict[str, Any] = {k: np.array(v, dtype=object) for k, v in members.items()}
    np.savez_compressed(path, **arrays)


@pytest.fixture
def pickled(tmp_path):
    """A file as VideoPose3D writes them."""
    path = tmp_path / "data_2d.npz"
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5], [1, np.int64(2)]]}
    np.savez_compressed(
        path,
        positions_2d=np.array(nested(), dtype=object),
        metadata=np.array(metadata, dtype=object),
        plain=np.arange(3),
    )
    return path


def test_what_was_pickled_is_the_same_afterwards_without_pickles(pickled, tmp_path, capsys):
    out = tmp_path / "new.npz"
    assert is_pickled(pickled)
    assert call(["data", "convert", str(pickled), str(out), "--trust-pickle"]) == 0
    captured = capsys.readouterr()
    assert "warning" in captured.err and "pickled Python objects" in captured.err
    assert "5 arrays" in captured.out
    assert not is_pickled(out)
    tree, made = load_tree(out), nested()
    assert tree["metadata"] == {
        "layout_name": "h36m",
        "num_joints": 17,
        "keypoints_symmetry": [[4, 5], [1, 2]],
    }
    np.testing.assert_array_equal(tree["plain"], np.arange(3))
    walking = tree["positions_2d"]["S9"]["Walking 1"]
    assert walking.dtype == np.float32
    np.testing.assert_array_equal(walking, made["S9"]["Walking 1"])
    jog = tree["positions_2d"]["Train/S1"]["Jog 1 chunk0"]
    assert jog[1] is None
    np.testing.assert_array_equal(jog[2], np.ones((2, 15, 2)))
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_the_annotation_of_3dhp_is_kept_and_named(tmp_path):
    rng = np.random.default_rng(0)
    entry = {"data_2d": rng.random((2, 17, 2)), "data_3d": rng.random((2, 17, 3)), "valid": np.ones(2)}
    save_objects(tmp_path / "raw.npz", data={"TS1": entry})
    out = tmp_path / "data_test_3dhp.npz"
    words = ["data", "convert", str(tmp_path / "raw.npz"), str(out), "--trust-pickle"]
    assert call(words) == 0
    assert read_mpi_inf_3dhp(out).cameras == "own, annotation unknown"
    assert call([*words, "--overwrite", "--annotation", "annot3"]) == 0
    assert read_mpi_inf_3dhp(out).cameras == "own, annot3"


def test_without_consent_nothing_is_read(pickled, tmp_path, capsys):
    assert call(["data", "convert", str(pickled), str(tmp_path / "new.npz")]) == 2
    assert "add --trust-pickle" in capsys.readouterr().err
    assert not (tmp_path / "new.npz").exists()


class _Evil:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize(
    ("call_", "args", "named"),
    [
        (os.system, ("echo never",), "system"),
        (eval, ("1+1",), "eval"),
        (np.load, ("x.npy",), "load"),
        (getattr, ("text", "upper"), "getattr"),
    ],
)
def test_a_pickle_that_calls_something_is_refused(tmp_path, capsys, call_, args, named):
    path = tmp_path / "evil.npz"
    save_objects(path, positions_3d={"S9": _Evil(call_, *args)})
    assert call(["data", "convert", str(path), str(tmp_path / "out.npz"), "--trust-pickle"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "refused: it asks for" in err and named in err
    assert not (tmp_path / "out.npz").exists()


def test_arrays_of_other_types_and_hidden_objects_are_refused(tmp_path):
    path = tmp_path / "matrix.npz"
    save_objects(path, x={"a": _Evil(np.zeros(1).__reduce__()[0], np.recarray, (0,), b"b")})
    with pytest.raises(InputError, match="refused"):
        load_pickled(path)
    save_objects(
        path, x={"a": _Evil(np.float32(1).__reduce__()[0], np.dtype("O"), pickle.dumps(_Evil(os.getpid)))}
    )
    with pytest.raises(InputError, match="Python object"):
        load_pickled(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_and_python_2_names_are_read(tmp_path, protocol):
    import zipfile

    content = pickle.dumps(
        np.array({"a": np.arange(4.0), "n": np.float32(2.5), "t": "é"}, dtype=object), protocol=protocol
    )
    if protocol < 4:  # as numpy 1 wrote them
        content = content.replace(b"cnumpy._core.", b"cnumpy.core.")
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    path = tmp_path / "old.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    read = load_pickled(path)["x"]
    np.testing.assert_array_equal(read["a"], np.arange(4.0))
    assert read["n"] == 2.5 and read["t"] == "é"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_files_that_are_no_npz(tmp_path, capsys, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert call(["data", "convert", str(path), str(tmp_path / "y.npz"), "--trust-pickle"]) == 2
    assert "cannot be read as an .npz file" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be read as a converted"):
        load_tree(path)


def test_a_damaged_pickle_says_so(pickled, tmp_path):
    import zipfile

    path = tmp_path / "cut.npz"
    with zipfile.ZipFile(pickled) as whole, zipfile.ZipFile(path, "w") as cut:
        for name in whole.namelist():
            data = whole.read(name)
            cut.writestr(name, data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.npz"):
        load_pickled(path)


def test_things_without_a_place_are_named(tmp_path):
    with pytest.raises(InputError, match="S9/x: holds a set"):
        save_tree(tmp_path / "x.npz", {"S9": {"x": {1, 2}}})
    assert not list(tmp_path.iterdir())


def test_only_what_is_kept_is_read(tmp_path):
    save_tree(tmp_path / "x.npz", {"p": {"S1": np.zeros(2), "S9": np.ones(2)}, "q": np.zeros(1)})
    tree = load_tree(tmp_path / "x.npz", lambda keys: keys in (("p",), ("p", "S9")))
    assert list(tree) == ["p"] and list(tree["p"]) == ["S9"]


def test_places(pickled, tmp_path, capsys):
    plain = tmp_path / "plain.npz"
    save_tree(plain, {"a": 1})
    for words, code, message in (
        ([str(plain), str(tmp_path / "o.npz")], 2, "needs no conversion"),
        ([str(tmp_path / "none"), str(tmp_path / "o.npz")], 2, "no such file or folder"),
        ([str(pickled), str(plain), "--trust-pickle"], 3, "exists; choose another name"),
        ([str(pickled), str(pickled), "--trust-pickle", "--overwrite"], 2, "cannot be written over"),
        ([str(pickled), str(tmp_path / "o.npy"), "--trust-pickle"], 2, "must end in .npz"),
        ([str(pickled), str(tmp_path / "no" / "o.npz"), "--trust-pickle"], 3, "folder does not exist"),
    ):
        assert call(["data", "convert", *words]) == code
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert call(["data", "convert", str(pickled), str(plain), "--trust-pickle", "--overwrite"]) == 0
