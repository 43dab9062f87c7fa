"""Boxes of people by MMDetection, where it is installed: any of its detectors by config or name."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..skeleton.digest import sha256
from ..skeleton.errors import InputError
from .checkpoints import fetch, fill, read_checkpoint
from .mmpose_model import find_config
from .mmpose_shims import shimmed
from .person_boxes import Boxes, tidy

PERSON = "person"


def has_mmdet() -> bool:
    """Whether MMDetection is installed."""
    return importlib.util.find_spec("mmdet") is not None


class MMDetBoxes:
    """Frame -> boxes of the people in it.

    Attributes:
        weights: {file name: SHA-256}.
    """

    def __init__(self, name: str, weights: str | None, device: str) -> None:
        """Build the detector.

        Args:
            name: a config file, or MMDetection's name or alias of a model.
            weights: its checkpoint; None: from the hub, for names and aliases.

        Raises:
            InputError: no such model, it cannot be built, or it does not look for people.
            WeightsError: the weights are not there or do not fit.
        """
        where = f"--det-model {name}"
        config, url = find_config(name, "mmdet", "--det-model")
        if weights is None:
            if url is None:
                raise InputError(f"{where}: a config needs its checkpoint: add --det-weights FILE")
            weights = str(fetch(url, "--det-weights"))
        try:
            with shimmed():
                self._apis = importlib.import_module("mmdet.apis")
            self._network = self._apis.init_detector(str(config), None, device=device)
        except Exception as error:  # a config is a program: it can raise anything
            raise InputError(
                f"{where}: MMDetection cannot build it ({' '.join(str(error).split())[:200]})"
            ) from error
        state, meta = read_checkpoint(weights, f"--det-weights {weights}")
        fill(self._network, state, f"--det-weights {weights}")
        classes = list(meta.get("dataset_meta", self._network.dataset_meta).get("classes", [PERSON]))
        if PERSON not in classes:
            raise InputError(f"{where}: it finds {', '.join(classes[:5])}, ..., but no {PERSON}")
        self._label = classes.index(PERSON)
        self.weights = {Path(weights).name: sha256(weights)}

    def __call__(self, image: npt.NDArray[np.uint8]) -> Boxes:
        """(H, W, 3) BGR -> the people, the largest first."""
        found = self._apis.inference_detector(self._network, image).pred_instances.cpu().numpy()
        mine = found.labels == self._label
        return tidy(found.bboxes[mine], found.scores[mine], image.shape[1], image.shape[0])

    def close(self) -> None:
        """Free the network."""
        self._network = None
