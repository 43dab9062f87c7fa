"""`posefix eval`: the protocol's figures for the lifter and the refiner, as a table and as JSON.

Nothing is chosen with ground truth: a stage sees the 2D and the image size, its output is scored as it is.
Both stages average over the horizontal flip in the same way, so that they differ by the refinement alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..pipeline.settings import DeviceName, Settings
from ..skeleton.devices import resolve_device
from ..skeleton.errors import InputError, OutputError, PosefixError
from ..skeleton.metrics import PROTOCOL_METRICS
from .datasets.published import Dataset, load_published
from .datasets.scoring import MOCAP17, Scoring
from .mocap import load_mocap
from .protocol import Benchmark, Cameras, Input, make_benchmark

Floats = npt.NDArray[np.floating]
Figures = dict[str, float]
Stage = Callable[[Floats, Floats], Floats]
"""(keypoints (n, 17, 2) pixels, image_size (n, 2) pixels) -> (n, 17, 3) metres, camera axes."""

StageName = Literal["lifted", "refined", "both"]
Advance = Callable[[int], None]

CHUNK_ROWS = 1024
IN_DOMAIN = ("cmu", "hdm05")
_HEADINGS = {
    "mpjpe": "MPJPE",
    "p_mpjpe": "P-MPJPE",
    "n_mpjpe": "N-MPJPE",
    "pck150": "PCK150 %",
    "auc": "AUC %",
}


def take_rows(benchmark: Benchmark, max_rows: int | None) -> Benchmark:
    """At most `max_rows` rows, evenly spread over the benchmark; None for all. For a quick look."""
    if max_rows is None or max_rows >= len(benchmark):
        return benchmark
    if max_rows < 1:
        raise InputError(f"--max-rows: expected at least 1, got {max_rows}")
    rows = np.linspace(0, len(benchmark) - 1, max_rows).round().astype(np.int64)
    fields = ("keypoints", "image_size", "target", "action", "camera", "frame", "exact", "target_camera")
    return replace(benchmark, **{name: getattr(benchmark, name)[rows] for name in fields})


def evaluate(benchmark: Benchmark, stages: Mapping[str, Stage], scoring: Scoring = MOCAP17) -> dict[str, Any]:
    """Scores stages on a benchmark.

    Args:
        benchmark: from `make_benchmark`, or from a reader in `datasets`.
        stages: by name, what to score.
        scoring: which joints count and what the last line is the mean of.

    Returns:
        {stage: {"mpjpe", "p_mpjpe", "n_mpjpe" (mm), "pck150", "auc" (percent)}, "per_action":
        {action: {stage: the same, "n_rows"}}, "n_rows"}; actions in the order of `scoring`.

    Raises:
        PosefixError: a stage gives values that are not finite, or the wrong shape.
    """
    actions = scoring.order(set(benchmark.action.tolist()))
    rows_of = {action: benchmark.action == action for action in actions}
    result: dict[str, Any] = {}
    per_action: dict[str, dict[str, Any]] = {a: {"n_rows": int(rows_of[a].sum())} for a in actions}
    for name, stage in stages.items():
        poses = np.asarray(stage(benchmark.keypoints, benchmark.image_size), dtype=np.float64)
        if poses.shape != benchmark.target.shape or not np.isfinite(poses).all():
            raise PosefixError(
                f"stage {name!r}: expected {benchmark.target.shape} finite values, got {poses.shape} "
                f"with {int((~np.isfinite(poses)).sum())} that are not finite"
            )
        values = scoring.per_row(poses, benchmark.target)
        result[name] = scoring.overall(values, rows_of)
        for action, rows in rows_of.items():
            per_action[action][name] = {k: float(v[rows].mean()) for k, v in values.items()}
    return {**result, "per_action": per_action, "n_rows": len(benchmark)}


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How the networks run: refinement steps, hypotheses, seed, device ("cpu", "cuda" or "mps").

    Raises:
        InputError: a value makes no sense.
    """

    steps: int = 2
    hypotheses: int = 5
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        Settings(steps=self.steps, hypotheses=self.hypotheses, seed=self.seed)  # the same limits


