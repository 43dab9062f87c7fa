"""What a run tells a person at a terminal: the progress bar, and the closing summary."""

from __future__ import annotations

import signal
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .reader import SourceInfo
from .run import RunSummary


class ProgressBar:
    """Frames done, frames/s and time left, on stderr; silent where that is no terminal.

    Args:
        quiet: show nothing anyway.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True)
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
        self._task = self._progress.add_task(info.name, total=frames, rate="")

    def advance(self) -> None:
        """One more frame is done."""
        if self._progress.disable:
            return
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, advance=1, rate=f"{speed:.1f} frames/s" if speed else "")

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def describe(summary: RunSummary, verbose: bool = False) -> str:
    """The closing lines of a clip: what was found, how fast, what was written; verbose: stage timings too."""
    s = summary
    counts = [f"{s.read} frames read", f"{s.detected} detected"]
    counts += [f"{n} {word}" for n, word in ((s.interpolated, "interpolated"), (s.missing, "missing")) if n]
    counts += [f"{s.corrupt} damaged and skipped"] if s.corrupt else []
    if len(s.people) > 1:
        counts.insert(1, f"{len(s.people)} people")
    rate = f"{s.seconds:.1f} s, {s.read / s.seconds:.1f} frames/s" if s.seconds else ""
    lines = [f"{s.name}: {', '.join(counts)} ({rate})"]
    if s.signal is not None:
        lines.append(f"stopped by {signal.Signals(s.signal).name}: these files end where it was stopped")
    if s.ended_early is not None:
        lines.append(f"warning: {s.ended_early}; these files end there")
    if s.signal is None and not s.detected:
        lines.append("warning: no person found in any frame; all rows are `missing`")
    absent = [n for n in s.wanted if n not in s.people]
    if absent and s.signal is None:
        lines.append(
            f"warning: --person {','.join(map(str, absent))}: not seen; --person all shows everybody's number"
        )
    if s.without_3d:
        lines.append(
            f"warning: no 3D in {s.without_3d} frames: both hips are hidden there, and 3D is relative to them"
        )
    if verbose and s.read:
        spent = (f"{stage} {1000 * seconds / s.read:.1f}" for stage, seconds in s.stages.items())
        lines.append(f"  ms a frame in each stage: {', '.join(spent)}")
    lines += [f"  wrote {path}" for path in s.files]
    return "\n".join(lines)
