"""CPN, the Cascaded Pyramid Network (Chen et al., CVPR 2018): ResNet-50, then GlobalNet, then RefineNet.

GlobalNet finds the easy joints on a feature pyramid; RefineNet looks at all its levels at once for the hard ones.
Shapes are for pictures of 256 x 192 (h, w). Layers are named as in `pytorch-cpn` (GengDavid), so that its
checkpoints fit; what it does, layer by layer, is what that code does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

JOINTS = 17  # COCO's
STRIDE = 4  # px of the picture for each cell of a heatmap
WIDTH = 256  # channels of the pyramid

#: name -> (w, h) of the picture; the names are height x width, as everywhere for CPN
SIZES = {"256x192": (192, 256), "384x288": (288, 384)}


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; `planes` in the middle, `expansion` times that at the end."""

    def __init__(self, channels: int, planes: int, expansion: int, stride: int = 1, project: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * expansion)
        self.relu = nn.ReLU(inplace=True)
        shortcut = [
            nn.Conv2d(channels, planes * expansion, 1, stride, bias=False),
            nn.BatchNorm2d(planes * expansion),
        ]
        self.downsample = nn.Sequential(*shortcut) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """The trunk (He et al. 2016) without its classifier; the stride lies on the 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(64, 64, 3, stride=1)
        self.layer2 = self._stage(256, 128, 4, stride=2)
        self.layer3 = self._stage(512, 256, 6, stride=2)
        self.layer4 = self._stage(1024, 512, 3, stride=2)

    @staticmethod
    def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(channels, planes, 4, stride)
        return nn.Sequential(
            first, *(Bottleneck(4 * planes, planes, 4, project=False) for _ in range(blocks - 1))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (B, 3, 256, 192) -> (B, 64, 64, 48)
        c2 = self.layer1(x)  # (B, 256, 64, 48)
        c3 = self.layer2(c2)  # (B, 512, 32, 24)
        c4 = self.layer3(c3)  # (B, 1024, 16, 12)
        c5 = self.layer4(c4)  # (B, 2048, 8, 6)
        return [c5, c4, c3, c2]


class GlobalNet(nn.Module):
    """The pyramid, from the coarsest level down, and heatmaps from each of its levels."""

    def __init__(self, cells: tuple[int, int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(self._lateral(channels) for channels in (2048, 1024, 512, 256))
        self.upsamples = nn.ModuleList(self._upsample() for _ in range(3))
        self.predict = nn.ModuleList(self._predict(cells) for _ in range(4))

    @staticmethod
    def _lateral(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)
        )

    @staticmethod
    def _upsample() -> nn.Sequential:
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.BatchNorm2d(WIDTH),
        )

    @staticmethod
    def _predict(cells: tuple[int, int]) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(inplace=True),
            nn.Conv2d(WIDTH, JOINTS, 3, padding=1, bias=False),
            nn.Upsample(size=cells, mode="bilinear", align_corners=True),
            nn.BatchNorm2d(JOINTS),
        )

    def forward(self, stages: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        level = self.laterals[0](stages[0])  # (B, 256, 8, 6)
        levels = [level]
        for upsample, lateral, stage in zip(self.upsamples, self.laterals[1:], stages[1:], strict=True):
            level = lateral(stage) + upsample(level)  # (B, 256, 16, 12), then 32 x 24, then 64 x 48
            levels.append(level)
        return levels, [head(x) for head, x in zip(self.predict, levels, strict=True)]  # (B, 17, 64, 48) each


class RefineNet(nn.Module):
    """Every level through as many bottlenecks as it lies above the finest, all put side by side."""

    def __init__(self, cells: tuple[int, int]) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            nn.Sequential(
                *(Bottleneck(WIDTH, 128, 2) for _ in range(blocks)),
                nn.Upsample(size=cells, mode="bilinear", align_corners=True),
            )
            for blocks in (3, 2, 1, 0)
        )
        self.final_predict = nn.Sequential(
            Bottleneck(4 * WIDTH, 128, 2),
            nn.Conv2d(256, JOINTS, 3, padding=1, bias=False),
            nn.BatchNorm2d(JOINTS),
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        # 4 x (B, 256, ...) -> (B, 1024, 64, 48)
        x = torch.cat([branch(level) for branch, level in zip(self.cascade, levels, strict=True)], dim=1)
        return self.final_predict(x)  # (B, 17, 64, 48)


class CPN(nn.Module):
    """(B, 3, h, w) pictures, see `pictures.normalise` -> heatmaps whose peaks are up to 255.

    Args:
        size: (w, h) of the pictures, one of SIZES' values; the weights fit any of them.
    """

    def __init__(self, size: tuple[int, int] = SIZES["256x192"]) -> None:
        super().__init__()
        self.size = size
        cells = (size[1] // STRIDE, size[0] // STRIDE)  # (h, w)
        self.resnet = ResNet50()
        self.global_net = GlobalNet(cells)
        self.refine_net = RefineNet(cells)
        self.apply(_initialise)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """GlobalNet's heatmaps from its coarsest level to its finest, and RefineNet's: (B, 17, h/4, w/4) each."""
        levels, coarse = self.global_net(self.resnet(pictures))
        return coarse, self.refine_net(levels)


def _initialise(layer: nn.Module) -> None:
    """He's initialisation by fan-out; batch normalisation begins as the identity, as PyTorch has it."""
    if isinstance(layer, nn.Conv2d):
        fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
