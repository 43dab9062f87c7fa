"""What the words on the command line mean: files, globs, folders, cameras, URLs -> one `Source` per clip."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

from ..skeleton.errors import InputError

SourceKind = Literal["video", "images", "camera", "stream", "keypoints"]

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
     ".tiff", ".webp")
)  # fmt: skip
#: What posefix and others write of poses: given as a video by mistake.
_TABLES = frozenset((".csv", ".json", ".npz", ".trc"))
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Source:
    """One clip to process.

    Attributes:
        kind: what sort of input this is.
        spec: path of a video, URL, camera index, or the ordered paths of the images.
        name: short name that outputs are called after; `expand_sources` makes it unique within a run.
        folder: where the input lies (the images' folder's parent), None for cameras and streams.
    """

    kind: SourceKind
    spec: str | int | tuple[str, ...]
    name: str
    folder: Path | None = None

    @property
    def label(self) -> str:
        """How messages call the source."""
        if self.kind == "camera":
            return f"camera {self.spec}"
        if isinstance(self.spec, tuple):
            return self.spec[0] if len(self.spec) == 1 else str(Path(self.spec[0]).parent)
        return _without_password(str(self.spec)) if self.kind == "stream" else str(self.spec)


def _without_password(address: str) -> str:
    """An RTSP address as it may be printed."""
    return re.sub(r"://[^/@]*@", "://...@", address)


def natural_key(path: str | Path) -> list[tuple[int, int, str]]:
    """Sort key that puts img2 before img10."""
    return [
        (0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.split(r"(\d+)", str(path).lower()) if t
    ]


def expand_sources(args: Sequence[str]) -> list[Source]:
    """Turns command-line words into one entry per output clip, in the order given.

    A folder, a glob of images, or image files of one folder named one after the other (what a shell makes of
    such a glob) become one clip, sorted naturally; a glob of videos becomes one clip a video.

    Raises:
        InputError: a file is missing, a glob matches nothing, a folder holds no images, or nothing was given.
    """
    sources: list[Source] = []
    images: list[Path] = []

    def close_images() -> None:
        if images:
            sources.append(_image_source(sorted(images, key=natural_key)))
            images.clear()

    for word in (str(arg) for arg in args):
        try:
            whole = _whole_source(word)
            paths = _paths(word) if whole is None else []
        except OSError as error:  # a name that is too long, say
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{word}: cannot be looked at ({reason}); check the path") from None
        if whole is not None:
            close_images()
            sources.append(whole)
        for path in paths:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                if images and images[-1].parent != path.parent:
                    close_images()
                images.append(path)
            else:
                close_images()
                sources.append(Source("video", str(path), path.stem, path.parent))
    close_images()
    if not sources:
        raise InputError("no input given; name a video, a folder of images, a camera index or a URL")
    return _unique_names(sources)


def as_source(source: Source | str | Path | int | Sequence[str]) -> Source:
    """The one clip that `source` means; a sequence is taken as the ordered images of one clip.

    Raises:
        InputError: as `expand_sources`, or when `source` stands for several clips.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, int):
        return _camera(source)
    if not isinstance(source, (str, Path)):
        paths = [Path(item) for item in source]
        if not paths:
            raise InputError("no images given; the list of files is empty")
        return _image_source([_existing(path) for path in paths])
    found = expand_sources([str(source)])
    if len(found) > 1:
        raise InputError(f"{source} stands for {len(found)} clips, one was expected; open them one by one")
    return found[0]


def _whole_source(word: str) -> Source | None:
    """The source that a word means by itself, or None where it names files."""
    if not word:  # as a path it would be the current folder
        raise InputError(
            "the name of a clip is empty; name a video, a folder of images, a camera index or a URL"
        )
    if word.isdecimal() and not Path(word).exists():
        return _camera(int(word))
    if _URL.match(word):
        try:
            url = urlparse(word)
        except ValueError as error:  # of IPv6 addresses
            raise InputError(f"{_without_password(word)}: is no address ({error}); check it") from None
        if url.scheme.lower() == "file":
            return as_source(unquote(url.path))
        stem = Path(unquote(url.path)).stem or url.hostname or "stream"
        return Source("stream", word, re.sub(r"[^\w.-]+", "_", stem))
    path = Path(word)
    return _folder_source(path) if path.is_dir() else None


def _camera(index: int) -> Source:
    if not 0 <= index < 2**31:
        raise InputError(f"camera {index} does not exist; camera indices start at 0")
    return Source("camera", index, f"camera{index}")


def _paths(word: str) -> list[Path]:
    path = Path(word)
    if path.exists() or not glob.has_magic(word):
        return [_existing(path)]
    found = [Path(p) for p in sorted(glob.glob(word, recursive=True), key=natural_key)]
    found = [p for p in found if p.is_file()]
    if not found:
        raise InputError(f"{word}: no file matches; check the folder and the pattern")
    return found


def _existing(path: Path) -> Path:
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
        if path.is_file() and not os.access(path, os.R_OK):
            raise InputError(f"{path}: may not be read; check its permissions")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); copy or record it again")
        if path.suffix.lower() in _TABLES:
            raise InputError(
                f"{path}: is no video; keypoints go to `posefix refine`, results to `posefix view`"
            )
    except OSError as error:
        raise InputError(f"{path}: cannot be looked at ({error.strerror}); check its permissions") from None
    return path


def _folder_source(folder: Path) -> Source:
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."]
        results = not found and any(folder.glob("*_3d.csv"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    if results:
        raise InputError(f"{folder}: holds results, not images; look at them with `posefix view {folder}`")
    if not found:
        raise InputError(
            f"{folder}: holds no images (.jpg, .png, ...); name a folder of images, or each video by itself; "
            "keypoint files go to `posefix refine`"
        )
    return _image_source(sorted(found, key=natural_key), whole_folder=True)


def _image_source(paths: list[Path], whole_folder: bool = False) -> Source:
    spec, folder = tuple(str(p) for p in paths), paths[0].parent
    if len(paths) == 1 and not whole_folder:
        return Source("images", spec, paths[0].stem, folder)
    return Source("images", spec, folder.resolve().name or "images", folder.parent)


def _unique_names(sources: list[Source]) -> list[Source]:
    """Appends _2, _3 ... to repeated names, so that clips of one run never write to the same place."""
    taken: set[str] = set()
    result = []
    for source in sources:
        name, count = source.name, 1
        while name in taken:
            count += 1
            name = f"{source.name}_{count}"
        taken.add(name)
        result.append(replace(source, name=name))
    return result
