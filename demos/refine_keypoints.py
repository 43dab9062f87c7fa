"""Refine keypoints that another program has found, as `posefix refine` does, and tell what became of them.

    python -m posefix.demos.refine_keypoints openpose_json/

Without a file it writes OpenPose's JSON files of a drawn person first: a second of noisy keypoints, in which one
frame is empty and the right wrist is lost for a while. The results are written as by the command.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..pipeline.refine import RefineSettings, refine_file
from ..skeleton import BODY25, H36M17, PosefixError
from ..viewer import Track, find_run, read_motion
from .make_sample import keypoints

FRAMES, FPS = 30, 30
EMPTY = 12  # the frame without anybody
LOST = range(18, 27)  # frames without the right wrist
NOISE_PX = 2.0

# BODY_25 joint -> joint of the drawn person; what is not here (eyes, small toes) stays unobserved.
_DRAWN = {"Nose": "head", "LEar": "head", "REar": "head", "Neck": "neck", "MidHip": "hip"} | {
    side + joint: side.lower() + drawn
    for side in "LR"
    for joint, drawn in (
        ("Shoulder", "shoulder"), ("Elbow", "elbow"), ("Wrist", "wrist"), ("Hip", "hip"), ("Knee", "knee"),
        ("Ankle", "ankle"), ("Heel", "heel"), ("BigToe", "toe"),
    )
}  # fmt: skip


def write_openpose(folder: Path) -> Path:
    """Writes one JSON file per frame, as OpenPose's `--write_json` does, and returns the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(FRAMES):
        at = keypoints(frame / FPS)
        values = []
        for joint in BODY25.joints:
            lost = joint not in _DRAWN or (joint == "RWrist" and frame in LOST)
            x, y = (0.0, 0.0) if lost else at[_DRAWN[joint]] + rng.normal(0, NOISE_PX, 2)
            values += [float(x), float(y), 0.0 if lost else 0.9]
        people = [] if frame == EMPTY else [{"person_id": [-1], "pose_keypoints_2d": values}]
        text = json.dumps({"version": 1.3, "people": people})
        (folder / f"drawn_{frame:012d}_keypoints.json").write_text(text, encoding="utf-8")
    return folder


def tell(lifted: Track, refined: Track) -> None:
    """Prints, for every joint, in how many frames it was seen, how far refining moved it, and how sure it is."""
    print("joint       in frames   moved by   uncertainty (mean over the frames)")
    moved = 1000 * np.linalg.norm(refined.joints - lifted.joints, axis=2)  # (T, 17) mm
    for k, joint in enumerate(H36M17.joints):
        there = np.isfinite(moved[:, k])
        if not there.any():
            print(f"{joint:<10} {0:>5} of {len(there):<4}")
            continue
        mean, std = moved[there, k].mean(), 1000 * refined.std[there, k].mean()
        print(f"{joint:<10} {there.sum():>5} of {len(there):<4} {mean:6.1f} mm  {std:7.1f} mm")


def refine(file: Path, settings: RefineSettings) -> None:
    """Refines a keypoint file into `settings.output`, and compares with the same without refinement."""
    summary = refine_file(file, settings, warn=lambda line: print(f"warning: {line}", file=sys.stderr))
    print(f"{summary.read} frames: {summary.detected} with somebody in the file, "
          f"{summary.interpolated} bridged, {summary.missing} with nobody")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        refine_file(file, replace(settings, output=Path(folder) / "lifted", refine=False, video=None))
        run, first = find_run(summary.paths.csv_3d), find_run(Path(folder) / "lifted")
        refined, lifted = read_motion(run.csv_3d).person(None), read_motion(first.csv_3d)
        tell(lifted.person(refined.id), refined)
    print(f"wrote {', '.join(path.name for path in summary.files)} in {summary.paths.folder}/")


def main(words: list[str]) -> int:
    output = Path(words[1]) if len(words) > 1 else None
    try:
        if words:
            refine(Path(words[0]), RefineSettings(output=output))
            return 0
        with tempfile.TemporaryDirectory() as folder:
            file = write_openpose(Path(folder) / "drawn")
            refine(file, RefineSettings(output=Path("drawn_refined"), fps=FPS, overwrite=True))
    except PosefixError as error:  # one line: what is wrong, where, and how to mend it
        print(f"refine_keypoints: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
