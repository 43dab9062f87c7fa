"""Files and folders of motion capture -> one mocap17 file: which files, what they are called, what is skipped."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ...skeleton.errors import InputError
from ..mocap import Sequence, write_mocap
from .acclaim import find_asf, read_amc, read_asf
from .bvh import read_bvh
from .to_mocap17 import FPS, MotionConfig, to_sequences

AMC_FPS = 120.0
_ENDINGS = (".bvh", ".amc")
_CMU = re.compile(r"^(?P<subject>\d+)_\d+")
_GROUPS = {"subject", "action", "style"}


@dataclass(frozen=True, slots=True)
class Naming:
    """What sequences are called.

    Attributes:
        source: `seq_source`; also the beginning of sequence and person names.
        subject, action: the same for all files; None to take them from the file.
        pattern: regular expression for a file's name without its ending, with groups subject, action, style.

    Without `subject` and `pattern` a person is: of "12_03" 12, as CMU names its files; of an AMC file its skeleton;
    else the folder in the folder that was given; else the file itself.
    """

    source: str
    subject: str | None = None
    action: str | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        try:
            groups = set(re.compile(self.pattern or "").groupindex)
        except re.error as error:
            raise InputError(f"--names {self.pattern}: no regular expression ({error})") from error
        if self.pattern and (not groups or groups - _GROUPS):
            raise InputError(
                f"--names {self.pattern}: expected groups like (?P<action>…): {', '.join(sorted(_GROUPS))}"
            )

    def of(self, path: Path, top: Path, skeleton: str | None) -> dict[str, str]:
        """Subject, action and style of a file under `top`. Raises InputError where `pattern` does not fit."""
        found: dict[str, str] = {}
        if self.pattern:
            match = re.search(self.pattern, path.stem)
            if not match:
                raise InputError(f"{path}: its name does not fit --names {self.pattern}")
            found = {k: v for k, v in match.groupdict().items() if v}
        cmu = _CMU.match(path.stem)
        folder = path.parent.name if path.parent != top and top.is_dir() else None
        person = found.get("subject") or (cmu["subject"] if cmu else skeleton or folder or path.stem)
        return {
            "subject": self.subject or f"{self.source}{'' if person[0].isdigit() else '_'}{person}",
            "action": self.action or found.get("action", ""),
            "style": found.get("style", ""),
        }


def convert_motions(
    source: Path, target: Path, naming: Naming, config: MotionConfig, skip: str | None = None
) -> None:
    """Writes one mocap17 file from a motion or from all in a folder; says what was skipped and why.

    Args:
        source: a .bvh or .amc file, or a folder.
        target: file to write.
        naming, config: names, and how motions become sequences.
        skip: regular expression; files whose name (without ending) it matches from the start are left out.

    Raises:
        InputError: no motion there, or none that can be used (says why the first one cannot).
        OutputError: the file cannot be written.
    """
    files = find_motions(source, skip)
    stems = Counter(f.stem for f in files)
    sequences: list[Sequence] = []
    notes: Counter[str] = Counter()
    problems: list[str] = []
    console = Console(stderr=True)
    silent = len(files) < 2 or not console.is_terminal
    for path in track(files, "files", console=console, transient=True, disable=silent):
        unique = (
            path.stem if stems[path.stem] == 1 else "_".join(path.relative_to(source).with_suffix("").parts)
        )
        try:
            found, said = _convert_one(path, source, f"{naming.source}_{unique}", naming, config)
        except InputError as error:
            problems.append(str(error))
            if len(files) > 1:
                print(f"posefix: skipped: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            continue
        sequences += found
        notes.update(said)
    if not sequences:
        raise InputError(
            f"{problems[0]}" if len(files) == 1 else f"{source}: none of {len(files)} files can be used"
        )
    write_mocap(target, sequences)
    for note, count in notes.most_common(10):
        print(f"note: {note}" + (f" ({count} files)" if count > 1 else ""))
    print(describe(target, sequences) + (f"; {len(problems)} files skipped" if problems else ""))


def find_motions(source: Path, skip: str | None = None) -> list[Path]:
    """The .bvh and .amc files of a folder, at any depth, or the one file. Raises InputError: none there."""
    if source.is_dir():
        try:
            left_out = re.compile(skip) if skip else None
        except re.error as error:
            raise InputError(f"--skip {skip}: no regular expression ({error})") from error
        found = sorted(p for p in source.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file())
        files = [p for p in found if not (left_out and left_out.match(p.stem))]
        if not files:
            raise InputError(
                f"{source}: no .bvh or .amc files in it" + (" but those that --skip skips" if found else "")
            )
        return files
    if source.suffix.lower() == ".asf":
        raise InputError(f"{source}: a skeleton without motion; give its .amc file, or the folder with both")
    if source.suffix.lower() not in _ENDINGS:
        raise InputError(
            f"{source}: expected a pickled .npz file, a .bvh or .amc file, or a folder with these"
        )
    return [source]


def describe(target: Path, sequences: list[Sequence]) -> str:
    """One line on a file that was written."""
    frames = sum(len(s) for s in sequences)
    people = len({s.subject for s in sequences})
    return (
        f"{target}: {len(sequences)} sequences, {frames} frames ({frames / FPS / 60:.1f} minutes), {people} "
        f"{'person' if people == 1 else 'people'}, split {sequences[0].split}"
    )


def _convert_one(
    path: Path, top: Path, name: str, naming: Naming, config: MotionConfig
) -> tuple[list[Sequence], list[str]]:
    skeleton = None
    notes: list[str] = []
    if path.suffix.lower() == ".amc":
        asf = find_asf(path)
        motion, skeleton = read_amc(path, read_asf(asf)), asf.stem
        if config.fps is None:
            notes.append(f"AMC files do not tell their frame rate: taken as {AMC_FPS:g}, or give --fps")
            motion = replace(motion, fps=AMC_FPS)
    else:
        motion = read_bvh(path)
    own = replace(config, source=naming.source, **naming.of(path, top, skeleton))
    sequences, said = to_sequences(replace(motion, name=name), own)
    return sequences, [*notes, *said]
