"""`posefix doctor`: whether posefix can run here, what is wrong, and the command that mends it.

Must work where posefix does not: until a check runs, nothing but the standard library is imported, and a check
that fails, however it fails, is a line like any other. The checks themselves are in `checks.py`.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import json as json_module
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "warning", "wrong"]
COLOURS: dict[str, str] = {"ok": "\033[32m", "warning": "\033[33m", "wrong": "\033[31m"}
RESET = "\033[0m"
MARGIN = " " * 11
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: "wrong": posefix cannot run with its default settings; "warning": a part of it cannot.
        said: what was found.
        mend: the command, or what else to do about it; empty where nothing is wrong.
        values: the figures in `said`, for JSON.
        topic: the heading it stands under.
    """

    name: str
    state: State
    said: str
    mend: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Attributes:
        topic: heading. name: as of the finding, where the check itself fails.
        look: does it, and gives findings as they come.
        failed: how bad it is when `look` raises, and how that is mended.
    """

    topic: str
    name: str
    look: Callable[[], Iterable[Finding]]
    failed: State = "wrong"
    mend: str = ""


def guarded(check: Check) -> list[Finding]:
    """The findings of a check; what it raises is one too."""
    found: list[Finding] = []
    try:
        with silence():
            for finding in check.look():
                found.append(replace(finding, topic=check.topic))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # broken packages raise SystemExit and worse
        mend = check.mend or "report it with these lines"
        if isinstance(error, ImportError):
            mend = "mend what stands under Versions first"
        said = f"failed ({in_words(error)})"
        found.append(Finding(check.name, check.failed, said, mend, topic=check.topic))
    return found


def in_words(error: BaseException) -> str:
    """An error in one line; errors of posefix speak for themselves."""
    known = hasattr(error, "exit_code")
    return " ".join((str(error) if known else f"{type(error).__name__}: {error}").split())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop what libraries print to stdout and stderr, C++ code too."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for number in (1, 2):
            with contextlib.suppress(OSError):  # no such descriptor: nothing to silence
                kept = os.dup(number)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, number)
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), number)
        yield


def without_names(text: str) -> str:
    """The text, in one piece and fit for a public place: ~ for the home folder, USER for the user's name."""
    with contextlib.suppress(Exception):  # there may be no home, and nobody by name
        home = str(Path.home())
        if len(home) > 1:
            text = re.sub(rf"{re.escape(home)}(?=[\\/\s:;,'\")\]]|$)", "~", text)
        user = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=[\\/]){user}(?=[\\/])", "USER", text)
    return text


def cleaned(finding: Finding) -> Finding:
    """The finding without names of a person."""
    values = {k: without_names(v) if isinstance(v, str) else v for k, v in finding.values.items()}
    return replace(finding, said=without_names(finding.said), mend=without_names(finding.mend), values=values)


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """All findings, one after the other."""
    for check in checks:
        yield from map(cleaned, guarded(check))


def as_text(finding: Finding, colour: bool = False) -> str:
    """A finding as a line, and one below it that tells how to mend it."""
    begin, end = (COLOURS[finding.state], RESET) if colour else ("", "")
    head = f"  {begin}{finding.state:<7}{end}  "
    # Commands are not broken: they are there to be copied.
    said = textwrap.wrap(
        f"{finding.name}: {finding.said}", WIDTH - len(MARGIN), break_long_words=False, break_on_hyphens=False
    )
    lines = [head + said[0], *(MARGIN + line for line in said[1:])]
    return "\n".join([*lines, *([f"{MARGIN}mend: {finding.mend}"] if finding.mend else [])])


def verdict(findings: list[Finding]) -> str:
    """The closing line."""
    wrong, warnings = (sum(f.state == state for f in findings) for state in ("wrong", "warning"))
    counts = f"{wrong} wrong, {warnings} warning{'' if warnings == 1 else 's'}"
    return f"posefix {'cannot' if wrong else 'can'} run here: {counts}"


def say(text: str) -> None:
    """Print at once, in whatever characters the output knows, even if nobody listens any more."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:  # else Python would complain at its end
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def doctor(*, json: bool = False) -> int:
    """Look whether posefix can run here, and tell what is wrong and how to mend it. Takes some seconds.

    Nothing is downloaded or changed; cameras are not opened. What it prints can go into a bug report as it is: the home
    folder is ~.

    Parameters
    ----------
    json
        Print the same as JSON.
    """
    from .checks import CHECKS

    began, findings, topic = time.monotonic(), [], ""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    # Each line at once: should a library end the process, the last heading tells where.
    for check in CHECKS:
        if check.topic != topic and not json:
            say(check.topic)
        topic = check.topic
        for finding in examine([check]):
            findings.append(finding)
            if not json:
                say(as_text(finding, colour))
    can_run = all(finding.state != "wrong" for finding in findings)
    if json:
        checks = [asdict(finding) for finding in findings]
        say(json_module.dumps({"can_run": can_run, "verdict": verdict(findings), "checks": checks}, indent=2))
    else:
        say(f"{verdict(findings)} ({time.monotonic() - began:.0f} s)")
    return 0 if can_run else 1
