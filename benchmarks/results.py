"""Measure everything that docs/results.md states, and write that page from the figures.

    python benchmarks/results.py measure --data DIR --videos DIR [--only NAME ...]
    python benchmarks/results.py write

`measure` runs one command per figure and keeps its JSON in benchmarks/results/; `write` makes
docs/results.md from them. Every table names its command.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cyclopts
from bars import NEEDED, bars_table, card_table, card_with
from detector_tables import detectors_table, occlusion_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
CARD = ROOT / "weights" / "README.md"
COMPARE = RESULTS / "compare.json"  # of benchmarks/compare.py
LONGER = [RESULTS / f"compare_{n}k.json" for n in (300, 500, 700)]  # of the same with larger budgets
SHIPPED_SAMPLES = 5_800_000  # of the refiner that ships, all runs together
FIGURE = ROOT / "docs" / "pictures" / "compare.png"
BUDGETS = FIGURE.with_name("budgets.png")
METRICS = {"mpjpe": "MPJPE", "p_mpjpe": "P-MPJPE", "n_mpjpe": "N-MPJPE", "pck150": "PCK150 %", "auc": "AUC %"}
INPUTS = {"gt": "exact 2D", "det": "simulated detector"}


def commands(data: str, videos: str, models: str = "MODELS") -> dict[str, list[str]]:
    """Name of a JSON in benchmarks/results/ -> the command that makes it (without --json)."""
    out = {}
    for cameras in ("lab", "wild"):
        for kind in INPUTS:
            view = ["--cameras", cameras, "--input", kind]
            files = [f"{data}/mocap17_cmu.npz", f"{data}/mocap17_hdm05.npz"]
            out[f"in_domain_{cameras}_{kind}"] = ["posefix", "eval", "--data", *files, *view]
            bandai = f"{data}/mocap17_bandai.npz"
            out[f"bandai_{cameras}_{kind}"] = ["posefix", "eval", "--data", bandai, *view]
    python = ["python"]
    trust = ["benchmarks/uncertainty.py", "--data", data, "--picture", "docs/pictures/reliability.png"]
    out["uncertainty"] = [*python, *trust]
    out["averaging"] = [*python, "benchmarks/averaging.py", "--data", data]
    out["real_video"] = [*python, "benchmarks/real_video.py", "--videos", videos, "--oracle-2d"]
    mediapipe, onnx, mmpose = detectors(models)
    compared = ["--detector", mediapipe, "--detector", onnx]
    out["detectors"] = [
        *python, "benchmarks/real_video.py", "--videos", videos, *compared, "--detector", mmpose
    ]  # fmt: skip
    out["occlusion"] = [*python, "benchmarks/occlusion.py", "--videos", videos, *compared]
    out["speed"] = [*python, "benchmarks/speed.py", "--video", f"{videos}/balance_cam03.mp4"]
    out["memory"] = [*python, "benchmarks/memory.py", "--video", f"{videos}/one_by_one_a.mp4"]
    out["webcam"] = [*python, "benchmarks/webcam.py", "--video", f"{videos}/sign_walk.mp4"]
    return out


def detectors(models: str) -> tuple[str, str, str]:
    """The default detector and two others, with the options that say where their networks are."""
    pose, boxes = f"{models}/pp_tinypose", ["--det-model", f"{models}/rtmdet_nano_320_person.onnx"]
    onnx = ["onnx", "--pose-model", f"{pose}_256x192_coco17.onnx", *boxes]
    weights = ["--pose-weights", f"{pose}_litehrnet_naive_coco_256x192.pth"]
    mmpose = ["mmpose", "--pose-model", f"{pose}_mmpose_config.py", *weights, *boxes]
    return "mediapipe", shlex.join(onnx), shlex.join(mmpose)


app = cyclopts.App(
    help="Measure what docs/results.md states, and write that page.", result_action="return_none"
)


@app.command
def measure(*, data: Path, videos: Path, models: Path | None = None, only: list[str] | None = None) -> None:
    """Run the commands and keep their JSON.

    Args:
        data: folder of the mocap17 files.
        videos: folder of the calibrated clips.
        models: folder of RTMDet-nano's and PP-TinyPose's files; by default `weights` beside the videos' folder.
        only: names of the figures to measure again; all by default.
    """
    RESULTS.mkdir(exist_ok=True)
    models = models or videos.resolve().parent / "weights"
    table = commands(str(data.resolve()), str(videos.resolve()), str(models.resolve()))
    for name in only or table:
        words = [*table[name], "--json", str(RESULTS / f"{name}.json")]
        programs = {"posefix": str(Path(sys.executable).with_name("posefix")), "python": sys.executable}
        print(f"{name}: {shlex.join(table[name])}", flush=True)
        subprocess.run([programs[words[0]], *words[1:]], cwd=ROOT, check=True)


@app.command
def write() -> None:
    """Write docs/results.md, its figure and the model card's from benchmarks/results/*.json and page.md there."""
    names = commands("DATA", "VIDEOS")
    text = (RESULTS / "page.md").read_text(encoding="utf-8")
    reports = {}
    for name, words in names.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            reports[name] = report = json.loads(path.read_text(encoding="utf-8"))
            text = text.replace(
                f"<!-- {name} -->", f"{TABLES[kind_of(name)](report)}\n\n`{shlex.join(words)}`"
            )
    if reports.keys() >= set(NEEDED):
        text = text.replace("<!-- bars -->", bars_table(reports))
        CARD.write_text(card_with(CARD.read_text(encoding="utf-8"), card_table(reports)), encoding="utf-8")
    if COMPARE.exists():
        from compare_tables import budget_table, draw, draw_budgets, error_table, sweep_table

        report = json.loads(COMPARE.read_text(encoding="utf-8"))
        text = text.replace("<!-- compare -->", error_table(report))
        if "sweep_summary" in report:
            text = text.replace("<!-- sweep -->", sweep_table(report))
        draw(report, FIGURE)
        longer = [json.loads(p.read_text(encoding="utf-8")) for p in LONGER if p.exists()]
        if longer:
            text = text.replace("<!-- compare_long -->", error_table(longer[0]))
            text = text.replace("<!-- budgets -->", budget_table([report, *longer]))
            draw_budgets([report, *longer], SHIPPED_SAMPLES, BUDGETS)
    # A section whose figures were never measured says nothing.
    sections = [part for part in re.split(r"(?m)^(?=##)", text) if "<!-- " not in part]
    PAGE.write_text("".join(sections), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}")


