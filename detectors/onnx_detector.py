"""People by ONNX files of the user: an optional person detector, then a top-down pose network for each box.

Input size, layout and the kind of answer are read off the pose network itself, which is tried once on an empty
picture; `pose_presets.py` has the normalisation. Networks known to work this way: docs/detectors.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..skeleton import COCO17, HALPE26, Frame, Pose2D
from ..skeleton.errors import InputError, WeightsError
from ..skeleton.poses import FloatArray
from .base import SEEN, DetectorOptions
from .box_memory import BoxMemory, RemembersBoxes
from .crops import Crop
from .decode import decode_heatmaps, decode_simcc
from .onnx_session import OnnxModel
from .person_boxes import PersonBoxes, find_boxes
from .pose_presets import PosePreset, choices, find_preset, recognise

#: joints that a network answers -> (layout, how many of them are kept)
JOINTS = {17: (COCO17, 17), 26: (HALPE26, 26), 133: (COCO17, 17)}  # COCO-WholeBody: its body part


@dataclass(frozen=True, slots=True)
class Answers:
    """What a pose network gives.

    Attributes:
        outputs: positions of the heatmaps among the outputs, or of SimCC's x and y.
        joints: how many.
        cells: answers per pixel of the input along x and y.
        channels_last: heatmaps are (n, h, w, J).
    """

    outputs: tuple[int, ...]
    joints: int
    cells: tuple[float, float]
    channels_last: bool = False

    @property
    def simcc(self) -> bool:
        """SimCC, one classification for each axis, instead of heatmaps."""
        return len(self.outputs) == 2


def read_answers(shapes: list[tuple[int, ...]], names: list[str], size: tuple[int, int]) -> Answers | None:
    """How a network with input of `size` (w, h) answers, by its outputs' shapes; None where it cannot be told."""
    for k, shape in enumerate(shapes):
        if len(shape) == 4:
            last = shape[1] not in JOINTS and shape[3] in JOINTS
            joints, (h, w) = (shape[3], shape[1:3]) if last else (shape[1], shape[2:4])
            if w > 1 and h > 1 and w * size[1] == h * size[0]:
                return Answers((k,), joints, (w / size[0], h / size[1]), last)
    flat = [k for k, shape in enumerate(shapes) if len(shape) == 3]
    if len(flat) == 2 and shapes[flat[0]][:2] == shapes[flat[1]][:2]:
        if "y" in names[flat[0]].lower() and "x" in names[flat[1]].lower():
            flat.reverse()
        for x, y in (flat, flat[::-1]):
            cells = (shapes[x][2] / size[0], shapes[y][2] / size[1])
            if cells[0] == cells[1] >= 1:
                return Answers((x, y), shapes[x][1], cells)
    return None


