"""Poses of real, calibrated video against triangulated joints, and against MediaPipe's own 3D.

    python benchmarks/real_video.py [--videos DIR] [--oracle-2d] [--cache DIR] [--json FILE]
    python benchmarks/real_video.py --detector mediapipe --detector "onnx --pose-model FILE --det-model FILE"

Two synchronous clips of one man (Pose2Sim's Demo_SinglePerson). The reference is not optical motion capture:
it was triangulated from detections in four views, with errors of some 2-3 cm. With `--detector` detectors are
compared instead (`compare_detectors.py`). Without, measured is P-MPJPE over the 12 limb joints (hips, knees, ankles,
shoulders, elbows, wrists), in mm, per clip and averaged over the clips, for
    lifted, refined   what `posefix` gives from its default detector, with the default settings, smoothed (`--smooth
                      light`); "unsmoothed": with `--smooth off`
    mediapipe_3d      the world landmarks of the same detector, on the same frames in the same run, as they come;
                      "smoothed": with posefix's filter
    oracle 2D         lifted and refined from the projected reference: not deployable, shown beside the others
and beside it the jitter: the mean acceleration of these joints relative to Hip, m/s^2.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from balance import CLIPS, DEFAULT_VIDEOS, LIMBS, Choice, Reference, read_reference, smoothed
from command import run, write_json
from compare_detectors import compare_detectors
from posefix.detectors.base import create_detector
from posefix.pipeline.reader import IMAGE_FPS, open_source
from posefix.pipeline.settings import Settings
from posefix.skeleton import BLAZEPOSE33, H36M17, Frame, Pose2D, Pose3D
from posefix.skeleton.convert import to_h36m17
from posefix.skeleton.errors import InputError, PosefixError
from posefix.skeleton.metrics import p_mpjpe
from rich.console import Console
from rich.progress import track
from rich.table import Table

LIMBS_BLAZE = [BLAZEPOSE33.joints.index(H36M17.joints[j]) for j in LIMBS]


@dataclass(frozen=True)
class Detections:
    """What the detector saw in n frames; rows without a person hold NaN.

    Attributes:
        kp: (n, 33, 2) pixels.
        score: (n, 33).
        world: (n, 33, 3) MediaPipe's own 3D, metres.
        found: (n,) bool.
        ms: (n,) milliseconds the detector took; from the cache, those of the run that filled it.
    """

    kp: np.ndarray
    score: np.ndarray
    world: np.ndarray
    found: np.ndarray
    ms: np.ndarray


def detect(path: Path) -> Detections:
    """Runs the default detector over a clip, and MediaPipe with the same settings for its world landmarks."""
    from mediapipe.python.solutions.pose import Pose

    detector = create_detector("mediapipe", "cpu")
    # The settings of posefix's detector: see detectors/mediapipe_detector.py.
    own_3d = Pose(static_image_mode=False, model_complexity=1, smooth_landmarks=False)
    kp, score, world, ms = [], [], [], []
    with open_source(str(path)) as frames:
        for frame in track(frames, description=path.stem, console=Console(stderr=True), transient=True):
            start = time.perf_counter()
            poses = detector.detect(frame)
            ms.append(1000 * (time.perf_counter() - start))
            kp.append(poses[0].keypoints if poses else np.full((33, 2), np.nan))
            score.append(poses[0].scores if poses else np.full(33, np.nan))
            world.append(_world_landmarks(own_3d, frame))
    detector.close()
    own_3d.close()
    scores = np.array(score)
    found = np.asarray(np.isfinite(scores).all(axis=1))
    return Detections(np.array(kp), scores, np.array(world), found, np.array(ms))


def _world_landmarks(model: Any, frame: Frame) -> np.ndarray:
    """(33, 3) metres, NaN without a person."""
    landmarks = model.process(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)).pose_world_landmarks
    if landmarks is None:
        return np.full((33, 3), np.nan)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark])  # metres, origin between the hips


def load_or_detect(path: Path, cache: Path | None) -> Detections:
    """The clip's detections, from the cache folder when it has them; new ones are kept there."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder of the clips with --videos")
    kept = None if cache is None else cache / f"{path.stem}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as arrays:
            return Detections(**{key: arrays[key] for key in Detections.__dataclass_fields__})
    result = detect(path)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, **{key: getattr(result, key) for key in Detections.__dataclass_fields__})
    return result


