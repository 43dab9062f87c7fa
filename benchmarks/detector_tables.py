"""Tables of docs/results.md about detectors: how they compare, and what hiding limbs does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def average(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the rectangles; the rise is that of the mean error."""

    def mean(*keys: str) -> float:
        values: list[Any] = list(cases)
        for key in keys:
            values = [v[key] for v in values]
        return float(np.mean(values))

    errors = {k: mean("visible_p_mpjpe_mm", k) for k in ("as_it_is", "covered")}
    return {
        "visible_p_mpjpe_mm": errors,
        "rise_percent": 100 * (errors["covered"] / errors["as_it_is"] - 1),
        "largest_rise_percent": max(c["rise_percent"] for c in cases),
        **{
            k: mean(k)
            for k in ("frames_lost_percent", "covered_still_seen_percent", "visible_called_hidden_percent")
        },
        "std_mm": {k: mean("std_mm", k) for k in cases[0]["std_mm"]},
    }


def detectors_table(report: dict[str, Any]) -> str:
    """2D error, P-MPJPE and time of every detector, per clip and mean."""
    clips = report["clips"]
    names = " | ".join(clip["clip"].removeprefix("balance_") for clip in clips)
    lines = [
        f"| detector | 2D, px: {names} | mean | P-MPJPE, mm: {names} | mean | ms a frame |",
        "| --- |" + " ---: |" * (2 * len(clips) + 3),
    ]
    for label, mean in report["mean"].items():
        cells = []
        for key in ("error_2d_px", "p_mpjpe_12_limbs_mm"):
            cells += [f"{row[key]:.1f}" for row in (*(c["detectors"][label] for c in clips), mean)]
        lines.append(f"| {label} | {' | '.join(cells)} | {mean['ms_per_frame']:.0f} |")
    missing = [f"\nNot installed, so not measured: {label}." for label in report["missing"]]
    return "\n".join([*lines, *missing])


def occlusion_table(report: dict[str, Any]) -> str:
    """Visible joints' error and J_std, limb by limb (mean of clips and sizes), for every detector."""
    lines = [
        "| detector | covered | visible joints, mm: as it is | covered | change, % | covered joints still seen, % | "
        "`J_std`, mm: covered | visible | the covered ones as it is |",
        "| --- | --- |" + " ---: |" * 7,
    ]
    for label, found in report["detectors"].items():
        limbs: dict[str, list[dict[str, Any]]] = {}
        for case in found["cases"]:
            limbs.setdefault(case["limb"], []).append(case)
        rows = {limb: average(cases) for limb, cases in limbs.items()}
        for name, row in {**rows, "**mean**": found["mean"]}.items():
            errors, std = row["visible_p_mpjpe_mm"], row["std_mm"]
            cells = [
                *(f"{v:.1f}" for v in errors.values()), f"{row['rise_percent']:+.1f}",
                f"{row['covered_still_seen_percent']:.0f}",
                *(f"{std[k]:.0f}" for k in ("covered", "visible", "covered_as_it_is")),
            ]  # fmt: skip
            lines.append(f"| {label} | {name} | {' | '.join(cells)} |")
    worst = [
        f"{found['mean']['largest_rise_percent']:+.1f} % with {label}"
        for label, found in report["detectors"].items()
    ]
    return "\n".join(
        [
            *lines,
            f"\nThe worst single rectangle: {', '.join(worst)}; the bar, of the mean, is below "
            f"+{report['at_most_percent']:g} %.",
        ]
    )
