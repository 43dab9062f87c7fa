"""posefix from Python: the right knee's angle over a clip, printed and plotted.

    python -m posefix.demos.python_api clip.mp4 knee.png

Without a clip it takes the drawn sample.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..pipeline.api import poses_of
from ..pipeline.settings import Settings
from ..skeleton import PosefixError
from ..viewer import angles
from .make_sample import make_sample


def knee_angles(clip: Path | str, settings: Settings) -> tuple[list[float], list[float], list[float]]:
    """Seconds, flexion of the right knee and its uncertainty, both in degrees, of person 0 in every frame."""
    times: list[float] = []
    knee: list[float] = []
    spread: list[float] = []
    for row in poses_of(clip, settings):
        for person in row.people:
            if person.id == 0 and person.pose3d is not None:
                pose = person.pose3d  # joints (17, 3) and std (17,), metres
                flexion, unsure = angles(
                    pose.joints[None], pose.std[None], "RKnee"
                )  # of one frame: (1,), (1,)
                times.append(row.time_s)
                knee.append(float(flexion[0]))
                spread.append(float(unsure[0]))
                print(f"{row.time_s:6.2f} s  {person.status:<12}  {knee[-1]:5.1f}° ± {spread[-1]:.1f}°")
    return times, knee, spread


def plot(times: list[float], knee: list[float], spread: list[float], picture: Path) -> None:
    """The curve with its band, as a picture of the kind that the name ends in."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    low, high = np.subtract(knee, spread), np.add(knee, spread)
    axis.fill_between(times, low, high, alpha=0.25, linewidth=0, label="± uncertainty")
    axis.plot(times, knee, label="right knee")
    axis.set(xlabel="time [s]", ylabel="flexion [°]")
    axis.legend()
    figure.savefig(picture)


def main(words: list[str]) -> int:
    picture = Path(words[1] if len(words) > 1 else "knee.png")
    try:
        with tempfile.TemporaryDirectory() as folder:
            if not words:
                print("drawing a sample clip; name your own to take that", file=sys.stderr)
            clip = words[0] if words else make_sample(Path(folder) / "sample.mp4", seconds=1.5)
            times, knee, spread = knee_angles(clip, Settings(hypotheses=10))
    except PosefixError as error:  # one line: what is wrong, where, and how to mend it
        print(f"python_api: {error}", file=sys.stderr)
        return error.exit_code
    if not np.isfinite(knee).any():  # NaN where the leg is hidden
        print("python_api: nobody was found in the clip, or no right knee", file=sys.stderr)
        return 6
    plot(times, knee, spread, picture)
    most = int(np.nanargmax(knee))
    print(f"bent most at {times[most]:.2f} s, by {knee[most]:.0f}°; wrote {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
