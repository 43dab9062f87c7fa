"""Endless training samples from little motion capture: new bodies, new poses, new cameras, worn 2D.

All functions are batched torch on the CPU, driven by one generator, and pure but for it.
World axes: z up. Camera axes: x right, y down, z forward. Metres; normalised 2D has no unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..lifter.normalise import frame_of, normalise_keypoints
from ..skeleton import H36M17
from .protocol import DET_SIGMA, OUTLIER_FACTOR, OUTLIER_RATE

PARENTS = H36M17.parents
ARMS = {"left": (12, 13), "right": (15, 16)}
LEGS = {"left": (5, 6), "right": (2, 3)}
# Simulated detector, per joint, as a share of the box's larger side: the protocol's.
DETECTOR_SIGMA = torch.from_numpy(DET_SIGMA).float()
# How far a detector's idea of a joint may lie from the marker set's, metres (1 std a body axis).
LAYOUT_SIGMA = torch.tensor([15, 22, 18, 18, 22, 18, 18, 40, 30, 30, 35, 22, 15, 15, 22, 15, 15]) / 1000.0

# Odd bodies: standard deviation of each bone's log length. Hips and shoulders vary most.
ODD_SIGMA = torch.tensor([0, 20, 14, 14, 20, 14, 14, 13, 13, 13, 13, 24, 14, 14, 24, 14, 14]) / 100.0
# Far bodies: each bone's factor lies anywhere between these; shoulders vary most, as what is called a shoulder does.
FAR_LOW = torch.tensor([100, 65, 65, 65, 65, 65, 65, 70, 70, 70, 70, 50, 65, 65, 50, 65, 65]) / 100.0
FAR_HIGH = (
    torch.tensor([100, 130, 130, 130, 130, 130, 130, 125, 125, 125, 125, 135, 130, 130, 135, 130, 130])
    / 100.0
)
SKELETON_SHARE = 0.6  # of LAYOUT_SIGMA: how far laboratories' joints lie apart


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities and sizes; 0 switches a step off."""

    limb_swap: float = 0.35  # each arm and each leg taken from another pose, in the torso's frame
    joint_wobble: float = 0.5  # share of samples whose limbs are turned a little
    wobble_deg: float = 9.0
    new_body: float = 0.6  # share of samples with another person's proportions
    bone_jitter: float = 0.05
    size: float = 1.02  # brings the pool's mean stature to that of adults, 1.75 m
    size_jitter: float = 0.035
    odd_body: float = 0.0  # share with bones unlike anybody's in the recordings
    far_body: float = 0.0  # share of the odd ones with bones anywhere in a wide range
    other_skeleton: float = 0.0  # share whose joints, 2D and 3D, lie where another laboratory sees them
    tilt: float = 0.35  # share of samples whose whole body is tilted
    tilt_deg: float = 20.0
    tumble: float = 0.04  # share turned any way up
    lab_camera: float = 0.5  # share of Human3.6M-like cameras; the rest vary widely
    clean_2d: float = 0.35
    layout_bias: float = 0.45
    mirror: float = 0.5  # share of mirror images
    drop: float = 0.25


def torso_frames(pose: Tensor) -> Tensor:
    """(B, 17, 3) -> (B, 3, 3), columns right-to-left, up, forward of the trunk (orthonormal)."""
    up = pose[:, 8] - pose[:, 0]
    side = (pose[:, 4] - pose[:, 1]) + (pose[:, 11] - pose[:, 14])
    up = torch.nn.functional.normalize(up, dim=-1)
    forward = torch.nn.functional.normalize(torch.linalg.cross(side, up), dim=-1)
    return torch.stack([torch.linalg.cross(up, forward), up, forward], dim=-1)


def to_bones(pose: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 17, 3) -> unit directions (B, 17, 3) and lengths (B, 17); the root's are 0."""
    bones = pose - pose[:, [max(p, 0) for p in PARENTS]]
    lengths = bones.norm(dim=-1)
    return bones / lengths.clamp_min(1e-6)[..., None], lengths


