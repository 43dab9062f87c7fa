"""How every benchmark ends: its figures as JSON where asked for, its errors as one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cyclopts
from posefix.pipeline.sinks.errors import cannot_write
from posefix.skeleton.errors import PosefixError


def write_json(report: dict[str, Any], path: Path | None) -> None:
    """Write the figures to a file; nothing with None. Raises OutputError when it cannot be written."""
    if path is None:
        return
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def run(benchmark: Callable[..., Any]) -> None:
    """Call the benchmark as a command of its own; ends the process when it fails."""
    try:
        cyclopts.App(result_action="return_none", default_command=benchmark)(sys.argv[1:])
    except PosefixError as error:
        print(f"{benchmark.__name__}: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
