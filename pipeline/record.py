"""What a run's JSON holds: everything needed to know how its numbers came about, and to repeat them."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..detectors import Detector
    from .reader import SourceInfo
    from .run import RunSummary
    from .settings import Settings

PACKAGES = ("torch", "onnxruntime", "mediapipe", "opencv-python", "av", "numpy", "scipy")


def package_version(name: str) -> str | None:
    """The installed version, None when the package is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def make_record(
    summary: RunSummary,
    settings: Settings,
    device: str,
    detector: Detector,
    weights: dict[str, str],
    info: SourceInfo,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """The content of NAME_run.json; its keys are described in the data dictionary of the documentation."""
    counts = ("read", "detected", "interpolated", "missing", "without_3d", "corrupt")
    return {
        "posefix": package_version("posefix"),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": {**asdict(info), "fingerprint": fingerprint},
        "settings": asdict(settings),
        "seed": settings.seed,
        "device": device,
        "detector": {"name": detector.name, "layout": detector.layout, "device": detector.device},
        "weights_sha256": {**weights, **detector.weights},
        "frames": {name: getattr(summary, name) for name in counts},
        "people": {
            "count": len(summary.people),
            "rows": {str(n): dict(sorted(rows.items())) for n, rows in sorted(summary.people.items())},
        },
        "video_start_s": summary.video_start_s,
        "interrupted": summary.signal is not None,
        "ended_early": summary.ended_early,
        "error": summary.error,
        "warnings": summary.warnings,
        "seconds": round(summary.seconds, 3),
        "frames_per_s": round(summary.read / summary.seconds, 2) if summary.seconds else None,
        "stage_seconds": {stage: round(s, 3) for stage, s in summary.stages.items()},
        "versions": {"python": platform.python_version(), **{p: package_version(p) for p in PACKAGES}},
        "platform": platform.platform(),
    }