def kind_of(name: str) -> str:
    """Which table a figure's JSON becomes."""
    return name if name in TABLES else "protocol"


def protocol_table(report: dict[str, Any]) -> str:
    """Lifted and refined, per file and in-domain, and the refiner's gain."""
    rows = dict(report.get("files", {report.get("settings", {}).get("data", "file"): report}))
    if "in_domain" in report:
        rows["in-domain mean"] = report["in_domain"]
    lines = [
        "| | | " + " | ".join(METRICS.values()) + " |",
        "| --- | --- |" + " ---: |" * len(METRICS),
    ]
    for name, figures in rows.items():
        for stage in ("lifted", "refined"):
            cells = " | ".join(f"{figures[stage][key]:.1f}" for key in METRICS)
            lines.append(f"| {name} | {stage} | {cells} |")
        gain = [100 * (figures["refined"][key] / figures["lifted"][key] - 1) for key in METRICS]
        lines.append(f"| | change, % | {' | '.join(f'{g:+.1f}' for g in gain)} |")
    return "\n".join(lines)


def video_table(report: dict[str, Any]) -> str:
    """P-MPJPE over the limbs per clip, for every method."""
    clips, mean = report["clips"], report["mean"]
    lines = [
        "| P-MPJPE, 12 limb joints, mm | "
        + " | ".join(c["clip"] for c in clips)
        + " | mean | / MediaPipe 3D |",
        "| --- |" + " ---: |" * (len(clips) + 2),
    ]
    for name in clips[0]["p_mpjpe_12_limbs_mm"]:
        values = " | ".join(f"{c['p_mpjpe_12_limbs_mm'][name]:.1f}" for c in clips)
        ratio = f"{mean[name] / mean['mediapipe_3d']:.3f}"
        lines.append(f"| {method(name)} | {values} | {mean[name]:.1f} | {ratio} |")
    for name in clips[0].get("acceleration_12_limbs_m_s2", {}):
        jitter = [c["acceleration_12_limbs_m_s2"][name] for c in clips]
        values = " | ".join(f"{v:.1f}" for v in jitter)
        lines.append(f"| {method(name)}: acceleration, m/s² | {values} | {sum(jitter) / len(jitter):.1f} | |")
    share = " | ".join(f"{c['frames_with_pose_percent']:.1f}" for c in clips)
    lines.append(f"| frames with a pose, % | {share} | | |")
    return "\n".join(lines)


def method(name: str) -> str:
    """What the table of real video calls a method."""
    words = {
        "mediapipe_3d": "MediaPipe's own 3D", "_oracle_2d": " from exact 2D (oracle)",
        "_unsmoothed": ", `--smooth off`", "_smoothed": ", smoothed alike",
    }  # fmt: skip
    for short, long in words.items():
        name = name.replace(short, long)
    return name


