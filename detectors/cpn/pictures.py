"""A person's box -> the picture that CPN takes. As in `pytorch-cpn`, whose pixels have their edges at whole numbers."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ...skeleton.poses import FloatArray

GROW = (0.1, 0.15)  # of the box's width and height, on either side
MEAN = np.array(
    [122.7717, 115.9465, 102.9801], np.float32
)  # RGB, ImageNet's; there is no division by a spread

Images = npt.NDArray[np.uint8]


def part_around(box: npt.ArrayLike, size: tuple[int, int]) -> FloatArray:
    """(4,) x0, y0, x1, y1 px -> the part of the frame to take: grown, and widened to the aspect of `size` (w, h)."""
    x0, y0, x1, y1 = (float(v) for v in np.asarray(box))
    width, height = max((x1 - x0) * (1 + 2 * GROW[0]), 1.0), max((y1 - y0) * (1 + 2 * GROW[1]), 1.0)
    aspect = size[0] / size[1]
    half = np.array([max(width, height * aspect), max(height, width / aspect)]) / 2
    middle = np.array([x0 + x1, y0 + y1]) / 2
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def frame_to_picture(part: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(2, 3) affine map from places in the frame to places in its part's picture of `size` (w, h)."""
    x0, y0, x1, y1 = (float(v) for v in np.asarray(part))
    sx, sy = size[0] / (x1 - x0), size[1] / (y1 - y0)
    return np.array([[sx, 0, -x0 * sx], [0, sy, -y0 * sy]])


def cut(image: Images, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> Images:
    """(H, W, 3) BGR frame -> (h, w, 3) BGR picture; the mean colour where the part reaches beyond the frame.

    Args:
        matrix: (2, 3) from the frame to the picture, see `frame_to_picture`; may turn and mirror.
    """
    shift = (
        matrix[:, :2] @ [0.5, 0.5] + matrix[:, 2] - 0.5
    )  # OpenCV counts from the middle of the first pixel
    warp = np.column_stack([matrix[:, :2], shift])
    fill = tuple(float(v) for v in MEAN[::-1])
    return cv2.warpAffine(image, warp, size, flags=cv2.INTER_LINEAR, borderValue=fill).astype(
        np.uint8, copy=False
    )


def normalise(pictures: Images) -> FloatArray:
    """(n, h, w, 3) BGR bytes -> (n, 3, h, w) RGB in about -0.5..0.6, what the network takes."""
    values: FloatArray = (pictures[..., ::-1].astype(np.float32) - MEAN) / np.float32(255)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))  # (n, h, w, 3) -> (n, 3, h, w)
