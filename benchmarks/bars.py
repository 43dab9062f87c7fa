"""From the figures in benchmarks/results/: what every version must keep, and the few that the model card shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Mapping[str, Any]]
#: JSONs in benchmarks/results/ that the bars are about.
NEEDED = (
    "in_domain_lab_gt", "in_domain_lab_det", "bandai_lab_gt", "bandai_lab_det", "real_video", "speed", "memory",
)  # fmt: skip
CARD_BEGIN, CARD_END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Bar:
    """One figure and what it may be.

    Attributes:
        at_least: the figure may not be lower; else it may not be higher.
        strict: nor may it be equal.
    """

    what: str
    value: float
    bar: float
    at_least: bool = False
    strict: bool = False

    @property
    def holds(self) -> bool:
        if self.value == self.bar:
            return not self.strict
        return (self.value > self.bar) == self.at_least

    @property
    def row(self) -> str:
        """A line of the table."""
        word = "at least" if self.at_least else "below" if self.strict else "at most"
        value = f"{self.value:.{1 if self.bar > 3 else 3}f}"  # ratios with three decimals
        return f"| {self.what} | {word} {self.bar:g} | {value} | {'yes' if self.holds else '**no**'} |"


def bars(figures: Figures) -> list[Bar]:
    """All of them. Raises KeyError where a figure is not there."""
    exact, detected = (figures[f"in_domain_lab_{kind}"]["in_domain"] for kind in ("gt", "det"))
    lifted, ratio = exact["lifted"], "refined / lifted"
    out = [
        Bar("lifted, in-domain, exact 2D: MPJPE, mm", lifted["mpjpe"], 60),
        Bar("lifted, in-domain, exact 2D: P-MPJPE, mm", lifted["p_mpjpe"], 44),
        Bar(f"{ratio}, in-domain, exact 2D: MPJPE", share(exact, "mpjpe"), 0.98),
        Bar(f"{ratio}, in-domain, simulated detector: MPJPE", share(detected, "mpjpe"), 1, strict=True),
        Bar(f"{ratio}, bandai, exact 2D: P-MPJPE", share(figures["bandai_lab_gt"], "p_mpjpe"), 1),
        Bar(f"{ratio}, bandai, simulated detector: P-MPJPE", share(figures["bandai_lab_det"], "p_mpjpe"), 1),
    ]
    video, speed, memory = figures["real_video"], figures["speed"], figures["memory"]
    mean, seen = video["mean"], min(clip["frames_with_pose_percent"] for clip in video["clips"])
    out += [
        Bar("real video: frames with a pose, %, the worse clip", seen, 98, at_least=True),
        Bar("real video: refined / MediaPipe's own 3D", mean["refined"] / mean["mediapipe_3d"], 0.85),
        Bar("the same, `--smooth off`", mean["refined_unsmoothed"] / mean["mediapipe_3d"], 0.85),
        Bar(f"real video: {ratio}", mean["refined"] / mean["lifted"], 1),
    ]
    for count, row in speed["posefix"].items():
        out.append(
            Bar(f"time of posefix / of the detector, hypotheses: {count}", row["ratio"], row["at_most"])
        )
    for count, row in speed["lifter_refiner_ms"].items():
        out.append(Bar(f"lifter + refiner, hypotheses: {count}: ms a frame", row["ms"], row["at_most"]))
    return [*out, Bar("peak memory: ten minutes / one minute", memory["ratio"], memory["at_most"])]


def share(report: Mapping[str, Any], metric: str) -> float:
    """The refined error as a share of the lifted."""
    return report["refined"][metric] / report["lifted"][metric]


def bars_table(figures: Figures) -> str:
    """One row for each bar."""
    return "\n".join(
        ["| | bar | measured | holds |", "| --- | --- | ---: | --- |", *(b.row for b in bars(figures))]
    )


def card_table(figures: Figures) -> str:
    """Errors before and after refinement, mm, for the model card."""
    lines = [
        "| mm | lifted: MPJPE | P-MPJPE | refined: MPJPE | P-MPJPE |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, title in (
        ("in_domain", "people never seen"),
        ("bandai", "another laboratory's skeleton (bandai)"),
    ):
        for kind, points in (("gt", "exact 2D"), ("det", "simulated detector")):
            report = figures[f"{name}_lab_{kind}"]
            report = report.get("in_domain", report)
            errors = [
                report[stage][metric] for stage in ("lifted", "refined") for metric in ("mpjpe", "p_mpjpe")
            ]
            lines.append(f"| {title}, {points} | {' | '.join(f'{e:.1f}' for e in errors)} |")
    mean = figures["real_video"]["mean"]
    lines.append(
        f"| real video, joints of arms and legs | | {mean['lifted']:.1f} | | {mean['refined']:.1f} |"
    )
    return "\n".join(lines)


def card_with(text: str, table: str) -> str:
    """The model card with this table between its two marks. Raises ValueError where there are none."""
    before, rest = text.split(CARD_BEGIN)
    return f"{before}{CARD_BEGIN}\n\n{table}\n\n{CARD_END}{rest.split(CARD_END)[1]}"