def load_stages(
    stage: StageName,
    settings: ModelSettings,
    advance: Advance = lambda rows: None,
    folder: Path | None = None,
) -> tuple[dict[str, Stage], dict[str, str]]:
    """The shipped networks as stages, and their weights' sha256 by file name.

    Args:
        stage: "lifted", "refined" or "both".
        settings: how to run them.
        advance: called with the number of rows done, for a progress bar.
        folder: of other weights, as `posefix train … --export` writes them.

    Raises:
        WeightsError: as the networks' `load`.
    """
    # Here, not at the top: torch and the networks load slowly, and scoring alone needs neither.
    from ..lifter import Lifter

    other: dict[str, Any] = {} if folder is None else {"weights": folder}
    lifter = Lifter.load(settings.device, **other)
    refiner, weights = None, dict(getattr(lifter, "weights", {}))
    if stage in ("refined", "both"):
        from ..refiner import Refiner

        refiner = Refiner.load(settings.device, settings.steps, settings.hypotheses, settings.seed, **other)
        weights |= getattr(refiner, "weights", {})
    return stages_of(stage, lifter, refiner, advance), weights


def stages_of(
    stage: StageName,
    lifter: Callable[[Floats, npt.NDArray[np.bool_]], Floats],
    refiner: Callable[..., tuple[Floats, Floats]] | None,
    advance: Advance,
) -> dict[str, Stage]:
    """A lifter and, beyond "lifted", a refiner (`refiner.Refiner`'s call) as stages."""

    def lift(keypoints: Floats, rows: slice) -> Floats:
        return lifter(keypoints[rows], np.ones(keypoints[rows].shape[:2], dtype=bool))

    stages: dict[str, Stage] = {}
    if stage in ("lifted", "both"):
        stages["lifted"] = lambda keypoints, _: _in_chunks(lift, keypoints, advance)
    if refiner is not None and stage in ("refined", "both"):

        def refine(keypoints: Floats, rows: slice) -> Floats:
            lifted = lift(keypoints, rows)
            # A row's noise hangs on its number alone, so the figures do not depend on the chunks.
            keys = np.stack([np.arange(rows.start, rows.stop), np.zeros(len(lifted))], axis=-1).astype(
                np.int64
            )
            mean, _ = refiner(keypoints[rows], np.ones(lifted.shape[:2], dtype=bool), lifted, keys=keys)
            return mean

        stages["refined"] = lambda keypoints, _: _in_chunks(refine, keypoints, advance)
    return stages


def _in_chunks(predict: Callable[[Floats, slice], Floats], keypoints: Floats, advance: Advance) -> Floats:
    poses = []
    for start in range(0, len(keypoints), CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, len(keypoints)))
        poses.append(np.asarray(predict(keypoints, rows)))
        advance(rows.stop - rows.start)
    return np.concatenate(poses)


