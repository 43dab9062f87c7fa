"""pipeline/smoothing.py: jumps are damped, fast motion is kept, and nothing is joined that does not belong together."""

from __future__ import annotations

import numpy as np
import pytest
from posefix.pipeline.smoothing import LIVE, OneEuro

FPS = 30.0


def one_euro(poses: np.ndarray, how: str = "light", fps: float = FPS) -> np.ndarray:
    preset = LIVE[how]
    assert preset is not None
    live = OneEuro(*preset)
    return np.stack([live.push(k / fps, pose) for k, pose in enumerate(poses)])


def still(frames: int) -> np.ndarray:
    """(n, 17, 3) metres."""
    return np.tile(np.linspace(-0.5, 0.5, 51).reshape(17, 3), (frames, 1, 1))


def sway(frames: int, hz: float, metres: float, fps: float = FPS) -> np.ndarray:
    """(n, 17, 3): every joint swings along x by `metres` to either side."""
    poses = still(frames)
    poses[:, :, 0] += metres * np.sin(2 * np.pi * hz * np.arange(frames) / fps)[:, None]
    return poses


def jitter(poses: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(poses, 2, axis=0), axis=2).mean())


@pytest.mark.parametrize(("how", "left"), [("light", 0.5), ("strong", 0.3)])
def test_one_euro_calms_somebody_at_rest(how, left):
    noise = np.random.default_rng(0).normal(0, 0.01, (90, 17, 3))
    assert jitter(one_euro(still(90) + noise, how)[30:]) < left * jitter(noise[30:])


@pytest.mark.parametrize(("how", "left"), [("light", 0.7), ("strong", 0.5)])
def test_one_euro_damps_a_jump(how, left):
    poses = still(60)
    poses[40, 13] += (0.2, 0, 0)
    moved = np.linalg.norm(one_euro(poses, how) - still(60), axis=2)
    assert 0.01 < moved[:, 13].max() < left * 0.2
    assert moved[:, np.arange(17) != 13].max() < 1e-9


@pytest.mark.parametrize(("how", "kept"), [("light", 0.95), ("strong", 0.8)])
def test_one_euro_keeps_a_fast_swing(how, kept):
    smooth = one_euro(sway(120, 2.0, 0.4), how)[60:]  # a foot at up to 5 m/s
    assert np.ptp(smooth[:, 3, 0]) > kept * 0.8


def test_one_euro_starts_joints_anew_after_they_were_hidden():
    poses = sway(30, 1.0, 0.3)
    poses[10:13, 5] = np.nan
    smooth = one_euro(poses)
    assert np.isnan(smooth[10:13, 5]).all() and np.isfinite(smooth[:, 6]).all()
    assert (smooth[13, 5] == poses[13, 5]).all()
    assert (smooth[13, 6] != poses[13, 6]).any()


@pytest.mark.parametrize("step", [0.3, 0.0, -5.0])
def test_one_euro_starts_anew_after_a_gap_and_where_time_stands_still(step):
    preset = LIVE["strong"]
    assert preset is not None
    live = OneEuro(*preset)
    live.push(10.0, still(1)[0])
    assert (live.push(10.0 + step, still(1)[0] + 1) == still(1)[0] + 1).all()
    assert (live.push(10.0 + step + 1 / 30, still(1)[0]) != still(1)[0]).all()


def test_one_euro_gives_nothing_away_that_it_still_needs():
    preset = LIVE["light"]
    assert preset is not None
    live, twin = OneEuro(*preset), OneEuro(*preset)
    first = live.push(0.0, still(1)[0])
    first[:] = 9
    twin.push(0.0, still(1)[0])
    pose = still(1)[0] + 0.1
    assert (live.push(0.03, pose) == twin.push(0.03, pose)).all()
