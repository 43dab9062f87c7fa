"""MOCAP17: the open evaluation protocol that posefix is measured on.

It mirrors Human3.6M's: static pinhole cameras, root-aligned errors, people never seen in training, but on
motion capture that may be redistributed. A model sees the 2D and the image size, never the camera, the 3D
or the noise.

Frames: of each sequence of the split, in file order, the frames 0, s, 2s, … with the stride s of
`default_stride`. Cameras:
    lab: four a frame, 5 m away, level, as in Human3.6M; rows camera-major: all frames of camera 0, then 1, …
    wild: one a frame; distance, height, lens, tilt and framing drawn from a fixed seed.
Inputs:
    gt: exact pixels.
    det: a simulated detector: noise that depends on the joint, 2 % outliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..skeleton.cameras import look_at, project, world_to_camera
from ..skeleton.errors import InputError
from .mocap import Mocap

Array = npt.NDArray[np.float64]
Cameras = Literal["lab", "wild"]
Input = Literal["gt", "det"]

WILD_SEED, DET_SEED = 7, 11
OUTLIER_RATE, OUTLIER_FACTOR = 0.02, 5.0
DET_SIGMA = np.array([6, 10, 9, 12, 10, 9, 12, 8, 7, 8, 9, 10, 13, 17, 10, 13, 17]) / 1000
"""Noise of the simulated detector per joint, as a share of the larger side of the person's box."""


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """What a model sees and what it should have said; R rows.

    Attributes:
        keypoints: (R, 17, 2) float64, pixels: the model's input.
        image_size: (R, 2) float64, width and height in pixels: the model's input.
        target: (R, 17, 3) float64, metres relative to Hip, camera axes.
        action: (R,) str, `seq_action` of the row's sequence.
        camera: (R,) int, number of the row's camera (always 0 for wild).
        frame: (R,) int, number of the row's frame among the n evaluated ones.
        exact: (R, 17, 2) float64, pixels without noise. For oracles and checks only.
        target_camera: (R, 17, 3) float64, camera metres, not root-relative. For oracles and checks only.
        data, split, cameras, input, stride: what the rows were made from. `cameras` is "lab" or "wild", `input`
            "gt" or "det"; the readers in `datasets` have other words for them.
    """

    keypoints: Array
    image_size: Array
    target: Array
    action: npt.NDArray[np.str_]
    camera: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    exact: Array
    target_camera: Array
    data: str
    split: str
    cameras: str
    input: str
    stride: int

    def __len__(self) -> int:
        return len(self.keypoints)


def row_keys(count: int, person: int = 0) -> npt.NDArray[np.int64]:
    """(count, 2) rows as frames of one person: what a refiner's noise is drawn by."""
    return np.stack([np.arange(count), np.full(count, person)], axis=-1)


def default_stride(name: str) -> int:
    """Every how-manyth frame is evaluated: 16 where the file's name contains "bandai", 4 for any other."""
    return 16 if "bandai" in name.lower() else 4


def choose_frames(mocap: Mocap, split: str, stride: int) -> tuple[Array, npt.NDArray[np.str_]]:
    """The evaluated frames: world poses (n, 17, 3) float64 metres and the (n,) actions they belong to.

    Raises:
        InputError: the file has nothing of that split, or the stride is below 1.
    """
    if stride < 1:
        raise InputError(f"stride: expected at least 1, got {stride}")
    sequences = mocap.split(split)
    worlds = [s.world64(stride) for s in sequences]
    actions = np.repeat([s.action for s in sequences], [len(w) for w in worlds])
    return np.concatenate(worlds), actions


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """R rows seen by cameras: poses in camera metres, pixels, image size in pixels, camera numbers."""

    points: Array
    pixels: Array
    image_size: tuple[float, float]
    camera: npt.NDArray[np.int64]