def evaluate_cli(
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True, negative="")],
    dataset: Dataset = "mocap17",
    split: Literal["train", "val", "test"] = "test",
    cameras: Cameras = "lab",
    input: Input = "gt",
    keypoints: str | None = None,
    stage: StageName = "both",
    stride: int | None = None,
    system: str | None = None,
    run: Path | None = None,
    steps: Annotated[int | None, Parameter(name=["--steps", "--ddim-steps"])] = None,
    hypotheses: int | None = None,
    sampler: Literal["ddim", "ddpm", "heun"] | None = None,
    churn: float | None = None,
    flip: bool | None = None,
    seed: int = 0,
    device: DeviceName = "auto",
    max_rows: int | None = None,
    json: Path | None = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
) -> dict[str, Any]:
    """Measure the shipped networks on motion capture, by the open MOCAP17 protocol or a published one.

    Prints MPJPE, P-MPJPE and N-MPJPE in millimetres, PCK150 and AUC in percent.

    Args:
        data: mocap17 files; with both cmu and hdm05 their mean is given as "in_domain". For another dataset the
            folder with its converted files (docs/datasets.md).
        dataset: mocap17, h36m (Human3.6M), 3dhp (MPI-INF-3DHP) or humaneva (HumanEva-I), each by its own protocol.
        split: which part of the mocap17 files; the others have a test set of their own.
        cameras: mocap17's: lab (four Human3.6M-like ones a frame) or wild (distance, lens, tilt and framing vary).
        input: gt (exact 2D) or det (mocap17: a simulated detector; h36m: CPN).
        keypoints: another 2D file of h36m or humaneva, by its ending: detectron_ft_h36m.
        stage: lifted, refined, or both.
        stride: every how-manyth frame; by default 16 for mocap17 files named like bandai, 4 for others, 1 for the
            other datasets.
        system: what to measure: posefix, graformer (the lifter alone) or another that `posefix train` lists. Named,
            its frames a second are measured, too, one frame at a time.
        run: its run folder; for posefix a folder of weights, by default the shipped ones.
        steps: denoising steps of the refiner (2); of another system network calls for each hypothesis.
        hypotheses: poses drawn per row (5); their mean is scored.
        sampler: of a system other than posefix; by default, as the other options, what it was trained with.
        churn: noise that the sampler heun adds on its way.
        flip: average with the mirror image, in lifter and refiner.
        seed: seed of the hypotheses.
        device: where the networks run; auto takes the fastest there is.
        max_rows: only so many rows of each file, evenly spread, for a quick look; the JSON says so.
        json: also write the figures, per action too, to this file.
        quiet: no progress bar and no table.
    """
    _check_request(data, json)
    place = resolve_device(device)
    options = {
        "steps": steps, "hypotheses": hypotheses, "sampler": sampler, "churn": churn, "flip": flip,
    }  # fmt: skip
    load = prepare(system, run, options, seed, place)
    scoring, wholes = MOCAP17, {}
    if dataset == "mocap17" and keypoints is not None:
        raise InputError("--keypoints: mocap17 files have no other 2D; for --dataset h36m or humaneva")
    if dataset == "mocap17":
        for path in data:
            wholes[path.stem] = make_benchmark(load_mocap(path), split, cameras, input, stride)
    else:
        wholes[dataset], scoring = load_published(dataset, data, split, cameras, input, keypoints, stride)
    benchmarks = {k: (take_rows(b, max_rows), scoring.rows or len(b)) for k, b in wholes.items()}
    rows = sum(len(b) for b, _ in benchmarks.values()) * (2 if stage == "both" else 1)
    files = {}
    with _progress(rows, quiet) as advance:
        stages, weights, how = load(stage, advance)
        speed = {}
        if system is not None:
            from .evaluate_system import measure_speed

            stages_of_one, *_ = load(stage, lambda rows: None)
            speed = {"speed": measure_speed(stages_of_one, next(iter(wholes.values())), place)}
        for name, (benchmark, total) in benchmarks.items():
            settings = {
                **{k: getattr(benchmark, k) for k in ("data", "split", "cameras", "input", "stride")},
                **how,
                "max_rows": max_rows,
                "rows_in_protocol": total,
            }
            if dataset != "mocap17":
                settings["mean_of"] = scoring.mean_of
            files[name] = {**evaluate(benchmark, stages, scoring), "settings": settings, "weights": weights}
            files[name] |= speed
    report = combine(files)
    if json is not None:
        _write_json(json, report)
    if not quiet:
        if speed:
            print(f"{speed['speed']['frames_per_second']:.1f} frames/s, one frame at a time, on {place}")
        _print_tables(files, report.get("in_domain"), json)
    return report


Load = Callable[[StageName, Advance], tuple[dict[str, Stage], dict[str, str], dict[str, Any]]]


