"""Every system on the same benchmarks: from run folders of several seeds to one JSON, a table and a figure.

    python benchmarks/compare.py measure --data DIR --runs runs/compare --lifter runs/lifter
    python benchmarks/compare.py sweep --data DIR --runs runs/compare --systems posefix --steps 1 --steps 2
    python benchmarks/compare.py speed --data DIR
    python benchmarks/compare.py show

`measure` takes every folder below --runs that `posefix train NAME` filled, groups those that differ by their
seed only, evaluates each as `posefix eval` does, and gives mean and spread (standard deviation over seeds).
What was measured before, with the same weights and settings, is not measured again; with --keep, rows stay whose
run folders are elsewhere. `sweep` runs one system after the other with other numbers of network calls and
hypotheses. `speed` times all that is in the JSON again, one after the other on an otherwise idle machine. `show`
prints the tables and draws the figure; `benchmarks/results.py` puts them on its page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cyclopts
import numpy as np
from command import write_json
from compare_tables import SHIPPED
from posefix.pipeline.settings import DeviceName
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import InputError, PosefixError
from posefix.training.evaluate import IN_DOMAIN, evaluate, prepare, take_rows
from posefix.training.evaluate_system import measure_speed
from posefix.training.loop import samples_seen
from posefix.training.mocap import load_mocap
from posefix.training.protocol import Benchmark, make_benchmark
from posefix.training.systems import SYSTEMS, SystemConfig, from_dict

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "compare.json"
FigureName = Literal[
    "in_domain_lab_gt", "in_domain_lab_det", "in_domain_wild_gt", "in_domain_wild_det",
    "bandai_lab_gt", "bandai_lab_det",
]  # fmt: skip
# Figure name -> (files whose mean it is, cameras, input), as in benchmarks/results.py.
SETS: dict[FigureName, tuple[tuple[str, ...], Literal["lab", "wild"], Literal["gt", "det"]]] = {
    "in_domain_lab_gt": (IN_DOMAIN, "lab", "gt"),
    "in_domain_lab_det": (IN_DOMAIN, "lab", "det"),
    "in_domain_wild_gt": (IN_DOMAIN, "wild", "gt"),
    "in_domain_wild_det": (IN_DOMAIN, "wild", "det"),
    "bandai_lab_gt": (("bandai",), "lab", "gt"),
    "bandai_lab_det": (("bandai",), "lab", "det"),
}
SWEEP_SETS: tuple[FigureName, ...] = ("in_domain_lab_gt", "in_domain_lab_det")
SLOW = 500  # network calls a frame beyond which only some rows are measured
E533_TABLE = ("ddim", "heun")

app = cyclopts.App(help="Compare the systems on the same benchmarks.", result_action="return_none")


@dataclass(frozen=True)
class Run:
    """A trained system in a folder: its name, what it is called in tables, its seed."""

    system: str
    label: str
    folder: Path | None  # None: the shipped posefix
    seed: int | None
    options: tuple[tuple[str, Any], ...] = ()  # of the evaluation

    @property
    def key(self) -> str:
        """What tells runs apart in the JSON."""
        return f"{self.folder or 'shipped'} {dict(self.options)}"


def label_of(name: str, config: SystemConfig) -> str:
    """The name, and what is not as the system's own: "diffpose (noise=gaussian)"."""
    changed = []
    own, found = asdict(SYSTEMS[name]), asdict(config)
    for part, value in found.items():
        if not isinstance(value, dict):
            changed += [(part, value)] if value != own[part] else []
            continue
        changed += [(k, v) for k, v in value.items() if v != own[part][k]]
    text = ", ".join(f"{key}={value}" for key, value in changed)
    return f"{name} ({text})" if text else name


