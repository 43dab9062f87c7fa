"""People by MMPose 1.x: a person detector, then any of its top-down networks for each box.

MMPose's networks and test settings, but posefix's own crops, reading of heatmaps and memory of boxes, so that the same
weights give the same joints by `--detector mmpose` and, exported, by `--detector onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..skeleton import Frame, Pose2D
from ..skeleton.errors import InputError
from ..skeleton.poses import FloatArray
from .base import SEEN, DetectorOptions
from .box_memory import BoxMemory
from .crops import Crop
from .mmdet_boxes import MMDetBoxes, has_mmdet
from .mmpose_model import Answers, PoseModel
from .mmpose_shims import import_mmpose
from .person_boxes import PersonBoxes, find_boxes
from .torch_device import torch_device

import_mmpose()  # here, so that a missing package is an ImportError of this module

DEFAULT = "human"  # MMPose's alias of RTMPose-m, 17 joints
BATCH = 64  # pictures that go in at once


class MMPoseDetector:
    """All people in a frame, the largest box first; without a person detector the whole frame is one person's box.

    Attributes:
        layout: "coco17", "halpe26" or "h36m17", by the names of the network's joints.
        weights: {"pose-model/NAME": SHA-256, "det-model/NAME": SHA-256}.
        device: "cpu", "cuda" or "mps", where the pose network runs.
    """

    name = "mmpose"

    def __init__(self, device: str = "cpu", options: DetectorOptions | None = None) -> None:
        """Build the networks.

        Raises:
            InputError: a model that is not known, or not of this kind.
            WeightsError: weights that are not there or do not fit. DeviceError: no such device.
        """
        options = options or DetectorOptions()
        self.device = torch_device(device)
        name = options.pose_model or DEFAULT
        if name.endswith(".onnx"):
            raise InputError(
                f"--pose-model {name}: that is for --detector onnx; MMPose takes a config or a name"
            )
        self._model = PoseModel(name, options.pose_weights, self.device)
        self._memory = BoxMemory()
        self.layout = self._model.layout.name
        self.weights = {f"pose-model/{file}": digest for file, digest in self._model.weights.items()}
        self._boxes = open_boxes(options, self.device)
        if self._boxes is not None:
            self.weights |= {f"det-model/{file}": digest for file, digest in self._boxes.weights.items()}

    def detect(self, frame: Frame) -> list[Pose2D]:
        """Everybody, the largest box first: joints in pixels, scores 0..1, heatmaps where the head has them."""
        return self.detect_many([frame])[0]

    def detect_many(self, frames: Sequence[Frame]) -> list[list[Pose2D]]:
        """`detect` for frames in a row, all people of all frames in one batch.

        Boxes are widened by what was seen before the first of the frames, not in between.
        """
        boxes = [find_boxes(frame.image, self._boxes) for frame in frames]  # (n, 4) each
        wide = [self._memory.widen(own, frame) for own, frame in zip(boxes, frames, strict=True)]
        crops = [[self._model.picture.crop(box) for box in part] for part in wide]
        cut = [c.cut(frame.image) for part, frame in zip(crops, frames, strict=True) for c in part]
        poses = iter(
            self._read(cut, [c for part in crops for c in part], [b for part in boxes for b in part])
        )
        people = [[next(poses) for _ in part] for part in boxes]
        people = [[pose for pose in part if pose.scores.max() >= SEEN] for part in people]
        for part, own, frame in zip(people, boxes, frames, strict=True):
            if len(own):
                self._memory.remember(part, frame)
        return people

    def _read(
        self, pictures: list[npt.NDArray[np.uint8]], crops: list[Crop], boxes: list[FloatArray]
    ) -> Iterator[Pose2D]:
        """Pictures (h, w, 3), the parts of frames that they are, and the people's boxes (4,) -> poses."""
        for k in range(0, len(pictures), BATCH):
            answers = self._model(np.stack(pictures[k : k + BATCH]))
            for j, (crop, box) in enumerate(zip(crops[k : k + BATCH], boxes[k : k + BATCH], strict=True)):
                yield self._pose(answers, j, crop, box)

    def _pose(self, answers: Answers, k: int, crop: Crop, box: FloatArray) -> Pose2D:
        """The k-th pose of a batch."""
        if answers.heatmaps is None:
            # MMPose turns these places back without UDP's shift, whatever it made the picture with.
            places = replace(crop, unbiased=False).to_frame(answers.places[k], self._model.picture.size)
            return Pose2D(places, answers.scores[k], self.layout, box=box)
        maps = answers.heatmaps[k]
        cells = (maps.shape[2], maps.shape[1])
        places = crop.to_frame(answers.places[k], cells)
        return Pose2D(
            places,
            answers.scores[k],
            self.layout,
            box=box,
            heatmaps=maps,
            heatmap_box=crop.heatmap_box(cells),
        )

    def close(self) -> None:
        """Free the networks."""
        self._model.close()
        if self._boxes is not None:
            self._boxes.close()


def open_boxes(options: DetectorOptions, device: str) -> PersonBoxes | MMDetBoxes | None:
    """The person detector that is named, an .onnx file or a model of MMDetection; None where none is.

    Raises:
        InputError, WeightsError: it cannot be used.
    """
    name = options.det_model
    if name is None:
        return None
    if name.endswith(".onnx"):
        return PersonBoxes(name, "cuda" if device == "cuda" else "cpu")
    if not has_mmdet():
        raise InputError(
            f"--det-model {name}: MMDetection is not installed; name an .onnx file of RTMDet or YOLOX, "
            f"or install it: posefix install-mmpose --mmdet"
        )
    return MMDetBoxes(name, options.det_weights, device)
