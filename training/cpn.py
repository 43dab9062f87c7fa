"""`posefix train cpn`: CPN on any folder of COCO keypoints.

Losses, targets and augmentation are those of `pytorch-cpn` (after Chen et al., CVPR 2018); the loop is posefix's own:
a cosine where that halves the learning rate every six epochs, and averaged weights. A run folder holds cpn.json (what
is trained), config.json (the budget), log.jsonl, last.pt (resumes), best.pt (averaged weights) and at the end
cpn_HEIGHTxWIDTH.pth.tar, which `--pose-weights` takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..detectors.cpn.checkpoint import load_into, read_checkpoint, write_checkpoint
from ..detectors.cpn.decode import PEAK, decode, heatmaps
from ..detectors.cpn.network import CPN, JOINTS, SIZES, STRIDE, Bottleneck
from ..detectors.cpn.pictures import Images, cut, frame_to_picture, normalise, part_around
from ..skeleton import COCO17
from ..skeleton.errors import InputError, WeightsError
from ..skeleton.poses import FloatArray
from .coco import Labelled, read_coco
from .loop import Batch, TrainConfig, Trainer

# COCO has 150,000 people: 32 epochs. The norms of this loss's gradients lie far above 1: not clipped.
CPN_BUDGET = TrainConfig(
    samples=4_800_000, batch=32, lr=5e-4, warmup=500, weight_decay=1e-5, clip=1e6, validate_every=150_000,
    patience=100, bfloat16=False,
)  # fmt: skip
VALIDATION_PEOPLE = 2000  # at most
KERNELS = {"256x192": (15, 11, 9, 7), "384x288": (23, 17, 13, 9)}  # cells, from GlobalNet's coarsest level on
HARD = 8  # joints that count in RefineNet's loss
SHOULDER, HIP = COCO17.joints.index("LShoulder"), COCO17.joints.index("RHip")
WORKERS = 4  # threads that read pictures


@dataclass(frozen=True)
class CpnAugment:
    """How a picture differs from the labelled one.

    Attributes:
        scale: limits of the part of the frame that is taken, in shares of the usual one.
        turn: degrees to either side, at most.
        turned: share of the pictures that are turned.
        mirrored: share of the pictures that are mirrored.
        colour: how much each channel's brightness changes, at most, as a share.
    """

    scale: tuple[float, float] = (0.7, 1.35)
    turn: float = 45.0
    turned: float = 0.5
    mirrored: float = 0.5
    colour: float = 0.2


class People:
    """Labelled people as the network's input, with the augmentation of training."""

    def __init__(self, people: Sequence[Labelled], size: tuple[int, int], augment: CpnAugment) -> None:
        self.people, self.size, self.augment = people, size, augment

    def draw(self, count: int, g: torch.Generator) -> dict[str, Tensor]:
        """`count` random people: picture (B, 3, h, w), joints (B, 17, 2) px of it, seen (B, 17) 0, 1 or 2."""
        rows = torch.randint(len(self.people), (count,), generator=g).tolist()
        chances = torch.rand(count, 7, generator=g, dtype=torch.float64).numpy()
        with ThreadPoolExecutor(WORKERS) as pool:
            made = list(pool.map(lambda k: self._one(self.people[rows[k]], chances[k]), range(count)))
        pictures, joints, seen = (np.stack(part) for part in zip(*made, strict=True))
        return {
            "picture": torch.from_numpy(normalise(pictures)),
            "joints": torch.from_numpy(joints),
            "seen": torch.from_numpy(seen),
        }

    def _one(self, person: Labelled, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One person by seven numbers in 0..1."""
        a = self.augment
        low, high = a.scale
        turn = (2 * chance[2] - 1) * a.turn if chance[1] < a.turned else 0.0
        mirror = bool(chance[3] < a.mirrored)
        plain = frame_to_picture(part_around(person.box, self.size), self.size)
        matrix = altered(plain, self.size, low + chance[0] * (high - low), turn, mirror)
        picture = cut(read_picture(person.image), matrix, self.size).astype(np.float32)
        picture = (picture * (1 + (2 * chance[4:] - 1) * a.colour)).clip(0, 255)
        joints = person.joints @ matrix[:, :2].T + matrix[:, 2]  # (17, 2)
        seen = person.seen * ((joints >= 0) & (joints < self.size)).all(axis=1)
        if mirror:
            joints, seen = joints[COCO17.flip_order], seen[COCO17.flip_order]
        return picture.astype(np.float32), joints.astype(np.float32), seen.astype(np.float32)


def altered(matrix: np.ndarray, size: tuple[int, int], scale: float, turn: float, mirror: bool) -> np.ndarray:
    """(2, 3) map to a picture of `size` (w, h) -> the map to one of `scale` times the part, turned, mirrored.

    Args:
        turn: degrees about the picture's middle, from x towards y.
    """
    c, s = math.cos(math.radians(turn)) / scale, math.sin(math.radians(turn)) / scale
    change = np.array([[c, -s], [s, c]])
    if mirror:
        change[0] *= -1
    middle = np.array(size) / 2
    return np.column_stack([change @ matrix[:, :2], change @ (matrix[:, 2] - middle) + middle])


def read_picture(path: Path) -> Images:
    """(H, W, 3) BGR. Raises InputError when the file is no picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path}: cannot be read as a picture")
    return image.astype(np.uint8, copy=False)


