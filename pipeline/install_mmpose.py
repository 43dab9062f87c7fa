"""`posefix install-mmpose`: MMPose into the environment that posefix runs in, and one inference to prove it.

`pip install mmpose` fails on present-day Pythons. What goes wrong, and what is done instead:

    chumpy        a dependency that does not build and that MMPose never imports: mmpose goes in without dependencies
    torchvision   would bring its own torch; one class of it is imported and not used here: see `mmpose_shims`
    xtcocotools   its wheels are built for numpy 1: built here, from source, against the numpy that is installed
    setuptools    81 announces the end of pkg_resources, which MMEngine imports: held below 81
    mmcv          has no wheel for PyTorch 2.6 and newer, and takes half an hour to compile: mmcv-lite, which lacks the
                  compiled operators; top-down networks do not call them
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..skeleton.errors import InputError, PosefixError

MMENGINE, MMCV, MMPOSE, XTCOCOTOOLS, MMDET = "0.10.7", "2.1.0", "1.3.2", "1.14.3", "3.3.0"
KEPT = ("numpy", "opencv-python", "opencv-contrib-python")  # whatever else asks for other versions


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        why: what it is for, one line.
        arguments: of the interpreter.
        instead: what is done where the command fails; without it a failure is the end.
        hint: how to mend a failure.
    """

    why: str
    arguments: tuple[str, ...]
    instead: Step | None = None
    hint: str = "is there a network?"

    @property
    def command(self) -> str:
        """As typed into a shell."""
        return shlex.join([sys.executable, *self.arguments])


def _pip(*arguments: str) -> tuple[str, ...]:
    return ("-m", "pip", "install", "--disable-pip-version-check", *arguments)