def find_runs(folder: Path | None) -> list[Run]:
    """The finished runs below a folder, ordered by system and seed; none without a folder.

    Raises InputError if a folder has none.
    """
    if folder is None:
        return []
    runs = []
    for path in sorted(folder.rglob("system.json")):
        if not (path.parent / "machine.json").is_file():
            print(f"{path.parent}: not finished, left out")
            continue
        name, config = from_dict(json.loads(path.read_text(encoding="utf-8")))
        seed = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["seed"]
        runs.append(Run(name, label_of(name, config), path.parent, seed))
    if not runs:
        raise InputError(f"{folder}: no finished runs of `posefix train NAME` below it")
    budgets = {samples_seen(r.folder) for r in runs if r.folder}
    if len(budgets) > 1:
        counts = ", ".join(str(b) for b in sorted(budgets))
        raise InputError(f"{folder}: runs of different budgets ({counts} samples) do not compare")
    return sorted(runs, key=lambda r: (list(SYSTEMS).index(r.system), r.label, r.seed or 0))


def with_variants(runs: Sequence[Run]) -> Iterator[Run]:
    """Each run as trained; those of e533 with both samplers at equal network calls, for its 2 x 2 table."""
    for run in runs:
        if run.system != "e533":
            yield run
            continue
        for sampler in E533_TABLE:
            yield Run(run.system, f"{run.label}, {sampler}", run.folder, run.seed, (("sampler", sampler),))


class Benchmarks:
    """The rows of every figure, made when first asked for."""

    def __init__(self, data: Path, split: str, max_rows: int | None):
        self.data, self.split, self.max_rows = data, split, max_rows
        self._made: dict[tuple[str, str, str], Benchmark] = {}

    def of(self, name: FigureName) -> list[Benchmark]:
        """The benchmarks whose mean a figure is."""
        files, cameras, kind = SETS[name]
        for file in files:
            if (file, cameras, kind) not in self._made:
                mocap = load_mocap(self.data / f"mocap17_{file}.npz")
                whole = make_benchmark(mocap, self.split, cameras, kind)
                self._made[file, cameras, kind] = take_rows(whole, self.max_rows)
        return [self._made[file, cameras, kind] for file in files]


def load_stages(system: str, folder: Path | None, options: dict[str, Any], device: str):
    """All stages that a system has, its weights' hashes and how it runs, as `evaluate.prepare` gives them."""
    load = prepare(system, folder, options, 0, device)
    return load("lifted" if system == "graformer" else "both", lambda rows: None)


