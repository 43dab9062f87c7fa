"""Everything a run can be told: the flags of `posefix` in one frozen dataclass, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..detectors.base import DetectorOptions, check_options, find_detector, sees_one
from ..skeleton.errors import InputError
from .flags import ClipFlags, DetectorFlags, DeviceName, FileFlags, PersonFlags, RefinerFlags
from .smoothing import SMOOTH

DEVICES: tuple[str, ...] = get_args(DeviceName)

MAX_STEPS = 50  # the refiner's diffusion has no more
MAX_HYPOTHESES = 200
MIN_HEIGHT_M, MAX_HEIGHT_M = 0.3, 3

ALL, LARGEST = "all", "largest"


@dataclass(frozen=True, kw_only=True)
class Settings(FileFlags, ClipFlags, RefinerFlags, PersonFlags, DetectorFlags):
    """How to process a clip: the flags, which `flags.py` explains, and:

    Attributes:
        output: folder for the results; None: NAME_posefix in the current folder.
        verbosity: -1 quiet, 0 normal, 1 verbose (tracebacks).

    Raises:
        InputError: a value makes no sense.
    """

    output: Path | None = None
    verbosity: int = 0

    def __post_init__(self) -> None:
        find_detector(self.detector)
        check_options(self.detector, self.detector_options)
        self._check_person()
        _require(self.device in DEVICES, f"--device {self.device}: choose from {', '.join(DEVICES)}")
        _require(self.smooth in SMOOTH, f"--smooth {self.smooth}: choose from {', '.join(SMOOTH)}")
        _require_range("--steps", self.steps, 1, MAX_STEPS)
        _require_range("--hypotheses", self.hypotheses, 1, MAX_HYPOTHESES)
        _require_range("--height", self.height, MIN_HEIGHT_M, MAX_HEIGHT_M, " metres, e.g. 1.75")
        _require_range("--seed", self.seed, 0, 2**63 - 1)
        _require_range("--batch-size", self.batch_size, 1, 1024)
        if self.start is not None:
            _require(0 <= self.start < math.inf, f"--start {self.start:g}: expected 0 or more seconds")
        if self.end is not None:
            begin = self.start or 0.0
            _require(self.end > begin, f"--end {self.end:g}: expected more than the start, {begin:g} seconds")
        _require(not (self.resume and self.overwrite), "--resume and --overwrite: choose one of them")
        if self.max_frames is not None:
            _require(self.max_frames >= 1, f"--max-frames {self.max_frames}: expected 1 or more")

    def _check_person(self) -> None:
        numbers = parse_person(self.person)
        if numbers not in ((), (0,)) and sees_one(self.detector, self.detector_options):
            raise InputError(
                f"--person {self.person}: the detector {self.detector!r} finds one person here, number 0; for "
                "several add --detector onnx with --pose-model and --det-model"
            )

    @property
    def detector_options(self) -> DetectorOptions:
        """What the detector is told beside the device."""
        return DetectorOptions(
            self.pose_model, self.det_model, self.pose_preset, self.pose_weights, self.det_weights
        )


def results_folder(name: str) -> Path:
    """Where the results of the clip of that name go unless told otherwise: into the current folder."""
    return Path(f"{name}_posefix")


def parse_person(word: str) -> tuple[int, ...]:
    """The numbers that `--person` names; none for "all" and "largest". Raises InputError."""
    if word in (ALL, LARGEST):
        return ()
    parts = [part.strip() for part in word.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        raise InputError(
            f"--person {word}: expected {ALL}, {LARGEST}, or numbers of people, e.g. 0 or 0,2; "
            "they count from 0 in order of appearance"
        )
    return tuple(sorted({int(part) for part in parts}))


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise InputError(problem)


def _require_range(flag: str, value: float, low: float, high: float, unit: str = "") -> None:
    # Written so that NaN fails. Not `:g`: an integer may be too large for a float.
    _require(low <= value <= high, f"{flag} {value}: expected {low} to {high}{unit}")
