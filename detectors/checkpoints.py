"""Checkpoints of others' networks (MMPose's, CPN's), read without running anything that is in them; MMPose's hub.

A checkpoint is a pickle, and a pickle can run any code. PyTorch's safe reader (`weights_only`) takes tensors and plain
Python values; checkpoints of OpenMMLab also hold what the training kept beside the weights. Of that the names below
are let through, numpy's as what they are and the others as empty objects. A file with any other name is refused.
`getattr`, by which pickles of protocol 2 write a class's methods, is one of the empty ones too: it gets nothing.
"""

from __future__ import annotations

import pickle
import re
import shlex
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..skeleton.errors import WeightsError


class _Husk:
    """Stands for an object of the training run: whatever it held is thrown away."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_HUSKS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",  # HistoryBuffer's table of its own methods
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "datetime.datetime",
)


def _allowed() -> list[Any]:
    """What `torch.serialization.safe_globals` takes: objects, and (stand-in, full name) pairs."""
    rebuild, scalar = np.array(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    numpy: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(c)) for c in "?bhilqBHILQefdSU"}]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # as numpy 1 and 2 write it
        numpy += [(rebuild, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    return [*numpy, *((_Husk, name) for name in _HUSKS)]


def read_checkpoint(path: str | Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights by name, and the file's `meta`, empty where it has none.

    Args:
        where: the option that named the file, and the file, for messages.

    Raises:
        WeightsError: no such file, no checkpoint, or one that could run code; the message says what to do.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
            warnings.simplefilter("ignore")  # about protocols, of which the user cannot choose any
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint raises anything
        raise WeightsError(f"{where}: {_why(Path(path), error)}") from error
    state, meta = content, {}
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        state, meta = content["state_dict"], content.get("meta", {})
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{where}: it holds no weights (a state_dict)")
    tensors = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    return tensors, dict(meta) if isinstance(meta, Mapping) else {}


def _why(path: Path, error: Exception) -> str:
    """What is wrong with a file that cannot be read, and how to mend it."""
    if isinstance(error, OSError) and error.strerror:
        return "no such file" if isinstance(error, FileNotFoundError) else error.strerror
    with open(path, "rb") as file:
        pickled = file.read(2) in (b"PK", *(b"\x80" + bytes([k]) for k in range(2, 6)))
    if not pickled or not isinstance(error, pickle.UnpicklingError):
        return "it is no PyTorch checkpoint, or damaged; is it a whole .pth file?"
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    return (
        f"refused: it holds {name[1] if name else 'more than weights'}, and reading that could run code of whoever "
        f"made the file; if you trust them, convert it once: {conversion(path)}"
    )


def conversion(path: Path) -> str:
    """The command that writes a file's weights, and nothing else, to a new file. It does run what is in the old."""
    new = path.with_name(path.name.split(".")[0] + "_weights.pth")
    code = (
        f"import torch; c = torch.load({str(path)!r}, weights_only=False, map_location='cpu'); "
        f"torch.save({{'state_dict': c.get('state_dict', c), 'meta': {{}}}}, {str(new)!r})"
    )
    return f"python -c {shlex.quote(code)}" if set(code) & set('"$`') else f'python -c "{code}"'


def fill(
    network: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    what: str = "a checkpoint of this model",
    strict: bool = False,
) -> None:
    """Put weights into a network.

    Args:
        where: the option that named the file, and the file, for messages.
        what: they should be, for messages.
        strict: refuse weights that the network has no place for; else those (of a loss, say) are left.

    Raises:
        WeightsError: some are missing or of another shape, so they are of another network.
    """
    expected = network.state_dict()
    # PyTorch 0.4.0, which wrote CPN's public files, did not count batches.
    needed = {k for k in expected if not k.endswith("num_batches_tracked")}
    missing, extra = needed - state.keys(), state.keys() - expected.keys() if strict else set()
    shapes = {k for k in expected.keys() & state.keys() if state[k].shape != expected[k].shape}
    for names, problem in ((missing, "lacks"), (extra, "has besides"), (shapes, "has in other shapes")):
        if names:
            raise WeightsError(
                f"{where}: not {what}: it {problem} {len(names)} of its {len(needed)} weights, e.g. {min(names)}"
            )
    network.load_state_dict(dict(state), strict=False)


def fetch(url: str, flag: str) -> Path:
    """A file of MMPose's hub, from PyTorch's cache if it is there; what its name tells of its SHA-256 is checked.

    Raises:
        WeightsError: it cannot be had; the message names the file and the option for weights from elsewhere.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    digits = re.search(r"[-_]([0-9a-f]{8})(?:_\d{8})?\.pth$", path.name)
    if sys.stderr.isatty():
        print(f"posefix: fetching {path.name} from MMPose's hub", file=sys.stderr, flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digits[1] if digits else None, progress=False)
    except (OSError, RuntimeError, ValueError) as error:  # URLError is an OSError; RuntimeError: other bytes
        raise WeightsError(
            f"cannot fetch {url} ({_short(error)}); fetch it where there is a network, and add {flag} FILE"
        ) from error
    return path


def _short(error: BaseException) -> str:
    """The first 200 characters of a message, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
