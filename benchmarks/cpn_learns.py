"""CPN learns: trained from nothing on some hundred real frames, it finds their joints again.

    python benchmarks/cpn_learns.py --videos DIR --pose-model POSE.onnx --det-model PERSON.onnx [--run DIR]

The frames are labelled by another detector, `--detector onnx` with the two networks given. So this shows that network,
losses, targets, decoding and checkpoints fit together. It does not show how accurate CPN is: the people are those of
the training, and the labels are as wrong as the other detector.

So that one core has it done in an hour, the pictures are hardly altered, the network is trained at half the size first,
a quarter of the cost a picture, and goes on at 256x192 until it finds enough. What is measured is 256x192.

PCK@0.2: joints no farther from their label than 0.2 torsos (left shoulder to right hip), of all labelled joints. The
weights are read back from the file that the training wrote. A stopped run resumes when the command is given again; one
that is done goes on to the next goal if it fell short.
"""

from __future__ import annotations

import json as json_format
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from command import run as as_command
from command import write_json
from posefix.detectors import DetectorOptions, create_detector
from posefix.detectors.cpn.checkpoint import load_into, read_checkpoint
from posefix.detectors.cpn.network import CPN, SIZES
from posefix.pipeline.reader import open_source
from posefix.pipeline.settings import DeviceName
from posefix.skeleton import COCO17, Frame, Pose2D
from posefix.skeleton.devices import resolve_device
from posefix.skeleton.errors import InputError
from posefix.training.coco import read_coco
from posefix.training.cpn import HIP, SHOULDER, CpnAugment, find, pck, torso_errors, train_cpn
from posefix.training.loop import TrainConfig
from rich.console import Console
from rich.table import Table

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLIPS = ("balance_cam01", "balance_cam03", "worker_walk", "two_walking", "one_by_one_a", "park_two_people")
SIDE = 960  # px: the longer side of a stored frame
SURE = 0.4  # score of a joint that becomes a label
MIN_JOINTS = 10  # of a person that becomes one
CHECKED = 6  # every sixth person is looked at during the training
SIZE = "256x192"
GOOD = 0.9  # PCK@0.2 to be reached on everybody
# On the people looked at, at which half and whole size end; the next one where everybody's was still too low.
GOAL_HALF, GOALS = 0.9, (0.92, 0.95, 0.98, math.inf)
# Next to nothing: whether it learns at all is asked. Mirror images would be other poses to learn.
AUGMENT = CpnAugment(scale=(0.95, 1.05), turn=5, turned=0.5, mirrored=0.0, colour=0.05)
HALF = TrainConfig(
    samples=4_800, batch=16, lr=2e-3, warmup=20, weight_decay=1e-5, clip=1e6, ema=0.95, validate_every=480,
    patience=100,
)  # fmt: skip
WHOLE = replace(HALF, samples=3_200, lr=1e-3, warmup=10)


