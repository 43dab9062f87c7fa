"""Ctrl-C and SIGTERM: the first asks the run to finish its files, the second stops it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_SHOW_CURSOR = b"\x1b[?25h\n"  # a progress bar may have hidden it


class Interrupt:
    """Whether somebody asked to stop.

    Attributes:
        signal: number of the signal that asked, None so far.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def ask(self, number: int = signal.SIGINT) -> None:
        """Ask the run to stop reading and to finish what it has."""
        self.signal = number

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Hear SIGINT and SIGTERM meanwhile; does nothing outside the main thread. For programs only: a
        second signal ends the process where it stands (the CSVs are whole up to then, the video plays).
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def hear(number: int, _: object) -> None:
            if self.signal is not None:
                os.write(2, _SHOW_CURSOR if os.isatty(2) else b"")
                os._exit(128 + number)
            self.ask(number)

        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
