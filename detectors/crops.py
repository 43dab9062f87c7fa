"""A person's box -> the picture that a top-down pose network takes, and its answers back to the frame.

As MMPose does it (`GetBBoxCenterScale`, `TopdownAffine`): the box is padded and widened to the network's aspect,
then the frame is warped, never stretched. Answers come as places on a grid of cells laid over that picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..skeleton.poses import FloatArray


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a frame that goes into a network.

    Attributes:
        left, top, width, height: the part, pixels of the frame; it may reach beyond the frame.
        size: (w, h) of the network's picture, pixels.
        unbiased: UDP's transform, which lays the middles of the first and the last pixel on the part's edges
            ("The Devil is in the Details", Huang et al. 2020), instead of the pixels' edges.
    """

    left: float
    top: float
    width: float
    height: float
    size: tuple[int, int]
    unbiased: bool = False

    @classmethod
    def around(
        cls, box: npt.ArrayLike, size: tuple[int, int], padding: float = 1.25, unbiased: bool = False
    ) -> Crop:
        """The part around a box (4,) x0, y0, x1, y1, padded and widened to the aspect of `size` (w, h)."""
        x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
        width, height = max((x1 - x0) * padding, 1.0), max((y1 - y0) * padding, 1.0)
        aspect = size[0] / size[1]
        width, height = max(width, height * aspect), max(height, width / aspect)
        return cls((x0 + x1 - width) / 2, (y0 + y1 - height) / 2, width, height, size, unbiased)

    def cut(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(H, W, 3) frame -> (h, w, 3); black where the part reaches beyond the frame."""
        less = int(self.unbiased)
        sx, sy = (self.size[0] - less) / self.width, (self.size[1] - less) / self.height
        matrix = np.array([[sx, 0, -self.left * sx], [0, sy, -self.top * sy]])
        return cv2.warpAffine(image, matrix, self.size, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def to_frame(self, places: npt.ArrayLike, cells: tuple[int, int]) -> FloatArray:
        """(..., 2) indices x, y with fractions on a grid of `cells` (w, h) over the part -> pixels of the frame."""
        less = int(self.unbiased)
        scale = np.array([self.width / (cells[0] - less), self.height / (cells[1] - less)])
        # OpenCV's warp counts from the middle of the first pixel, posefix from its corner.
        return (np.asarray(places) * scale + [self.left, self.top] + 0.5).astype(np.float32)

    def heatmap_box(self, cells: tuple[int, int]) -> FloatArray:
        """(4,) x0, y0, x1, y1 px: the box of which the values of a heatmap of (w, h) cells are the middles."""
        corners = [(-0.5, -0.5), (cells[0] - 0.5, cells[1] - 0.5)]
        return self.to_frame(corners, cells).reshape(4)  # (2, 2) -> (4,)
