"""A short clip of a person to try posefix on, drawn here: nothing is downloaded and no picture ships.

    python -m posefix.demos.make_sample sample/sample.mp4 --seconds 3

A mannequin of shaded tapered limbs walks on the spot and turns slowly, seen by a still camera. Its motion is
a handful of sines; there is no motion capture in it.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import cyclopts
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from ..skeleton.errors import OutputError, PosefixError

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR
Ball = tuple[Array, float, Colour]  # centre (3,) camera metres, radius in metres

WIDTH, HEIGHT = 640, 720
_FOCAL = 1.25 * HEIGHT
_DISTANCE_M = 3.2
_EYE_M = 0.88  # height of the camera
_STRIDE_HZ = 0.9
_BALL_STEP_M = 0.01
_OVERSAMPLE = 2
_COLUMNS = 7  # limbs side by side that make the trunk
_LIGHT = np.array([-0.45, -0.75, -0.5]) / np.linalg.norm([-0.45, -0.75, -0.5])

_SKIN, _SHIRT, _JEANS, _SHOES, _HAIR = (
    (150, 175, 225),
    (60, 60, 190),
    (120, 75, 45),
    (40, 40, 45),
    (30, 45, 70),
)


def mannequin(time_s: float) -> dict[str, Array]:
    """Joints at a time: name -> (3,) metres; x the person's left, y down from the floor, z backwards."""
    phase = 2 * math.pi * _STRIDE_HZ * time_s
    joints: dict[str, Array] = {}
    bob = 0.02 * math.cos(2 * phase)
    hip = np.array([0.02 * math.sin(phase), -0.95 + bob, 0.0])
    joints["hip"] = hip
    joints["neck"] = hip + _at(0, -0.53, -0.01)
    joints["head"] = hip + _at(0, -0.68, -0.03)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        swing = math.sin(phase) * sign
        thigh, knee = 0.42 * swing, 0.15 + 0.55 * max(0.0, math.cos(phase) * sign)
        joints[side + "hip"] = hip + _at(0.10 * sign, 0.02, 0)
        joints[side + "knee"] = joints[side + "hip"] + _swung(0.43, thigh)
        joints[side + "ankle"] = joints[side + "knee"] + _swung(0.42, thigh - knee)
        joints[side + "toe"] = joints[side + "ankle"] + _at(0.03 * sign, 0.06, -0.17)
        joints[side + "heel"] = joints[side + "ankle"] + _at(0, 0.06, 0.05)
        arm = -0.5 * swing
        joints[side + "shoulder"] = joints["neck"] + _at(0.18 * sign, 0.04, 0)
        joints[side + "elbow"] = joints[side + "shoulder"] + _swung(0.29, arm) + _at(0.06 * sign, 0, 0)
        joints[side + "wrist"] = joints[side + "elbow"] + _swung(0.26, arm + 0.35) + _at(0.01 * sign, 0, 0)
        joints[side + "hand"] = joints[side + "wrist"] + _swung(0.12, arm + 0.35)
    for k, t in enumerate(np.linspace(-1, 1, _COLUMNS)):
        joints[f"waist{k}"] = hip + _at(0.075 * t, -0.04, 0)
        joints[f"chest{k}"] = hip + _at(0.085 * t, -0.34, -0.01)
        joints[f"collar{k}"] = hip + _at(0.170 * t, -0.495 + 0.02 * t * t, 0)
    return joints


def _at(x: float, y: float, z: float) -> Array:
    return np.array([x, y, z])


def _swung(length: float, angle: float) -> Array:
    """A limb that hangs down, swung forward (to -z) by an angle."""
    return _at(0.0, length * math.cos(angle), -length * math.sin(angle))


# from, to, radius at each end (metres), colour
_LIMBS = [
    *((s + "hip", s + "knee", 0.088, 0.062, _JEANS) for s in "lr"),
    *((s + "knee", s + "ankle", 0.062, 0.042, _JEANS) for s in "lr"),
    *((s + "heel", s + "toe", 0.042, 0.035, _SHOES) for s in "lr"),
    *((s + "shoulder", s + "elbow", 0.056, 0.046, _SHIRT) for s in "lr"),
    *((s + "elbow", s + "wrist", 0.040, 0.030, _SKIN) for s in "lr"),
    *((s + "wrist", s + "hand", 0.036, 0.026, _SKIN) for s in "lr"),
    ("lhip", "rhip", 0.100, 0.100, _JEANS),
    ("lshoulder", "rshoulder", 0.060, 0.060, _SHIRT),
    *((f"waist{k}", f"chest{k}", 0.095, 0.105, _SHIRT) for k in range(_COLUMNS)),
    *((f"chest{k}", f"collar{k}", 0.105, 0.062, _SHIRT) for k in range(_COLUMNS)),
    ("neck", "head", 0.055, 0.055, _SKIN),
]


def _seen(time_s: float) -> tuple[dict[str, Array], Array]:
    """Joints at a time in camera axes, (3,) metres each, and the (3, 3) rotation that turned the mannequin."""
    turn = math.radians(25) * math.sin(0.5 * time_s)
    spin = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    return {name: spin @ p + [0, _EYE_M, _DISTANCE_M] for name, p in mannequin(time_s).items()}, spin


def keypoints(time_s: float) -> dict[str, Array]:
    """Where the joints of `mannequin` are in the picture of `render`: name -> (2,) pixels."""
    joints, _ = _seen(time_s)
    return {name: _FOCAL * p[:2] / p[2] + [WIDTH / 2, HEIGHT / 2] for name, p in joints.items()}


