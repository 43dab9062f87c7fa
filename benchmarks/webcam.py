"""Whether the webcam demo keeps up: a 640x480 clip played in real time, from the file to the screen.

    python benchmarks/webcam.py [--video FILE] [--seconds 600] [--show window] [--cores 2] [--json FILE]

    frames/s     pictures shown
    latency      from the moment that a frame is due until its picture is on the screen (in the browser's hands);
                 what a camera's exposure and cable and the screen itself add is not in it
    growth       of latency and of resident memory: a straight line through all of them after the warm-up, times the
                 length of the run

The program runs in a process of its own that may use so many cores. Without a display the window is shown on a
virtual one (Xvfb) where that is installed; Xvfb and the reader of `--show page` are further processes on the same
cores.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import psutil
from clips import looped_clip, scaled_clip, source_or_sample
from command import run, write_json
from posefix.pipeline.interrupt import Interrupt
from posefix.pipeline.live.meter import Meter
from posefix.pipeline.reader import open_source
from posefix.pipeline.settings import Settings
from posefix.pipeline.smoothing import SmoothName
from posefix.pipeline.sources import as_source
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import DeviceError

SIZE, FPS = (640, 480), 30
LEAST_FPS, MOST_LATENCY_MS = 20.0, 120.0
MOST_LATENCY_GROWTH_MS, MOST_MEMORY_GROWTH = 10.0, 0.03
WARM_UP_SHARE, WARM_UP_S = 0.1, 30.0  # what is loaded at the first use is no growth

Show = Literal["window", "page"]


class Notebook(Meter):
    """A meter that remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[float, float]] = []  # seconds by time.monotonic, latency in seconds

    def shown(self, taken_s: float, now_s: float) -> None:
        super().shown(taken_s, now_s)
        self.rows.append((now_s, now_s - taken_s))


def play(clip: Path, hypotheses: int, smooth: SmoothName, show: Show) -> dict[str, Any]:
    """Plays the clip to its end. Returns rows of (s, latency s) and (s, bytes), and what the steps took."""
    from posefix.pipeline.live.camera import Camera
    from posefix.pipeline.live.controls import Controls
    from posefix.pipeline.live.engine import Engine, load_networks

    settings = Settings(hypotheses=hypotheses, smooth=smooth, batch_size=1, device="cpu")
    device = resolve_device(settings.device)
    memory: list[tuple[float, int]] = []
    done = threading.Event()
    process = psutil.Process()

    def look() -> None:
        while not done.wait(0.5):
            memory.append((time.monotonic(), process.memory_info().rss))

    with tempfile.TemporaryDirectory() as folder, load_networks(settings, device) as networks:
        camera = Camera(as_source(clip))
        engine = Engine(camera, networks, settings, Controls(), folder=Path(folder), device=device)
        engine.meter = notebook = Notebook()
        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        began = time.monotonic()
        _show(engine, show)
        seconds = time.monotonic() - began
        done.set()
        watcher.join()
    steps = {step: 1000 * s / max(1, notebook.frames) for step, s in engine.clock.seconds.items()}
    return {
        "seconds": seconds,
        "dropped": engine.dropped,
        "steps_ms": steps,
        "latency": notebook.rows,
        "memory": memory,
    }


def _show(engine: Any, show: Show) -> None:
    if show == "window":
        from posefix.pipeline.live.window import Window, show_in_window

        with Window() as window, engine:
            show_in_window(engine, window, Interrupt())
        return
    from posefix.pipeline.live.server import Server, show_in_browser

    with Server(engine, ("127.0.0.1", 0)) as server:
        reader = multiprocessing.get_context("spawn").Process(
            target=_read, args=(f"{server.url}stream.mjpg",), daemon=True
        )
        reader.start()
        while not server.board.watched:
            time.sleep(0.01)
        with engine:
            show_in_browser(engine, server, Interrupt())
        reader.terminate()


def _read(url: str) -> None:
    """What a browser does, but for the picture."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
        while answer.read1(1 << 20):
            pass


def measure(clip: Path, hypotheses: int, smooth: SmoothName, show: Show, cores: int) -> dict[str, Any]:
    """All figures."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_keep_to, initargs=(cores,)) as pool:
        rows = pool.submit(play, clip, hypotheses, smooth, show).result()
    times, latency = np.array(rows["latency"]).T
    seen, memory = np.array(rows["memory"]).T
    warm_s = times[0] + min(WARM_UP_S, WARM_UP_SHARE * (times[-1] - times[0]))
    latency_ms, mib = 1000 * latency, memory / 2**20
    length = times[-1] - warm_s
    slope_ms = float(np.polyfit(times[times >= warm_s], latency_ms[times >= warm_s], 1)[0])
    slope_mib = float(np.polyfit(seen[seen >= warm_s], mib[seen >= warm_s], 1)[0])
    return {
        "seconds": round(rows["seconds"], 1),
        "frames": len(times),
        "dropped": rows["dropped"],
        "fps": (len(times) - 1) / (times[-1] - times[0]),
        "latency_ms": {"median": median(latency_ms.tolist()), "p95": float(np.percentile(latency_ms, 95))},
        "latency_growth_ms": slope_ms * length,
        "latency_slope_ms_per_min": 60 * slope_ms,
        "memory_mib": {"median": median(mib.tolist()), "peak": float(mib.max())},
        "memory_growth_mib": slope_mib * length,
        "memory_slope_mib_per_min": 60 * slope_mib,
        "steps_ms": {step: round(ms, 2) for step, ms in rows["steps_ms"].items()},
    }