def from_bones(directions: Tensor, lengths: Tensor) -> Tensor:
    """Forward kinematics, the inverse of `to_bones`; root at 0."""
    bones = directions * lengths[..., None]
    joints = [torch.zeros_like(bones[:, 0])]
    for j in range(1, len(PARENTS)):
        joints.append(joints[PARENTS[j]] + bones[:, j])
    return torch.stack(joints, dim=1)


def random_rotations(count: int, degrees: Tensor | float, g: torch.Generator) -> Tensor:
    """(count, 3, 3) rotations about random axes by normal angles of the given standard deviation."""
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    angle = torch.randn(count, generator=g) * torch.deg2rad(torch.as_tensor(degrees))
    k = torch.zeros(count, 3, 3)
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k = k - k.transpose(1, 2)
    s, c = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return torch.eye(3) + s * k + (1 - c) * (k @ k)


def recombine(
    directions: Tensor, torso: Tensor, other: Tensor, other_torso: Tensor, p: float, g: torch.Generator
) -> Tensor:
    """Give each limb, with probability p, the other pose's limb as seen from the other's trunk."""
    turn = torso @ other_torso.transpose(1, 2)  # other's trunk -> this trunk
    moved = (turn[:, None] @ other[..., None])[..., 0]
    out = directions.clone()
    both_legs = torch.rand(len(directions), generator=g) < 0.5
    swap_legs = torch.rand(len(directions), 2, generator=g) < p
    swap_legs[:, 1] = torch.where(both_legs, swap_legs[:, 0], swap_legs[:, 1])
    swaps = [(limb, torch.rand(len(directions), generator=g) < p) for limb in ARMS.values()]
    swaps += [(limb, swap_legs[:, i]) for i, limb in enumerate(LEGS.values())]
    for limb, chosen in swaps:
        for j in limb:
            out[:, j] = torch.where(chosen[:, None], moved[:, j], out[:, j])
    return out


def wobble(directions: Tensor, config: AugmentConfig, g: torch.Generator) -> Tensor:
    """Turn each limb, head and trunk bone a little; children of a turned bone follow their own turn."""
    b = len(directions)
    on = (torch.rand(b, generator=g) < config.joint_wobble).float() * config.wobble_deg
    out = directions.clone()
    for limb in (*ARMS.values(), *LEGS.values()):
        whole = random_rotations(b, on, g)
        tip = random_rotations(b, on, g) @ whole
        out[:, limb[0]] = (whole @ out[:, limb[0], :, None])[..., 0]
        out[:, limb[1]] = (tip @ out[:, limb[1], :, None])[..., 0]
    head = random_rotations(b, on, g)
    for j in (9, 10):
        out[:, j] = (head @ out[:, j, :, None])[..., 0]
    return out


def new_bodies(lengths: Tensor, other: Tensor, config: AugmentConfig, g: torch.Generator) -> Tensor:
    """Another's proportions for some, symmetric jitter of each bone and of the whole size for all."""
    b = len(lengths)
    take = (torch.rand(b, 1, generator=g) < config.new_body).float()
    # Blend, so that bodies lie between the few recorded people as well as on them.
    take = take * torch.rand(b, 1, generator=g)
    out = lengths * (1 - take) + other * take
    jitter = 1 + config.bone_jitter * torch.randn(b, 17, generator=g)
    jitter[:, list(H36M17.right)] = jitter[:, list(H36M17.left)]
    size = config.size + config.size_jitter * torch.randn(b, 1, generator=g)
    out = out * jitter.clamp(0.8, 1.2) * size.clamp(0.85, 1.15)
    return odd_bodies(out, config, g) if config.odd_body else out


def odd_bodies(lengths: Tensor, config: AugmentConfig, g: torch.Generator) -> Tensor:
    """Some bodies whose every bone, the same left and right, is stretched or shortened on its own."""
    b = len(lengths)
    odd = torch.rand(b, 1, generator=g) < config.odd_body
    factor = torch.exp(ODD_SIGMA * torch.randn(b, 17, generator=g)).clamp(0.6, 1.45)
    if config.far_body:
        far = torch.rand(b, 1, generator=g) < config.far_body
        anywhere = FAR_LOW * (FAR_HIGH / FAR_LOW) ** torch.rand(b, 17, generator=g)
        factor = torch.where(far, anywhere, factor)
    factor[:, list(H36M17.right)] = factor[:, list(H36M17.left)]
    return torch.where(odd, lengths * factor, lengths)


