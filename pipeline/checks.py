"""What `posefix doctor` looks at. Each check gives findings, and may raise whatever it likes: see `doctor.guarded`.

Everything but the standard library is imported where it is used: any of it may be broken.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from .doctor import Check, Finding, in_words
from .trial import REINSTALL, look_at_detector, look_at_networks

PYTHONS = ((3, 10), (3, 13))  # from, and the first that does not do
#: distribution -> module, where they differ
MODULES = {"opencv-python": "cv2", "opencv-contrib-python": "cv2", "scikit-learn": "sklearn"}
#: without these only a part of posefix does not work -> which
PARTIAL = {"scikit-learn": "posefix train", "scipy": "several people, and posefix train"}
AV = 'pip install --force-reinstall --no-deps "av>=12,<20"; without it: posefix clip.mp4 --no-render'
FRAMES = 8  # of the clips that are tried
MIN_FREE_GB = 1.0


def look_at_posefix() -> Iterator[Finding]:
    """posefix, Python and the system."""
    try:
        said = metadata.version("posefix")
        yield Finding("posefix", "ok", said, values={"version": said})
    except metadata.PackageNotFoundError:
        yield Finding("posefix", "warning", "is not installed, but runs from its folder", "pip install .")
    found, (low, high) = platform.python_version(), PYTHONS
    fits = low <= sys.version_info[:2] < high
    mend = "" if fits else f"a new environment: python{low[0]}.{high[1] - 1} -m venv env, then pip install ."
    kind = "in an environment of its own" if sys.prefix != sys.base_prefix else "the system's, or conda's"
    yield Finding("Python", "ok" if fits else "wrong", f"{found}, {kind}", mend, {"version": found})
    yield Finding("system", "ok", platform.platform(), values={"platform": platform.platform()})


def look_at_packages() -> Iterator[Finding]:
    """What posefix asks for: installed, of a version that does, and importable."""
    for line in metadata.requires("posefix") or []:
        if "extra ==" not in line:
            yield from look_at_package(line)
    contrib, plain = (_version(name) for name in ("opencv-contrib-python", "opencv-python"))
    if contrib and plain and contrib != plain:
        yield Finding(
            "OpenCV", "warning", f"opencv-python {plain} and opencv-contrib-python {contrib} overwrite each other",
            f"pip install --force-reinstall --no-deps opencv-python=={contrib} opencv-contrib-python=={contrib}",
        )  # fmt: skip


def look_at_package(requirement: str) -> Iterator[Finding]:
    """One package, given as in pyproject.toml: `name>=1.2` or `name>=1.2; marker`."""
    wanted, _, marker = (part.strip() for part in requirement.partition(";"))
    name = wanted.replace("(", " ").split("[")[0].split(" ")[0]
    name = next((name[:k] for k, c in enumerate(name) if c in "<>=!~"), name)
    if marker and not _applies(marker):
        return
    mend, bad = f'pip install "{wanted}"', "warning" if name in PARTIAL else "wrong"
    without = f"; needed for {PARTIAL[name]}" if name in PARTIAL else ""
    found, module = _version(name), MODULES.get(name, name)
    try:
        importlib.import_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{found} cannot be imported ({in_words(error)})" if found else "is not installed"
        mend = f'pip install --force-reinstall --no-deps "{name}=={found}"' if found else mend
        yield Finding(name, bad, said + without, mend, {"version": found})
        return
    if found is None:  # conda's OpenCV, say
        said = f"is not installed, but {module} is there from elsewhere"
        yield Finding(name, "warning", said, mend, {"version": None})
        return
    fits = _satisfies(found, wanted[len(name) :])
    said = found if fits else f"{found}; posefix asks for {wanted}"
    yield Finding(name, "ok" if fits else "warning", said, "" if fits else mend, {"version": found})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _applies(marker: str) -> bool:
    try:
        from packaging.markers import Marker

        return Marker(marker).evaluate()
    except ImportError:  # matplotlib brings it; without it, nothing can be said
        return False


def _satisfies(version: str, specifier: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(specifier.strip(" ()")).contains(version, prereleases=True)
    except ImportError:
        return True


def look_at_cpu() -> Iterator[Finding]:
    """Cores that posefix may use."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    values = {"cores": cores, "usable": usable, "machine": platform.machine()}
    yield Finding("CPU", "ok", f"{platform.machine()}, {usable} of {cores} threads usable", values=values)


