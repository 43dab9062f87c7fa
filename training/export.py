"""Trained networks -> the files that ship: safetensors, ONNX for the CPU, manifest."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..lifter.graformer import GraFormer, Lift
from ..lifter.runtime import MANIFEST, checked_file
from ..refiner.config import DiffusionConfig
from ..refiner.denoisers import CceCag
from ..refiner.graphs import GuideGraph, StepGraph
from ..refiner.mixture import Mixture
from ..refiner.refine import MIXTURE_KEYS, SOURCE
from ..refiner.reproject import PullConfig
from ..refiner.uncertainty import KEY, SpreadConfig, to_json
from ..skeleton.digest import sha256
from ..skeleton.errors import OutputError

OPSET = 17


def export_lifter(network: GraFormer, folder: Path) -> None:
    """Writes lifter.safetensors and lifter.onnx and enters them in the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    network = network.cpu().eval()
    metadata = {"config": json.dumps(asdict(network.config))}
    save_file(_state(network), str(folder / "lifter.safetensors"), metadata)
    points, seen = torch.rand(2, 17, 2) * 500, torch.ones(2, 17)
    _to_onnx(
        Lift(network), (points, seen), folder / "lifter.onnx",
        {"keypoints": {0: "frames"}, "observed": {0: "frames"}}, ["lifted", "normalised"],
    )  # fmt: skip
    update_manifest(folder, ["lifter.safetensors", "lifter.onnx"])


def export_refiner(
    network: CceCag,
    mixture: Mixture,
    diffusion: DiffusionConfig,
    pull: PullConfig,
    folder: Path,
    spread: SpreadConfig | None = None,
) -> None:
    """Writes refiner.safetensors (network, mixture, settings, calibration) and its two ONNX halves."""
    folder.mkdir(parents=True, exist_ok=True)
    network = network.cpu().eval()
    settings = {"config": network.config, "diffusion": diffusion, "pull": pull}
    metadata = {name: json.dumps(asdict(value)) for name, value in settings.items()}
    metadata |= {} if spread is None else {KEY: to_json(spread)}
    parts = (mixture.weights, mixture.means, mixture.factors)
    tensors = {
        key: torch.from_numpy(part).contiguous() for key, part in zip(MIXTURE_KEYS, parts, strict=True)
    }
    save_file(_state(network) | tensors, str(folder / "refiner.safetensors"), metadata)
    points, seen = torch.rand(2, 17, 2) * 500, torch.ones(2, 17)
    _to_onnx(
        GuideGraph(network), (points, seen), folder / "refiner_guide.onnx",
        {"keypoints": {0: "frames"}, "observed": {0: "frames"}}, ["normalised", "guidance"],
    )  # fmt: skip
    guidance = network.guidance(torch.rand(4, 17, 3))
    rows = {0: "rows"}
    _to_onnx(
        StepGraph(network, diffusion),
        (torch.rand(4, 3, 17, 5), torch.tensor([50.0]), torch.tensor([1.0]), guidance, torch.ones(4, 17)),
        folder / "refiner_step.onnx",
        {"state": {0: "rows", 1: "hypotheses"}, "k": {}, "s": {}, "guidance": rows, "seen": rows},
        ["clean"],
    )
    update_manifest(folder, ["refiner.safetensors", "refiner_guide.onnx", "refiner_step.onnx"])


def write_spread(spread: SpreadConfig, folder: Path) -> None:
    """Puts a calibration into the refiner.safetensors of a folder, in place of any other, and mends the manifest.

    Raises:
        WeightsError: no refiner there, or unreadable.
        OutputError: cannot be written.
    """
    path, part = folder / SOURCE, folder / f"{SOURCE}.part"
    checked_file(folder, SOURCE)
    with safe_open(str(path), "pt") as file:
        metadata = {**(file.metadata() or {}), KEY: to_json(spread)}
    try:
        save_file(load_file(str(path)), str(part), metadata)
        os.replace(part, path)
        update_manifest(folder, [SOURCE])
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error


def update_manifest(folder: Path, names: list[str]) -> None:
    """Enters the SHA-256 of files into the folder's manifest.json."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"sha256": {}}
    for name in names:
        manifest["sha256"][name] = sha256(folder / name)
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


def _to_onnx(
    module: nn.Module, inputs: tuple, path: Path, dynamic: dict[str, dict[int, str]], outputs: list[str]
) -> None:
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated; the newer one needs onnx releases that clash with mediapipe.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), inputs, str(path), input_names=list(dynamic), output_names=outputs,
            dynamic_axes={k: v for k, v in dynamic.items() if v}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