def speed_table(report: dict[str, Any]) -> str:
    """Ratios and milliseconds against their bars."""
    lines = [
        "| | frames/s | ratio to the detector | ms a frame | bar |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines.append(f"| detector alone | {report['detector']['fps']:.1f} | 1.00 | | |")
    for n, row in report["posefix"].items():
        lines.append(
            f"| posefix, {drawn(n)} | {row['fps']:.1f} | {row['ratio']:.2f} | | {row['at_most']:g} |"
        )
    for n, row in report["lifter_refiner_ms"].items():
        lines.append(f"| lifter + refiner, {drawn(n)} | | | {row['ms']:.1f} | {row['at_most']:g} |")
    return "\n".join(lines)


def drawn(n: str) -> str:
    """ "1 hypothesis", "5 hypotheses"."""
    return f"{n} hypothes{'is' if n == '1' else 'es'}"


def memory_table(report: dict[str, Any]) -> str:
    """Peak memory of the long clip against the short one."""
    rows = [f"| {report[k]['seconds']:g} s | {report[k]['peak_mib']:.0f} |" for k in ("short", "long")]
    ratio = f"| ratio | {report['ratio']:.3f} (bar {report['at_most']:g}) |"
    return "\n".join(["| clip | peak memory, MiB |", "| --- | ---: |", *rows, ratio])


def webcam_table(report: dict[str, Any]) -> str:
    """Pictures a second, latency, and what either of them or memory grows by."""
    latency, memory = report["latency_ms"], report["memory_mib"]["median"]
    rows = [
        f"| frames/s | {report['fps']:.1f} | at least 20 |",
        f"| latency, median | {latency['median']:.0f} ms | at most 120 ms |",
        f"| latency, 95 % | {latency['p95']:.0f} ms | |",
        f"| growth of latency in {report['seconds']:.0f} s | {report['latency_growth_ms']:+.1f} ms | at most 10 ms |",
        f"| growth of memory | {report['memory_growth_mib']:+.1f} of {memory:.0f} MiB | at most 3 % |",
    ]
    return "\n".join(["| | | bar |", "| --- | ---: | ---: |", *rows])


def averaging_table(report: dict[str, Any]) -> str:
    """MPJPE on val of one drawn hypothesis and of means of five, by the spread of the drawn starts."""
    spreads = report["spreads"]
    names = list(next(iter(spreads.values()))["gt"])
    heads = [f"{name}, {INPUTS[kind]}" for kind in INPUTS for name in names]
    lines = [f"| spread | {' | '.join(heads)} |", "| ---: |" + " ---: |" * len(heads)]
    for spread, kinds in spreads.items():
        cells = [f"{kinds[kind][name]:.1f}" for kind in INPUTS for name in names]
        lines.append(f"| {spread} | {' | '.join(cells)} |")
    return "\n".join(lines)


def uncertainty_table(report: dict[str, Any]) -> str:
    """Coverage, rank correlation and std, and below it the coverage joint by joint; a section of its own."""
    titles = {"det": "simulated detector", "gt": "exact 2D", "hidden": "detector, joints hidden at random"}
    lines = [
        "## Uncertainty\n",
        "How many joints lie within the intervals that [`J_std`](uncertainty.md) states, in-domain, lab cameras, mean",
        "of both files, Hip left out; and the rank correlation of `J_std` and error over all joints and frames.\n",
        "| | within 50 % | within 80 % | within 95 % | 80 %, by joint | rank correlation | mean `J_std`, mm |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, figures in report["sets"].items():
        shares = " | ".join(f"{100 * v:.1f}" for v in figures["coverage"].values())
        joints = figures["coverage_80_per_joint"].values()
        std = f"{figures['mean_std_mm']:.0f}"
        if "hidden" in figures:
            observed, hidden = (figures[k]["mean_std_mm"] for k in ("observed", "hidden"))
            std = f"{observed:.0f} seen, {hidden:.0f} hidden"
        lines.append(
            f"| {titles[name]} | {shares} | {100 * min(joints):.1f} to {100 * max(joints):.1f} | "
            f"{figures['rank_correlation']:.3f} | {std} |"
        )
    per_joint = report["sets"]["det"]["coverage_80_per_joint"]
    lines += [
        "\nWithin the 80 % interval, simulated detector, in per cent:\n",
        f"| {' | '.join(per_joint)} |",
    ]
    lines += [
        "|" + " ---: |" * len(per_joint),
        f"| {' | '.join(f'{100 * v:.1f}' for v in per_joint.values())} |",
    ]
    return "\n".join([*lines, "\n![coverage, and std against error](pictures/reliability.png)"])


TABLES = {
    "averaging": averaging_table,
    "protocol": protocol_table, "real_video": video_table, "speed": speed_table, "memory": memory_table,
    "webcam": webcam_table,
    "uncertainty": uncertainty_table, "detectors": detectors_table, "occlusion": occlusion_table,
}  # fmt: skip

if __name__ == "__main__":
    app()