def lab_view(world: Array) -> _View:
    """Four Human3.6M-like cameras around the pelvis of each of the n frames: 4 n rows, camera-major."""
    n = len(world)
    hip = world[:, 0]
    points = []
    for k in range(4):
        azimuth = np.deg2rad(35.0 + 90.0 * k)
        position = np.stack(
            [hip[:, 0] + 5.0 * np.cos(azimuth), hip[:, 1] + 5.0 * np.sin(azimuth), np.full(n, 1.6)], axis=-1
        )
        target = np.stack([hip[:, 0], hip[:, 1], np.full(n, 1.0)], axis=-1)
        points.append(world_to_camera(world, look_at(position, target), position))
    camera_points = np.concatenate(points)
    return _View(
        points=camera_points,
        pixels=project(camera_points, 1145.0, (500.0, 500.0)),
        image_size=(1000.0, 1000.0),
        camera=np.repeat(np.arange(4), n),
    )


def wild_view(world: Array) -> _View:
    """One camera a frame, its distance, height, lens, roll and aim drawn from a fixed seed: n rows."""
    n = len(world)
    u = np.random.default_rng(WILD_SEED).random((n, 8))
    azimuth, distance, height = 2 * np.pi * u[:, 0], 2.5 + 5.5 * u[:, 1], 0.4 + 2.2 * u[:, 2]
    focal, roll = 800.0 + 1600.0 * u[:, 3], np.deg2rad(-4.0 + 8.0 * u[:, 4])
    hip = world[:, 0]
    position = np.stack(
        [hip[:, 0] + distance * np.cos(azimuth), hip[:, 1] + distance * np.sin(azimuth), height], axis=-1
    )
    target = hip - 0.4 + 0.8 * u[:, 5:8]
    points = world_to_camera(world, look_at(position, target, roll), position)
    return _View(
        points=points,
        pixels=project(points, focal, (960.0, 540.0)),
        image_size=(1920.0, 1080.0),
        camera=np.zeros(n, dtype=np.int64),
    )


def simulate_detector(exact: npt.ArrayLike) -> Array:
    """Exact pixels (R, 17, 2) with the protocol's detector-like noise, scaled by each person's box."""
    pixels = np.asarray(exact, dtype=np.float64)
    if pixels.ndim != 3 or pixels.shape[1:] != (17, 2):
        raise ValueError(f"simulate_detector: expected shape (n, 17, 2), got {pixels.shape}")
    rng = np.random.default_rng(DET_SEED)
    noise = rng.standard_normal(pixels.shape)
    outlier = rng.random(pixels.shape[:2]) < OUTLIER_RATE
    box = np.ptp(pixels, axis=1).max(axis=1)
    sigma = DET_SIGMA * np.where(outlier, OUTLIER_FACTOR, 1.0) * box[:, None]
    return pixels + noise * sigma[..., None]


_VIEWS = {"lab": lab_view, "wild": wild_view}


def make_benchmark(
    mocap: Mocap,
    split: str = "test",
    cameras: Cameras = "lab",
    input: Input = "gt",
    stride: int | None = None,
) -> Benchmark:
    """The rows of one protocol setting.

    Args:
        mocap: a file read by `load_mocap`.
        split: "train", "val" or "test".
        cameras: "lab" (4 rows a frame) or "wild" (1 row a frame).
        input: "gt" (exact pixels) or "det" (simulated detector).
        stride: every how-manyth frame; None for the protocol's own (`default_stride` of the file's name).

    Raises:
        InputError: unknown cameras or input, a stride below 1, or a split that the file lacks.
    """
    for what, value, known in (("cameras", cameras, get_args(Cameras)), ("input", input, get_args(Input))):
        if value not in known:
            raise InputError(f"{what}: expected one of {', '.join(known)}, got {value!r}")
    step = default_stride(mocap.name) if stride is None else stride
    world, actions = choose_frames(mocap, split, step)
    view = _VIEWS[cameras](world)
    times = len(view.points) // len(world)
    return Benchmark(
        keypoints=view.pixels if input == "gt" else simulate_detector(view.pixels),
        image_size=np.tile(np.array(view.image_size), (len(view.points), 1)),
        target=view.points - view.points[:, :1],
        action=np.tile(actions, times),
        camera=view.camera,
        frame=np.tile(np.arange(len(world)), times),
        exact=view.pixels,
        target_camera=view.points,
        data=mocap.name,
        split=split,
        cameras=cameras,
        input=input,
        stride=step,
    )