def kernel(cells: int) -> Tensor:
    """(cells,) OpenCV's Gaussian of that length, its peak 1."""
    values = torch.from_numpy(cv2.getGaussianKernel(cells, 0).reshape(-1)).float()
    return values / values.max()


def targets(joints: Tensor, seen: Tensor, size: tuple[int, int], cells: int) -> Tensor:
    """Heatmaps to learn: a Gaussian of height 255 on the joint's cell, zeros where it is not seen.

    Args:
        joints: (B, 17, 2) px of the picture. seen: (B, 17) bool.
        size: (w, h) of the picture. cells: length of the kernel.

    Returns: (B, 17, h/4, w/4).
    """
    values, radius = kernel(cells).to(joints.device), cells // 2

    def profile(places: Tensor, length: int) -> Tensor:
        """(B, 17) px -> (B, 17, length)"""
        away = torch.arange(length, device=places.device) - places.div(STRIDE).floor().long()[..., None]
        return values[(away + radius).clamp(0, cells - 1)] * (away.abs() <= radius)

    x, y = profile(joints[..., 0], size[0] // STRIDE), profile(joints[..., 1], size[1] // STRIDE)
    return PEAK * y[..., :, None] * x[..., None, :] * seen[..., None, None]


def cpn_loss(model: CPN, batch: Batch, kernels: Sequence[int]) -> Tensor:
    """Half the mean square of GlobalNet's four levels, visible joints, plus RefineNet's over its hardest joints."""
    coarse, fine = model(batch["picture"])
    joints, seen = batch["joints"], batch["seen"]
    loss = torch.zeros((), device=joints.device)
    for maps, cells in zip(coarse, kernels, strict=True):
        loss = loss + mse_loss(maps.float(), targets(joints, seen > 1, model.size, cells)) / 2
    target = targets(joints, seen > 0, model.size, kernels[-1])
    each = (fine.float() - target).square().mean(dim=(2, 3)) * (seen > 0)  # (B, 17)
    return loss + each.topk(HARD, dim=1).values.mean()


class CpnTrainer(Trainer[CPN]):
    """Averages the statistics of batch normalisation as well, else the averaged weights would not fit theirs.

    Attributes:
        goal: PCK@0.2 on the people looked at, with which the run is over; more than 1 for none.
    """

    goal = math.inf

    def _resume(self) -> None:
        super()._resume()
        log = self.folder / "log.jsonl"
        if self.step and log.exists():
            self._stop_at_goal(json.loads(log.read_text(encoding="utf-8").splitlines()[-1]))

    def _record(self, figures: dict[str, float], loss: float) -> dict[str, Any]:
        row = super()._record(figures, loss)
        self._stop_at_goal(row)
        return row

    def _stop_at_goal(self, row: dict[str, Any]) -> None:
        if row["pck"] >= self.goal:
            self.stalled = self.config.patience

    def _step(self) -> float:
        loss = super()._step()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for slow, fast in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - decay)
        return loss


