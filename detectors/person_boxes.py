"""Boxes of people by an ONNX person detector: RTMDet and YOLOX exports, recognised by their outputs.

    outputs                                           taken for                     normalisation
    (n, boxes, 5) and (n, boxes) labels               RTMDet, MMDeploy's export     BGR, mean and std below
        the same, with YOLOX's head in the file       YOLOX, MMDeploy's export      BGR, 0..255
    (n, cells, 5 + classes)                           YOLOX, Megvii's own export    BGR, 0..255
        decoded in the network or not, told by an empty picture

Label 0 is the person, as in COCO. Sources of the constants: the projects' own inference code and configurations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.errors import WeightsError
from ..skeleton.poses import FloatArray
from .onnx_session import OnnxModel

MIN_SCORE = 0.3  # of a box, MMPose's default
MAX_IOU = 0.45  # boxes that overlap more are one person, YOLOX's default
MIN_FRAME = 16  # px: nothing that small holds a person
MIN_SIDE = 4.0  # px: no pose can be seen in less
FREE_SIZE = 640  # px: where neither the file nor its name says
PAD = 114  # grey that fills what the frame leaves free
PERSON = 0
STRIDES = (8, 16, 32)  # px of the cells of YOLOX's three grids
YOLOX_HEAD = b"multi_level_conv_obj"  # of MMDetection's YOLOXHead
RTMDET_MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR
RTMDET_STD = np.array([57.375, 57.12, 58.395], np.float32)

Kind = Literal["boxes", "grid"]


@dataclass(frozen=True, slots=True)
class Boxes:
    """People in a frame, the largest first.

    Attributes:
        corners: (n, 4) float32 x0, y0, x1, y1, pixels of the frame, inside it.
        scores: (n,) float32 in 0..1.
    """

    corners: FloatArray
    scores: FloatArray


class PersonBoxes:
    """Frame -> boxes of the people in it.

    Attributes:
        weights: {file name: SHA-256}.
        size: (w, h) px that frames are reduced to.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Open the file and try it on an empty picture.

        Raises:
            WeightsError: it cannot be used. DeviceError: see `OnnxModel`.
        """
        self._model = OnnxModel(path, device, flag="--det-model")
        self.weights = {self._model.path.name: self._model.sha256}
        side = size_in_name(self._model.path)
        self.size: tuple[int, int] = self._model.size or (side, side)
        empty = np.zeros((1, self.size[1], self.size[0], 3), np.float32)
        outputs = self._model.run(empty)
        self._kind = self._read_kind(outputs)
        self._decoded = self._kind == "grid" and in_pixels(outputs[0][0])
        self._raw = self._kind == "grid" or is_yolox(self._model.path)
        self._cells = yolox_cells(self.size)

    def _read_kind(self, outputs: list[np.ndarray]) -> Kind:
        shapes = [o.shape for o in outputs]
        if len(shapes) == 2 and len(shapes[0]) == 3 and shapes[0][2] == 5 and shapes[1] == shapes[0][:2]:
            return "boxes"
        cells = sum((self.size[0] // s) * (self.size[1] // s) for s in STRIDES)
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == cells and shapes[0][2] >= 6:
            return "grid"
        found = ", ".join(f"{n} {s}" for n, s in zip(self._model.outputs, shapes, strict=True))
        raise WeightsError(
            f"--det-model {self._model.path}: its outputs ({found}) are those of no person detector that "
            f"posefix knows: RTMDet (boxes (n, k, 5), labels (n, k)) or YOLOX ((n, {cells}, 5 + classes))"
        )

    def __call__(self, image: npt.NDArray[np.uint8]) -> Boxes:
        """(H, W, 3) BGR -> the people, the largest first."""
        picture, scale = self._picture(image)
        outputs = self._model.run(picture)
        if self._kind == "grid":
            answer = to_cells(outputs[0][0], self._cells) if self._decoded else outputs[0][0]
            corners, scores = decode_yolox(answer, self._cells)
        else:
            dets, labels = outputs[0][0], outputs[1][0]  # (k, 5), (k,)
            dets = dets[labels == PERSON]
            corners, scores = dets[:, :4], dets[:, 4]
        return tidy(corners / scale, scores, image.shape[1], image.shape[0])

    def _picture(self, image: npt.NDArray[np.uint8]) -> tuple[np.ndarray, float]:
        """(H, W, 3) BGR -> (1, h, w, 3) as the network wants it, and its scale."""
        picture, scale = letterbox(image, self.size)
        values = picture.astype(np.float32)
        if not self._raw:
            values = (values - RTMDET_MEAN) / RTMDET_STD
        return values[None], scale

    def close(self) -> None:
        """Free the network."""
        self._model.close()


def find_boxes(
    image: npt.NDArray[np.uint8], detector: Callable[[npt.NDArray[np.uint8]], Boxes] | None
) -> FloatArray:
    """(H, W, 3) BGR -> (n, 4) x0, y0, x1, y1 of the people, the largest first.

    Without a detector the whole frame is one person's box. A frame too small to hold a person has none.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_FRAME:
        return np.zeros((0, 4), np.float32)
    if detector is None:
        return np.array([[0, 0, width, height]], np.float32)
    return detector(image).corners


