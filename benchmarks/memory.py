"""Whether memory stays bounded: peak memory of a long clip against that of a short one.

    python benchmarks/memory.py [--video FILE] [--short 60] [--long 600] [--json FILE]

Both clips are the same video looped, each run by a process of its own with the default settings. Peak memory
is the most the process ever held resident, the networks and libraries included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clips import looped_clip, source_or_sample
from command import run, write_json
from posefix.skeleton.errors import PosefixError

MOST_RATIO = 1.1
_CHILD = """
import sys
from posefix.pipeline.cli import call

code = call(sys.argv[1:])
try:  # of this process alone; ru_maxrss may hold that of the parent
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10)
print("peak", peak)
sys.exit(code)
"""


def peak_mib(clip: Path, folder: Path, options: tuple[str, ...] = ()) -> float:
    """Peak resident memory of posefix on the clip, MiB. Raises PosefixError when the run fails."""
    words = [str(clip), "-o", str(folder / clip.stem), "--overwrite", "--quiet", *options]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise PosefixError(f"{clip.name}: posefix ended with exit code {done.returncode}")
    return float(done.stdout.split()[-1])


def memory(
    *,
    video: Path | None = None,
    short: float = 60.0,
    long: float = 600.0,
    json: Path | None = None,
) -> None:
    """Measure peak memory of a long clip against that of a short one.

    Args:
        video: clip with a person, to be looped; by default the drawn sample.
        short: seconds of the short clip.
        long: seconds of the long clip.
        json: also write the figures to this file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = source_or_sample(video, folder)
        report: dict[str, Any] = {"video": video.name if video else "sample", "at_most": MOST_RATIO}
        for key, seconds in (("short", short), ("long", long)):
            clip = looped_clip(source, folder / f"{key}.mp4", seconds)
            report[key] = {"seconds": seconds, "peak_mib": peak_mib(clip, folder)}
    report["ratio"] = report["long"]["peak_mib"] / report["short"]["peak_mib"]
    for key in ("short", "long"):
        print(f"{report[key]['seconds']:g} s: peak {report[key]['peak_mib']:.0f} MiB")
    holds = "holds" if report["ratio"] <= MOST_RATIO else "does NOT hold"
    print(f"ratio {report['ratio']:.3f}, at most {MOST_RATIO}: {holds}")
    write_json(report, json)


if __name__ == "__main__":
    run(memory)