def look_at_onnxruntime() -> Iterator[Finding]:
    """What networks in ONNX files can run on; posefix's own do so on the CPU."""
    import onnxruntime

    found = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    there = "CPU" in found
    mend = "" if there else "pip install --force-reinstall --no-deps onnxruntime"
    said = f"runs on {', '.join(found)}"
    yield Finding("onnxruntime", "ok" if there else "wrong", said, mend, {"providers": found})


def look_at_gpu() -> Iterator[Finding]:
    """CUDA and MPS, by a small product of matrices."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    build = torch.version.cuda
    if cuda:
        part = torch.cuda.get_device_properties(0)
        name = f"{part.name}, {part.total_memory / 2**30:.0f} GiB, PyTorch for CUDA {build}"
        yield _tried(torch, "cuda", name)
    elif build is not None:
        yield Finding("CUDA", "ok", f"PyTorch for CUDA {build} finds no GPU that it can use; the CPU does")
    elif shutil.which("nvidia-smi"):
        mend = "the command that pytorch.org/get-started/locally shows for CUDA"
        yield Finding(
            "CUDA", "warning", "there is nvidia-smi, but this PyTorch is a build without CUDA", mend
        )
    else:
        yield Finding("CUDA", "ok", "none; this PyTorch is a build without it")
    yield _tried(torch, "mps", "there") if mps else Finding("MPS", "ok", "none")
    from ..skeleton.devices import resolve_device

    chosen = resolve_device("auto")
    yield Finding("--device auto", "ok", f"takes {chosen}", values={"device": chosen})


def _tried(torch: Any, device: str, said: str) -> Finding:
    mend = f"posefix clip.mp4 --device cpu; or a PyTorch that fits this GPU ({device}), from pytorch.org"
    try:
        ones = torch.ones(64, 64, device=device)
        works = float((ones @ ones).sum()) == 64.0**3
    except Exception as error:
        return Finding(device.upper(), "wrong", f"{said}; does not compute ({error})", mend)
    return Finding(device.upper(), "ok" if works else "wrong", said, "" if works else mend)


def look_at_h264() -> Iterator[Finding]:
    """H.264 is written as runs write it, and read back."""
    import numpy as np

    from .sinks import VideoSink

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "h264.mp4"
        with VideoSink(path, 30.0) as sink:
            for k in range(FRAMES):
                sink.write(np.full((96, 128, 3), 25 * k, np.uint8), k / 30)
        read = _frames_read(path)
    good = read == FRAMES
    said = f"{FRAMES} frames written by PyAV, {read} read back by OpenCV"
    values = {"written": FRAMES, "read": read}
    yield Finding("H.264", "ok" if good else "wrong", said, "" if good else AV, values)


def look_at_hevc() -> Iterator[Finding]:
    """HEVC, which phones record, is read."""
    import av
    import numpy as np

    if "libx265" not in av.codecs_available:
        yield Finding("HEVC", "ok", "not tried: this PyAV cannot write it")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hevc.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx265", rate=30, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for k in range(FRAMES):
                picture = np.full((96, 128, 3), 25 * k, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
            container.mux(stream.encode(None))
        read = _frames_read(path)
    mend = "" if read == FRAMES else "convert such clips: ffmpeg -i clip.mov -c:v libx264 clip.mp4"
    said = f"{read} of {FRAMES} frames read by OpenCV"
    yield Finding("HEVC", "warning" if mend else "ok", said, mend, {"read": read})


def _frames_read(path: Path) -> int:
    """By posefix's own reader: it asks more of PyAV than decoding does, and PyAV changes."""
    from ..skeleton.errors import InputError
    from .reader import open_source

    try:
        with open_source(path) as reader:
            return sum(1 for _ in reader)
    except InputError:
        return 0


def look_at_place() -> Iterator[Finding]:
    """Whether results can go into this folder."""
    free = shutil.disk_usage(".").free / 1e9
    said, mend = f"{free:.1f} GB free", ""
    if not os.access(".", os.W_OK):
        said, mend = "cannot be written to", "posefix clip.mp4 -o FOLDER"
    elif free < MIN_FREE_GB:
        mend = "free some space, or posefix clip.mp4 -o FOLDER on another disk"
    yield Finding("this folder", "warning" if mend else "ok", said, mend, {"free_gb": round(free, 1)})