def letterbox(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], float]:
    """(H, W, 3) -> (h, w, 3) of `size` (w, h), aspect kept, the rest at right and bottom grey; and the scale."""
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    picture = np.full((size[1], size[0], 3), PAD, np.uint8)
    picture[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture, scale


def is_yolox(path: Path) -> bool:
    """Whether boxes come from YOLOX: by the file's name, or by what MMDetection calls the weights of its head.

    MMDeploy calls every file `end2end.onnx`. The convolutions that answer have no normalisation to be merged with, so
    they keep their names: `bbox_head.multi_level_conv_obj.0.weight`, where RTMDet has `bbox_head.rtm_cls.0.weight`.
    """
    return "yolox" in path.name.lower() or YOLOX_HEAD in path.read_bytes()


def size_in_name(path: Path) -> int:
    """The side of the input that a file's name tells, as `rtmdet_nano_320-8xb32.onnx` does; else FREE_SIZE."""
    found = re.search(r"(?<!\d)(320|416|640|1280)(?!\d)", path.stem)
    return int(found[1]) if found else FREE_SIZE


def yolox_cells(size: tuple[int, int]) -> FloatArray:
    """(cells, 3) x, y, stride: column, row and pixels of the cells of YOLOX's grids, in the order of its output."""
    grids = []
    for stride in STRIDES:
        x, y = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def decode_yolox(output: FloatArray, cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(cells, 5 + classes) -> corners (cells, 4) in pixels of the picture, scores (cells,) of the person.

    Each cell answers x, y (in cells, from its own corner), ln w, ln h, objectness and a score for every class.
    """
    stride = cells[:, 2:]
    centre = (output[:, :2] + cells[:, :2]) * stride
    half = np.exp(output[:, 2:4].clip(max=10)) * stride / 2
    corners = np.concatenate([centre - half, centre + half], axis=1)  # (cells, 4)
    return corners.astype(np.float32), output[:, 4] * output[:, 5 + PERSON]


def in_pixels(output: FloatArray) -> bool:
    """Whether (cells, 5 + classes) is decoded already, as YOLOX exports it with --decode_in_inference.

    Then the middles lie all over the picture, mostly far from its corner; else each within some cells of its own: of
    YOLOX-nano at 416 x 416 the median is 0.6.
    """
    return bool(np.median(np.abs(output[:, :2])) > STRIDES[1])


def to_cells(output: FloatArray, cells: FloatArray) -> FloatArray:
    """(cells, 5 + classes) with x, y, w, h in pixels -> as `decode_yolox` takes it."""
    stride, answer = cells[:, 2:], output.copy()
    answer[:, :2] = output[:, :2] / stride - cells[:, :2]
    answer[:, 2:4] = np.log(np.maximum(output[:, 2:4], 1e-6) / stride)
    return answer


def non_maximum_suppression(corners: FloatArray, scores: FloatArray, max_iou: float = MAX_IOU) -> np.ndarray:
    """Indices of the boxes to keep, the best score first: none overlaps a better one by more than `max_iou`."""
    if not len(corners):
        return np.zeros(0, np.int64)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(sides.astype(float).tolist(), scores.astype(float).tolist(), 0.0, max_iou)
    return np.asarray(kept, np.int64).reshape(-1)


def tidy(corners: FloatArray, scores: FloatArray, width: int, height: int) -> Boxes:
    """Boxes that are good enough, cut to the frame, each person once, the largest first."""
    good = np.isfinite(corners).all(axis=1) & (scores >= MIN_SCORE)
    corners, scores = corners[good], scores[good]
    corners = corners.clip(0, [width, height, width, height]).astype(np.float32)
    good = np.minimum(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]) >= MIN_SIDE
    corners, scores = corners[good], scores[good]
    kept = non_maximum_suppression(corners, scores)
    corners, scores = corners[kept], scores[kept]
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    order = np.argsort(-area, kind="stable")
    return Boxes(corners[order], scores[order].clip(0, 1).astype(np.float32))
