"""Errors of 3D poses. Pure functions on (n, J, 3) metres; results in millimetres or percent.

Definitions follow the MOCAP17 protocol, which mirrors the usual Human3.6M and MPI-INF-3DHP ones. Poses of
both sides are put on their root (joint 0) first, so they need not be root-relative; the root counts
in the mean (its error is 0) but not in PCK and AUC.

With `per_frame=True` a function gives the (n,) values whose mean is the figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MM = 1000.0
PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = np.arange(0.0, 151.0, 5.0)


def _pair(predicted: npt.ArrayLike, target: npt.ArrayLike, what: str) -> tuple[Array, Array]:
    pred = np.asarray(predicted, dtype=np.float64)
    true = np.asarray(target, dtype=np.float64)
    for name, array in (("predicted", pred), ("target", true)):
        if array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(f"{what}: {name}: expected shape (n, joints, 3), got {array.shape}")
    if pred.shape != true.shape:
        raise ValueError(f"{what}: predicted: expected the target's shape {true.shape}, got {pred.shape}")
    if len(pred) == 0:
        raise ValueError(f"{what}: expected at least one frame, got shape {pred.shape}")
    return pred, true


def _on_root(poses: Array) -> Array:
    return poses - poses[:, :1]


def _distances(pred: Array, true: Array) -> Array:
    """(n, J) joint distances in mm."""
    return np.linalg.norm(pred - true, axis=-1) * MM


def procrustes_align(predicted: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """`predicted` moved onto `target` by the best similarity of each frame: shift, rotation, scale.

    Least squares in closed form (Kabsch / Umeyama, batched SVD); a reflection is never used: where the
    best orthogonal matrix would be one, the smallest singular direction is turned round instead.

    Args:
        predicted: (n, J, 3) in any unit.
        target: (n, J, 3).

    Returns:
        (n, J, 3) in the unit of `target`. A prediction whose points all coincide maps to the target's mean.

    Raises:
        ValueError: shapes are not (n, J, 3) or differ.
    """
    pred, true = _pair(predicted, target, "procrustes_align")
    mean_pred, mean_true = pred.mean(1, keepdims=True), true.mean(1, keepdims=True)
    p, t = pred - mean_pred, true - mean_true
    u, s, vt = np.linalg.svd(np.swapaxes(p, 1, 2) @ t)
    sign = np.ones_like(s)
    sign[:, -1] = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[:, None]) @ vt
    spread = (p**2).sum((1, 2))
    scale = np.divide((s * sign).sum(1), spread, out=np.zeros_like(spread), where=spread > 0)
    return scale[:, None, None] * (p @ rotation) + mean_true


@overload
def mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[False] = False) -> float: ...
@overload
def mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[True]) -> Array: ...
def mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: bool = False) -> float | Array:
    """Mean distance of all joints, root included, after both poses are put on their root. Millimetres.

    Args:
        predicted, target: (n, J, 3) metres.
        per_frame: give (n,) values rather than their mean.

    Raises:
        ValueError: shapes are not (n, J, 3), differ, or n = 0.
    """
    pred, true = _pair(predicted, target, "mpjpe")
    return _result(_distances(_on_root(pred), _on_root(true)).mean(1), per_frame)


@overload
def p_mpjpe(
    predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[False] = False
) -> float: ...
@overload
def p_mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[True]) -> Array: ...
def p_mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: bool = False) -> float | Array:
    """Mean joint distance after a similarity Procrustes fit of each frame, without reflection. Millimetres.

    Arguments and errors as `mpjpe`.
    """
    _, true = _pair(predicted, target, "p_mpjpe")
    return _result(_distances(procrustes_align(predicted, true), true).mean(1), per_frame)


@overload
def n_mpjpe(
    predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[False] = False
) -> float: ...
@overload
def n_mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[True]) -> Array: ...
def n_mpjpe(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: bool = False) -> float | Array:
    """MPJPE after the best scale of each frame, Σ P·G / Σ P·P, on root-aligned poses. Millimetres.

    Arguments and errors as `mpjpe`. A prediction with all joints in one point keeps scale 0.
    """
    pred, true = _pair(predicted, target, "n_mpjpe")
    p, g = _on_root(pred), _on_root(true)
    own = (p * p).sum((1, 2))
    scale = np.divide((p * g).sum((1, 2)), own, out=np.zeros_like(own), where=own > 0)
    return _result(_distances(scale[:, None, None] * p, g).mean(1), per_frame)


@overload
def pck(
    predicted: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    threshold_mm: float = ...,
    per_frame: Literal[False] = False,
) -> float: ...
@overload
def pck(
    predicted: npt.ArrayLike, target: npt.ArrayLike, *, threshold_mm: float = ..., per_frame: Literal[True]
) -> Array: ...
def pck(
    predicted: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    threshold_mm: float = PCK_THRESHOLD_MM,
    per_frame: bool = False,
) -> float | Array:
    """Percent of the joints 1… (all but the root) strictly nearer than `threshold_mm`, root-aligned.

    Arguments and errors as `mpjpe`.
    """
    pred, true = _pair(predicted, target, "pck")
    near = _distances(_on_root(pred), _on_root(true))[:, 1:] < threshold_mm
    return _result(100.0 * near.mean(1), per_frame)


@overload
def auc(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[False] = False) -> float: ...
@overload
def auc(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: Literal[True]) -> Array: ...
def auc(predicted: npt.ArrayLike, target: npt.ArrayLike, *, per_frame: bool = False) -> float | Array:
    """Mean of `pck` at 0, 5, …, 150 mm. Percent. Arguments and errors as `mpjpe`."""
    pred, true = _pair(predicted, target, "auc")
    distances = _distances(_on_root(pred), _on_root(true))[:, 1:]
    # One threshold at a time: the (n, J, thresholds) array would not fit for a long test set.
    shares = [(distances < t).mean(1) for t in AUC_THRESHOLDS_MM]
    return _result(100.0 * np.mean(shares, axis=0), per_frame)


def mpjve(predicted: npt.ArrayLike, target: npt.ArrayLike, fps: float | None = None) -> float:
    """Mean per-joint velocity error of one sequence, root-aligned (VideoPose3D).

    Args:
        predicted, target: (n, J, 3) metres, consecutive frames, n >= 2.
        fps: frames per second, for millimetres per second; None for millimetres per frame.

    Returns:
        Mean length of the difference of the frame-to-frame displacements.

    Raises:
        ValueError: shapes are not (n, J, 3), differ, or n < 2.
    """
    pred, true = _pair(predicted, target, "mpjve")
    if len(pred) < 2:
        raise ValueError(f"mpjve: expected at least 2 frames, got shape {pred.shape}")
    step_pred, step_true = np.diff(_on_root(pred), axis=0), np.diff(_on_root(true), axis=0)
    return float(_distances(step_pred, step_true).mean() * (1.0 if fps is None else fps))


def _result(values: Array, per_frame: bool) -> float | Array:
    return values if per_frame else float(values.mean())


PROTOCOL_METRICS: dict[str, Callable[..., Array]] = {
    "mpjpe": mpjpe,
    "p_mpjpe": p_mpjpe,
    "n_mpjpe": n_mpjpe,
    "pck150": pck,
    "auc": auc,
}
"""The protocol's figures by name; call with `per_frame=True` for (n,) values."""
