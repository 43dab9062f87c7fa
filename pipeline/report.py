"""What a run tells a person at a terminal: the progress bar, the closing summary, warnings, the table of clips."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .interrupt import Interrupt
from .reader import SourceInfo
from .run import RunSummary

NOT_BEGUN = "not begun"
STOPPING = "stopping (Ctrl-C again: at once)"


class ProgressBar:
    """Frames done, frames/s and time left, on stderr; silent where that is no terminal.

    Args:
        quiet: show nothing anyway.
        interrupt: once it is asked to stop, the bar says so: the frames that were read take a while yet.
        console: where to, by default stderr.
    """

    def __init__(
        self, quiet: bool = False, interrupt: Interrupt | None = None, console: Console | None = None
    ) -> None:
        console = console or Console(stderr=True)
        self._interrupt = interrupt
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # the summary belongs on stdout, also when only stderr is a terminal
            redirect_stderr=False,
            disable=quiet or not console.is_terminal,
        )

    def begin(self, info: SourceInfo, frames: int | None) -> None:
        """A clip starts; `frames` is the number expected, None when unknown."""
        self._progress.reset(self._task, total=frames, description=info.name)

    def advance(self) -> None:
        """One more frame is done."""
        if self._progress.disable:
            return
        task = self._progress.tasks[0]
        seconds = task.elapsed or 0.0
        # Frames come in batches: the first ones, all at once, say nothing of the speed.
        rate = f"{(task.completed + 1) / seconds:.1f} frames/s" if seconds > 1 else ""
        if self._interrupt is not None and self._interrupt.signal is not None:
            rate = STOPPING
        self._progress.update(self._task, advance=1, rate=rate)

    def __enter__(self) -> ProgressBar:
        # Until the networks are there: seconds, of which nobody would know.
        self._task = self._progress.add_task("loading", total=None, rate="")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def describe(summary: RunSummary, verbose: bool = False) -> str:
    """The closing lines of a clip: what was found, how fast, what was written; verbose: stage timings too."""
    s = summary
    if s.finished_before:
        return f"{s.name}: finished already; nothing to resume"
    before = f" ({s.known} known from before)" if s.known else ""
    counts = [f"{s.read} frames read{before}", f"{s.detected} detected"]
    counts += [f"{n} {word}" for n, word in ((s.interpolated, "interpolated"), (s.missing, "missing")) if n]
    counts += [f"{s.corrupt} damaged and skipped"] if s.corrupt else []
    if len(s.people) > 1:
        counts.insert(1, f"{len(s.people)} people")
    rate = f"{s.seconds:.1f} s, {s.read / s.seconds:.1f} frames/s" if s.seconds else ""
    lines = [f"{s.name}: {', '.join(counts)} ({rate})"]
    if s.signal is not None:
        later = "; --resume finishes them" if s.paths.journal.exists() else ""
        name = signal.Signals(s.signal).name
        lines.append(f"stopped by {name}: these files end where it was stopped{later}")
    if s.ended_early is not None:
        lines.append(f"warning: {s.ended_early}; these files end there")
    if verbose and s.read:
        spent = (f"{stage} {1000 * seconds / s.read:.1f}" for stage, seconds in s.stages.items())
        lines.append(f"  ms a frame in each stage: {', '.join(spent)}")
    lines += [f"  wrote {path}" for path in s.files]
    return "\n".join(lines)


def next_step(summary: RunSummary) -> str:
    """The command that shows the results of a clip; empty where there are none to see."""
    if not summary.detected or not summary.paths.csv_3d.exists():
        return ""
    # `make run` calls it by its path, as the shell does not know it by name.
    by_path = Path(sys.argv[0]).name == "posefix" and shutil.which("posefix") is None
    words = (sys.argv[0] if by_path else "posefix", "view", str(summary.paths.folder))
    return f"to look at them: {shlex.join(words)}"


def print_warnings(summary: RunSummary) -> None:
    """A clip's warnings on stderr, one line each."""
    for sentence in summary.warnings:
        print(f"posefix: warning: {summary.name}: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of several clips came out.

    Attributes:
        name: the clip's, or the word that names none. summary: of its run. error: what went wrong where there is none.
    """

    name: str
    summary: RunSummary | None = None
    error: str = ""


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each of several clips; where stdout is no terminal, plain text of any width."""
    console = Console(markup=False, highlight=False, emoji=False)
    plain = not console.is_terminal
    if plain:
        console.width = 10_000  # nothing is folded
    rows = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, header_style="")
    rows.add_column("clip")
    for name in ("frames", "detected", "missing", "seconds", "frames/s", "warnings"):
        rows.add_column(name, justify="right", no_wrap=True)
    rows.add_column("result")
    for outcome in outcomes:
        rows.add_row(outcome.name, *_cells(outcome))
    with console.capture() as captured:
        console.print(rows)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def _cells(outcome: Outcome) -> list[str]:
    """A line of the table but for the clip's name."""
    s = outcome.summary
    if s is None:
        return [*("-" * 6), f"error: {_short(outcome.error)}" if outcome.error != NOT_BEGUN else NOT_BEGUN]
    if s.finished_before:
        return [*("-" * 6), f"{s.paths.folder} (finished already)"]
    rows = max(1, s.detected + s.interpolated + s.missing)
    end = " (stopped)" if s.signal is not None else " (no person)" if not s.detected else ""
    return [
        str(s.read), f"{100 * s.detected / rows:.0f} %", f"{100 * s.missing / rows:.0f} %", f"{s.seconds:.1f}",
        f"{s.read / s.seconds:.1f}" if s.seconds else "-", str(len(s.warnings)), f"{s.paths.folder}{end}",
    ]  # fmt: skip


def _short(error: str) -> str:
    """What is wrong, without how to mend it, which the error's own line has said."""
    return " ".join(error.split()).partition(";")[0]
