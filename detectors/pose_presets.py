"""How pictures of a pose network are normalised: presets, recognised by its input and outputs, or named.

Nothing in an .onnx file says which normalisation it was trained with. The families below are told apart by
layout, type and size of what goes in and comes out; anything else has to be named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..skeleton.errors import InputError
from ..skeleton.poses import FloatArray

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class PosePreset:
    """What a family of pose networks expects.

    Attributes:
        name: as given to `--pose-preset`.
        models: whom it is for.
        mean, std: in the order of the channels, 0..255: (value - mean) / std goes in.
        rgb: channels red first; else blue first.
        padding: the box of the person is widened by this factor.
        unbiased: trained with UDP's transform of pictures and places.
    """

    name: str
    models: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    rgb: bool = True
    padding: float = 1.25
    unbiased: bool = False

    def normalise(self, pictures: npt.NDArray[np.uint8]) -> FloatArray:
        """(n, h, w, 3) BGR 0..255 -> float32 as the network wants it, channels still last."""
        ordered = pictures[..., ::-1] if self.rgb else pictures
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (ordered.astype(np.float32) - mean) / std


_NONE, _ONE, _FULL = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (255.0, 255.0, 255.0)

PRESETS: dict[str, PosePreset] = {
    preset.name: preset
    for preset in (
        PosePreset("rtmpose", "RTMPose, RTMW, DWPose, SimCC"),
        PosePreset("hrnet", "HRNet, SimpleBaseline, LiteHRNet, PP-TinyPose"),
        PosePreset("udp", "ViTPose, HRNet-UDP and others of MMPose's UDPHeatmap", unbiased=True),
        PosePreset("rgb-255", "networks that normalise by themselves, RGB 0..255", mean=_NONE, std=_ONE),
        PosePreset("bgr-255", "the same, BGR 0..255", mean=_NONE, std=_ONE, rgb=False),
        PosePreset("rgb-1", "RGB 0..1", mean=_NONE, std=_FULL),
    )
}
_HEATMAP_SIZES = {(192, 256), (288, 384), (96, 128), (256, 256), (384, 384)}  # (w, h) of the families above


def recognise(
    size: tuple[int, int], channels_last: bool, dtype: npt.DTypeLike, cells: tuple[float, float], simcc: bool
) -> PosePreset | None:
    """The preset of a network, None where it could be any.

    Args:
        size: (w, h) px of its input.
        channels_last, dtype: layout and type of its input.
        cells: answers per pixel along x and y: 0.25 for heatmaps of a quarter of the size, 2 for RTMPose's SimCC.
        simcc: whether it answers in SimCC instead of heatmaps.
    """
    if channels_last or np.dtype(dtype) == np.uint8:  # TensorFlow's, or with a normalisation built in
        return None
    if simcc:
        return PRESETS["rtmpose"] if cells in ((2, 2), (3, 3)) else None
    return PRESETS["hrnet"] if cells == (0.25, 0.25) and size in _HEATMAP_SIZES else None


def find_preset(name: str) -> PosePreset:
    """The preset of that name. Raises InputError that lists them."""
    if name not in PRESETS:
        raise InputError(f"--pose-preset {name}: no such preset; choose from: {choices()}")
    return PRESETS[name]


def choices() -> str:
    """All presets and whom they are for, on one line."""
    return "; ".join(f"{preset.name} ({preset.models})" for preset in PRESETS.values())