def estimate(
    estimator: Any, poses: Sequence[Pose2D], frames: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Limb joints (n, 12, 3) in metres, smoothed and not, and milliseconds a pose.

    One call first, outside of the clock.
    """
    keys = [(int(k), 0) for k in frames]
    estimator(poses[:1], keys[:1])
    start = time.perf_counter()
    found = estimator(poses, keys)
    ms = 1000 * (time.perf_counter() - start) / len(poses)
    return limbs(smoothed(poses, found, frames, fps)), limbs(found), ms


def limbs(poses: Sequence[Pose3D]) -> np.ndarray:
    """(n, 12, 3) metres"""
    return np.stack([pose.joints for pose in poses])[:, LIMBS]


def as_poses(world: np.ndarray) -> list[Pose3D]:
    """MediaPipe's own 3D (n, 33, 3), of which the limbs count, as poses without uncertainty."""
    joints = np.full((len(world), len(H36M17.joints), 3), np.nan, np.float32)
    joints[:, LIMBS] = world[:, LIMBS_BLAZE]
    return [Pose3D(pose, np.full(len(pose), np.nan, np.float32)) for pose in joints]


def acceleration(joints: np.ndarray, frames: np.ndarray, fps: float) -> float:
    """Mean acceleration of (n, J, 3) metres, m/s^2, over frames between two others that are there."""
    change = np.linalg.norm(np.diff(joints, 2, axis=0), axis=2) * fps**2
    return float(change[(frames[2:] - frames[:-2]) == 2].mean())


def measure(
    clip: str, found: Detections, truth: Reference, estimators: dict[str, Any], oracle: bool, fps: float
) -> dict:
    """One clip's errors (mm), jitter, milliseconds a frame and share of frames with a pose.

    All errors are means over the same frames: those in which every method has all 12 joints.
    """
    n = min(len(found.found), len(truth.joints))
    seen = np.flatnonzero(found.found[:n] & np.isfinite(found.world[:n]).all(axis=(1, 2)))
    if len(seen) == 0:
        raise InputError(f"{clip}: no person was found in any frame, so there is nothing to measure")
    detected = [to_h36m17(Pose2D(found.kp[k], found.score[k], BLAZEPOSE33.name)) for k in seen]
    exact = [Pose2D(truth.pixels[k], np.ones(17, np.float32), H36M17.name) for k in seen]
    own, ms = as_poses(found.world[seen]), {"detector": float(np.median(found.ms))}
    poses = {"mediapipe_3d": limbs(own), "mediapipe_3d_smoothed": limbs(smoothed(detected, own, seen, fps))}
    for name, estimator in estimators.items():
        poses[name], poses[f"{name}_unsmoothed"], ms[name] = estimate(estimator, detected, seen, fps)
        if oracle:
            poses[f"{name}_oracle_2d"], _, _ = estimate(estimator, exact, seen, fps)
    whole = np.all([np.isfinite(p).all(axis=(1, 2)) for p in poses.values()], axis=0)
    if not whole.any():
        raise PosefixError(f"{clip}: no frame in which every method has all 12 joints")
    target = truth.joints[seen[whole]][:, LIMBS]
    box = np.ptp(truth.pixels[seen], axis=1).max(axis=1)
    distance = np.linalg.norm(np.stack([p.keypoints for p in detected]) - truth.pixels[seen], axis=-1)
    reference = target - truth.joints[seen[whole]][:, :1]
    return {
        "clip": clip,
        "frames": int(n),
        "frames_scored": int(whole.sum()),
        "frames_with_pose_percent": 100 * float(found.found[:n].mean()),
        "p_mpjpe_12_limbs_mm": {name: p_mpjpe(p[whole], target) for name, p in poses.items()},
        "acceleration_12_limbs_m_s2": {
            name: acceleration(p, seen[whole], fps)
            for name, p in {**{k: v[whole] for k, v in poses.items()}, "reference": reference}.items()
        },
        "error_2d_12_limbs_percent_of_box": 100 * float((distance[:, LIMBS] / box[:, None]).mean()),
        "ms_per_frame": ms,
    }


def average(clips: Sequence[dict]) -> dict[str, float]:
    """Mean of the clips' errors, and the ratios that the project promises: both sides as they come, and both not
    smoothed or smoothed.
    """
    errors = [clip["p_mpjpe_12_limbs_mm"] for clip in clips]
    mean = {name: float(np.mean([e[name] for e in errors])) for name in errors[0]}
    ratios = {}
    for k in (k for k in ("lifted", "refined") if k in mean):
        ratios[f"{k}_to_mediapipe_3d"] = mean[k] / mean["mediapipe_3d"]
        ratios[f"{k}_unsmoothed_to_mediapipe_3d"] = mean[f"{k}_unsmoothed"] / mean["mediapipe_3d"]
        ratios[f"{k}_to_mediapipe_3d_smoothed"] = mean[k] / mean["mediapipe_3d_smoothed"]
    return {**mean, **ratios}


def load_estimators(device: str, steps: int, hypotheses: int, seed: int) -> dict[str, Any]:
    """posefix without and with its refiner."""
    from posefix.pipeline.estimate import PoseEstimator

    options = {"device": device, "steps": steps, "hypotheses": hypotheses, "seed": seed}
    return {name: PoseEstimator.load(refine=name == "refined", **options) for name in ("lifted", "refined")}


def print_table(clips: Sequence[dict], mean: dict[str, float]) -> None:
    table = Table(title="P-MPJPE over the 12 limb joints, mm", title_justify="left")
    table.add_column("")
    for clip in clips:
        table.add_column(clip["clip"], justify="right")
    table.add_column("mean", justify="right")
    for name in clips[0]["p_mpjpe_12_limbs_mm"]:
        values = [clip["p_mpjpe_12_limbs_mm"][name] for clip in clips]
        table.add_row(named(name), *(f"{v:.1f}" for v in (*values, mean[name])))
    table.add_section()
    for name in clips[0]["acceleration_12_limbs_m_s2"]:
        values = [clip["acceleration_12_limbs_m_s2"][name] for clip in clips]
        table.add_row(f"{named(name)}, m/s^2", *(f"{v:.1f}" for v in (*values, np.mean(values))))
    table.add_section()
    table.add_row("frames with a pose, %", *(f"{c['frames_with_pose_percent']:.1f}" for c in clips), "")
    table.add_row("frames scored", *(f"{c['frames_scored']} of {c['frames']}" for c in clips), "")
    table.add_row("2D error, % of box", *(f"{c['error_2d_12_limbs_percent_of_box']:.2f}" for c in clips), "")
    for stage in clips[0]["ms_per_frame"]:
        table.add_row(f"{stage}, ms a frame", *(f"{c['ms_per_frame'][stage]:.1f}" for c in clips), "")
    Console().print(table)
    for name, value in mean.items():
        if "_to_" in name:
            print(f"{' / '.join(named(side) for side in name.split('_to_'))}: {value:.3f}")


def named(name: str) -> str:
    """A method as tables call it."""
    for end in ("oracle_2d", "unsmoothed", "smoothed"):
        if name.endswith(f"_{end}"):
            return f"{name.removesuffix(f'_{end}')} ({end.replace('oracle_2d', 'oracle 2D')})"
    return name


def real_video(
    *,
    videos: Path = DEFAULT_VIDEOS,
    oracle_2d: bool = False,
    models: bool = True,
    cache: Path | None = None,
    detector: list[str] | None = None,
    json: Path | None = None,
    device: str = "cpu",
    steps: int = 2,
    hypotheses: int = 5,
    seed: int = 0,
) -> dict:
    """Measure posefix on real, calibrated video.

    Args:
        videos: folder with balance_cam01.mp4, balance_cam03.mp4 and balance_gt.npz.
        oracle_2d: also lift the exact, projected 2D.
        models: --no-models measures the detector and its own 3D only.
        cache: folder that keeps the 2D detections; a later run reads them instead of detecting.
        detector: compare these instead: a detector with its options, in quotes; may be given several times.
        json: also write the figures to this file.
        device, steps, hypotheses, seed: as those of posefix.
    """
    choices = [Choice.read(words) for words in detector or []]
    estimators = load_estimators(device, steps, hypotheses, seed) if models or choices else {}
    settings = {
        "device": device, "steps": steps, "hypotheses": hypotheses, "seed": seed, "smooth": Settings.smooth
    }  # fmt: skip
    if choices:
        report = {**compare_detectors(choices, videos, estimators["refined"], device), "settings": settings}
        write_json(report, json)
        return report
    clips = []
    for clip in CLIPS:
        path = videos / f"{clip}.mp4"
        found, truth = load_or_detect(path, cache), read_reference(videos, clip)
        with open_source(str(path)) as frames:
            fps = frames.info.fps or IMAGE_FPS
        clips.append(measure(clip, found, truth, estimators, oracle_2d, fps))
    mean = average(clips)
    print_table(clips, mean)
    report = {"clips": clips, "mean": mean, "settings": settings}
    write_json(report, json)
    return report


if __name__ == "__main__":
    run(real_video)