def turn_bodies(pose: Tensor, config: AugmentConfig, g: torch.Generator) -> Tensor:
    """Random heading for all, a tilt for some, any way up for a few."""
    b = len(pose)
    yaw = torch.rand(b, generator=g) * 2 * torch.pi
    c, s, zero, one = torch.cos(yaw), torch.sin(yaw), torch.zeros(b), torch.ones(b)
    heading = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).reshape(b, 3, 3)
    tilt = (torch.rand(b, generator=g) < config.tilt).float() * config.tilt_deg
    tilt = torch.where(torch.rand(b, generator=g) < config.tumble, torch.tensor(120.0), tilt)
    turn = random_rotations(b, tilt, g) @ heading
    return pose @ turn.transpose(1, 2)


def cameras(height: Tensor, config: AugmentConfig, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Camera rotations (B, 3, 3) and pelvis positions in camera axes (B, 3), metres.

    `height` (B,) is the pelvis above the floor. The figure is turned at random before, so the camera
    stands on the -y side without loss. Lab: 5 m away, 1.6 m high, looking at 1 m; wild: 1.8 to 8 m,
    0.3 to 2.8 m high, aimed up to 0.5 m beside the person, rolled by some degrees.
    """
    b = len(height)
    u = torch.rand(b, 8, generator=g)
    lab = torch.rand(b, generator=g) < config.lab_camera
    distance = torch.where(lab, 4.6 + 0.8 * u[:, 0], 1.8 + 6.2 * u[:, 0])
    cam_z = torch.where(lab, 1.5 + 0.2 * u[:, 1], 0.3 + 2.5 * u[:, 1])
    centre = torch.stack([torch.zeros(b), -distance, cam_z - height], dim=-1)  # pelvis at 0
    lab_aim = torch.stack([torch.zeros(b), torch.zeros(b), 1.0 - height], dim=-1)
    target = torch.where(lab[:, None], lab_aim, u[:, 2:5] - 0.5)
    roll = torch.where(lab, torch.tensor(0.0), torch.deg2rad(12 * u[:, 5] - 6))
    z = torch.nn.functional.normalize(target - centre, dim=-1)
    x = torch.nn.functional.normalize(
        torch.linalg.cross(z, torch.tensor([[0.0, 0.0, 1.0]]).expand(b, 3)), dim=-1
    )
    y = torch.linalg.cross(z, x)
    c, s = torch.cos(roll)[:, None], torch.sin(roll)[:, None]
    rotation = torch.stack([c * x + s * y, -s * x + c * y, z], dim=1)
    return rotation, (rotation @ -centre[..., None])[..., 0]


def project(joints: Tensor) -> Tensor:
    """(B, 17, 3) camera metres -> (B, 17, 2) on the plane z = 1 (lens and centre cancel later)."""
    return joints[..., :2] / joints[..., 2:].clamp_min(0.2)


def layout_shift(pose: Tensor, share: float, g: torch.Generator) -> Tensor:
    """Move the joints of a share of the poses by an offset fixed to the trunk: another idea of each joint."""
    b = len(pose)
    on = (torch.rand(b, 1, 1, generator=g) < share).float()
    offset = torch.randn(b, 17, 3, generator=g) * LAYOUT_SIGMA[:, None] * on
    # Left and right of one detector err alike: mirror the offset for half of its size.
    mirrored = offset[:, H36M17.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
    offset = (offset + mirrored) * 0.7071
    return pose + (torso_frames(pose)[:, None] @ offset[..., None])[..., 0]


def wear_2d(uv: Tensor, config: AugmentConfig, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Detector noise and hidden joints: (B, 17, 2) -> worn (B, 17, 2) and observed (B, 17) bool."""
    b = len(uv)
    box = (uv.amax(dim=1) - uv.amin(dim=1)).amax(dim=-1)
    level = torch.rand(b, generator=g) * 1.6
    level = torch.where(torch.rand(b, generator=g) < config.clean_2d, torch.tensor(0.0), level)
    outlier = torch.rand(b, 17, generator=g) < OUTLIER_RATE
    sigma = DETECTOR_SIGMA * torch.where(outlier, OUTLIER_FACTOR, 1.0) * (box * level)[:, None]
    uv = uv + torch.randn(b, 17, 2, generator=g) * sigma[..., None]
    observed = torch.ones(b, 17, dtype=torch.bool)
    kind = torch.rand(b, generator=g)
    share = torch.where(kind < 0.5 * config.drop, 0.12, 0.0)[:, None].expand(b, 17)
    observed &= ~(torch.rand(b, 17, generator=g) < share)
    chain = torch.randint(0, 6, (b,), generator=g)
    for i, joints in enumerate(((12, 13), (15, 16), (5, 6), (2, 3), (2, 3, 5, 6), (3, 6))):
        hide = (kind > 1 - 0.5 * config.drop) & (chain == i)
        observed[:, list(joints)] &= ~hide[:, None]
    observed[:, 0] = True  # run time always has a pelvis to centre on
    return uv, observed


class PosePool:
    """Recorded poses in bone form, and draws of augmented training batches from them.

    Args:
        poses: (N, 17, 3) root-relative world metres.
        heights: (N,) pelvis above the floor, metres.
        weights: (N,) relative chance of each pose.
        joint_weights: (N, 17) 0 where a recording only guessed the joint.
    """

    def __init__(self, poses: Tensor, heights: Tensor, weights: Tensor, joint_weights: Tensor):
        self.heights, self.joint_weights = heights, joint_weights
        self.directions, self.lengths = to_bones(poses)
        self.torso = torso_frames(poses)
        self.cumulative = weights.double().cumsum(0) / weights.double().sum()

    def draw_indices(self, count: int, g: torch.Generator) -> Tensor:
        """(count,) pool indices by weight."""
        u = torch.rand(count, generator=g, dtype=torch.float64)
        return torch.searchsorted(self.cumulative, u).clamp_max(len(self.heights) - 1)

    def draw_bodies(self, count: int, config: AugmentConfig, g: torch.Generator) -> tuple[Tensor, ...]:
        """Root-relative world poses (B, 17, 3), pelvis heights (B,), joint weights (B, 17)."""
        i, k, m = (self.draw_indices(count, g) for _ in range(3))
        d = recombine(
            self.directions[i], self.torso[i], self.directions[k], self.torso[k], config.limb_swap, g
        )
        d = wobble(d, config, g)
        lengths = new_bodies(self.lengths[i], self.lengths[m], config, g)
        pose = from_bones(d, lengths)
        if config.other_skeleton:
            moved = layout_shift(pose, config.other_skeleton, g)
            pose = pose + SKELETON_SHARE * (moved - pose)
            pose = pose - pose[:, :1]
        mirror = torch.rand(count, generator=g) < config.mirror
        flipped = pose[:, H36M17.flip_order] * torch.tensor([-1.0, 1.0, 1.0])
        weights = torch.where(
            mirror[:, None], self.joint_weights[i][:, H36M17.flip_order], self.joint_weights[i]
        )
        return torch.where(mirror[:, None, None], flipped, pose), self.heights[i], weights

    def draw(self, count: int, config: AugmentConfig, g: torch.Generator) -> dict[str, Tensor]:
        """One batch.

        Returns:
            "input" (B, 17, 3): normalised u, v and observed flag, as the lifter takes them;
            "target" (B, 17, 3): metres relative to Hip, camera axes; "weight" (B, 17);
            "exact" (B, 17, 2): the true joints' 2D in the units of "input".
        """
        pose, height, weight = self.draw_bodies(count, config, g)
        pose = turn_bodies(pose, config, g)
        rotation, root = cameras(height, config, g)
        target = pose @ rotation.transpose(1, 2)
        # Nobody stands in the lens: push those who would back until the nearest joint is 0.4 m away.
        root[:, 2] += (0.4 - (target[..., 2].amin(dim=1) + root[:, 2])).clamp_min(0)
        cam = target + root[:, None]
        uv, observed = wear_2d(project(layout_shift(cam, config.layout_bias, g)), config, g)
        centre, half = frame_of(uv, observed)
        return {
            "input": normalise_keypoints(uv, observed),
            "target": target,
            "weight": weight,
            "exact": (project(cam) - centre) / half,
        }