def render(time_s: float) -> Image:
    """The picture at a time: (HEIGHT, WIDTH, 3) uint8 BGR."""
    at, spin = _seen(time_s)
    balls: list[Ball] = []
    for start, end, r0, r1, colour in _LIMBS:
        steps = max(4, int(np.linalg.norm(at[end] - at[start]) / _BALL_STEP_M))
        for t in np.linspace(0, 1, steps + 1):
            balls.append(((1 - t) * at[start] + t * at[end], (1 - t) * r0 + t * r1, colour))
    image = _room().copy()
    depth = np.full(image.shape[:2], np.inf, np.float32)
    for ball in balls + _head(at["head"], spin):
        _draw_ball(image, depth, *ball)
    return np.asarray(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _head(centre: Array, spin: Array) -> list[Ball]:
    """Balls of skull, jaw, hair, eyes, nose, mouth and ears."""
    parts = [
        ((0, -0.03, 0), 0.098, _SKIN), ((0, 0.03, -0.015), 0.080, _SKIN), ((0, 0.065, -0.03), 0.055, _SKIN),
        ((0, -0.055, 0.022), 0.104, _HAIR), ((0, -0.02, 0.04), 0.090, _HAIR),
        ((0, 0.015, -0.100), 0.016, (140, 165, 215)), ((0, 0.0, -0.095), 0.013, (140, 165, 215)),
        *(((0.034 * s, -0.018, -0.080), 0.0165, (235, 235, 235)) for s in (1, -1)),
        *(((0.034 * s, -0.018, -0.0905), 0.008, (40, 30, 25)) for s in (1, -1)),
        *(((x * s, -0.046 + 0.1 * x * x, -0.083), 0.008, _HAIR) for s in (1, -1) 
          for x in (0.022, 0.03, 0.038, 0.046)),
        *(((x, 0.052, -0.088 + 0.05 * abs(x)), 0.0075, (90, 90, 190)) for x in np.linspace(-0.024, 0.024, 9)),
        *(((0.098 * s, 0.0, 0.005), 0.022, (140, 165, 215)) for s in (1, -1)),
    ]  # fmt: skip
    return [(centre + spin @ np.array(offset), radius, colour) for offset, radius, colour in parts]


def _draw_ball(
    image: Image, depth: npt.NDArray[np.float32], centre: Array, radius: float, colour: Colour
) -> None:
    """A lit ball into the picture, where it is nearer than what is there."""
    focal = _FOCAL * _OVERSAMPLE
    middle = np.array([image.shape[1] / 2, image.shape[0] / 2])
    u, v = focal * centre[:2] / centre[2] + middle
    r = focal * radius / centre[2]
    x0, x1 = max(0, int(u - r)), min(image.shape[1], int(u + r) + 2)
    y0, y1 = max(0, int(v - r)), min(image.shape[0], int(v + r) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    nx = (np.arange(x0, x1, dtype=np.float32) - u)[None] / r
    ny = (np.arange(y0, y1, dtype=np.float32) - v)[:, None] / r
    flat = nx * nx + ny * ny
    nz = -np.sqrt(np.maximum(0, 1 - flat))
    z = centre[2] + radius * nz
    patch = depth[y0:y1, x0:x1]
    wins = (flat <= 1) & (z < patch)
    patch[wins] = z[wins]
    light = np.clip(_LIGHT[0] * nx + _LIGHT[1] * ny + _LIGHT[2] * nz, 0, 1)
    shade = 0.50 + 0.62 * light
    image[y0:y1, x0:x1][wins] = np.clip(shade[wins][:, None] * np.array(colour), 0, 255)


@functools.cache
def _room() -> Image:
    """Wall and floor in soft light, oversampled; shared, do not write into it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wall = 205 - 35 * np.hypot((x - WIDTH * 0.4) / WIDTH, (y - HEIGHT * 0.3) / HEIGHT)
    floor = 120 + 45 * (y - HEIGHT * 0.8) / (HEIGHT * 0.2)
    grey = np.where(y > HEIGHT * 0.8, floor, wall)[..., None]
    feet = HEIGHT / 2 + _FOCAL * _EYE_M / _DISTANCE_M
    grey *= 1 - 0.45 * np.exp(-(((x - WIDTH / 2) / 70) ** 2) - ((y - feet) / 16) ** 2)[..., None]
    room = np.clip(grey * np.array([0.96, 1.0, 1.02]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(room, None, fx=_OVERSAMPLE, fy=_OVERSAMPLE), np.uint8)


def make_sample(path: str | os.PathLike[str], seconds: float = 3.0, fps: int = 30) -> Path:
    """Write the clip as H.264 mp4, its folder included.

    Args:
        path: the mp4 to write; replaced where it exists.
        seconds: length of the clip. fps: frames per second.

    Returns:
        The path.

    Raises:
        ValueError: the clip would have no frame, or the rate makes no sense.
        OutputError: the file cannot be written.
    """
    frames = round(seconds * fps)
    if frames < 1 or not 1 <= fps <= 240:
        raise ValueError(
            f"make_sample: expected at least one frame at 1 to 240 fps, got {seconds} s at {fps} fps"
        )
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path.absolute()), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "20"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for k in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(render(k / fps), "bgr24")))
            container.mux(stream.encode())
    except (OSError, FFmpegError) as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return path


app = cyclopts.App(help="Draw a short clip of a walking mannequin to try posefix on.", version_flags=[])


@app.default
def _main(path: Path, /, *, seconds: float = 3.0, fps: int = 30) -> int:
    """Write the sample clip.

    Args:
        path: the mp4 to write.
        seconds: length of the clip.
        fps: frames per second.
    """
    try:
        make_sample(path, seconds, fps)
    except (PosefixError, ValueError) as error:
        print(f"make_sample: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PosefixError) else 2
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(app())