class OnnxDetector(RemembersBoxes):
    """All people in a frame, the largest box first; without `det_model` the whole frame is one person's box.

    Attributes:
        layout: "coco17" or "halpe26", by the number of joints that the network answers.
        weights: {"pose-model/NAME": SHA-256, "det-model/NAME": SHA-256}.
        device: "cpu" or "cuda", where the networks run.
        preset: how pictures are normalised.
    """

    name = "onnx"

    def __init__(self, device: str = "cpu", options: DetectorOptions | None = None) -> None:
        """Open the files.

        Raises:
            InputError: no pose model is named, or its normalisation is neither known nor named.
            WeightsError: a file cannot be used. DeviceError: no CUDA where it was asked for.
        """
        options = options or DetectorOptions()
        if options.pose_model is None:
            raise InputError("--detector onnx needs --pose-model FILE, an .onnx file; see docs/detectors.md")
        self._boxes: PersonBoxes | None = None
        self._memory = BoxMemory()
        self._model = OnnxModel(options.pose_model, device)
        self._where = f"--pose-model {options.pose_model}"
        if self._model.size is None:
            raise WeightsError(
                f"{self._where}: the size of its input is open; export it with a fixed size, or, if it is a "
                f"person detector, give it to --det-model"
            )
        self.size = self._model.size
        self.answers = self._read_answers()
        self._layout, self._kept = JOINTS[self.answers.joints]
        self.layout, self.device = self._layout.name, self._model.device
        self.preset = self._choose_preset(options.pose_preset)
        self.weights = {f"pose-model/{self._model.path.name}": self._model.sha256}
        if options.det_model is not None:
            self._boxes = PersonBoxes(options.det_model, device)
            self.weights |= {f"det-model/{name}": digest for name, digest in self._boxes.weights.items()}

    def _read_answers(self) -> Answers:
        width, height = self.size
        empty = np.zeros((1, height, width, 3), np.float32)
        shapes = [o.shape for o in self._model.run(empty)]
        answers = read_answers(shapes, self._model.outputs, self.size)
        found = ", ".join(f"{n} {s}" for n, s in zip(self._model.outputs, shapes, strict=True))
        if answers is None:
            raise WeightsError(
                f"{self._where}: its outputs ({found}) are neither heatmaps (n, J, h, w) nor SimCC "
                f"(n, J, k w), (n, J, k h); posefix takes top-down pose networks"
            )
        if answers.joints not in JOINTS:
            raise WeightsError(
                f"{self._where}: it answers {answers.joints} joints ({found}); posefix knows 17 (COCO), "
                f"26 (Halpe) and 133 (COCO-WholeBody)"
            )
        return answers

    def _choose_preset(self, name: str | None) -> PosePreset:
        model, answers = self._model, self.answers
        if name is not None:
            preset = find_preset(name)
        else:
            preset = recognise(self.size, model.channels_last, model.dtype, answers.cells, answers.simcc)
        if preset is None:
            raise InputError(
                f"{self._where}: its normalisation cannot be told from its input; "
                f"name it with --pose-preset, one of: {choices()}"
            )
        if model.dtype == np.uint8 and preset.std != (1.0, 1.0, 1.0):
            raise InputError(
                f"{self._where}: it takes bytes, so --pose-preset {preset.name} cannot be right; "
                f"use rgb-255 or bgr-255"
            )
        return preset

    def detect(self, frame: Frame) -> list[Pose2D]:
        """Everybody, the largest box first: joints in pixels, scores 0..1, heatmaps where the network has them."""
        boxes = find_boxes(frame.image, self._boxes)  # (n, 4)
        if not len(boxes):
            return []
        preset = self.preset
        wide = self._memory.widen(boxes, frame)
        crops = [Crop.around(box, self.size, preset.padding, preset.unbiased) for box in wide]
        pictures = np.stack([crop.cut(frame.image) for crop in crops])  # (n, h, w, 3)
        places, scores, cells, maps = self._decode(self._model.run(preset.normalise(pictures)))
        poses = [
            Pose2D(
                crops[k].to_frame(places[k], cells),
                scores[k],
                self.layout,
                box=boxes[k],
                heatmaps=None if maps is None else maps[k],
                heatmap_box=None if maps is None else crops[k].heatmap_box(cells),
            )
            for k in range(len(boxes))
            if scores[k].max() >= SEEN
        ]
        self._memory.remember(poses, frame)
        return poses

    def _decode(
        self, outputs: list[np.ndarray]
    ) -> tuple[FloatArray, FloatArray, tuple[int, int], FloatArray | None]:
        """Outputs -> places (n, J, 2), scores (n, J), the (w, h) cells of places, heatmaps (n, J, h, w) or None."""
        arrays = [outputs[k] for k in self.answers.outputs]
        if self.answers.simcc:
            x, y = (a[:, : self._kept] for a in arrays)  # (n, J, k w), (n, J, k h)
            return *decode_simcc(x, y), (x.shape[2], y.shape[2]), None
        maps = arrays[0].transpose(0, 3, 1, 2) if self.answers.channels_last else arrays[0]
        maps = np.ascontiguousarray(maps[:, : self._kept], np.float32)  # (n, J, h, w)
        return *decode_heatmaps(maps), (maps.shape[3], maps.shape[2]), maps

    def close(self) -> None:
        """Free the networks."""
        self._model.close()
        if self._boxes is not None:
            self._boxes.close()
