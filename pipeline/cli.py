"""The `posefix` command: words in, `run_video` called, one line out for everything that goes wrong.

The other commands are listed in `commands.py`. Nothing heavy is imported before a command runs.
"""

# ruff: noqa: B008 - the groups of flags, which are defaults, are frozen

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import CycloptsError, Parameter

from ..skeleton.errors import (
    EXIT_INTERRUPTED,
    EXIT_NO_PERSON,
    EXIT_OK,
    EXIT_UNEXPECTED,
    InputError,
    PosefixError,
)
from .commands import app
from .flags import ClipFlags, DetectorFlags, FileFlags, PersonFlags, PrintFlags, RefinerFlags
from .settings import Settings, results_folder
from .settings_file import named

if TYPE_CHECKING:
    from .reader import Source


@app.default
def run(
    *videos: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    detector: DetectorFlags = DetectorFlags(),
    people: PersonFlags = PersonFlags(),
    refiner: RefinerFlags = RefinerFlags(),
    clip: ClipFlags = ClipFlags(),
    files: FileFlags = FileFlags(),
    printed: PrintFlags = PrintFlags(),
    config: Path | None = None,
) -> int:
    """Process clips.

    Parameters
    ----------
    videos
        Video files, globs, folders or globs of images, a camera index, or RTSP/HTTP URLs.
    output
        Folder for the results; with several inputs each gets DIR/NAME_posefix. Default: NAME_posefix.
    config
        TOML file with settings, as `posefix config` prints it; flags win over it.
    """
    if not videos:
        app.help_print([])
        return InputError.exit_code
    try:
        settings = Settings(
            output=output,
            verbosity=printed.verbosity,
            **vars(detector),
            **vars(people),
            **vars(refiner),
            **vars(clip),
            **vars(files),
        )
    except InputError as error:
        raise named(error, config) from None
    return process_all(videos, settings)


def process_all(words: Sequence[str], settings: Settings) -> int:
    """Process every clip that the words name, whatever happens to others. Returns the worst exit code."""
    from ..skeleton.devices import resolve_device
    from .interrupt import Interrupt
    from .report import NOT_BEGUN, Outcome, ProgressBar, describe, next_step, print_warnings, table
    from .run import load_estimator, run_video

    quiet, verbose = settings.verbosity < 0, settings.verbosity > 0
    sources, bad = _sources(words, verbose)
    codes, outcomes = [code for _, _, code in bad], list[Outcome]()
    several = len(sources) + len(bad) > 1  # bad ones count too: they do not change where good ones go
    device = resolve_device(settings.device)
    estimator = load_estimator(settings, device) if len(sources) > 1 else None
    with Interrupt().listening() as interrupt:
        for source in sources:
            own = settings
            if several and settings.output is not None:
                own = replace(settings, output=settings.output / results_folder(source.name))
            try:
                with ProgressBar(quiet, interrupt) as bar:  # gone before anything is printed
                    summary = run_video(source, own, estimator=estimator, watcher=bar, interrupt=interrupt)
            except Exception as error:
                codes.append(report_error(error, verbose))
                outcomes.append(Outcome(source.name, error=str(error) or type(error).__name__))
            else:
                codes.append(summary.exit_code)
                outcomes.append(Outcome(source.name, summary))
                if not quiet:
                    print_out(describe(summary, verbose))
                    if not several and (step := next_step(summary)):
                        print_out(f"  {step}")
                    print_warnings(summary)
            if interrupt.signal is not None:
                codes.append(128 + interrupt.signal)
                break
    if estimator is not None:
        estimator.close()
    if several and not quiet and (interrupt.signal is None or any(o.summary for o in outcomes)):
        outcomes += [Outcome(source.name, error=NOT_BEGUN) for source in sources[len(outcomes) :]]
        print_out(table([*outcomes, *(Outcome(word, error=error) for word, error, _ in bad)]))
    return worst(codes)


def _sources(words: Sequence[str], verbose: bool) -> tuple[list[Source], list[tuple[str, str, int]]]:
    """The clips that the words name. Bad words are reported, and come back with their errors and exit codes."""
    from .reader import expand_sources

    good: list[str] = []
    bad: list[tuple[str, str, int]] = []
    for k, word in enumerate(words):
        try:
            expand_sources([word])
            good.append(word)
        except InputError as error:
            error = InputError(f"{error}{_meant(words, k)}")
            bad.append((word, str(error), report_error(error, verbose)))
    return (expand_sources(good) if good else []), bad


def _meant(words: Sequence[str], k: int) -> str:
    """What word `k`, without a file, may stand for: the beginning of a name with blanks, or a command."""
    if os.path.exists(words[k]):
        return ""
    for end in range(k + 2, len(words) + 1):
        if os.path.exists(whole := " ".join(words[k:end])):
            return f'; a name with blanks needs quotes: "{whole}"'
    near = difflib.get_close_matches(words[k], [*app], n=1)
    return f"; did you mean the command `posefix {near[0]}`?" if near else ""


def print_out(text: str) -> None:
    """Print, even if nobody listens any more: `posefix *.mp4 | head` still processes every clip."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:  # else Python would complain at its end
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def worst(codes: Sequence[int]) -> int:
    """The exit code that says most: "no person" ranks just above "done"."""
    return max(codes, key=lambda code: 0.5 if code == EXIT_NO_PERSON else code, default=EXIT_OK)


def report_error(error: Exception, verbose: bool) -> int:
    """Print an error as one line on stderr and return its exit code; tracebacks only when verbose."""
    if isinstance(error, PosefixError):
        line, code = str(error), error.exit_code
    else:
        hint = "" if verbose else "; run again with -v for details"
        line, code = f"unexpected {type(error).__name__}: {error}{hint}", EXIT_UNEXPECTED
        if verbose:
            traceback.print_exception(error)
    print(f"posefix: error: {' '.join(line.split())}", file=sys.stderr, flush=True)
    return code


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default that of the process, and end the process with the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(call(words))


def call(words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        result = app(list(words), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        command = " ".join(("posefix", *(error.command_chain or ())))
        print(f"posefix: error: {' '.join(str(error).split())} See `{command} --help`.", file=sys.stderr)
        return InputError.exit_code
    except KeyboardInterrupt:
        print("posefix: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return report_error(error, bool({"-v", "--verbose"} & set(words)))
    return result if isinstance(result, int) else EXIT_OK
