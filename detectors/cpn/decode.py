"""CPN's heatmaps -> joints, as in `pytorch-cpn`: average with the mirror image, blur, maximum, a quarter of a cell."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ...skeleton import COCO17
from ...skeleton.poses import FloatArray
from .network import CPN

PEAK = 255.0  # height of a target in training
BORDER = 10  # cells of zeros around a map before it is blurred
BLUR = 21  # cells: the Gaussian's kernel
STEP = 0.25  # cells towards the second maximum


def flip_averaged(model: CPN, pictures: Tensor) -> Tensor:
    """(n, 3, h, w) -> RefineNet's heatmaps (n, 17, h/4, w/4), averaged with those of the mirrored pictures."""
    maps, mirrored = model(pictures)[1], model(pictures.flip(3))[1]
    return (maps + mirrored.flip(3)[:, COCO17.flip_order]) / 2


def decode(maps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Heatmaps (n, J, h, w) with peaks up to 255 -> places (n, J, 2), peaks (n, J) in 0..1.

    Places are x, y in 0..1 of the picture's width and height. The maximum of the blurred map is moved a quarter of
    a cell towards its second maximum. The peak is the raw map's value there over 255, the height that the network
    was trained to; a map without a positive value has peak 0.
    """
    n, joints, h, w = maps.shape
    maps = np.nan_to_num(maps.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).reshape(n * joints, h, w)
    places, peaks = np.zeros((n * joints, 2), np.float32), np.zeros(n * joints, np.float32)
    for k, heatmap in enumerate(maps):
        highest = float(heatmap.max())
        blurred = np.pad(heatmap / highest if highest > 0 else heatmap, BORDER)
        blurred = cv2.GaussianBlur(blurred, (BLUR, BLUR), 0)  # (h + 20, w + 20)
        y, x = np.unravel_index(blurred.argmax(), blurred.shape)
        blurred[y, x] = -np.inf
        second_y, second_x = np.unravel_index(blurred.argmax(), blurred.shape)
        away = np.array([second_x - x, second_y - y], np.float64)
        place = np.array([x, y]) - BORDER + STEP * away / np.linalg.norm(away)
        place = place.clip(0, [w - 1, h - 1])
        column, row = np.rint(place).astype(int)
        places[k] = (place + 0.5) / [w, h]  # the middle of a cell, (4 x + 2) px of the picture
        peaks[k] = min(max(float(heatmap[row, column]) / PEAK, 0.0), 1.0)
    return places.reshape(n, joints, 2), peaks.reshape(n, joints)


def calibrated(peaks: FloatArray, line: Sequence[float] | None) -> FloatArray:
    """Peaks (...) in 0..1 -> scores in 0..1: the chance that the joint is right.

    Args:
        line: intercept and slope of the logit, fitted by `posefix train cpn` on people it was not trained on;
            None, for weights that came without: the peaks themselves.
    """
    if line is None:
        return peaks
    return (1 / (1 + np.exp(-(line[0] + line[1] * peaks)))).astype(np.float32)


@torch.inference_mode()
def heatmaps(model: CPN, pictures: FloatArray, device: str) -> FloatArray:
    """(n, 3, h, w) normalised pictures -> flip-averaged heatmaps (n, 17, h/4, w/4)."""
    return flip_averaged(model, torch.from_numpy(pictures).to(device)).float().cpu().numpy()
