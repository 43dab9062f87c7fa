"""People by CPN: a person detector's boxes, then CPN on each of them. See docs/detectors.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...skeleton import COCO17, Frame, Pose2D
from ...skeleton.devices import resolve_device
from ...skeleton.errors import InputError
from ..base import DetectorOptions
from ..box_memory import BoxMemory, RemembersBoxes
from ..person_boxes import PersonBoxes, find_boxes
from .checkpoint import load_into, read_checkpoint
from .decode import calibrated, decode, heatmaps
from .network import CPN, SIZES
from .pictures import cut, frame_to_picture, normalise, part_around

SEEN = 0.1  # somebody whose highest peak is lower is nobody
MAX_BATCH = 16  # pictures through the network at once, mirrored ones apart: bounds the memory


class CpnDetector(RemembersBoxes):
    """All people in a frame, the largest box first; without `det_model` the whole frame is one person's box.

    Attributes:
        layout: "coco17".
        weights: {"pose-weights/NAME": SHA-256, "det-model/NAME": SHA-256}.
        device: where CPN runs; the person detector runs on CUDA only where onnxruntime has it.
        size: name of the pictures' size, height x width.
    """

    name = "cpn"
    layout = COCO17.name

    def __init__(self, device: str = "cpu", options: DetectorOptions | None = None) -> None:
        """Open the files.

        Raises:
            InputError: no weights are named, or `pose_model` is no size.
            WeightsError: a file cannot be used. DeviceError: the device is not there.
        """
        options = options or DetectorOptions()
        if options.pose_weights is None:
            raise InputError(
                "--detector cpn needs --pose-weights FILE: none come with posefix; train them with "
                "`posefix train cpn`, or get the checkpoint of pytorch-cpn; see docs/detectors.md"
            )
        if options.pose_model is not None and options.pose_model not in SIZES:
            raise InputError(f"--pose-model {options.pose_model}: for CPN one of {', '.join(SIZES)}")
        path = Path(options.pose_weights)
        checkpoint = read_checkpoint(path)
        self.device = resolve_device(device)
        self.size = options.pose_model or checkpoint.size or next(iter(SIZES))
        self._model: CPN | None = CPN(SIZES[self.size])
        load_into(self._model, checkpoint, f"--pose-weights {path}")
        self._model.eval().to(self.device)
        self._calibration = checkpoint.calibration
        self.weights = {f"pose-weights/{path.name}": checkpoint.sha256}
        self._memory = BoxMemory()
        self._boxes: PersonBoxes | None = None
        if options.det_model is not None:
            # "auto": CUDA for CPN need not mean CUDA in onnxruntime, and a box is soon found.
            self._boxes = PersonBoxes(options.det_model, "cpu" if self.device == "cpu" else "auto")
            self.weights |= {f"det-model/{name}": digest for name, digest in self._boxes.weights.items()}

    def detect(self, frame: Frame) -> list[Pose2D]:
        """Everybody, the largest box first: joints in pixels, scores 0..1, heatmaps in 0..1."""
        boxes = find_boxes(frame.image, self._boxes)  # (n, 4)
        if not len(boxes):
            return []
        size = SIZES[self.size]
        parts = np.stack([part_around(box, size) for box in self._memory.widen(boxes, frame)])  # (n, 4)
        pictures = np.stack([cut(frame.image, frame_to_picture(part, size), size) for part in parts])
        maps = self._maps(pictures)
        places, peaks = decode(maps)
        corner, extent = parts[:, None, :2], (parts[:, 2:] - parts[:, :2])[:, None]
        keypoints, scores = corner + places * extent, calibrated(peaks, self._calibration)
        poses = [
            Pose2D(
                keypoints[k],
                scores[k],
                self.layout,
                box=boxes[k],
                heatmaps=maps[k] / 255,
                heatmap_box=parts[k],
            )
            for k in range(len(boxes))
            if peaks[k].max() >= SEEN
        ]
        self._memory.remember(poses, frame)
        return poses

    def _maps(self, pictures: np.ndarray) -> np.ndarray:
        """(n, h, w, 3) BGR -> (n, 17, h/4, w/4), peaks up to 255."""
        assert self._model is not None, "closed"
        chunks = [pictures[k : k + MAX_BATCH] for k in range(0, len(pictures), MAX_BATCH)]
        return np.concatenate([heatmaps(self._model, normalise(chunk), self.device) for chunk in chunks])

    def close(self) -> None:
        """Free the networks."""
        self._model = None
        if self._boxes is not None:
            self._boxes.close()
