"""A recorded motion -> sequences of the mocap17 format: Human3.6M's 17 joints, metres, z up, 30 frames per second.

Joints, as the shipped mocap17 files have them (README of the data):
    limbs      the twelve joints of the limbs, by name (`naming.py`)
    Hip        middle of the hip joints
    Thorax     base of the neck; where no joint is there, 8 % of the trunk above the middle of the shoulders
    Spine      of the joints between Hip and Thorax the one nearest to 40 % of the way, if it lies between 25 and 60 %;
               else the point at 40 %
    Neck       inside the head: 0.034 m from the base of the skull along the head, and at least 0.13 m above Thorax
    Head       0.115 m further along the head: the top of the skull
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...skeleton import H36M17
from ...skeleton.convert import THORAX
from ...skeleton.errors import InputError
from ..mocap import SCALE, Sequence
from .motion import Motion
from .naming import Landmarks, find_landmarks

Array = npt.NDArray[np.float64]
Up = Literal["auto", "y", "z"]
Floor = Literal["auto", "keep", "ankles"]

FPS = 30.0
SPINE, SPINE_RANGE = 0.40, (0.25, 0.60)
NECK_ABOVE_HEAD_JOINT, NECK_ABOVE_THORAX, HEAD_ABOVE_NECK = 0.034, 0.13, 0.115
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu (1/0.45 inch)": 0.0254 / 0.45}
LEG = (0.55, 1.15)
"""Thigh and shin of a person, metres. Its ends lie closer together than two units of `UNITS`."""
BONE_STD = 0.02
ANKLE_HEIGHT = 0.09
MAX_SPEED, MAX_HIP_SPEED, MIN_FRAMES = 16.0, 9.0, 15
_KNEE_BEND = 0.03
_J = {name: i for i, name in enumerate(H36M17.joints)}


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """How a motion becomes sequences.

    Attributes:
        unit: metres per unit of the file; None to find out from the length of the legs.
        up: which axis of the file is up; auto finds out.
        fps: frames per second of the file, where it does not tell or tells wrongly.
        floor: keep heights; or put low ankles at 0.09 m; auto does so where feet would be under the floor.
        swap_sides: left and right exchanged: for mirrored files.
        split, source, subject, action, style: for the sequences.

    Raises:
        InputError: a value makes no sense.
    """

    unit: float | None = None
    up: Up = "auto"
    fps: float | None = None
    floor: Floor = "auto"
    swap_sides: bool = False
    split: Literal["train", "val", "test"] = "train"
    source: str = "mine"
    subject: str = ""
    action: str = ""
    style: str = ""

    def __post_init__(self) -> None:
        if self.unit is not None and not 1e-5 < self.unit < 100:
            raise InputError(f"--unit {self.unit}: expected metres per unit, e.g. 0.01 for centimetres")
        if self.fps is not None and not 5 <= self.fps <= 1000:
            raise InputError(f"--fps {self.fps}: expected 5 to 1000 frames per second")


def to_sequences(motion: Motion, config: MotionConfig) -> tuple[list[Sequence], list[str]]:
    """Sequences of the mocap17 format, and notes on what was found out or mended.

    Cut where a joint is faster than 16 m/s or the pelvis faster than 9 (glitches); parts of less than half a
    second are dropped. With several parts their names end in #0, #1, ….

    Raises:
        InputError: names that are not known, or a pose that is no person's: bones that change length, no known
            unit, left and right exchanged, no frame rate, nothing left (says what and how to mend it).
    """
    marks = find_landmarks(motion)
    notes = list(motion.notes)
    unit = config.unit or motion.unit or _find_unit(motion, marks)
    poses = seventeen_joints(motion, marks, unit)
    poses = _z_up(poses, motion, config.up)
    if config.swap_sides:
        poses = poses[:, H36M17.flip_order]
    check_bones(poses, motion.name)
    check_sides(poses, motion.name)
    fps = config.fps or motion.fps
    if not fps:
        raise InputError(f"{motion.name}: the file does not tell its frame rate; give --fps")
    poses = resample(poses, fps)
    poses, moved = _on_floor(poses, config.floor)
    if moved:
        notes.append(f"floor moved by {moved:+.2f} m")
    parts = cut_glitches(poses)
    if not parts:
        raise InputError(f"{motion.name}: nothing left: less than {MIN_FRAMES / FPS:g} s without a glitch")
    dropped = len(poses) - sum(len(p) for p in parts)
    if dropped:
        notes.append(f"{dropped} of {len(poses)} frames dropped at glitches")
    names = [motion.name] if len(parts) == 1 else [f"{motion.name}#{i}" for i in range(len(parts))]
    return [make_sequence(n, p, config) for n, p in zip(names, parts, strict=True)], notes


def seventeen_joints(motion: Motion, marks: Landmarks, unit: float) -> Array:
    """(T, 17, 3) metres in the file's axes, from joints by name; see the head of this file."""
    at = motion.positions * unit
    out = np.zeros((len(at), 17, 3))
    for name, joint in marks.limbs.items():
        out[:, _J[name]] = at[:, joint]
    hip = (out[:, _J["LHip"]] + out[:, _J["RHip"]]) / 2
    shoulders = (out[:, _J["LShoulder"]] + out[:, _J["RShoulder"]]) / 2
    thorax = at[:, marks.thorax] if marks.thorax is not None else shoulders + THORAX * (shoulders - hip)
    skull = at[:, marks.head]
    along = _head_direction(at, marks, thorax)
    rise = np.maximum(NECK_ABOVE_HEAD_JOINT, NECK_ABOVE_THORAX - np.linalg.norm(skull - thorax, axis=-1))
    out[:, _J["Hip"]], out[:, _J["Thorax"]] = hip, thorax
    out[:, _J["Spine"]] = _spine(at, marks, hip, thorax)
    out[:, _J["Neck"]] = skull + along * rise[:, None]
    out[:, _J["Head"]] = out[:, _J["Neck"]] + along * HEAD_ABOVE_NECK
    return out


