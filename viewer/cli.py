"""`posefix view` and `posefix plot`: words in, a page or a figure out. Errors go to the caller."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..pipeline.cli import print_out
from ..pipeline.settings import results_folder
from ..skeleton.errors import InputError
from .motion import find_run, read_motion
from .page import EMBED_LIMIT_MB, write_page
from .plot import What, draw, parse_joints, save


def view(
    folder: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    video: Path | None = None,
    embed_limit: float = EMBED_LIMIT_MB,
    open: Annotated[bool, Parameter(negative="--no-open")] = True,
) -> int:
    """Look at results in a browser: the video, the 3D skeleton and curves in one page that needs no server.

    Parameters
    ----------
    folder
        Folder that posefix wrote, the NAME_3d.csv in it, or the clip whose folder is here or beside it.
    output
        Where the page goes. Default: NAME_view.html in the folder.
    video
        Show this clip, e.g. the original, in the place of the rendered one; the 2D is drawn over it.
    embed_limit
        A larger video (MB) is not put into the page, which then links to it.
    open
        Open the page in the browser.
    """
    if embed_limit < 0:
        raise InputError(f"--embed-limit {embed_limit:g}: expected 0 or more megabytes")
    run = find_run(_results_of(folder))
    motion = read_motion(run.csv_3d, run.csv_2d)
    target = output or run.csv_3d.with_name(f"{run.name}_view.html")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{target}: the page is HTML; choose a name that ends in .html")
    doubt = _doubt(video)
    whole = write_page(run, motion, target, video, embed_limit)
    print_out(f"wrote {target}")
    if doubt:
        print_out(f"  {doubt}")
    if not whole:
        print_out(
            f"  the video (over {embed_limit:g} MB) is linked to: keep it there, or raise --embed-limit"
        )
    if open and not _open(target):
        print_out("  no browser to open it in here; open the file with one")
    return 0


def _doubt(video: Path | None) -> str | None:
    if video is None or not video.is_file():
        return None
    from .clip import check_clip  # PyAV, for those who name a clip

    return check_clip(video)


def _results_of(where: Path) -> Path:
    """For a clip the folder of its results, if that is where runs put it, or beside the clip; else `where` itself."""
    if where.is_dir() or where.suffix.lower() in ("", ".csv"):
        return where
    own = results_folder(where.stem)
    for folder in (own, where.parent / own):
        if (folder / f"{where.stem}_3d.csv").is_file():
            print_out(f"{where}: a clip; its results are in {folder}")
            return folder / f"{where.stem}_3d.csv"
    return where


def _open(page: Path) -> bool:
    # Without a screen the standard library would start a text browser in the terminal.
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        return webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        return False


def plot(
    csv: Path,
    /,
    *,
    joints: str,
    what: What = "position",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    person: int | None = None,
) -> int:
    """Draw joints over time: position, angle or speed, as PNG, SVG or PDF.

    Parameters
    ----------
    csv
        NAME_3d.csv, the folder it is in, or the clip whose folder is here or beside it.
    joints
        Names with commas between, e.g. RKnee,LKnee.
    what
        position: x, y and z; angle: flexion of knee, hip, elbow, shoulder; speed: relative to the hip.
    output
        File to write: .png, .svg or .pdf. Default: NAME_WHAT_JOINTS.png beside the CSV.
    person
        Number of the person. Default: whoever is there in most frames.
    """
    run = find_run(_results_of(csv))
    names = parse_joints(joints, what)
    motion = read_motion(run.csv_3d)
    track = motion.person(person)
    title = f"{run.name}, person {track.id}" if len(motion.people) > 1 else run.name
    target = output or run.csv_3d.with_name(f"{run.name}_{what}_{'_'.join(names)}.png")
    save(draw(motion, track, names, what, title), target)
    print_out(f"wrote {target}")
    return 0
