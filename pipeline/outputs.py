"""The files of one run: their names, opening them together, closing them whatever happens."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..skeleton import FramePoses
from ..skeleton.errors import OutputError
from .sinks import Csv2DSink, Csv3DSink, CsvRawSink, VideoSink
from .sinks.errors import cannot_write


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the results of one clip go."""

    video: Path
    csv_3d: Path
    csv_2d: Path
    run_json: Path

    @classmethod
    def of(cls, name: str, folder: Path) -> OutputPaths:
        """`folder/name_pose.mp4`, `name_3d.csv`, `name_2d.csv`, `name_run.json`."""
        return cls(*(folder / f"{name}_{end}" for end in ("pose.mp4", "3d.csv", "2d.csv", "run.json")))

    @property
    def folder(self) -> Path:
        return self.csv_3d.parent

    @property
    def journal(self) -> Path:
        """What `--resume` needs; there while the run is not done."""
        return self.csv_3d.with_name(f"{self.csv_3d.name.removesuffix('_3d.csv')}_resume.bin")

    @property
    def csv_raw(self) -> Path:
        """The 3D before it was smoothed; not there where nothing is."""
        return self.csv_3d.with_name(f"{self.csv_3d.stem}_raw.csv")

    @property
    def view(self) -> Path:
        """The page that `posefix view` may have made of an earlier run."""
        return self.csv_3d.with_name(f"{self.csv_3d.name.removesuffix('_3d.csv')}_view.html")

    @property
    def existing(self) -> list[Path]:
        """Those of the files that are there."""
        paths = (self.video, self.csv_3d, self.csv_raw, self.csv_2d, self.run_json)
        return [path for path in paths if path.exists()]

    def check(self, overwrite: bool) -> None:
        """Raises OutputError when results of an earlier run are there and `overwrite` is False."""
        if self.existing and not overwrite:
            raise OutputError(
                f"{self.existing[0]} exists already; add --overwrite to replace it, "
                + ("--resume to finish that run, " if self.journal.exists() else "")
                + "or choose another folder with -o"
            )

    def prepare(self, render: bool, resume: bool = False) -> None:
        """Make the folder, and take away what of an earlier run this one would not replace at once.

        Args:
            resume: that run is finished: its journal stays.

        Raises:
            OutputError: the folder cannot be made, or a file cannot be replaced; then none is touched.
        """
        self._make_folder()
        path = self.folder
        try:
            for path in self.existing:
                path.open("r+b").close()
            # An old record, page or video beside new CSVs would say what is not so, all the more after a kill.
            gone = [self.run_json, self.view, *([] if render else [self.video])]
            gone += [] if resume else [self.csv_raw, self.journal, VideoSink.set_aside(self.video)]
            for path in gone:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            blocked = NotADirectoryError(errno.ENOTDIR, "a file of that name is in the way")
            raise cannot_write(self.folder, blocked) from error
        except OSError as error:
            raise cannot_write(self.folder, error) from error


class Outputs:
    """The open sinks of one run; a context manager that closes all of them even when one fails.

    Args:
        pieces: of the video of a run that is finished now, see `VideoSink`; None: all files are new.
        on_piece: see `VideoSink`.
        raw: keep the 3D as it was before it was smoothed, too.

    Raises:
        OutputError: a file cannot be written (also from `write` and `close`).
    """

    def __init__(
        self, paths: OutputPaths, render: bool, fps: float | None,
        pieces: Sequence[int] | None = None, on_piece: Callable[[int, int], None] | None = None,
        raw: bool = False,
    ) -> None:  # fmt: skip
        self._stack, old = ExitStack(), pieces is not None
        try:
            enter = self._stack.enter_context
            self._tables = [enter(Csv3DSink(paths.csv_3d, old)), enter(Csv2DSink(paths.csv_2d, old))]
            if raw:
                self._tables.append(enter(CsvRawSink(paths.csv_raw, old)))
            self._video = None
            if render:
                self._video = self._stack.enter_context(VideoSink(paths.video, fps, pieces or (), on_piece))
        except BaseException:
            self._stack.close()
            new = () if old else (paths.csv_3d, paths.csv_2d, paths.csv_raw)
            for path in new:  # header only: would block the next run
                path.unlink(missing_ok=True)
            raise

    def write_poses(self, poses: FramePoses) -> None:
        """Append a frame's rows to the CSVs."""
        for table in self._tables:
            table.write(poses)

    @property
    def has_image(self) -> bool:
        """Whether the video has the next rendered frame already."""
        return self._video is not None and self._video.has_next

    def write_image(self, image: np.ndarray | None, time_s: float) -> None:
        """Append a rendered frame, (H, W, 3) uint8 BGR, to the video; None where `has_image`."""
        if self._video is not None:
            self._video.write(image, time_s)

    def finish(self) -> None:
        """All rows and frames are written: finish all files."""
        for table in self._tables:
            table.finish()
        self.close()

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish all files. Calling it twice does no harm."""
        self._stack.close()