def new_network(size: str, shrink: int = 1) -> CPN:
    """CPN at random, its maps as high and as spread as their targets: Adam would take thousands of steps for that.

    Residual blocks begin as their shortcuts (Goyal et al. 2017, section 5.1): the first steps then go further.

    Args:
        shrink: the pictures are so many times smaller on each side; weights fit all sizes.
    """
    width, height = SIZES[size]
    model = CPN((width // shrink, height // shrink))
    for block in model.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)
    cells = (model.size[0] // STRIDE) * (model.size[1] // STRIDE)
    for head, length in zip(heads(model), (*KERNELS[size], KERNELS[size][-1]), strict=True):
        g = kernel(length)
        mean, square = PEAK * float(g.sum()) ** 2 / cells, PEAK**2 * float(g.square().sum()) ** 2 / cells
        nn.init.constant_(head.weight, math.sqrt(square - mean**2))
        nn.init.constant_(head.bias, mean)
    return model


def heads(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The last layers before the maps: GlobalNet's from the coarsest level on, and RefineNet's."""
    layers = (layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    return [layer for layer in layers if layer.num_features == JOINTS]


@torch.no_grad()
def fit_to_larger(model: nn.Module, shrink: int) -> None:
    """Makes the maps of pictures `shrink` times larger on each side as high as those of the pictures trained on.

    A peak covers a smaller share of a larger map, so it stands out more when the map is normalised.
    """
    for head in heads(model):
        head.weight.div_(shrink)
        head.bias.div_(shrink**2)


def load_trunk(model: CPN, path: Path) -> None:
    """Puts the weights of a ResNet-50 (torchvision's names), or of a whole CPN, into a network.

    Raises:
        WeightsError: the file cannot be used.
    """
    checkpoint, where = read_checkpoint(path, "--pretrained"), f"--pretrained {path}"
    if any(name.startswith("resnet.") for name in checkpoint.state):
        load_into(model, checkpoint, where)
        return
    state = {k: v for k, v in checkpoint.state.items() if not k.startswith("fc.")}
    try:
        model.resnet.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{where}: not a ResNet-50 with torchvision's names") from error


def find(
    model: CPN, people: Sequence[Labelled], device: str, batch: int = 16
) -> tuple[FloatArray, FloatArray]:
    """Joints of labelled people, as the detector finds them in their boxes: (n, 17, 2) px, peaks (n, 17)."""
    size, joints, peaks = model.size, [], []
    for k in range(0, len(people), batch):
        some = people[k : k + batch]
        parts = np.stack([part_around(p.box, size) for p in some])  # (b, 4)
        pictures = [
            cut(read_picture(p.image), frame_to_picture(part, size), size)
            for p, part in zip(some, parts, strict=True)
        ]
        places, heights = decode(heatmaps(model, normalise(np.stack(pictures)), device))
        joints.append(parts[:, None, :2] + places * (parts[:, 2:] - parts[:, :2])[:, None])
        peaks.append(heights)
    return np.concatenate(joints).astype(np.float32), np.concatenate(peaks)


def torso_errors(joints: FloatArray, people: Sequence[Labelled]) -> FloatArray:
    """(n, 17) distances to the labels in torsos, left shoulder to right hip (PCK of Yang and Ramanan 2013).

    NaN for joints that are not labelled, and for people whose torso is not.
    """
    truth, seen = np.stack([p.joints for p in people]), np.stack([p.seen for p in people]) > 0
    torso = np.linalg.norm(truth[:, SHOULDER] - truth[:, HIP], axis=1)  # (n,)
    known = seen[:, SHOULDER] & seen[:, HIP] & (torso > 0)
    errors = np.linalg.norm(joints - truth, axis=2) / np.where(known, torso, 1)[:, None]
    return np.where(seen & known[:, None], errors, np.nan).astype(np.float32)


def pck(errors: FloatArray, share: float = 0.2) -> float:
    """PCK: how many of the errors that are not NaN are at most `share`; NaN where all are."""
    counted = errors[np.isfinite(errors)]
    return float((counted <= share).mean()) if len(counted) else math.nan


def fit_calibration(peaks: FloatArray, errors: FloatArray) -> tuple[float, float] | None:
    """Intercept and slope of the logit of PCK@0.2 by the peak; None where next to nothing is wrong, or right."""
    known = np.isfinite(errors)
    right = errors[known] <= 0.2
    if min(right.sum(), (~right).sum()) < 20:
        return None
    fit = LogisticRegression(C=100.0).fit(peaks[known][:, None], right)
    slope = float(fit.coef_[0, 0])
    return (float(fit.intercept_[0]), slope) if slope > 0 else None


def train_cpn(
    coco: Path,
    run: Path,
    size: str = "256x192",
    config: TrainConfig = CPN_BUDGET,
    augment: CpnAugment | None = None,
    pretrained: Path | None = None,
    device: str = "cpu",
    shrink: int = 1,
    goal: float = math.inf,
) -> Path:
    """Trains (or resumes) in `run`; returns the file of weights.

    Args:
        pretrained: weights to begin with, see `load_trunk`.
        shrink: trains on pictures so many times smaller on each side, whose samples cost that much squared less;
            weights to begin a run on whole pictures with.
        goal: the run is over when PCK@0.2 on the people for validation is so high.

    Raises:
        InputError: the folder of COCO keypoints cannot be used, or the run folder holds another training.
        WeightsError: `pretrained` cannot be used.
    """
    augment = augment or CpnAugment()
    train, val = read_coco(coco)
    step = -(-len(val) // VALIDATION_PEOPLE)
    checked = val[::step]
    errors = torso_errors(np.stack([p.joints for p in checked]), checked)
    if not np.isfinite(errors).any():
        raise InputError(f"--coco {coco}: nobody to validate on has left shoulder and right hip labelled")
    torch.manual_seed(config.seed)
    model = new_network(size, shrink)
    if pretrained is not None and not (run / "last.pt").exists():
        load_trunk(model, pretrained)
    settings: dict[str, object] = {
        "size": size,
        "augment": asdict(augment),
        "pretrained": pretrained and pretrained.name,
    }
    _record(run, settings | ({"shrink": shrink} if shrink != 1 else {}))
    source = People(train, model.size, augment)

    def validate(network: CPN) -> dict[str, float]:
        errors = torso_errors(find(network, checked, device)[0], checked)
        return {"pck": pck(errors), "score": float(np.nanmean(errors.clip(max=1)))}  # PCK alone has ties

    trainer = CpnTrainer(
        model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # faster on every device
        draw=lambda g: source.draw(config.batch, g),
        loss=lambda network, batch: cpn_loss(network, batch, KERNELS[size]),
        validate=validate,
        config=config,
        folder=run,
        device=device,
    )
    trainer.goal = goal
    best = trainer.run()
    joints, peaks = find(best, checked, device)
    path = run / f"cpn_{size}.pth.tar"
    epoch = config.samples // len(train)
    calibration = fit_calibration(peaks, torso_errors(joints, checked))
    fit_to_larger(best, shrink)
    write_checkpoint(path, best, size, epoch, calibration)
    return path


def _record(run: Path, content: dict[str, object]) -> None:
    """Writes cpn.json, or checks that it says the same. Raises InputError."""
    path, text = run / "cpn.json", json.dumps(content, indent=2) + "\n"
    run.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{run}: holds a run with other settings; give another --run folder or remove it")
    path.write_text(text, encoding="utf-8")
