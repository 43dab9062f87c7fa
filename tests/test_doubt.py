"""Heatmaps to scores: known Gaussians come back, doubt lowers a score and never raises one."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from fakes import FakeDetector, install_fakes, write_clip
from posefix.detectors import doubt
from posefix.detectors.decode import decode_heatmaps
from posefix.detectors.doubt import heatmap_spread, score_of, with_doubt
from posefix.pipeline.run import run_video
from posefix.pipeline.settings import Settings
from posefix.skeleton import COCO17, H36M17, Pose2D
from posefix.skeleton.convert import to_h36m17

BOX = (100.0, 50.0, 100.0 + 48 * 5, 50.0 + 64 * 5)  # 5 px a cell
MIDDLE = (100 + 5 * 24.5, 50 + 5 * 32.5)  # of cell (24, 32)


def blob(sigma: float, at: tuple[float, float] = (24, 32), height: float = 0.9) -> np.ndarray:
    """(64, 48) a Gaussian of `sigma` cells."""
    y, x = np.mgrid[:64, :48]
    return height * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


def pose(*maps: np.ndarray, score: float = 0.9, box: tuple[float, ...] | None = BOX) -> Pose2D:
    """COCO-17; joint k has the k-th map, the others that of a sure joint. All at MIDDLE."""
    stack = np.stack([*maps, *[blob(2)] * (17 - len(maps))]).astype(np.float32)
    return Pose2D(np.tile(MIDDLE, (17, 1)), np.full(17, score), COCO17.name, heatmaps=stack, heatmap_box=box)


@pytest.mark.parametrize("sigma", [1.5, 2, 4, 6])
def test_the_spread_of_a_gaussian_is_its_sigma_in_pixels(sigma) -> None:
    assert heatmap_spread(pose(blob(sigma)))[0] == pytest.approx(5 * sigma, rel=0.02)


def test_it_does_not_hang_on_height_noise_or_where_the_joint_is() -> None:
    sure = heatmap_spread(pose())[0]
    noisy = blob(2) + 0.05 * np.random.default_rng(0).random((64, 48))
    assert heatmap_spread(pose(blob(2, height=0.2)))[0] == pytest.approx(sure, rel=1e-3)
    assert heatmap_spread(pose(noisy))[0] == pytest.approx(sure, rel=0.1)
    maps = np.tile(blob(2, (10.3, 50.6)).astype(np.float32), (17, 1, 1))
    places = decode_heatmaps(maps[None])[0][0]
    there = Pose2D((places + 0.5) * 5 + BOX[:2], np.ones(17), COCO17.name, heatmaps=maps, heatmap_box=BOX)
    assert heatmap_spread(there)[0] == pytest.approx(sure, rel=0.02)


def test_a_second_peak_is_doubt() -> None:
    two = np.maximum(blob(2), blob(2, (24, 12), height=0.8))  # 20 cells, so 100 px, higher up
    # About the place, not about the mean of both: 46 % of the mass is 100 px away, all on one of two axes.
    assert 55 < heatmap_spread(pose(two))[0] < 70
    assert with_doubt(pose(two)).scores[0] < 0.2 < 0.8 < with_doubt(pose(two)).scores[1]


def test_wider_is_never_surer_and_a_sure_joint_keeps_its_score() -> None:
    sigmas = [1.5, 2, 2.3, 3, 4, 5, 6, 8]
    scores = with_doubt(pose(*(blob(s) for s in sigmas))).scores[: len(sigmas)]
    assert scores[0] == scores[1] == pytest.approx(0.9) and (np.diff(scores[1:]) < 0).all()
    assert with_doubt(pose(*(blob(s) for s in sigmas), score=0.3)).scores[:3] == pytest.approx([0.3] * 3)


def test_the_documented_line() -> None:
    assert score_of(np.array([0.017, 0.13])) == pytest.approx([0.8, 0.1])
    assert score_of(np.array([0.0, 1.0])).tolist() == [1, 0]
    middle = np.sqrt(0.017 * 0.13)
    assert score_of(np.array([middle])) == pytest.approx([0.45])
    # 64 cells are 1.25 times the box; sigma^2 = blur^2 + d^2
    sigma = np.hypot(2, 0.06 * 64 / 1.25)
    assert with_doubt(pose(blob(sigma))).scores[0] == pytest.approx(score_of(np.array([0.06]))[0], abs=0.02)


def test_the_cut_of_a_gaussians_foot_is_made_good() -> None:
    u = np.linspace(0, -np.log(0.1), 100_001)
    mass = np.exp(-u) - 0.1
    assert doubt._cut(0.1) == pytest.approx(np.sqrt((mass * u).sum() / mass.sum()), rel=1e-4)


def test_without_heatmaps_nothing_changes() -> None:
    plain = Pose2D(np.zeros((17, 2)), np.full(17, 0.4), COCO17.name)
    assert with_doubt(plain) is plain
    lost = pose(blob(6), box=None)  # nobody says what its heatmaps cover
    assert with_doubt(lost) is lost
    for wrong in (plain, lost):
        with pytest.raises(ValueError, match="no heatmaps, or no box"):
            heatmap_spread(wrong)


def test_empty_broken_and_placeless_heatmaps_leave_the_score_alone() -> None:
    nan = np.full((64, 48), np.nan)
    told = pose(np.zeros((64, 48)), nan, blob(2) - 5, blob(6))
    points = told.keypoints.copy()
    points[3] = np.nan
    told = Pose2D(points, told.scores, COCO17.name, heatmaps=told.heatmaps, heatmap_box=BOX)
    assert np.isnan(heatmap_spread(told)[:4]).all()
    assert with_doubt(told).scores == pytest.approx([0.9] * 17)


def test_derived_joints_are_as_doubtful_as_their_worst_source() -> None:
    hip = COCO17.joints.index("RHip")
    maps = [blob(6) if k == hip else blob(2) for k in range(17)]
    converted = to_h36m17(with_doubt(pose(*maps)))
    scores = dict(zip(H36M17.joints, converted.scores.tolist(), strict=True))
    assert scores["RHip"] == scores["Hip"] == scores["Spine"] < 0.6
    assert scores["LHip"] == scores["RWrist"] == pytest.approx(0.9)
    assert converted.heatmaps is None


def test_doubt_reaches_the_scores_that_the_refiner_and_the_csv_get(tmp_path, monkeypatch) -> None:
    plain = FakeDetector.detect

    def with_wide_wrist(self, frame):
        found = plain(self, frame)
        joint = COCO17.joints.index("LWrist")
        maps = np.stack([blob(5 if k == joint else 2) for k in range(17)]).astype(np.float32)
        return [
            Pose2D(np.tile(MIDDLE, (17, 1)), np.full(17, 0.9), COCO17.name, None, maps, BOX) for _ in found
        ]

    install_fakes(monkeypatch)
    monkeypatch.setattr(FakeDetector, "detect", with_wide_wrist)
    clip = write_clip(tmp_path / "clip.mp4", [100] * 3)
    run_video(str(clip), Settings(output=tmp_path / "out", detector="fake", device="cpu", render=False))
    with open(tmp_path / "out" / "clip_3d.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        assert float(row["LWrist_score"]) < 0.5 < float(row["RWrist_score"]) == 0.9
