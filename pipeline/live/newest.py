"""A channel that never makes its writer wait: what is not fetched in time gives way to what is newer."""

from __future__ import annotations

import time
from typing import TypeVar

from ..channels import Channel, Stopped

T = TypeVar("T")
_WAKE_S = 0.5


class Newest(Channel[T]):
    """Holds the newest items only.

    Args:
        keep: items that may wait; one more drops the oldest.

    Attributes:
        dropped: items that were never fetched.
    """

    def __init__(self, keep: int = 1) -> None:
        super().__init__(keep)
        self.dropped = 0

    def put(self, item: T) -> None:
        """Hand over an item; never waits. Raises Stopped when the reader is gone."""
        with self._changed:
            if self._aborted:
                raise Stopped
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    def take(self, patience_s: float) -> T | None:
        """The next item, waiting for it for so long at most; None where none came."""
        until = time.monotonic() + patience_s
        with self._changed:
            while not self._items and not self._closed and not self._aborted:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    def wait_until_taken(self) -> None:
        """Waits until nothing waits to be fetched, or nobody fetches any more."""
        with self._changed:
            while self._items and not self._aborted:
                self._changed.wait(_WAKE_S)

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more and nothing waits."""
        with self._changed:
            return self._aborted or (self._closed and not self._items)