def _head_direction(at: Array, marks: Landmarks, thorax: Array) -> Array:
    """(T, 3) unit vectors up the head: to its free end, or, where it has none, onward from the neck."""
    skull = at[:, marks.head]
    tip = at[:, marks.head_end] - skull if marks.head_end is not None else np.zeros_like(skull)
    if np.linalg.norm(tip, axis=-1).min() < 0.03:
        tip = skull - thorax
    return tip / np.maximum(np.linalg.norm(tip, axis=-1, keepdims=True), 1e-9)


def _spine(at: Array, marks: Landmarks, hip: Array, thorax: Array) -> Array:
    """Chosen once for the whole motion, by the median share of the way Hip -> Thorax."""
    way = thorax - hip
    shares = {
        j: float(np.median(((at[:, j] - hip) * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-9)))
        for j in marks.trunk
        if j != marks.thorax
    }
    inside = {j: s for j, s in shares.items() if SPINE_RANGE[0] <= s <= SPINE_RANGE[1]}
    if not inside:
        return hip + SPINE * way
    return at[:, min(inside, key=lambda j: abs(inside[j] - SPINE))]


def _find_unit(motion: Motion, marks: Landmarks) -> float:
    """Metres per unit, from thigh and shin."""
    first = motion.positions[0]
    legs = [
        np.linalg.norm(first[marks.limbs[f"{s}Knee"]] - first[marks.limbs[f"{s}Hip"]])
        + np.linalg.norm(first[marks.limbs[f"{s}Ankle"]] - first[marks.limbs[f"{s}Knee"]])
        for s in "LR"
    ]
    leg = float(np.mean(legs))
    for unit in UNITS.values():
        if LEG[0] <= leg * unit <= LEG[1]:
            return unit
    raise InputError(
        f"{motion.name}: thigh and shin measure {leg:.3g} units, which is no person's in {', '.join(UNITS)}; "
        "give --unit, in metres per unit"
    )


def _z_up(poses: Array, motion: Motion, up: Up) -> Array:
    """World axes z up, right handed. BVH files are y up unless the person plainly stands along z."""
    ankles = (poses[:, _J["LAnkle"]] + poses[:, _J["RAnkle"]]) / 2
    stance = poses[:, _J["Head"]] - ankles
    mean = (stance / np.maximum(np.linalg.norm(stance, axis=-1, keepdims=True), 1e-9)).mean(0)
    axis = up if up != "auto" else motion.up or ("z" if mean[2] > 0.8 else "y")
    if up == "auto" and mean["xyz".index(axis)] < -0.8:
        raise InputError(
            f"{motion.name}: the person hangs head down along {axis}; if that is so, give --up {axis}, else the "
            "file's axes are not understood"
        )
    return poses if axis == "z" else poses[..., [0, 2, 1]] * np.array([1.0, -1.0, 1.0])


