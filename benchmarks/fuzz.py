"""Whether damaged videos do any harm: copies of real clips with flipped bits, holes, damaged headers, missing ends.

    python benchmarks/fuzz.py --videos DIR [--count 200] [--seed 0] [--real-every 20] [--json FILE]

Every copy goes through the whole `posefix`, one process at a time; detector and networks are stand-ins but in every
20th. What must come of it is one clear line or a result, whole or partial: no traceback, no crash, at most 60 seconds
and 1.5 GB. The same seed makes the same copies. Not for Windows.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

# One thread each: these runs are short, and are not timed.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from command import run, write_json
from mutate import (  # pyright: ignore[reportMissingImports]
    FORMATS,
    MUTATIONS,
    Outcome,
    cut_clip,
    problems,
    run_apart,
)
from posefix.skeleton.errors import InputError

SECONDS = 1.2  # of each clip
LIMIT_S, LIMIT_MB = 60.0, 1500.0


def originals(videos: Path, folder: Path) -> list[Path]:
    """Short cuts of all clips, in all containers that take them."""
    made: list[Path] = []
    for clip in sorted(videos.glob("*.mp4")):
        for suffix in FORMATS:
            path = folder / f"{clip.stem}.{suffix}"
            try:
                made.append(cut_clip(clip, path, SECONDS))
            except ValueError:  # VP9 in an AVI, say
                path.unlink(missing_ok=True)
        if not any(path.suffix == ".mp4" for path in made):
            raise InputError(f"{clip}: cannot be cut; is it a video?")
    if not made:
        raise InputError(f"--videos {videos}: holds no .mp4 file")
    return made


def mutated(clips: list[Path], number: int, seed: int, folder: Path) -> tuple[Path, str]:
    """Copy `number`, and what was done to it: an mp4 every other time, the other containers in turn."""
    rng = random.Random(f"{seed}/{number}")
    clip = rng.choice([c for c in clips if (c.suffix == ".mp4") == (number % 2 == 0)])
    mutation = MUTATIONS[number % len(MUTATIONS)]
    path = folder / f"copy{number}{clip.suffix}"
    path.write_bytes(mutation(bytearray(clip.read_bytes()), rng))
    return path, f"{mutation.__name__} {clip.name}"


def kind(outcome: Outcome) -> str:
    """How a run ended, for the tally."""
    words = {0: "result", 2: "one line of error", 6: "result without a person", None: "too long"}
    return words.get(outcome.code, f"exit code {outcome.code}")


def fuzz(
    *, videos: Path, count: int = 200, first: int = 0, seed: int = 0, real_every: int = 20,
    keep: Path | None = None, json: Path | None = None,
) -> None:  # fmt: skip
    """Feed damaged copies of clips to posefix.

    Parameters
    ----------
    videos
        Folder of .mp4 files.
    count
        How many copies.
    first
        Number of the first one: to try one again.
    seed
        Of the damage.
    real_every
        Every so many-th runs with the real detector and networks; 0: none.
    keep
        Folder that copies with problems are put into.
    json
        File for the figures.
    """
    import mediapipe  # noqa: F401 - loaded here once, not in every process
    import posefix.pipeline.live
    import posefix.pipeline.run  # noqa: F401

    tally: Counter[str] = Counter()
    slowest = most = 0.0
    bad: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        clips = originals(videos, Path(name))
        for number in range(first, first + count):
            folder = Path(name) / f"run{number}"
            folder.mkdir()
            path, what = mutated(clips, number, seed, folder)
            fake = not real_every or number % real_every != real_every - 1
            words = [path.name, "--device", "cpu", *(["--detector", "fake"] if fake else [])]
            outcome = run_apart(words, folder, LIMIT_S, LIMIT_MB, fake)
            found = problems(outcome, folder, LIMIT_MB)
            tally[kind(outcome)] += 1
            slowest, most = max(slowest, outcome.seconds), max(most, outcome.peak_mb)
            print(
                f"{number} {what}{'' if fake else ' (real)'}: {kind(outcome)}, {outcome.seconds:.1f} s, "
                f"{outcome.peak_mb:.0f} MB {' | '.join(found)}",
                flush=True,
            )
            if found:
                bad.append(f"{number} {what}: {' | '.join(found)}; {outcome.err[-300:]}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep)
            shutil.rmtree(folder)
    figures = {"ended with": dict(tally), "slowest_s": round(slowest, 1), "most_mb": round(most), "bad": bad}
    print(figures)
    write_json(figures, json)
    if bad:
        raise InputError(f"{len(bad)} of {count} copies came to no good end")


if __name__ == "__main__":
    run(fuzz)