def evaluate_run(
    run: Run,
    benchmarks: Benchmarks,
    sets: Sequence[FigureName],
    device: str,
    slow_rows: int,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """A run's figures, or `known` where these are of the same weights and settings.

    Returns:
        {"system", "label", "seed", "run", "machine", "samples", "settings", "weights", "sets": {figure:
        {"lifted", "refined", "n_rows"}}, "speed"}
    """
    stages, weights, how = load_stages(run.system, run.folder, dict(run.options), device)
    calls = how.get("calls", 1) * how.get("hypotheses", 1) * (2 if how.get("flip") else 1)
    limit = slow_rows if calls > SLOW and slow_rows else None
    asked = {"split": benchmarks.split, "max_rows": benchmarks.max_rows, "slow_rows": limit, "sets": [*sets]}
    identity = json.loads(json.dumps({"weights": weights, "settings": how, "asked": asked}))
    if all(known.get(key) == value for key, value in identity.items()):
        return dict(known)
    figures = {}
    for name in sets:
        parts = [evaluate(take_rows(b, limit), stages) for b in benchmarks.of(name)]
        figures[name] = {
            stage: {k: float(np.mean([p[stage][k] for p in parts])) for k in parts[0][stage]}
            for stage in stages
        }
        figures[name]["n_rows"] = sum(p["n_rows"] for p in parts)
    first = benchmarks.of(sets[0])[0]
    return {
        "system": run.system, "label": run.label, "seed": run.seed, "run": str(run.folder or "shipped"),
        "machine": _read(run.folder, "machine.json"), "samples": _samples(run.folder),
        "options": dict(run.options), **identity, "sets": figures, "speed": measure_speed(stages, first, device),
    }  # fmt: skip


def _samples(folder: Path | None) -> int | None:
    """What the network of a run folder, or of the one above its exported weights, was trained on."""
    return next((samples_seen(p.parent) for p in _files(folder, "config.json")), None)


def _read(folder: Path | None, name: str) -> dict[str, Any]:
    """A file of a run folder, or of the one above where the folder holds a run's exported weights."""
    return next((json.loads(p.read_text(encoding="utf-8")) for p in _files(folder, name)), {})


def _files(folder: Path | None, name: str) -> list[Path]:
    """The files of that name in a folder and the one above."""
    return [p for p in (folder / name, folder.parent / name) if p.is_file()] if folder else []


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs -> {label: {"system", "seeds", "mean", "spread": {figure: {metric}}, "frames_per_second", …}}.

    A system's figure is its last stage. Spread is the standard deviation over seeds, None for one seed.
    """
    out: dict[str, Any] = {}
    for label in dict.fromkeys(row["label"] for row in rows):
        group = [row for row in rows if row["label"] == label]
        mean: dict[str, Any] = {}
        spread: dict[str, Any] = {}
        for name in group[0]["sets"]:
            stages = [row["sets"][name].get("refined") or row["sets"][name]["lifted"] for row in group]
            mean[name] = {k: float(np.mean([s[k] for s in stages])) for k in stages[0]}
            spread[name] = {
                k: float(np.std([s[k] for s in stages], ddof=1)) if len(stages) > 1 else None
                for k in stages[0]
            }
        out[label] = {
            "system": group[0]["system"],
            "seeds": len(group),
            "mean": mean,
            "spread": spread,
            "rows": {name: group[0]["sets"][name]["n_rows"] for name in mean},
            "samples": group[0]["samples"],
            "frames_per_second": float(np.median([r["speed"]["frames_per_second"] for r in group])),
            "machines": sorted({machine_of(row["machine"]) for row in group}),
        }
    return out


def machine_of(machine: Mapping[str, Any]) -> str:
    """What trained it, in words."""
    if not machine:
        return "not recorded"
    if machine["device"] != "cpu":
        return str(machine["name"])
    return f"{machine['name']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}"


@app.command
def measure(
    *,
    data: Path,
    runs: Path | None = None,
    lifter: list[Path] | None = None,
    posefix: list[Path] | None = None,
    json: Path = RESULT,
    keep: bool = False,
    split: Literal["val", "test"] = "test",
    max_rows: int | None = None,
    slow_rows: int = 400,
    sets: list[FigureName] | None = None,
    device: DeviceName = "auto",
) -> None:
    """Evaluate every run and write the comparison.

    Args:
        data: folder of the mocap17 files.
        runs: folder with the systems' run folders, at any depth; without one, only what else is named.
        lifter: run folders of the lifter alone.
        posefix: folders of posefix's weights at the common budget, one a seed, each in its run folder.
        json: where to.
        keep: leave what the file already holds of other runs.
        split: of the people; val for choosing, test for the page.
        max_rows: of each file, evenly spread, for a quick look.
        slow_rows: the same for systems with more than 500 network calls a frame; 0 for all rows.
        sets: figures to measure; all by default.
        device: where the networks run.
    """
    found = [Run("graformer", "graformer", folder, None) for folder in lifter or []]
    found += with_variants(find_runs(runs))
    found += [Run("posefix", "posefix", folder, None) for folder in posefix or []]
    found += [Run("posefix", SHIPPED, None, None)]
    benchmarks = Benchmarks(data, split, max_rows)
    _measure(found, benchmarks, sets or [*SETS], json, "runs", slow_rows, device, keep)


@app.command
def sweep(
    *,
    data: Path,
    runs: Path | None = None,
    systems: list[str] | None = None,
    steps: list[int] | None = None,
    hypotheses: list[int] | None = None,
    json: Path = RESULT,
    keep: bool = False,
    split: Literal["val", "test"] = "test",
    max_rows: int | None = None,
    slow_rows: int = 400,
    device: DeviceName = "auto",
) -> None:
    """Evaluate systems with other numbers of network calls and of hypotheses: error against frames a second.

    Args:
        data, runs, json, keep, split, max_rows, slow_rows, device: as of measure.
        systems: by name, in their own settings; posefix is what ships. All runs by default.
        steps: network calls for each hypothesis.
        hypotheses: drawn a frame; each with the run's own number of calls.
    """
    wanted = [("steps", n) for n in steps or []] + [("hypotheses", n) for n in hypotheses or []]
    plain = [r for r in find_runs(runs) if SYSTEMS[r.system].process.noise != "none"]
    if systems is not None:
        plain = [r for r in plain if r.label in systems]
        plain += [Run("posefix", "posefix", None, None)] if "posefix" in systems else []
        if unknown := set(systems) - {r.label for r in plain}:
            raise InputError(
                f"--systems {' '.join(sorted(unknown))}: no run of it below {runs} that diffuses"
            )
    sampler = {"e533": (("sampler", "ddim"),), "diffupose": (("sampler", "ddim"),)}
    found = [
        Run(r.system, f"{r.label}, {key}={n}", r.folder, r.seed, ((key, n), *sampler.get(r.system, ())))
        for r in plain
        for key, n in wanted
    ]
    _measure(found, Benchmarks(data, split, max_rows), SWEEP_SETS, json, "sweep", slow_rows, device, keep)


@app.command
def speed(*, data: Path, json: Path = RESULT, device: DeviceName = "auto") -> None:
    """Time everything in the comparison again, one after the other; errors stay as they are.

    Args:
        data, json, device: as of measure.
    """
    report = _load(json)
    first = Benchmarks(data, "val", 100).of(SWEEP_SETS[0])[0]
    place = resolve_device(device)
    for part in ("runs", "sweep"):
        for key, row in report.get(part, {}).items():
            folder = None if row["run"] == "shipped" else Path(row["run"])
            stages, *_ = load_stages(row["system"], folder, row["options"], place)
            row["speed"] = measure_speed(stages, first, place)
            print(f"{key}: {row['speed']['frames_per_second']:.1f} frames/s", flush=True)
        if part in report:
            report["summary" if part == "runs" else "sweep_summary"] = summarise([*report[part].values()])
    write_json(report, json)


def _measure(
    found: Sequence[Run], benchmarks: Benchmarks, sets: Sequence[FigureName], path: Path, part: str, slow_rows: int,
    device: DeviceName, keep: bool,
) -> None:  # fmt: skip
    """Measures what is not known yet; the file is whole after every run, so a stopped comparison goes on."""
    report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows: dict[str, Any] = report.get(part, {})
    asked = {r.key: {"system": r.system, "label": r.label} for r in found}
    order = sorted((asked | rows if keep else asked).items(), key=_place)
    for i, run in enumerate(found, 1):
        print(f"{i} of {len(found)}: {run.label}, {run.folder or 'shipped'}", flush=True)
        known = rows.get(run.key, {})
        rows[run.key] = evaluate_run(run, benchmarks, sets, resolve_device(device), slow_rows, known)
        report[part] = {key: rows[key] for key, _ in order if key in rows}
        report["summary" if part == "runs" else "sweep_summary"] = summarise([*report[part].values()])
        write_json(report, path)


def _place(row: tuple[str, Mapping[str, Any]]) -> tuple[int, bool]:
    """Where a row stands: in the order of the systems, posefix after them, what ships last."""
    names = ["graformer", *SYSTEMS, "posefix"]
    return names.index(row[1]["system"]), row[1]["label"] == SHIPPED


@app.command
def show(*, json: Path = RESULT, figure: Path | None = None) -> None:
    """Print the tables and, with --figure, draw the figure.

    Args:
        json: what measure and sweep wrote.
        figure: picture to write.
    """
    from compare_tables import draw, error_table, sweep_table

    report = _load(json)
    print(error_table(report))
    if "sweep_summary" in report:
        print("\n" + sweep_table(report))
    if figure is not None:
        draw(report, figure)
        print(f"Written: {figure}")


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: not there; run `compare.py measure` first")
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        app()
    except PosefixError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