def check_bones(poses: Array, name: str) -> None:
    """Raises InputError where thigh, shin, upper arm or forearm changes its length over time."""
    limbs = [_J[s + j] for s in "LR" for j in ("Knee", "Ankle", "Elbow", "Wrist")]
    lengths = np.linalg.norm(poses[:, limbs] - poses[:, [H36M17.parents[j] for j in limbs]], axis=-1)
    worst = int(lengths.std(0).argmax())
    if lengths.std(0)[worst] > BONE_STD:
        low, high = lengths[:, worst].min(), lengths[:, worst].max()
        raise InputError(
            f"{name}: bones change their length: the one to {H36M17.joints[limbs[worst]]} is {low:.2f} to {high:.2f} m"
        )
    short = lengths.min(0) < 0.02
    if short.any():
        raise InputError(f"{name}: the bone to {H36M17.joints[limbs[int(short.argmax())]]} has no length")


def check_sides(poses: Array, name: str) -> None:
    """Raises InputError where knees bend backwards or the shoulders are on the wrong side.

    Forward is where cross(LHip - RHip, Thorax - Hip) points: were left and right exchanged, or the file
    mirrored, it would be backward. Only frames with a knee at least 3 cm off its leg's line tell.
    """
    across = poses[:, _J["LHip"]] - poses[:, _J["RHip"]]
    shoulders = poses[:, _J["LShoulder"]] - poses[:, _J["RShoulder"]]
    if np.mean((across * shoulders).sum(-1) > 0) < 0.5:
        raise InputError(
            f"{name}: the left shoulder is on the right hip's side; its joint names are mixed up"
        )
    forward = np.cross(across, poses[:, _J["Thorax"]] - poses[:, _J["Hip"]])
    votes = []
    for side in "LR":
        hip, knee, ankle = (poses[:, _J[side + j]] for j in ("Hip", "Knee", "Ankle"))
        leg = ankle - hip
        share = ((knee - hip) * leg).sum(-1, keepdims=True) / np.maximum(
            (leg**2).sum(-1, keepdims=True), 1e-9
        )
        off = knee - hip - share * leg
        bent = np.linalg.norm(off, axis=-1) > _KNEE_BEND
        votes.append(((off * forward).sum(-1) > 0)[bent])
    ahead = np.concatenate(votes)
    if len(ahead) and ahead.mean() < 0.5:
        raise InputError(
            f"{name}: knees bend backwards in {100 * (1 - ahead.mean()):.0f} % of frames: left and right are "
            "exchanged or the file is mirrored; --swap-sides mends both"
        )


def resample(poses: Array, fps: float) -> Array:
    """Poses at 30 frames per second, linear between frames."""
    if abs(fps - round(fps)) < 0.01:  # frame times are rounded in files: 0.0083333 is 1/120
        fps = round(fps)
    count = int(np.floor((len(poses) - 1) * FPS / fps + 1e-6)) + 1
    times = np.arange(count) * fps / FPS
    low = np.minimum(times.astype(int), len(poses) - 1)
    high = np.minimum(low + 1, len(poses) - 1)
    share = (times - low)[:, None, None]
    return poses[low] * (1 - share) + poses[high] * share


def _on_floor(poses: Array, floor: Floor) -> tuple[Array, float]:
    low = float(np.quantile(poses[:, [_J["LAnkle"], _J["RAnkle"]], 2].min(1), 0.05))
    if floor == "ankles" or (floor == "auto" and low < -0.05):
        return poses + np.array([0, 0, ANKLE_HEIGHT - low]), ANKLE_HEIGHT - low
    return poses, 0.0


def cut_glitches(poses: Array) -> list[Array]:
    """The parts of a motion between jumps that no person makes; short parts are left out."""
    speed = np.linalg.norm(np.diff(poses, axis=0), axis=-1) * FPS
    jump = (speed.max(1, initial=0) > MAX_SPEED) | (speed[:, 0] > MAX_HIP_SPEED)
    return [p for p in np.split(poses, np.flatnonzero(jump) + 1) if len(p) >= MIN_FRAMES]


def make_sequence(name: str, poses: Array, config: MotionConfig) -> Sequence:
    """(T, 17, 3) world metres at 30 frames per second -> a sequence that starts at x = y = 0. Raises InputError."""
    root = poses[:, 0].copy()
    steps = np.rint((poses - poses[:, :1]) / float(SCALE))
    if abs(steps).max() > np.iinfo(np.int16).max:
        raise InputError(f"{name}: a joint lies more than 3.2 m from the pelvis; is the unit right?")
    root[:, :2] -= root[0, :2].copy()
    return Sequence(
        name=name,
        subject=config.subject or name,
        action=config.action,
        style=config.style,
        source=config.source,
        split=config.split,
        fps=FPS,
        pose=steps.astype(np.int16),
        root=root.astype(np.float32),
        scale=SCALE,
    )
