"""The window: pictures in, keys out. OpenCV's own, which needs a display."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import cv2

from ...skeleton.errors import DeviceError
from ..capture import Image
from ..interrupt import Interrupt
from .engine import Engine
from .picture import waiting_picture

TITLE = "posefix"
PATIENCE_S = 0.01  # keys are looked at so often
_PROBE_S = 20.0
_ROUNDS = 10

# cv2.waitKeyEx: arrows as X11, Windows and macOS number them
_ARROWS = {65361: "left", 65363: "right", 0x250000: "left", 0x270000: "right", 63234: "left", 63235: "right"}
_ESCAPE = 27

_ADVICE = "add --serve to see it in a browser"


def check_display() -> None:
    """Raises DeviceError where no window can be opened; OpenCV itself would end the process."""
    if sys.platform.startswith("linux"):
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeviceError(f"there is no display for the window; {_ADVICE}")
        code = f"import cv2; cv2.namedWindow({TITLE!r})"
        try:
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=_PROBE_S)
        except (OSError, subprocess.TimeoutExpired):
            return  # nothing is known: let the window try
        if done.returncode != 0:
            where = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
            raise DeviceError(f"the display {where} cannot be used for the window; {_ADVICE}")


def key_name(code: int) -> str | None:
    """The key of a code of cv2.waitKeyEx, as `Controls.press` takes it; None where there is none."""
    if code < 0:
        return None
    if code in _ARROWS:
        return _ARROWS[code]
    low = code & 0xFF
    return "esc" if low == _ESCAPE else chr(low) if code < 0x110000 and 32 <= low < 127 else None


class Window:
    """A window that keeps the picture's shape; a context manager."""

    def __init__(self, title: str = TITLE) -> None:
        self._title = title
        self._size: tuple[int, int] | None = None
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error:
            message = "this OpenCV is built without windows (opencv-python-headless)"
            raise DeviceError(
                f"{message}; pip install opencv-contrib-python==4.11.0.86, or {_ADVICE}"
            ) from None
        self.show(waiting_picture("starting"))
        for _ in range(_ROUNDS):  # what follows takes seconds, in which nobody could draw it
            cv2.pollKey()
            time.sleep(PATIENCE_S)

    def show(self, image: Image) -> None:
        """Shows a picture, (H, W, 3) uint8 BGR; the first of its size sets the window's."""
        cv2.imshow(self._title, image)
        height, width = image.shape[:2]
        if self._size != (width, height):
            self._size = (width, height)
            cv2.resizeWindow(self._title, width, height)

    def pressed(self) -> list[str]:
        """Lets the window draw itself, and gives the keys pressed since; a closed window is `q`."""
        names: list[str] = []
        while (code := cv2.pollKey()) >= 0:
            names += [name for name in (key_name(code),) if name]
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            names.append("q")
        return names

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        cv2.destroyWindow(self._title)
        cv2.pollKey()


def show_in_window(engine: Engine, window: Window, interrupt: Interrupt) -> None:
    """Shows the engine's pictures until the source ends, somebody quits or a signal comes. Raises PosefixError."""
    for seen in engine.pictures(PATIENCE_S):
        if interrupt.signal is not None:
            return
        if seen is not None:
            window.show(seen.image)
        for name in window.pressed():
            engine.controls.press(name)
        if seen is not None and seen.new:
            engine.meter.shown(seen.taken_s, time.monotonic())
