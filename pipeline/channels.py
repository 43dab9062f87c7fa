"""What joins the stages: bounded channels between threads, and stages that stop together and cleanly.

A stage that ends, by itself or by an error, closes what it feeds, so everything behind it still finishes what
was handed over, and aborts what it reads, so everything before it stops.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

_WAKE_S = 0.5  # waiting in pieces lets Ctrl-C through on systems where a lock cannot be interrupted


class Stopped(Exception):
    """Nobody reads this channel any more."""


class Channel(Generic[T]):
    """A bounded first-in-first-out queue with an end.

    Args:
        capacity: items that may wait; `put` blocks while it is full.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = self._aborted = False

    def put(self, item: T) -> None:
        """Hand over an item, waiting for room. Raises Stopped when the reader is gone."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._aborted:
                self._changed.wait(_WAKE_S)
            if self._aborted:
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more comes; what waits is still read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Nothing more is read; what waits is dropped."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Items until the channel is closed and empty, or aborted."""
        while True:
            with self._changed:
                while not self._items and not self._closed and not self._aborted:
                    self._changed.wait(_WAKE_S)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # frames are large: do not hold one while waiting for the next

    def several(self, most: int) -> Iterator[list[T]]:
        """Items as of `__iter__`, each time all that wait, at most `most`; it does not wait for more than one."""
        for item in self:
            with self._changed:
                more = [self._items.popleft() for _ in range(min(most - 1, len(self._items)))]
                self._changed.notify_all()
            yield [item, *more]
            del item, more


class Stages:
    """Threads of one pipeline. The first error of any of them is raised by `join`."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._channels: list[Channel] = []
        self.errors: list[BaseException] = []

    def run(
        self, work: Callable[[], None], reads: Channel | None = None, feeds: Channel | None = None
    ) -> None:
        """Do a stage's work in this thread; its error is kept for `join`."""
        try:
            work()
        except Stopped:
            pass
        except Exception as error:
            self.errors.append(error)
        except BaseException as error:  # Ctrl-C in a program that does not listen for it
            self.errors.append(error)
            raise
        finally:
            if reads is not None:
                reads.abort()
            if feeds is not None:
                feeds.close()

    def start(
        self, name: str, work: Callable[[], None], reads: Channel | None = None, feeds: Channel | None = None
    ) -> None:
        """Do a stage's work in a thread of its own."""
        self._channels += [c for c in (reads, feeds) if c is not None]
        thread = threading.Thread(target=self.run, args=(work, reads, feeds), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def abort(self) -> None:
        """Stop everything as soon as each stage looks at its channel."""
        for channel in self._channels:
            channel.abort()

    def join(self) -> None:
        """Wait for all threads, then raise the first error if there was one."""
        self.wait()
        if self.errors:
            raise self.errors[0]

    def wait(self) -> None:
        """Wait for all threads."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_WAKE_S)


class Stopwatch:
    """Seconds of work by stage; each stage is timed from one thread only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin
