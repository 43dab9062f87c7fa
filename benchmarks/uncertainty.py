"""How far J_std can be trusted: coverage of its intervals, rank correlation with the error, reliability plot.

    python benchmarks/uncertainty.py --data DIR --json FILE --picture docs/pictures/reliability.png

In-domain people (cmu and hdm05, their mean), lab cameras: with the simulated detector (`det`), with exact 2D
(`gt`), and with the detector and some joints hidden at random in every fourth row (`hidden`). Hip, the origin,
is left out everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from command import run, write_json
from posefix.lifter import Lifter
from posefix.pipeline.settings import DeviceName
from posefix.refiner import Refiner
from posefix.refiner.uncertainty import interval
from posefix.skeleton import H36M17
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import InputError, OutputError
from posefix.training.calibrate import hide_joints
from posefix.training.evaluate import IN_DOMAIN, take_rows
from posefix.training.mocap import load_mocap
from posefix.training.protocol import make_benchmark, row_keys

Floats = npt.NDArray[np.floating]
LEVELS = (0.5, 0.8, 0.95)
CURVE = tuple(round(0.05 * k, 2) for k in range(1, 20))
BINS = 10
HIDDEN_SEED, HIDDEN_SHARE = 100, 4  # every fourth row
SETS: dict[str, Literal["gt", "det"]] = {"det": "det", "gt": "gt", "hidden": "det"}


def uncertainty(
    *,
    data: Path,
    split: Literal["val", "test"] = "test",
    weights: Path | None = None,
    hypotheses: int = 5,
    max_rows: int | None = None,
    device: DeviceName = "auto",
    json: Path | None = None,
    picture: Path | None = None,
) -> dict[str, Any]:
    """Measure coverage and rank correlation of J_std.

    Args:
        data: folder of the mocap17 files.
        split: of the people. On val the calibration was fitted.
        weights: folder of posefix's weights; by default the shipped ones.
        hypotheses: poses drawn per row.
        max_rows: only so many rows of each file, evenly spread, for a quick look.
        device: where the networks run.
        json: also write the figures to this file.
        picture: also draw the reliability plot to this file.
    """
    if picture is not None and not picture.absolute().parent.is_dir():
        raise OutputError(f"{picture}: its folder does not exist")
    if hypotheses < 2:
        raise InputError(f"--hypotheses {hypotheses}: expected 2 or more; one has no spread")
    place = resolve_device(device)
    lifter = Lifter.load(place, weights)
    refiner = Refiner.load(place, hypotheses=hypotheses, weights=weights)
    report: dict[str, Any] = {
        "settings": {"split": split, "hypotheses": hypotheses, "max_rows": max_rows, "device": place},
        "calibrated": refiner.spread is not None,
        "multiples_of_std": {f"{level:g}": interval(level) for level in LEVELS},
        "weights_sha256": {**lifter.weights, **refiner.weights},
        "sets": {},
    }
    mocaps = {name: load_mocap(data / f"mocap17_{name}.npz") for name in IN_DOMAIN}
    for name, kind in SETS.items():
        files = {}
        for file, mocap in mocaps.items():
            bench = take_rows(make_benchmark(mocap, split, "lab", kind), max_rows)
            hide = name == "hidden"
            bench = take_rows(bench, -(-len(bench) // HIDDEN_SHARE)) if hide else bench
            observed = hide_joints(len(bench), HIDDEN_SEED) if hide else np.ones((len(bench), 17), bool)
            lifted = lifter(bench.keypoints, observed)
            poses, std = refiner(bench.keypoints, observed, lifted, row_keys(len(bench)))
            error = np.linalg.norm(poses - bench.target, axis=-1)
            files[file] = figures(error[:, 1:], std[:, 1:], observed[:, 1:])
        report["sets"][name] = {**mean_of(list(files.values())), "files": files}
    print_table(report)
    write_json(report, json)
    if picture is not None:
        draw(report, picture)
        print(f"Written: {picture}")
    return report


def figures(error: Floats, std: Floats, observed: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """What is reported of (n, 16) errors, stds (metres) and whether the joints were observed."""
    from scipy.stats import spearmanr

    ratio = error / np.maximum(std, 1e-9)
    edges = np.quantile(std, np.linspace(0, 1, BINS + 1))
    bins = np.clip(np.searchsorted(edges, std, side="right") - 1, 0, BINS - 1)
    out = {
        "rows": len(error),
        "coverage": {f"{level:g}": covered(ratio, level) for level in LEVELS},
        "coverage_80_per_joint": {
            joint: covered(ratio[:, j], 0.8) for j, joint in enumerate(H36M17.joints[1:])
        },
        "rank_correlation": float(np.asarray(spearmanr(std.ravel(), error.ravel()))[0]),
        "mean_std_mm": 1e3 * float(std.mean()),
        "mean_error_mm": 1e3 * float(error.mean()),
        "curve": [covered(ratio, level) for level in CURVE],
        "bins": {
            "std_mm": [1e3 * rms(std[bins == b]) for b in range(BINS)],
            "error_mm": [1e3 * rms(error[bins == b]) for b in range(BINS)],
        },
    }
    if not observed.all():
        for word, where in (("observed", observed), ("hidden", ~observed)):
            out[word] = {
                "mean_std_mm": 1e3 * float(std[where].mean()),
                "mean_error_mm": 1e3 * float(error[where].mean()),
                "coverage_80": covered(ratio[where], 0.8),
            }
    return out


def covered(ratio: Floats, level: float) -> float:
    """Share of errors (in stds) within the interval of that level."""
    return float((ratio <= interval(level)).mean())


def rms(values: Floats) -> float:
    """Root mean square; NaN of nothing."""
    return float(np.sqrt((values.astype(np.float64) ** 2).mean())) if values.size else float("nan")


def mean_of(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The same figures, averaged over files; rows are added up."""
    out: dict[str, Any] = {}
    for key, first in reports[0].items():
        values = [r[key] for r in reports]
        if isinstance(first, dict):
            out[key] = mean_of(values)
        else:
            out[key] = sum(values) if key == "rows" else np.mean(values, axis=0).tolist()
    return out


