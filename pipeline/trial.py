"""The detector and the networks tried once and timed, for `posefix doctor`; see `checks.py`.

Everything but the standard library is imported where it is used: any of it may be broken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, TypeVar

from .doctor import Finding

T = TypeVar("T")
REINSTALL = "pip install --force-reinstall --no-deps .   (in a clone of posefix)"
REPEATS = 5
#: A person who stands, seen from the front, pixels of a picture of 640 x 720: joints of H36M17
STANDING = (
    (320, 380), (290, 380), (288, 500), (286, 610), (350, 380), (352, 500), (354, 610), (320, 315), (320, 250),
    (320, 215), (320, 180), (370, 255), (385, 330), (390, 400), (270, 255), (255, 330), (250, 400),
)  # fmt: skip


def look_at_detector() -> Iterator[Finding]:
    """The default detector on a drawn person."""
    from ..detectors import create_detector
    from ..skeleton import Frame
    from .settings import Settings

    try:
        from ..demos.make_sample import render

        image = render(0.0)
    except ImportError as error:
        yield Finding(
            "2D detector", "warning", f"not tried: the demos cannot be imported ({error})", REINSTALL
        )
        return
    name = Settings().detector
    began = time.perf_counter()
    detector = create_detector(name)
    load = time.perf_counter() - began
    poses, times = _timed(lambda k: detector.detect(Frame(k, k / 30, image)))
    detector.close()
    said = f"{name}, one drawn frame of 640 x 720: {_times(load, times)}"
    values = _values(load, times)
    if poses:
        yield Finding("2D detector", "ok", said, values=values)
    else:
        mend = 'pip install --force-reinstall --no-deps "mediapipe==0.10.14"'
        yield Finding("2D detector", "wrong", f"{said}; it does not see the drawn person", mend, values)


def look_at_networks() -> Iterator[Finding]:
    """Lifter and refiner on a person who stands."""
    import numpy as np

    from ..skeleton import Pose2D
    from ..skeleton.devices import resolve_device
    from .run import load_estimator
    from .settings import Settings

    settings = Settings()
    device = resolve_device(settings.device)
    pose = Pose2D(np.array(STANDING, np.float32), np.ones(17, np.float32), "h36m17")
    began = time.perf_counter()
    estimator = load_estimator(settings, device)
    load = time.perf_counter() - began
    (found,), times = _timed(lambda k: estimator([pose], [(k, 0)]))
    estimator.close()
    said = f"one pose on {device}, {settings.hypotheses} hypotheses: {_times(load, times)}"
    values = {"device": device, **_values(load, times)}
    height = 0.0 if found is None else float(np.ptp(found.joints[:, 1]))
    if found is not None and np.isfinite(found.std).all() and 1.0 < height < 2.5:
        yield Finding("lifter and refiner", "ok", said, values=values)
    else:
        said += f"; a standing person comes out {height:.2f} m high"
        yield Finding("lifter and refiner", "wrong", said, "report it with these lines", values)


def _timed(call: Callable[[int], T]) -> tuple[T, list[float]]:
    """What the last of some calls gives, and the seconds of each."""
    times: list[float] = []
    results: list[T] = []
    for k in range(1 + REPEATS):
        began = time.perf_counter()
        results.append(call(k))
        times.append(time.perf_counter() - began)
    return results[-1], times


def _times(load: float, times: list[float]) -> str:
    first, rest = 1000 * times[0], 1000 * median(times[1:])
    return f"loaded in {load:.1f} s, first {first:.0f} ms, then {rest:.1f} ms (median of {len(times) - 1})"


def _values(load: float, times: list[float]) -> dict[str, Any]:
    return {"load_s": round(load, 3), "ms": [round(1000 * t, 2) for t in times]}
