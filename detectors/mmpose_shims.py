"""MMPose imported without what it asks for and top-down networks do not use.

    torchvision   MMPose imports one class of it, `ToPILImage`, which draws SimCC answers
    mmdet.utils   RTMO, which is not top-down, imports two names
    mmcv._ext     the compiled operators of full mmcv, which mmcv-lite lacks: `mmcv.ops` is imported by heads of
                  other networks. Those that have a way without the operator work; others say what is missing.
                  `nms`, which MMDetection's detectors need, is here.

Where the real ones are installed they are taken. The stand-ins are there only while MMPose is imported, so nobody
else takes them for the real ones.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..skeleton.errors import InputError


class _Missing(ModuleType):
    """A module every name of which is a function that says what is missing."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name)
        self._message = message
        self.__path__: list[str] = []  # a package: its parts can be stand-ins too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> NoReturn:
            raise InputError(f"{name}: {self._message}")

        return missing


def stand_ins() -> dict[str, ModuleType]:
    """Module name -> stand-in, for those that are not installed."""
    found: dict[str, ModuleType] = {}
    for package, part in (("torchvision", "transforms"), ("mmdet", "utils")):
        if importlib.util.find_spec(package) is None:
            for name in (package, f"{package}.{part}"):
                found[name] = _Missing(name, f"the network needs {package}, which is not installed")
    if importlib.util.find_spec("mmcv") is not None and importlib.util.find_spec("mmcv._ext") is None:
        ext = _Missing("mmcv._ext", "mmcv-lite lacks this operator; the network needs full mmcv")
        ext.__dict__["nms"] = nms
        found["mmcv._ext"] = ext
    return found


def nms(bboxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """mmcv's operator: boxes (n, 4) x0, y0, x1, y1 and scores (n,) -> indices to keep, the best score first.

    Args:
        iou_threshold: boxes that overlap a kept one by more are dropped.
        offset: added to widths and heights; 1 where corners are whole pixels.
    """
    left = scores.argsort(descending=True, stable=True)  # (m,), the best first
    areas = (bboxes[:, 2] - bboxes[:, 0] + offset) * (bboxes[:, 3] - bboxes[:, 1] + offset)  # (n,)
    kept = [left[:0]]
    while len(left):
        best, rest = left[:1], left[1:]
        kept.append(best)
        low = bboxes[rest, :2].maximum(bboxes[best, :2])  # (m, 2)
        high = bboxes[rest, 2:].minimum(bboxes[best, 2:])
        shared = (high - low + offset).clamp(min=0).prod(dim=1)
        left = rest[shared / (areas[rest] + areas[best] - shared) <= iou_threshold]
    return torch.cat(kept)


@contextlib.contextmanager
def shimmed() -> Iterator[None]:
    """The stand-ins in their places."""
    found = {name: module for name, module in stand_ins().items() if name not in sys.modules}
    sys.modules.update(found)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about their syntax, when they are compiled
            yield
    finally:
        for name in found:
            sys.modules.pop(name, None)


def silence() -> None:
    """No warnings of OpenMMLab's code, of packages that are not installed or have grown old: nobody can mend them."""
    warnings.filterwarnings("ignore", module=r"(mmpose|mmdet|mmcv|mmengine)\b")
    importlib.import_module("mmengine.logging").MMLogger.get_current_instance().setLevel("ERROR")


def import_mmpose() -> ModuleType:
    """The package, its networks and data sets registered.

    Raises:
        ImportError: something is not installed, or what is there does not work together: xtcocotools built for
            another numpy (a ValueError), an mmcv of another version (an AssertionError).
    """
    for name in ("mmpose", "mmengine", "mmcv"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"No module named {name!r}")
    try:
        with shimmed():
            package = importlib.import_module("mmpose")
            for part in ("models", "datasets", "structures"):
                importlib.import_module(f"mmpose.{part}")
    except Exception as error:
        raise error if isinstance(error, ImportError) else ImportError(f"mmpose: {error}") from error
    silence()
    return package
