"""People by MMPose 1.x: a person detector, then any of its top-down networks for each box.

MMPose's networks and test settings, but posefix's own crops, reading of heatmaps and memory of boxes, so that the same
weights give the same joints by `--detector mmpose` and, exported, by `--detector onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..skeleton import Frame, Pose2D
from ..skeleton.devices import resolve_device
from ..skeleton.errors import InputError
from ..skeleton.poses import FloatArray
from .ahead import Guesses
from .base import SEEN, DetectorOptions
from .box_memory import BoxMemory, RemembersBoxes
from .crops import Crop
from .mmdet_boxes import MMDetBoxes, has_mmdet
from .mmpose_model import Answers, PoseModel
from .mmpose_shims import import_mmpose
from .person_boxes import PersonBoxes, find_boxes

import_mmpose()  # here, so that a missing package is an ImportError of this module

DEFAULT = "human"  # MMPose's alias of RTMPose-m, 17 joints
BATCH = 64  # pictures that go in at once, at most
FIXED = 8  # the same on GPUs, where it is always that many; and frames that they look at together


class MMPoseDetector(RemembersBoxes):
    """All people in a frame, the largest box first; without a person detector the whole frame is one person's box.

    Attributes:
        layout: "coco17", "halpe26" or "h36m17", by the names of the network's joints.
        weights: {"pose-model/NAME": SHA-256, "det-model/NAME": SHA-256}.
        device: "cpu", "cuda" or "mps", where the pose network runs.
        at_once: frames that it wants to look at together, see `ahead.LooksAhead`.
    """

    name = "mmpose"

    def __init__(self, device: str = "cpu", options: DetectorOptions | None = None) -> None:
        """Build the networks.

        Raises:
            InputError: a model that is not known, or not of this kind.
            WeightsError: weights that are not there or do not fit. DeviceError: no such device.
        """
        options = options or DetectorOptions()
        self.device = resolve_device(device)
        name = options.pose_model or DEFAULT
        if name.endswith(".onnx"):
            raise InputError(
                f"--pose-model {name}: that is for --detector onnx; MMPose takes a config or a name"
            )
        self._model = PoseModel(name, options.pose_weights, self.device)
        self._memory = BoxMemory()
        # On the CPU, frames together cost about as much as one by one, and memory.
        self.at_once = 1 if self.device == "cpu" else FIXED
        self._guesses = Guesses(lambda frame: find_boxes(frame.image, self._boxes), self._read)
        self.layout = self._model.layout.name
        self.weights = {f"pose-model/{file}": digest for file, digest in self._model.weights.items()}
        self._boxes = open_boxes(options, self.device)
        if self._boxes is not None:
            self.weights |= {f"det-model/{file}": digest for file, digest in self._boxes.weights.items()}

    def detect(self, frame: Frame) -> list[Pose2D]:
        """Everybody, the largest box first: joints in pixels, scores 0..1, heatmaps where the head has them."""
        boxes, poses = self._guesses.take(frame, self._memory.widen)
        people = [
            replace(pose, box=box)
            for pose, box in zip(poses, boxes, strict=True)
            if pose.scores.max() >= SEEN
        ]
        if len(boxes):
            self._memory.remember(people, frame)
        return people

    def look_ahead(self, frames: Sequence[Frame]) -> None:
        """All people of the frames that come next, in one batch; see `ahead.LooksAhead`."""
        self._guesses.make(frames)

    def detect_many(self, frames: Sequence[Frame]) -> list[list[Pose2D]]:
        """`detect` for frames in a row, all people of all frames in one batch as far as that changes nothing."""
        self.look_ahead(frames)
        return [self.detect(frame) for frame in frames]

    def _read(self, people: Sequence[tuple[Frame, FloatArray]]) -> Iterator[Pose2D]:
        """Frames and the boxes (4,) of people in them -> their poses.

        A GPU rounds differently with every number of pictures. So there it is always `FIXED`, the last ones filled up.
        """
        step = FIXED if self.at_once > 1 else BATCH
        for k in range(0, len(people), step):
            some = people[k : k + step]
            crops = [self._model.picture.crop(box) for _, box in some]
            pictures = [crop.cut(frame.image) for crop, (frame, _) in zip(crops, some, strict=True)]
            if self.at_once > 1:
                pictures += pictures[-1:] * (step - len(pictures))
            answers = self._model(np.stack(pictures))
            for j, (crop, (_, box)) in enumerate(zip(crops, some, strict=True)):
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
    if options.det_weights is not None and (name is None or name.endswith(".onnx")):
        why = "an .onnx file has its own" if name else "they are of a person detector; add --det-model CONFIG"
        raise InputError(f"--det-weights {options.det_weights}: {why}")
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
