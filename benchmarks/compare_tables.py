"""Tables and the figure of the comparison, from the JSON that `compare.py` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# (figure, metric, heading)
COLUMNS = (
    ("in_domain_lab_gt", "mpjpe", "exact 2D"),
    ("in_domain_lab_det", "mpjpe", "simulated detector"),
    ("in_domain_wild_gt", "mpjpe", "wild cameras, exact"),
    ("in_domain_wild_det", "mpjpe", "wild cameras, detector"),
    ("bandai_lab_gt", "p_mpjpe", "bandai P-MPJPE, exact"),
    ("bandai_lab_det", "p_mpjpe", "bandai P-MPJPE, detector"),
)
BARS = COLUMNS[:2]
SHIPPED = "posefix, as shipped"
LINES = {"stacked": ("s:", "0.5"), "posefix": ("o-", "tab:orange")}  # of the figure of budgets
OTHERS = ("tab:blue", "tab:cyan", "tab:purple", "tab:green", "tab:red")
SLOW_NOTE = "* on {rows} rows, evenly spread over the benchmark's files."


def cell(row: Mapping[str, Any], figure: str, metric: str) -> str:
    """ "52.3 ± 0.4", or "52.3" with one seed; empty where it was not measured."""
    if figure not in row["mean"]:
        return ""
    spread = row["spread"][figure][metric]
    value = f"{row['mean'][figure][metric]:.1f}"
    return value if spread is None else f"{value} ± {spread:.1f}"


def error_table(report: Mapping[str, Any]) -> str:
    """A row a system: errors with spread, against the lifter's and posefix's, frames a second, seeds.

    Figures that nothing was measured for have no column. Budget and machine are told below.
    """
    summary = report["summary"]
    lifter = summary.get("graformer")
    full = max(first_rows(row) for row in summary.values())
    columns = [c for c in COLUMNS if any(c[0] in row["mean"] for row in summary.values())]
    heads = [c[2] for c in columns]
    ours = summary.get("posefix") or summary.get(SHIPPED) or {}
    verdicts = {
        label: [differ(row, ours or row, figure, metric) for figure, metric, _ in BARS]
        for label, row in summary.items()
    }
    compared = any(any(v) for v in verdicts.values())  # nothing can be told from one seed each
    shown = ("/ lifter", "against posefix") if compared else ("/ lifter",)
    heads += [f"{what}, {c[2]}" for what in shown for c in BARS]
    lines = [
        f"| system | {' | '.join(heads)} | frames/s | seeds |",
        "| --- |" + " ---: |" * (len(heads) + 2),
    ]
    slow = {}
    for label, row in summary.items():
        ratios = [ratio(row, lifter, figure, metric) if lifter else "" for figure, metric, _ in BARS]
        if (rows := first_rows(row)) < full:
            slow[label] = rows
        cells = [cell(row, figure, metric) for figure, metric, _ in columns]
        name = label + (" *" if label in slow else "")
        ends = [f"{row['frames_per_second']:.1f}", str(row["seeds"])]
        lines.append(
            f"| {' | '.join([name, *cells, *ratios, *(verdicts[label] if compared else []), *ends])} |"
        )
    notes = [budget_note(summary), *(SLOW_NOTE.format(rows=rows) for rows in sorted(set(slow.values())))]
    return "\n".join([*lines, "", *(note for note in notes if note)])


def budget_note(summary: Mapping[str, Any]) -> str:
    """What the systems on top of the lifter had: samples and machine; those without a record are not in it."""
    known = [r for r in summary.values() if r["samples"] is not None and r["system"] != "graformer"]
    if not known:
        return ""
    samples = " or ".join(f"{n:,}" for n in sorted({row["samples"] for row in known}))
    machines = "; ".join(sorted({machine for row in known for machine in row["machines"]}))
    return f"Trained on {samples} samples each, on {machines}."


def differ(one: Mapping[str, Any], other: Mapping[str, Any], figure: str, metric: str) -> str:
    """ "better", "worse" or "none" of the first against the second; empty where there is no telling.

    A difference within its spread, the root of the sum of both variances, is called none. What has one seed
    has no spread; against it the other's alone counts.
    """
    if figure not in one["mean"] or figure not in other["mean"]:
        return ""
    known = [s for s in (row["spread"][figure][metric] for row in (one, other)) if s is not None]
    if one is other or not known:
        return ""
    gap = one["mean"][figure][metric] - other["mean"][figure][metric]
    if abs(gap) <= float(np.sqrt(np.square(known).sum())):
        return "none"
    return "better" if gap < 0 else "worse"


def ratio(row: Mapping[str, Any], lifter: Mapping[str, Any], figure: str, metric: str) -> str:
    """A system's error over the lifter's; empty where one was not measured."""
    if figure not in row["mean"] or figure not in lifter["mean"]:
        return ""
    return f"{row['mean'][figure][metric] / lifter['mean'][figure][metric]:.3f}"


def first_rows(row: Mapping[str, Any]) -> int:
    """How many rows a system's first figure was measured on."""
    return next(iter(row["rows"].values()))