def prepare(system: str | None, run: Path | None, options: Mapping[str, Any], seed: int, device: str) -> Load:
    """What loads the named system's stages, their weights' sha256, and how they run for the JSON.

    Raises InputError: options that the system does not have, before anything is loaded.
    """
    if system not in (None, "posefix"):
        from .evaluate_system import prepare_system

        return prepare_system(system, run, options, seed, device)
    given = {key: value for key, value in options.items() if value is not None}
    model = ModelSettings(given.pop("steps", 2), given.pop("hypotheses", 5), seed, device)
    if given:
        raise InputError(f"--{next(iter(given))}: posefix has no such option; --system names another")
    named = {} if system is None else {"system": system, "run": None if run is None else str(run)}
    if run is not None and system is None:
        raise InputError("--run: --system tells what it is a run of")

    def load(stage: StageName, advance: Advance):
        found = load_stages(stage, model, advance, *([] if run is None else [run]))
        return *found, {**asdict(model), **named}

    return load


def combine(files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One file's report as it is; several as {"files": …}, with "in_domain", the mean of cmu and hdm05."""
    if len(files) == 1:
        return next(iter(files.values()))
    report: dict[str, Any] = {"files": dict(files)}
    chosen = [files[name] for tag in IN_DOMAIN for name in files if name.split("_")[-1].lower() == tag]
    if len(chosen) == len(IN_DOMAIN):
        report["in_domain"] = {
            stage: {k: float(np.mean([f[stage][k] for f in chosen])) for k in PROTOCOL_METRICS}
            for stage in ("lifted", "refined")
            if stage in chosen[0]
        }
    return report


def _check_request(data: Sequence[Path], json: Path | None) -> None:
    stems = [path.stem for path in data]
    if len(set(stems)) != len(stems):
        raise InputError(f"--data: two files of one name ({', '.join(stems)}); rename one")
    # Before the long part, not after it.
    if json is not None and (json.is_dir() or not json.absolute().parent.is_dir()):
        raise OutputError(f"{json}: cannot be written; --json takes a file in a folder that exists")


def _write_json(path: Path, report: dict[str, Any]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(dumps(report, indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Advance]:
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    silent = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=silent) as progress:
        task = progress.add_task("rows", total=total)
        yield lambda rows: progress.advance(task, rows)


def _print_tables(files: Mapping[str, dict[str, Any]], in_domain: dict | None, json: Path | None) -> None:
    console = Console()
    for name, report in files.items():
        s = report["settings"]
        table = Table(
            title=f"{name}, {s['split']}, cameras {s['cameras']}, input {s['input']}", title_justify="left"
        )
        _columns(table, "action")
        for action, figures in report["per_action"].items():
            _rows(table, action, figures, figures["n_rows"])
        table.add_section()
        _rows(table, "mean" if s.get("mean_of") == "actions" else "all", report, report["n_rows"])
        console.print(table)
        if report["n_rows"] < s["rows_in_protocol"]:
            console.print(f"A quick look: {report['n_rows']} of the protocol's {s['rows_in_protocol']} rows.")
    if in_domain is not None:
        table = Table(title="in-domain: mean of cmu and hdm05", title_justify="left")
        _columns(table, "")
        _rows(table, "in-domain", in_domain, None)
        console.print(table)
    if json is not None:
        console.print(f"Written: {json}")


def _columns(table: Table, first: str) -> None:
    table.add_column(first)  # the one that gives way where the terminal is narrow
    table.add_column("stage", no_wrap=True)
    for heading in (*_HEADINGS.values(), "rows"):
        table.add_column(heading, justify="right", no_wrap=True)


def _rows(table: Table, label: str, figures: Mapping[str, Any], n_rows: int | None) -> None:
    for stage in ("lifted", "refined"):
        if stage in figures:
            numbers = [f"{figures[stage][k]:.2f}" for k in _HEADINGS]
            table.add_row(label, stage, *numbers, "" if n_rows is None else str(n_rows))
            label, n_rows = "", None
