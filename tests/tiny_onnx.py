"""Tiny ONNX networks whose answers are known, for the tests of the ONNX detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

JOINTS = 17


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        nodes, "tiny", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def _channel_maps(joints: int, stride: int) -> np.ndarray:
    """(J, 3, s, s) weights: joint j is the mean of channel j % 3 over each cell."""
    weights = np.zeros((joints, 3, stride, stride), np.float32)
    weights[np.arange(joints), np.arange(joints) % 3] = 1 / stride**2
    return weights


def heatmap_net(
    path: Path,
    size: tuple[int, int] = (192, 256),
    joints: int = JOINTS,
    batch: int | str = "n",
    channels_last: bool = False,
    bytes_in: bool = False,
) -> Path:
    """Joint j's heatmap, a quarter of the picture, is channel j % 3 of the picture."""
    w, h = size
    before, nodes = "image", []
    if bytes_in:
        nodes.append(helper.make_node("Cast", [before], ["floats"], to=TensorProto.FLOAT))
        before = "floats"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [before], ["first"], perm=[0, 3, 1, 2]))
        before = "first"
    after = "maps" if channels_last else "heatmap"
    nodes.append(helper.make_node("Conv", [before, "weights"], [after], strides=[4, 4]))
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["maps"], ["heatmap"], perm=[0, 2, 3, 1]))
    kind = TensorProto.UINT8 if bytes_in else TensorProto.FLOAT
    shape, out = ((batch, h, w, 3), (batch, h // 4, w // 4, joints))
    if not channels_last:
        shape, out = ((batch, 3, h, w), (batch, joints, h // 4, w // 4))
    return _save(
        path, nodes, [_value("image", shape, kind)], [_value("heatmap", out)],
        {"weights": _channel_maps(joints, 4)},
    )  # fmt: skip


def simcc_net(path: Path, size: tuple[int, int] = (192, 256), joints: int = JOINTS) -> Path:
    """SimCC with two cells a pixel: the brightest column and row of channel j % 3."""
    w, h = size
    nodes = [helper.make_node("Conv", ["input", "weights"], ["maps"])]
    for axis, name in ((2, "simcc_x"), (3, "simcc_y")):
        nodes += [
            helper.make_node("ReduceMax", ["maps"], [f"{name}_max"], axes=[axis], keepdims=0),
            helper.make_node("Unsqueeze", [f"{name}_max", "last"], [f"{name}_one"]),
            helper.make_node("Concat", [f"{name}_one"] * 2, [f"{name}_two"], axis=-1),
            helper.make_node("Reshape", [f"{name}_two", f"{name}_shape"], [name]),
        ]
    constants = {"weights": _channel_maps(joints, 1), "last": np.array([-1], np.int64)}
    constants |= {
        f"{name}_shape": np.array([-1, joints, 2 * n], np.int64)
        for name, n in (("simcc_x", w), ("simcc_y", h))
    }
    # y first, and sizes left open, as real exports may have it: names and an empty picture must tell
    outputs = [_value("simcc_y", ("n", "j", "b")), _value("simcc_x", ("n", "j", "a"))]
    return _save(path, nodes, [_value("input", ("n", 3, h, w))], outputs, constants)


def constant_net(path: Path, outputs: dict[str, np.ndarray], size: Sequence[int | str] = (64, 64)) -> Path:
    """Answers the same whatever the picture (n, 3, *size) is."""
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    values = [_value(name, value.shape, kinds[value.dtype]) for name, value in outputs.items()]
    constants = {f"{name}_value": value for name, value in outputs.items()}
    return _save(path, nodes, [_value("input", (1, 3, *size))], values, constants)


def rtmdet_net(path: Path, rows: Sequence[Sequence[float]], labels: Sequence[int]) -> Path:
    """Boxes (x0, y0, x1, y1, score), pixels of a 64 x 64 letterbox, and their labels."""
    dets = np.array([rows], np.float32).reshape(1, -1, 5)
    return constant_net(path, {"dets": dets, "labels": np.array([labels], np.int64)})


def broken_net(path: Path) -> Path:
    """Loads, but cannot run: what comes in does not fit its Reshape."""
    node = helper.make_node("Reshape", ["input", "shape"], ["out"])
    out = _value("out", ("a", "b"))
    return _save(
        path, [node], [_value("input", ("n", 3, 64, 64))], [out], {"shape": np.array([7, 11], np.int64)}
    )


def two_inputs_net(path: Path) -> Path:
    """No picture goes in."""
    values = [_value(name, (1, 4)) for name in ("a", "b")]
    return _save(path, [helper.make_node("Add", ["a", "b"], ["c"])], values, [_value("c", (1, 4))], {})