def installed(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_mmcv(mmdet: bool) -> None:
    """Raises InputError where an mmcv is installed that MMPose or MMDetection refuses to be imported with."""
    fits = ("2.0.", "2.1.") if mmdet else ("2.",)
    for name in ("mmcv", "mmcv-lite", "mmcv-full"):
        found = installed(name)
        if found is not None and not found.startswith(fits):
            raise InputError(
                f"{name} {found} is installed, and {'MMDetection' if mmdet else 'MMPose'} does not work with it; "
                f"take it out, then call this again: {sys.executable} -m pip uninstall -y {name}"
            )


def plan(mmdet: bool = False) -> list[Step]:
    """The commands, in order, for the environment as it is. Raises InputError where that cannot be."""
    check_mmcv(mmdet)
    kept = [f"{name}=={v}" for name in KEPT if (v := installed(name)) is not None]
    steps = [
        Step(
            "what xtcocotools is built with; pkg_resources for MMEngine",
            _pip("setuptools>=77,<81", "wheel", "cython>=3,<4"),
        ),
        Step(
            "MMEngine, and what MMPose needs of small packages; numpy and OpenCV stay as they are",
            _pip(
                f"mmengine=={MMENGINE}",
                "json_tricks",
                "munkres",
                "six",
                "scipy",
                "matplotlib",
                "pillow",
                *kept,
            ),
        ),
    ]
    if installed("mmcv") is None and installed("mmcv-lite") is None:
        lite = Step("mmcv without compiled operators", _pip(f"mmcv-lite=={MMCV}", *kept))
        full = _pip("--only-binary", "mmcv", f"mmcv=={MMCV}", *kept)
        steps.append(Step("mmcv, where there is a wheel of it", full, instead=lite))
    return [
        *steps,
        Step(
            "xtcocotools, compiled against the installed numpy",
            # A wheel in pip's cache may have been built for another numpy.
            _pip(
                "--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-binary", "xtcocotools",
                "--force-reinstall", f"xtcocotools=={XTCOCOTOOLS}",
            ),
            hint="it is compiled: a C compiler and Python's headers are needed (Debian: gcc python3-dev)",
        ),
        Step("MMPose, without chumpy and torchvision", _pip("--no-deps", f"mmpose=={MMPOSE}")),
        *(detection(kept) if mmdet else []),
        Step(
            "one inference with a tiny network of random weights",
            ("-m", "posefix.pipeline.install_mmpose"),
            hint="the packages are there but do not work together; report it with these lines",
        ),
    ]  # fmt: skip


def detection(kept: Sequence[str]) -> list[Step]:
    """MMDetection, which is not needed for person detectors in ONNX files."""
    return [
        Step(
            "what MMDetection needs of small packages",
            _pip("pycocotools", "shapely", "terminaltables", "tqdm", *kept),
        ),
        Step("MMDetection", _pip("--no-deps", f"mmdet=={MMDET}")),
    ]


def install(
    *,
    mmdet: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Install MMPose beside posefix, for --detector mmpose, and try it with one inference. Takes about a minute.

    pip cannot do it alone: of what MMPose asks for, chumpy does not build and is not needed, torchvision is not
    needed, xtcocotools must be compiled for numpy 2, setuptools 81 is too new, and the compiled mmcv has no wheel for
    the PyTorch of today. mmcv-lite does instead; numpy and OpenCV stay as they are.

    Parameters
    ----------
    mmdet
        Also MMDetection, for person detectors that are no .onnx files.
    dry_run
        Only show the commands.
    """
    if importlib.util.find_spec("pip") is None and not dry_run:
        raise InputError(f"{sys.executable}: this environment has no pip; python -m ensurepip brings it")
    began, steps = time.monotonic(), plan(mmdet)
    for number, step in enumerate(steps, 1):
        print(f"{number}/{len(steps)} {step.why}\n    {step.command}", flush=True)
        if step.instead is not None and dry_run:
            print(f"    or, where that fails: {step.instead.why}\n    {step.instead.command}")
        if not dry_run:
            carry_out(step)
    if not dry_run:
        print(
            f"MMPose {MMPOSE} works; {time.monotonic() - began:.0f} s. Try: posefix clip.mp4 --detector mmpose"
        )
    return 0


def carry_out(step: Step, call: Callable[[Sequence[str]], tuple[int, str]] | None = None) -> None:
    """Run a step, or what is to be done instead.

    Args:
        call: runs a command and returns its exit code and what it printed.

    Raises:
        PosefixError: both failed; the message ends with what the command said last.
    """
    code, output = (call or run_quietly)([sys.executable, *step.arguments])
    if code and step.instead is not None:
        print(f"    no; {step.instead.why} instead\n    {step.instead.command}", flush=True)
        return carry_out(step.instead, call)
    if code:
        lines = [line for line in output.splitlines() if line.strip()]
        said = [line for line in lines if "error" in line.lower()] or lines
        raise PosefixError(
            f"install-mmpose: {step.why}: failed ({said[-1].strip() if said else code}); {step.hint}"
        )
    return None


def run_quietly(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def check() -> None:
    """Run `--detector mmpose` on a made picture with a tiny network of random weights.

    Raises:
        PosefixError: MMPose does not work.
    """
    import numpy as np

    from ..detectors import DetectorOptions, create_detector
    from ..skeleton import Frame

    with tempfile.TemporaryDirectory() as folder:
        config, weights = write_tiny_model(Path(folder))
        detector = create_detector("mmpose", "cpu", DetectorOptions(str(config), pose_weights=str(weights)))
        image = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
        poses = detector.detect(Frame(0, 0.0, image))
        detector.close()
    if len(poses) != 1 or poses[0].keypoints.shape != (17, 2) or not np.isfinite(poses[0].keypoints).all():
        raise PosefixError(
            f"install-mmpose: a tiny network gives {len(poses)} poses instead of one of 17 joints"
        )


TINY = """
default_scope = 'mmpose'
codec = dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=1)
model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(type='ShuffleNetV2', widen_factor=0.5, out_indices=(0,)),
    neck=None,
    head=dict(
        type='HeatmapHead', in_channels=48, out_channels=17, deconv_out_channels=(8,), deconv_kernel_sizes=(4,),
        loss=dict(type='KeypointMSELoss', use_target_weight=True), decoder=codec),
    test_cfg=dict(flip_test=FLIP))
val_pipeline = [
    dict(type='LoadImage'), dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']), dict(type='PackPoseInputs')]
test_dataloader = dict(dataset=dict(type='CocoDataset', data_mode='topdown', pipeline=val_pipeline))
"""


def write_tiny_model(folder: Path, flip: bool = True) -> tuple[Path, Path]:
    """A config and a checkpoint of a network that sees a person everywhere; the same bytes of weights each time."""
    import torch

    from ..detectors.mmpose_model import build_network

    config, weights = folder / "tiny.py", folder / "tiny.pth"
    config.write_text(TINY.replace("FLIP", str(flip)), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, _ = build_network(str(config))
        state = {k: torch.randn(v.shape) * 0.1 if k.endswith("weight") and v.dim() > 1 else v
                 for k, v in network.state_dict().items()}  # fmt: skip
    state["head.final_layer.bias"] = torch.ones(17)  # above what counts as seen
    torch.save({"state_dict": state, "meta": {}}, weights)
    return config, weights


if __name__ == "__main__":
    check()
