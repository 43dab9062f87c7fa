"""Videos, damaged: what fuzzing feeds to posefix, and how it judges what comes of it."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError

HEADER = 4096  # bytes
FORMATS = {"mp4": "mp4", "mkv": "matroska", "avi": "avi", "ts": "mpegts", "mov": "mov"}  # by suffix

Mutation = Callable[[bytearray, random.Random], bytearray]


def cut_clip(clip: Path, out: Path, seconds: float) -> Path:
    """The first seconds of a clip, its packets copied into the container that the name asks for.

    Raises ValueError where that cannot hold them.
    """
    form = FORMATS[out.suffix[1:]]
    with av.open(str(clip)) as source, av.open(str(out), "w", format=form) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        parted = form == "avi" and stream.codec_context.name == "h264"  # by start codes, not by lengths
        change = BitStreamFilterContext("h264_mp4toannexb", stream) if parted else None
        for packet in source.demux(stream):
            if packet.dts is None or packet.dts * float(stream.time_base or 0) > seconds:
                break
            for part in change.filter(packet) if change else [packet]:
                part.stream = copy
                target.mux_one(part)
    return out


def flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    """Some bits anywhere, from a few to one in a thousand bytes."""
    for _ in range(max(1, int(len(data) * 10 ** rng.uniform(-5.5, -3)))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def truncate(data: bytearray, rng: random.Random) -> bytearray:
    """The end is missing."""
    return data[: rng.randrange(1, len(data))]


def damage_header(data: bytearray, rng: random.Random) -> bytearray:
    """Bytes of the first kilobytes, and where an mp4 describes its frames, are others."""
    places = [
        0,
        *(at for box in (b"moov", b"stbl", b"stts", b"stsz", b"avcC") if (at := data.find(box)) >= 0),
    ]
    for _ in range(rng.choice((1, 4, 30))):
        at = rng.choice(places) + rng.randrange(HEADER if rng.random() < 0.3 else 64)
        data[min(at, len(data) - 1)] = rng.choice((0, 255, rng.randrange(256)))
    return data


def lose_a_part(data: bytearray, rng: random.Random) -> bytearray:
    """A stretch is cut out, or is zeros, as of a bad disk."""
    at, length = rng.randrange(len(data)), rng.randrange(1, max(2, len(data) // 5))
    data[at : at + length] = b"" if rng.random() < 0.5 else bytes(min(length, len(data) - at))
    return data


def swap_parts(data: bytearray, rng: random.Random) -> bytearray:
    """Two stretches have changed places."""
    length = rng.randrange(1, max(2, len(data) // 8))
    a, b = sorted(rng.randrange(max(1, len(data) - 2 * length)) for _ in range(2))
    b = max(b, a + length)
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


PROGRAM = "import sys; from posefix.pipeline.cli import main; main(sys.argv[1:])"
MUTATIONS: tuple[Mutation, ...] = (flip_bits, truncate, damage_header, lose_a_part, swap_parts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: exit code (minus the signal, None: stopped for taking too long), and what it cost."""

    code: int | None
    out: str
    err: str
    seconds: float
    peak_mb: float


def run_apart(words: list[str], folder: Path, limit_s: float, limit_mb: float, fake: bool) -> Outcome:
    """`posefix WORDS` in a process and in a folder of its own, with limits of time and memory.

    Args:
        fake: detector and networks are stand-ins: the reader, the stages and the files are tried. A fork of this
            process, which is soon there; the real ones do not survive being forked, and get a fresh process.
    """
    from posefix.pipeline import cli

    began = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        try:
            for name, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.chdir(folder)
            resource.setrlimit(resource.RLIMIT_AS, (int(8e9), int(8e9)))
            if not fake:
                os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *words])
            import fakes
            from pytest import MonkeyPatch

            fakes.install_fakes(MonkeyPatch())
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
            code = cli.call(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        finally:
            os._exit(99)
    code, peak_mb = _wait(child, began + limit_s, limit_mb)
    texts = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
    return Outcome(code, texts[0], texts[1], time.monotonic() - began, peak_mb)


def _wait(child: int, until: float, limit_mb: float) -> tuple[int | None, float]:
    """Exit code, and the most memory it held, MB; None where it took too long."""
    late = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return None if late else os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
        if time.monotonic() > until and not late:
            late = True
            os.kill(child, 9)
        time.sleep(0.01)


def problems(outcome: Outcome, folder: Path, limit_mb: float) -> list[str]:
    """What of a run should not be: neither one clear line nor a result, whole or partial."""
    found: list[str] = []
    lines = outcome.err.splitlines()
    if outcome.code is None:
        found.append(f"hangs: stopped after {outcome.seconds:.0f} s")
    elif outcome.code not in (0, 2, 6):
        found.append(f"exit code {outcome.code}")
    if "Traceback" in outcome.err + outcome.out:
        found.append("traceback")
    if outcome.code == 2 and not (len(lines) == 1 and lines[0].startswith("posefix: error: ")):
        found.append(f"{len(lines)} lines of error")
    if outcome.code in (0, 6):
        found += [f"on stderr: {line}" for line in lines if not line.startswith("posefix: warning: ")]
        found += unreadable(folder)
    if outcome.peak_mb > limit_mb:
        found.append(f"{outcome.peak_mb:.0f} MB")
    return found


def unreadable(folder: Path) -> list[str]:
    """What cannot be read of the results in a folder."""
    found: list[str] = []
    for path in sorted(folder.rglob("*.csv")):
        text = path.read_text(encoding="utf-8")
        if len({len(row) for row in csv.reader(text.splitlines())}) != 1 or not text.endswith("\n"):
            found.append(f"{path.name}: rows differ in length")
    for path in folder.rglob("*_pose.mp4"):
        try:
            with av.open(str(path)) as video:
                if not any(True for _ in video.decode(video=0)):
                    found.append(f"{path.name}: shows nothing")
        except (FFmpegError, IndexError) as error:
            found.append(f"{path.name}: {error}")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("*_run.json")]
    return found if records else [*found, "no record"]