def sweep_table(report: Mapping[str, Any]) -> str:
    """Error against frames a second for numbers of network calls and hypotheses."""
    lines = [
        "| system | exact 2D | simulated detector | frames/s |",
        "| --- | ---: | ---: | ---: |",
    ]
    for label, row in report["sweep_summary"].items():
        cells = [cell(row, figure, metric) for figure, metric, _ in BARS]
        lines.append(f"| {label} | {' | '.join(cells)} | {row['frames_per_second']:.1f} |")
    return "\n".join(lines)


def budget_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Errors by samples seen, exact 2D / simulated detector, of the systems that had more than the first budget.

    What ships is left out, as its budget is its own; so is the lifter.
    """
    counts = [budget_of(report) for report in reports]
    lines = [
        "| system | " + " | ".join(f"{n:,} samples" for n in counts) + " | change, % |",
        "| --- |" + " ---: |" * (len(reports) + 1),
    ]
    for label, rows in by_budget(reports).items():
        known = [row for row in rows if row]
        cells = [
            " / ".join(cell(row, figure, metric) for figure, metric, _ in BARS) if row else "" for row in rows
        ]
        change = [
            f"{100 * (known[-1]['mean'][figure][metric] / known[0]['mean'][figure][metric] - 1):+.1f}"
            for figure, metric, _ in BARS
        ]
        lines.append(f"| {label} | {' | '.join(cells)} | {' / '.join(change)} |")
    return "\n".join(lines)


def by_budget(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any] | None]]:
    """Label -> its summary in every report, None where it has none; those of at least two budgets."""
    labels = dict.fromkeys(label for report in reports[1:] for label in report["summary"])
    rows = {label: [report["summary"].get(label) for report in reports] for label in labels}
    return {
        label: found
        for label, found in rows.items()
        if sum(row is not None for row in found) > 1 and label not in ("graformer", SHIPPED)
    }


def draw_budgets(reports: Sequence[Mapping[str, Any]], shipped_samples: int, path: Path) -> None:
    """Error over samples seen, a line a system; the lifter's as a dashed line, what ships as a star."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    counts, first = [budget_of(report) for report in reports], reports[0]["summary"]
    figure, axes = plt.subplots(1, len(BARS), figsize=(10, 4), constrained_layout=True)
    for axis, (name, metric, heading) in zip(axes, BARS, strict=True):
        others = iter(OTHERS)
        for label, rows in by_budget(reports).items():
            points = [(n, row["mean"][name][metric]) for n, row in zip(counts, rows, strict=True) if row]
            kind, colour = LINES.get(label) or ("^-", next(others, "0.5"))
            wide = 2.5 if label == "posefix" else 1.2
            axis.plot(
                *zip(*points, strict=True), kind, color=colour, label=label, linewidth=wide, markersize=5
            )
        axis.axhline(
            first["graformer"]["mean"][name][metric],
            color="0.4",
            linestyle="--",
            linewidth=0.8,
            label="lifter",
        )
        axis.plot(
            shipped_samples,
            first[SHIPPED]["mean"][name][metric],
            "*",
            color="black",
            markersize=11,
            label=SHIPPED,
        )
        axis.set(xscale="log", xlabel="training samples", ylabel="mean joint error, mm", title=heading)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def budget_of(report: Mapping[str, Any]) -> int:
    """Samples that every system of a report saw; `compare.find_runs` sees to it that it is one number."""
    systems = [row for row in report["summary"].values() if row["system"] not in ("graformer", "posefix")]
    return systems[0]["samples"]


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Bars: the error of lifter, every system and posefix, with spread, for exact 2D and the detector's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    summary = report["summary"]
    labels = [label for label in summary if "(" not in label]  # options and ablations are in the table
    bars = [bar for bar in BARS if all(bar[0] in row["mean"] for row in summary.values())]
    figure, axes = plt.subplots(
        1,
        len(bars),
        figsize=(10, 0.9 + 0.36 * len(labels)),
        sharey=True,
        squeeze=False,
        constrained_layout=True,
    )
    for axis, (name, metric, heading) in zip(axes.flat, bars, strict=True):
        values = [summary[label]["mean"][name][metric] for label in labels]
        spreads = [summary[label]["spread"][name][metric] or 0.0 for label in labels]
        colours = [colour_of(summary[label]["system"]) for label in labels]
        axis.barh(range(len(labels)), values, xerr=spreads, color=colours, capsize=3)
        for i, value in enumerate(values):
            axis.text(value + max(spreads) + 1, i, f"{value:.1f}", va="center", fontsize=8)
        if "graformer" in summary:
            axis.axvline(
                summary["graformer"]["mean"][name][metric], color="0.4", linestyle="--", linewidth=0.8
            )
        axis.set(xlabel="mean joint error, mm (less is better)", title=heading, xlim=(0, 1.15 * max(values)))
    axes.flat[0].set_yticks(range(len(labels)), labels)
    axes.flat[0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def colour_of(system: str) -> str:
    """Grey for what does not diffuse, blue for the papers', orange for posefix."""
    if system in ("graformer", "regressor", "stacked"):
        return "0.65"
    return "tab:orange" if system == "posefix" else "tab:blue"
