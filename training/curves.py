"""Training curves as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def plot_curves(run: Path, baseline: dict[str, float] | None = None) -> Path:
    """Draws `curves.png` from a run's log.jsonl: loss, and every validation figure in mm.

    Args:
        baseline: the same figures of what came before (the lifter, for a refiner), drawn dashed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    if len(rows) > 1 and rows[-1]["samples"] - rows[-2]["samples"] < 0.1 * rows[0]["samples"]:
        rows[-2:] = [{**rows[-1], "loss": rows[-2]["loss"]}]  # a few last steps: their loss says nothing
    samples = [row["samples"] / 1e6 for row in rows]
    names = [n for n in rows[0] if f"{n}_p" in rows[0]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 3.8), constrained_layout=True)
    left.plot(samples, [row["loss"] for row in rows], color="0.3")
    left.set(xlabel="million samples", ylabel="training loss", yscale="log")
    for name in names:
        (line,) = right.plot(samples, [row[name] for row in rows], label=name.replace("_", ", "))
        if baseline:
            right.axhline(baseline[name], color=line.get_color(), linestyle="--", linewidth=0.8)
    right.set(xlabel="million samples", ylabel="MPJPE in validation, mm")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = run / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
