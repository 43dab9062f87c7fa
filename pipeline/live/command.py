"""`posefix webcam`: words in, the live program called."""

# ruff: noqa: B008 - the groups of flags, which are defaults, are frozen

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...skeleton.errors import EXIT_OK, InputError
from ..flags import DetectorFlags, PersonFlags, PrintFlags, RefinerFlags, Switch
from ..settings import Settings

if TYPE_CHECKING:
    from .engine import Engine

FOLDER = Path("webcam_posefix")


def webcam(
    source: str = "0",
    *,
    serve: Annotated[list[str] | None, Parameter(consume_multiple=(0, 1), negative="")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = FOLDER,
    mirror: Switch = False,
    detector: DetectorFlags = DetectorFlags(),
    people: PersonFlags = PersonFlags(),
    refiner: RefinerFlags = RefinerFlags(),
    printed: PrintFlags = PrintFlags(),
) -> int:
    """Show a camera, stream or file with its skeletons as it happens, in a window or a browser.

    Parameters
    ----------
    source
        A camera's number, an RTSP or HTTP URL, or a file, which plays at its own pace.
    serve
        Show it in a browser, at HOST:PORT; alone: at 127.0.0.1:8765, for this machine only.
        Elsewhere the address has a token that is asked for.
    output
        Folder for recordings; each gets a folder of its own in it.
    mirror
        Swap left and right on the screen; joints keep their names.
    """
    settings = Settings(
        batch_size=1, verbosity=printed.verbosity, **vars(detector), **vars(people), **vars(refiner)
    )
    address = None if serve is None else (serve or [""])[0]
    return run_live(source, settings, serve=address, folder=output, mirror=mirror)


def run_live(source: str, settings: Settings, *, serve: str | None, folder: Path, mirror: bool) -> int:
    """Runs until the source ends or somebody quits. Returns the exit code.

    Args:
        serve: HOST:PORT of the page, "" for the usual one; None: a window.

    Raises:
        PosefixError: the source does not open, no window can, or an address cannot be used.
    """
    from ...skeleton.devices import resolve_device
    from ..cli import print_out
    from ..interrupt import Interrupt
    from ..sources import as_source
    from .camera import Camera
    from .controls import Controls, State
    from .engine import Engine, load_networks
    from .server import Server, await_browser, parse_address, show_in_browser
    from .window import Window, check_display, show_in_window

    quiet = settings.verbosity < 0
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o {folder}: is a file; name a folder for the recordings")
    address, wanted = None if serve is None else parse_address(serve), as_source(source)
    if address is None:
        check_display()
    device = resolve_device(settings.device)
    controls = Controls(State(mirror=mirror, refine=settings.refine, help=address is None))
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt().listening())
        camera = Camera(wanted)
        window = stack.enter_context(Window()) if address is None else None
        networks = stack.enter_context(load_networks(settings, device))
        engine = Engine(camera, networks, settings, controls, folder=folder, device=device)
        if window is not None:
            with engine:
                show_in_window(engine, window, interrupt)
        elif address is not None:
            with Server(engine, address) as server:
                waits = wanted.kind not in ("camera", "stream")
                if not quiet:
                    then = "the clip begins then; " if waits else ""
                    print_out(f"open {server.url} in a browser; {then}Ctrl-C ends it")
                if waits:
                    await_browser(server, controls, interrupt)
                with engine:
                    show_in_browser(engine, server, interrupt)
    if not quiet:
        print_out(describe(engine, settings.verbosity > 0))
    code = EXIT_OK if interrupt.signal is None else 128 + interrupt.signal
    if engine.camera_hangs:  # the interpreter's end would tear the decoder from under its thread
        sys.stdout.flush()
        os._exit(code)
    return code


def describe(engine: Engine, verbose: bool = False) -> str:
    """The closing lines: how many frames were shown, and what was recorded; verbose: times of the steps too."""
    meter, info = engine.meter, engine.camera.info
    lines = [f"{info.name}: {meter.frames} frames shown, {engine.dropped} dropped"]
    if verbose and meter.frames:
        spent = (f"{step} {1000 * s / meter.frames:.1f}" for step, s in engine.clock.seconds.items())
        lines.append(f"  ms a frame in each step: {', '.join(spent)}")
    for recording in engine.recorder.finished:
        words = f"  recorded {recording.paths.folder}: {recording.frames} frames"
        lines.append(words + (f", {recording.dropped} dropped" if recording.dropped else ""))
        if recording.error:
            lines.append(f"  warning: {recording.error}")
    return "\n".join(lines)
