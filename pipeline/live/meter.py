"""How fast the pictures come, and how old they are when they are seen."""

from __future__ import annotations

import threading
from collections import deque
from statistics import median

WINDOW_S = 2.0
_MOST = 4096  # bounds what is remembered, whatever the rate


class Meter:
    """Frames per second and latency of the last WINDOW_S seconds; may be fed and read from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: deque[tuple[float, float]] = deque(maxlen=_MOST)  # (when, latency), seconds
        self.frames = 0
        """All frames shown."""

    def shown(self, taken_s: float, now_s: float) -> None:
        """A frame that was taken at one moment is seen at another, both by `time.monotonic`."""
        with self._lock:
            self.frames += 1
            self._shown.append((now_s, now_s - taken_s))
            while now_s - self._shown[0][0] > WINDOW_S:
                self._shown.popleft()

    @property
    def fps(self) -> float:
        """Frames per second; 0 before the second frame."""
        with self._lock:
            if len(self._shown) < 2:
                return 0.0
            return (len(self._shown) - 1) / max(self._shown[-1][0] - self._shown[0][0], 1e-6)

    @property
    def latency_ms(self) -> float:
        """Median from taken to seen, milliseconds; 0 before the first frame."""
        with self._lock:
            return 1000 * median(latency for _, latency in self._shown) if self._shown else 0.0