def look_at_cameras() -> Iterator[Finding]:
    """Cameras that could be opened; none is."""
    if sys.platform != "linux":
        hint = "the system asks for permission when `posefix 0` opens it the first time"
        yield Finding("cameras", "ok", f"not looked for; {hint}")
        return
    found = sorted(Path("/dev").glob("video*"))
    closed = [p.name for p in found if not os.access(p, os.R_OK | os.W_OK)]
    if closed:
        mend = 'sudo usermod -aG video "$USER", then log in again'
        yield Finding("cameras", "warning", f"{', '.join(closed)}: no permission to open", mend)
    names = (
        ", ".join(p.name for p in found) or "none, so `posefix 0` has nothing to open; files and URLs work"
    )
    yield Finding("cameras", "ok", names, values={"cameras": [p.name for p in found]})


def look_at_display() -> Iterator[Finding]:
    """Whether `posefix view` can show its page."""
    import webbrowser

    there = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    try:
        webbrowser.get()
        browser = there
    except webbrowser.Error:
        browser = False
    said = "there" if there else "none"
    if not browser:
        said += "; no browser: `posefix view --no-open` writes the page, to open elsewhere"
    yield Finding("display", "ok", said, values={"display": there, "browser": browser})


def look_at_detectors() -> Iterator[Finding]:
    """Detectors beside the default one: what they need, or how it is installed."""
    from ..detectors import detector_names
    from ..detectors.base import find_detector
    from .settings import Settings

    for name in detector_names():
        if name == Settings().detector:
            continue
        entry = find_detector(name)
        if name == "mmpose" and importlib.util.find_spec("mmpose") is None:
            yield Finding(
                name, "ok", f"not installed, and needed by nothing else; to have it: {entry.install}"
            )
            continue
        try:
            getattr(importlib.import_module(entry.module), entry.attribute)
        except Exception as error:
            yield Finding(name, "warning", f"cannot be imported ({error})", entry.install)
        else:
            version = f" {_version(name)}" if name == "mmpose" else ""
            yield Finding(name, "ok", f"installed{version}; its networks are yours to name")


def look_at_weights() -> Iterator[Finding]:
    """The shipped weights against their manifest."""
    import json

    from ..lifter.runtime import MANIFEST, checked_file, weights_folder
    from ..skeleton.errors import WeightsError

    folder = weights_folder()
    in_clone = (folder.resolve().parent / ".git").exists()
    mend = "git checkout -- weights   (in the clone of posefix)" if in_clone else REINSTALL
    try:
        names = sorted(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding(MANIFEST, "wrong", f"cannot be read ({error})", mend)
        return
    for name in names:
        try:
            digest = checked_file(folder, name)[1]
        except WeightsError as error:
            said = str(error).replace(str(folder / name), "").lstrip(": ").rpartition(";")[0]
            yield Finding(name, "wrong", said or str(error), mend)
        else:
            yield Finding(name, "ok", f"SHA-256 {digest[:16]} as in the manifest", values={"sha256": digest})


CHECKS = (
    Check("Versions", "posefix", look_at_posefix),
    Check("Versions", "packages", look_at_packages, "warning", "pip install ."),
    Check("Devices", "CPU", look_at_cpu, "warning"),
    Check("Devices", "onnxruntime", look_at_onnxruntime, "wrong", "pip install onnxruntime"),
    Check("Devices", "GPU", look_at_gpu, "wrong", 'pip install "torch>=2.6"'),
    Check("Video", "H.264", look_at_h264, "wrong", AV),
    Check("Video", "HEVC", look_at_hevc, "warning"),
    Check("Surroundings", "this folder", look_at_place, "warning", "posefix clip.mp4 -o FOLDER"),
    Check("Surroundings", "cameras", look_at_cameras, "warning"),
    Check("Surroundings", "display", look_at_display, "warning", "posefix view FOLDER --no-open"),
    Check("Weights", "weights", look_at_weights, "wrong", REINSTALL),
    Check("Other detectors", "detectors", look_at_detectors, "warning"),
    Check("One inference", "2D detector", look_at_detector, "wrong", 'pip install "mediapipe==0.10.14"'),
    Check("One inference", "lifter and refiner", look_at_networks, "wrong", REINSTALL),
)  # fmt: skip