def _keep_to(cores: int) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


@contextlib.contextmanager
def display(cores: int) -> Iterator[str]:
    """The display, or a virtual one. Gives what it is. Raises DeviceError where there is neither."""
    if os.environ.get("DISPLAY") or not sys.platform.startswith("linux"):
        yield "display"
        return
    if shutil.which("Xvfb") is None:
        raise DeviceError("there is no display, and no Xvfb for a virtual one; add --show page")
    words = ["Xvfb", "-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0", "1400x800x24"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(server.pid, sorted(os.sched_getaffinity(0))[:cores])
        assert server.stdout is not None
        os.environ["DISPLAY"] = f":{server.stdout.readline().strip()}"
        if shutil.which("xdotool"):
            # Where no window manager is, Qt at times misses that its window is to be seen, and never paints.
            find, again = (
                ["search", "--sync", "--name", "^posefix$"],
                ["windowunmap", "sleep", "0.2", "windowmap"],
            )
            words = ["xdotool", *find, "sleep", "2", *again]
            subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield "Xvfb"
        finally:
            del os.environ["DISPLAY"]
            server.terminate()


def bars(report: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, measured, bar, whether it holds) of every figure that has a bar."""
    latency, memory = report["latency_ms"]["median"], report["memory_mib"]["median"]
    drift, more = report["latency_growth_ms"], report["memory_growth_mib"]
    most = MOST_MEMORY_GROWTH * memory
    return [
        ("frames/s", f"{report['fps']:.1f}", f">= {LEAST_FPS:g}", report["fps"] >= LEAST_FPS),
        ("latency, median", f"{latency:.0f} ms", f"<= {MOST_LATENCY_MS:g} ms", latency <= MOST_LATENCY_MS),
        (
            "growth of latency",
            f"{drift:+.1f} ms",
            f"<= {MOST_LATENCY_GROWTH_MS:g} ms",
            drift <= MOST_LATENCY_GROWTH_MS,
        ),
        ("growth of memory", f"{more:+.1f} MiB", f"<= {most:.0f} MiB", more <= most),
    ]


def webcam(
    *,
    video: Path | None = None,
    seconds: float = 600.0,
    show: Show = "window",
    hypotheses: int = Settings().hypotheses,
    smooth: SmoothName = "light",
    cores: int = 2,
    json: Path | None = None,
) -> None:
    """Measure frames per second, latency and their growth of the webcam demo.

    Args:
        video: clip with a person, looped and scaled to 640x480; by default the drawn sample.
        seconds: how long it plays.
        show: where: a window, or the page, read by another process.
        hypotheses: poses drawn per frame.
        smooth: how much the 3D is smoothed.
        cores: processor cores to use (on systems that can be told); all with 0.
        json: also write the figures to this file.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        source = source_or_sample(video, folder)
        where = stack.enter_context(display(cores)) if show == "window" else "page, read over loopback"
        once = scaled_clip(source, folder / "once.mp4", min(_frames(source), round(FPS * seconds)), SIZE, FPS)
        clip = looped_clip(once, folder / "clip.mp4", seconds)
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        report: dict[str, Any] = {
            "video": video.name if video else "sample",
            "size": SIZE,
            "shown": where,
            "hypotheses": hypotheses,
            "smooth": smooth,
            "cores": min(cores or 10**6, usable),
            "machine": f"{platform.machine()}, {platform.system()}",
            **measure(clip, hypotheses, smooth, show, cores),
        }
    print(f"{report['frames']} frames in {report['seconds']:g} s on {report['cores']} cores, {where}")
    for what, measured, bar, holds in bars(report):
        print(f"  {what:18} {measured:>10}   {bar:10}  {'holds' if holds else 'does NOT hold'}")
    print(f"  {'latency, p95':18} {report['latency_ms']['p95']:>7.0f} ms")
    print(f"  {'memory':18} {report['memory_mib']['median']:>6.0f} MiB")
    steps = ", ".join(f"{step} {ms:.1f}" for step, ms in report["steps_ms"].items())
    print(f"  ms a shown frame in each step: {steps}")
    report["holds"] = all(holds for *_, holds in bars(report))
    write_json(report, json)


def _frames(source: Path) -> int:
    with open_source(source) as frames:
        return frames.info.n_frames or FPS


if __name__ == "__main__":
    run(webcam)