def print_table(report: dict[str, Any]) -> None:
    """The figures that matter, in words."""
    if not report["calibrated"]:
        print("These weights carry no calibration: this is the plain spread of the hypotheses.")
    for name, s in report["sets"].items():
        shares = ", ".join(f"{level}: {100 * v:.1f} %" for level, v in s["coverage"].items())
        joints = s["coverage_80_per_joint"]
        low, high = min(joints, key=joints.__getitem__), max(joints, key=joints.__getitem__)
        print(f"{name} ({s['rows']} rows): covered at {shares}; rank correlation {s['rank_correlation']:.3f}")
        print(f"  80 % by joint: {100 * joints[low]:.1f} ({low}) to {100 * joints[high]:.1f} ({high})")
        if "hidden" in s:
            seen, gone = s["observed"]["mean_std_mm"], s["hidden"]["mean_std_mm"]
            print(f"  mean std: {seen:.0f} mm observed, {gone:.0f} mm hidden")


def draw(report: dict[str, Any], picture: Path) -> None:
    """Expected against observed coverage, and std against real error in tenths of the joints."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = {"det": "simulated detector", "gt": "exact 2D", "hidden": "detector, some joints hidden"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    left.plot([0, 100], [0, 100], color="0.7", label="perfect")
    highest = 0.0
    for name, s in report["sets"].items():
        left.plot(100 * np.array(CURVE), 100 * np.array(s["curve"]), marker=".", label=names[name])
        right.plot(s["bins"]["std_mm"], s["bins"]["error_mm"], marker="o", markersize=4, label=names[name])
        highest = max(highest, *s["bins"]["std_mm"], *s["bins"]["error_mm"])
    right.plot([0, highest], [0, highest], color="0.7", zorder=0)
    left.set(xlabel="expected within the interval, %", ylabel="found within it, %", title="Coverage")
    right.set(xlabel="J_std, mm", ylabel="root mean square error, mm", title="Tenths of all joints, by J_std")
    left.legend(frameon=False, fontsize=9)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    run(uncertainty)
