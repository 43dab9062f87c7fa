"""Reading and writing motion capture files."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.skeleton import H36M17
from posefix.skeleton.errors import InputError, OutputError
from posefix.training.mocap import Sequence, load_mocap, write_mocap


def sequence(name: str, n: int, split: str = "test", seed: int = 0) -> Sequence:
    rng = np.random.default_rng(seed)
    pose = rng.integers(-9000, 9000, (n, 17, 3), dtype=np.int16)
    pose[:, 0] = 0
    return Sequence(
        name=name, subject="a", action="walk", style="", source="made", split=split, fps=30.0,
        pose=pose, root=rng.normal(size=(n, 3)).astype(np.float32),
    )  # fmt: skip


def test_what_is_written_is_read_back(tmp_path):
    made = [sequence("one", 5, seed=1), sequence("two", 3, split="train", seed=2)]
    write_mocap(tmp_path / "tiny.npz", made)
    mocap = load_mocap(tmp_path / "tiny.npz")
    assert mocap.name == "tiny"
    assert [s.name for s in mocap.sequences] == ["one", "two"]
    for read, wrote in zip(mocap.sequences, made, strict=True):
        assert (read.subject, read.action, read.source, read.split, read.fps) == (
            "a",
            "walk",
            "made",
            wrote.split,
            30,
        )
        np.testing.assert_array_equal(read.pose, wrote.pose)
        np.testing.assert_array_equal(read.root, wrote.root)
        assert read.world.dtype == np.float32
        np.testing.assert_allclose(read.world, wrote.pose * 1e-4 + wrote.root[:, None], atol=1e-6)
        np.testing.assert_allclose(read.world64(2), read.world[::2], atol=1e-6)
    assert [s.name for s in mocap.split("train")] == ["two"]


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    write_mocap(tmp_path / "tiny.npz", [sequence("one", 5)])
    with pytest.raises(InputError, match="no sequences of the split 'val'; the file holds test"):
        load_mocap(tmp_path / "tiny.npz").split("val")


def _changed(path, **change):
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files} | change
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": None}, "it lacks pose"),
        ({"pose": np.zeros((5, 16, 3), np.int16)}, r"pose: expected \(N, 17, 3\) int16, got \(5, 16, 3\)"),
        ({"pose": np.zeros((5, 17, 3))}, "int16, got .* float64"),
        ({"root": np.zeros((4, 3), np.float32)}, r"root: expected \(5, 3\), got \(4, 3\)"),
        ({"root": np.full((5, 3), np.nan, np.float32)}, "not finite"),
        ({"seq_len": np.array([6])}, "outside of the 5 frames"),
        ({"seq_len": np.array([5.0])}, "expected integers, got float64"),
        ({"seq_action": np.array(["a", "b"])}, r"seq_action: expected \(1,\), got \(2,\)"),
        ({"parents": np.arange(17)}, "parents: expected"),
        ({"seq_name": np.array([{"a": 1}], dtype=object)}, "cannot be read"),  # a pickle: refused
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "tiny.npz"
    write_mocap(path, [sequence("one", 5)])
    _changed(path, **change)
    with pytest.raises(InputError, match=message) as error:
        load_mocap(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flag", [1, 1 << 5])
def test_encrypted_and_patched_archives_are_refused(tmp_path, flag):
    path = tmp_path / "made.npz"
    write_mocap(path, [sequence("one", 5)])
    whole = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(sign) + at] |= flag
    path.write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read as a mocap17"):
        load_mocap(path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a mocap17"):
        load_mocap(path)


def test_a_single_array_and_a_missing_file_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        load_mocap(tmp_path / "array.npy")
    with pytest.raises(InputError, match="no such file"):
        load_mocap(tmp_path / "nowhere.npz")


def test_writing_checks_its_input_and_its_folder(tmp_path):
    with pytest.raises(ValueError, match="at least one sequence"):
        write_mocap(tmp_path / "x.npz", [])
    with pytest.raises(OutputError, match="cannot be written"):
        write_mocap(tmp_path / "nowhere" / "x.npz", [sequence("one", 2)])


@pytest.mark.parametrize(
    ("name", "sequences", "frames"),
    [("cmu", 202, 44203), ("hdm05", 232, 14272), ("cmu2", 81, 35873), ("open", 32, 6894)],
)
def test_the_real_files(shared_dir, name, sequences, frames):
    mocap = load_mocap(shared_dir / "data" / f"mocap17_{name}.npz")
    assert len(mocap.sequences) == sequences
    assert sum(len(s) for s in mocap.sequences) == frames
    walk = mocap.sequences[0].world
    # z is up: the head stands above the ankles.
    assert (
        walk[:, H36M17.joints.index("Head"), 2].mean() > walk[:, H36M17.joints.index("LAnkle"), 2].mean() + 1
    )