def make_folder(folder: Path, videos: Path, options: DetectorOptions, frames: int) -> None:
    """A folder of COCO keypoints: `frames` frames, evenly from all clips, and the people that the detector sees."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for clip in CLIPS:
        detector = create_detector("onnx", "cpu", options)
        for k, frame in enumerate(spread(videos / f"{clip}.mp4", frames // len(CLIPS))):
            labels = [label for pose in detector.detect(frame) if (label := as_label(pose, frame))]
            if not labels:
                continue
            name, number = f"{clip}_{k:04d}.jpg", len(images)
            scale = min(SIDE / max(frame.image.shape[:2]), 1.0)
            small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / "images" / name), small, [cv2.IMWRITE_JPEG_QUALITY, 92])
            images.append(
                {"id": number, "file_name": name, "width": small.shape[1], "height": small.shape[0]}
            )
            people += [annotation(pose, seen, scale, number) for pose, seen in labels]
        detector.close()
    for k, person in enumerate(people):
        person["id"] = k
    write_annotations(folder, "val", images, people[::CHECKED])
    write_annotations(folder, "train", images, people)  # last: it tells that the folder is whole


def spread(video: Path, count: int) -> Iterator[Frame]:
    """`count` frames of a clip, evenly from its first to its last; all of one that has fewer."""
    with open_source(video) as source:
        there = sum(1 for _ in source)
    wanted = set(np.linspace(0, there - 1, min(count, there)).round().astype(int).tolist())
    with open_source(video) as source:
        yield from (frame for k, frame in enumerate(source) if k in wanted)


def as_label(pose: Pose2D, frame: Frame) -> tuple[Pose2D, np.ndarray] | None:
    """The pose and which of its joints are labels; None for somebody of whom too little is seen."""
    inside = (pose.keypoints >= 0) & (pose.keypoints < frame.image.shape[1::-1])
    seen = (pose.scores >= SURE) & inside.all(axis=1)
    good = seen.sum() >= MIN_JOINTS and seen[SHOULDER] and seen[HIP]
    return (pose, seen) if good else None


def annotation(pose: Pose2D, seen: np.ndarray, scale: float, image: int) -> dict[str, Any]:
    """One person as COCO has it: pixels are counted from the middle of the first one."""
    assert pose.box is not None
    places = np.where(seen[:, None], pose.keypoints * scale - 0.5, 0).round(2)
    keypoints = np.column_stack([places, 2 * seen]).ravel().tolist()
    x0, y0, x1, y1 = (float(v) * scale for v in pose.box)
    return {
        "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0), "keypoints": keypoints, "num_keypoints": int(seen.sum()),
    }  # fmt: skip


def write_annotations(folder: Path, name: str, images: list, people: list) -> None:
    """annotations/person_keypoints_NAME.json."""
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    content = {"images": images, "annotations": people, "categories": [category]}
    path = folder / "annotations" / f"person_keypoints_{name}.json"
    path.write_text(json_format.dumps(content), encoding="utf-8")


def measure(weights: Path, folder: Path, device: str) -> dict[str, Any]:
    """PCK of the weights on all people of the folder, overall and joint by joint."""
    people = read_coco(folder)[0]
    checkpoint = read_checkpoint(weights)
    assert checkpoint.size is not None
    model = CPN(SIZES[checkpoint.size])
    load_into(model, checkpoint, str(weights))
    joints, peaks = find(model.eval().to(device), people, device)
    errors = torso_errors(joints, people)
    known = np.isfinite(errors)
    return {
        "pck_0.2_torso": pck(errors),
        "pck_0.1_torso": pck(errors, 0.1),
        "median_error_torsos": float(np.median(errors[known])),
        "mean_peak_of_255": float(peaks[known].mean()),
        "pck_0.2_torso_by_joint": {name: pck(errors[:, j]) for j, name in enumerate(COCO17.joints)},
        "frames": len({p.image for p in people}),
        "people": len(people),
        "joints": int(known.sum()),
        "calibration": checkpoint.calibration,
    }


def cpn_learns(
    *,
    videos: Path = SHARED / "videos",
    pose_model: Path = SHARED / "weights" / "pp_tinypose_256x192_coco17.onnx",
    det_model: Path = SHARED / "weights" / "rtmdet_nano_320_person.onnx",
    run: Path = Path("runs/cpn_learns"),
    frames: int = 240,
    samples: int = WHOLE.samples,
    half: int = HALF.samples,
    batch: int = WHOLE.batch,
    bfloat16: bool = True,
    device: DeviceName = "cpu",
    json: Path | None = None,
) -> dict[str, Any]:
    """Train CPN on real frames labelled by another detector, and look for their joints.

    Args:
        videos: folder with the clips that the README of the benchmarks names.
        pose_model, det_model: the networks that label the frames, as those of --detector onnx.
        run: folder of the frames (coco/) and of the training; given again, it goes on where it was stopped.
        frames: how many are labelled, evenly from all clips.
        samples, half: pictures to train on at most, at 256x192 and at half of it.
        batch: pictures at once.
        bfloat16: --no-bfloat16 computes in float32, for CPUs without it.
        device: where the training runs.
        json: also write the figures to this file.
    """
    if frames < 2 * len(CLIPS) or not 2 <= batch <= min(samples, half):
        raise InputError(
            f"expected --frames of {2 * len(CLIPS)} or more, and --samples and --half of at least one --batch"
        )
    place, coco = resolve_device(device), run / "coco"
    if not (coco / "annotations" / "person_keypoints_train.json").is_file():
        make_folder(coco, videos, DetectorOptions(str(pose_model), str(det_model)), frames)
    start = time.perf_counter()
    first = replace(HALF, samples=half, batch=batch, bfloat16=bfloat16)
    begin = train_cpn(coco, run / "half", SIZE, first, AUGMENT, device=place, shrink=2, goal=GOAL_HALF)
    config = replace(WHOLE, samples=samples, batch=batch, bfloat16=bfloat16)
    figures: dict[str, Any] = {}
    for goal in GOALS:
        weights = train_cpn(coco, run / "whole", SIZE, config, AUGMENT, begin, place, goal=goal)
        figures = measure(weights, coco, place)
        if figures["pck_0.2_torso"] >= GOOD or trained(run / "whole")["samples"] >= config.steps * batch:
            break
    report = {
        **figures,
        "good": GOOD,
        "settings": {
            "size": SIZE,
            "half": asdict(first),
            "whole": asdict(config),
            "augment": asdict(AUGMENT),
        },
        "labels": pose_model.name,
        "training": {part: trained(run / part) for part in ("half", "whole")},
    }
    print_table(report, time.perf_counter() - start)
    write_json(report, json)
    return report


def trained(run: Path) -> dict[str, Any]:
    """What trained a run, and how many samples it was given."""
    rows = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    machine = json_format.loads((run / "machine.json").read_text(encoding="utf-8"))
    return {**machine, "samples": json_format.loads(rows[-1])["samples"]}


def print_table(report: dict[str, Any], seconds: float) -> None:
    table = Table(title="CPN on the frames it was trained on", title_justify="left")
    table.add_column("")
    table.add_column("PCK@0.2 torso", justify="right")
    table.add_row("all joints", f"{report['pck_0.2_torso']:.3f}")
    table.add_section()
    for name, value in report["pck_0.2_torso_by_joint"].items():
        table.add_row(name, f"{value:.3f}")
    Console().print(table)
    print(f"{report['people']} people in {report['frames']} frames; {seconds:.0f} s in this call")


if __name__ == "__main__":
    as_command(cpn_learns)
