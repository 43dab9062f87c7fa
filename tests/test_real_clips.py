"""The whole command on real clips, with the real detector and the shipped networks."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import pytest
from posefix.pipeline.cli import call
from posefix.skeleton import H36M17

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "videos"
FRAMES = 12


@pytest.fixture(autouse=True)
def weights() -> None:
    if not (files("posefix.weights") / "manifest.json").is_file():
        pytest.skip("no weights are installed")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def picture_times(path: Path) -> list[float]:
    with av.open(str(path)) as video:
        return [float(frame.time or 0) for frame in video.decode(video=0)]


def joints(row: dict[str, str]) -> np.ndarray:
    """(17, 3) metres, NaN where hidden."""
    return np.array([[float(row[f"{j}_{axis}"] or "nan") for axis in "xyz"] for j in H36M17.joints])


EMPTY_AT_FIRST = "one_by_one_a"


@pytest.mark.parametrize(
    "clip",
    [path for path in sorted(CLIPS.glob("*.mp4")) if path.stem != EMPTY_AT_FIRST],
    ids=lambda path: path.stem,
)
def test_the_beginning_of_every_clip(tmp_path, clip):
    words = [str(clip), "-o", str(tmp_path), "--max-frames", str(FRAMES), "--device", "cpu", "-q"]
    assert call(words) == 0
    rows = table(tmp_path / f"{clip.stem}_3d.csv")
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    np.testing.assert_allclose(
        picture_times(tmp_path / f"{clip.stem}_pose.mp4"),
        [float(row["time_s"]) - float(rows[0]["time_s"]) for row in rows],
        atol=1e-3,
    )
    found = [row for row in rows if row["status"] == "detected"]
    assert found
    for row in found:
        pose = joints(row)
        extent = np.nanmax(pose, axis=0) - np.nanmin(pose, axis=0)
        assert 0.5 < extent.max() < 2.3, "no human is of that size"
        spread = [float(row[f"{j}_std"]) for j in H36M17.joints if row[f"{j}_x"]]
        assert len(spread) >= 6 and max(spread) < 0.6 and np.median(spread) > 1e-4


def test_an_empty_room_has_nobody(tmp_path, shared_dir):
    """Nor a table's foot, which MediaPipe takes for a person where little confidence is asked for."""
    clip = shared_dir / "videos" / f"{EMPTY_AT_FIRST}.mp4"
    words = [str(clip), "-o", str(tmp_path), "--max-frames", "60", "--no-render", "--device", "cpu", "-q"]
    assert call(words) == 6
    rows = table(tmp_path / f"{clip.stem}_3d.csv")
    assert [row["status"] for row in rows] == ["missing"] * 60


def test_a_whole_clip(tmp_path, shared_dir):
    clip = shared_dir / "videos" / "sign_walk.mp4"
    assert call([str(clip), "-o", str(tmp_path), "--device", "cpu", "--height", "1.8", "-q"]) == 0
    with av.open(str(clip)) as video:
        times = [float(frame.time or 0) for frame in video.decode(video=0)]
    rows = table(tmp_path / "sign_walk_3d.csv")
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], times, atol=1e-3)
    assert [row["status"] for row in rows] == ["detected"] * len(times)
    # Somebody upright: the head well above the hip, y pointing down. The feet are out of the picture.
    poses = np.stack([joints(row) for row in rows])
    head, hip, ankle = (H36M17.joints.index(j) for j in ("Head", "Hip", "LAnkle"))
    assert (poses[:, head, 1] < -0.4).all() and (poses[:, hip] == 0).all()
    assert np.isnan(poses[:, ankle]).mean() > 0.9


def test_no_pose_between_two_people(tmp_path, shared_dir):
    """MediaPipe goes over from one who walks out at the left to one who crouches on the right."""
    clip = shared_dir / "videos" / "park_two_people.mp4"
    words = "--start 5.9 --end 6.9 --no-render --no-refine --device cpu -q"
    assert call([str(clip), "-o", str(tmp_path), *words.split()]) == 0
    left = right = 0
    for row in table(tmp_path / "park_two_people_2d.csv"):
        across = np.array([float(row[f"{j}_x"]) for j in H36M17.joints if row[f"{j}_x"]])
        left, right = left + bool((across < 350).any()), right + bool((across > 950).any())
        assert (across < 350).all() or (across > 950).all(), row["frame"]
    assert left > 10 and right > 3
