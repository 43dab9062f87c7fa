"""What keys and buttons change, safe to press from any thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

YAW_DEG = 35.0
YAW_STEP_DEG = 15.0

#: key -> what it does, in the order of the help; `posefix webcam --help` and the page's buttons show the same
KEYS: dict[str, str] = {
    "r": "record",
    "p": "pause",
    "m": "mirror",
    "f": "refine",
    "[": "turn left",
    "]": "turn right",
    "h": "help",
    "q": "quit",
}
#: the same, short enough for one line of the picture
HELP = {
    "r": "record",
    "p": "pause",
    "m": "mirror",
    "f": "refine",
    "[ ]": "turn",
    "h": "hide keys",
    "q": "quit",
}
#: other names of keys
ALIASES = {"left": "[", "right": "]", "esc": "q", " ": "p"}


@dataclass(frozen=True, slots=True)
class State:
    """What is switched on.

    Attributes:
        record: frames are written. paused: the picture stands still. mirror: left and right are swapped on the
            screen. refine: the refiner runs. help: the keys are shown. quit: the demo ends.
        yaw_deg: how far the 3D view is turned, -180 to 180.
    """

    record: bool = False
    paused: bool = False
    mirror: bool = False
    refine: bool = True
    help: bool = True
    quit: bool = False
    yaw_deg: float = YAW_DEG


class Controls:
    """The state that everybody sees, and the keys that change it."""

    def __init__(self, state: State | None = None) -> None:
        self._lock = threading.Lock()
        self._state = state or State()

    @property
    def state(self) -> State:
        """As it is now; a whole of one moment."""
        return self._state

    def press(self, key: str) -> bool:
        """Do what a key does, by its name in KEYS or ALIASES. Returns False for a key that does nothing."""
        key = key if key in KEYS else ALIASES.get(key.lower(), key.lower())
        if key not in KEYS:
            return False
        with self._lock:
            self._state = _pressed(self._state, key)
        return True

    def set(self, **changes: bool) -> None:
        """Change the state otherwise than by a key."""
        with self._lock:
            self._state = replace(self._state, **changes)


def _pressed(state: State, key: str) -> State:
    if key in "[]":
        yaw = state.yaw_deg + (YAW_STEP_DEG if key == "]" else -YAW_STEP_DEG)
        return replace(state, yaw_deg=(yaw + 180.0) % 360.0 - 180.0)
    if key == "q":
        return replace(state, quit=True)
    name = {"r": "record", "p": "paused", "m": "mirror", "f": "refine", "h": "help"}[key]
    return replace(state, **{name: not getattr(state, name)})
