"""A user's .onnx file in onnxruntime: opened, its hash taken, its failures told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..skeleton.digest import sha256
from ..skeleton.errors import DeviceError, WeightsError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class OnnxModel:
    """A network with one picture as its input.

    Attributes:
        path, sha256: the file.
        input_name, dtype: of the input; float32, float16 or uint8.
        channels_last: whether the input is (n, h, w, 3) instead of (n, 3, h, w).
        size: (w, h) of the input; None where the file leaves it open.
        batch: pictures a call takes; None: any number.
        device: "cpu" or "cuda", where it runs.
        outputs: names, in order.
    """

    def __init__(self, path: str | Path, device: str = "cpu", flag: str = "--pose-model") -> None:
        """Open the file.

        Args:
            device: "cuda" insists on CUDA; "auto" takes it where onnxruntime has it; else the CPU.
            flag: the option that named the file, for messages.

        Raises:
            WeightsError: no such file, no ONNX, or an input that is no picture.
            DeviceError: CUDA was asked for and onnxruntime cannot use it.
        """
        self.path = Path(path)
        self._where = f"{flag} {path}"
        try:
            self.sha256 = sha256(self.path)
        except OSError as error:
            problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            raise WeightsError(f"{self._where}: {problem}; give the path of an .onnx file") from error
        session = _open(self.path, _providers(device), self._where)
        self._session: onnxruntime.InferenceSession | None = session
        self.device = "cuda" if session.get_providers()[0] == CUDA else "cpu"
        if device == "cuda" and self.device != "cuda":
            raise DeviceError(
                "--device cuda: onnxruntime cannot start CUDA here (CUDA 12 and cuDNN 9 are needed); "
                "use --device cpu"
            )
        self.outputs = [o.name for o in session.get_outputs()]
        self._read_input(list(session.get_inputs()))

    def _read_input(self, inputs: list[Any]) -> None:
        shape = inputs[0].shape if inputs else []
        picture = len(inputs) == 1 and len(shape) == 4 and 3 in (shape[1], shape[3])
        if not picture or inputs[0].type not in _FLOATS:
            found = ", ".join(f"{i.name} {i.shape} {i.type}" for i in inputs) or "no input"
            raise WeightsError(
                f"{self._where}: expected one picture (n, 3, h, w) or (n, h, w, 3) as input, found {found}"
            )
        self.input_name, self.dtype = inputs[0].name, _FLOATS[inputs[0].type]
        self.channels_last = shape[1] != 3
        height, width = shape[1:3] if self.channels_last else shape[2:4]
        fixed = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
        self.size: tuple[int, int] | None = (width, height) if fixed else None
        self.batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None

    def run(self, pictures: np.ndarray) -> list[np.ndarray]:
        """(n, h, w, 3) pictures, already normalised -> the outputs, n first, floats as float32.

        Raises:
            WeightsError: the network fails on them.
        """
        step = self.batch or max(len(pictures), 1)
        parts = [self._call(pictures[k : k + step], step) for k in range(0, len(pictures), step)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _call(self, pictures: np.ndarray, step: int) -> list[np.ndarray]:
        missing = step - len(pictures) if self.batch else 0
        assert self._session is not None, "closed"
        if missing:
            pictures = np.concatenate([pictures, np.repeat(pictures[-1:], missing, axis=0)])
        if not self.channels_last:
            pictures = pictures.transpose(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w)
        try:
            outputs: list[Any] = list(
                self._session.run(None, {self.input_name: np.ascontiguousarray(pictures, self.dtype)})
            )
        except Exception as error:  # onnxruntime's own exceptions share no base but this
            raise WeightsError(f"{self._where}: the network fails on its input ({_short(error)})") from error
        arrays = [np.asarray(o) for o in outputs]
        arrays = [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]
        return [a[: len(a) - missing] if a.ndim else a[None] for a in arrays]

    def close(self) -> None:
        """Free the network."""
        self._session = None


def _providers(device: str) -> list[str]:
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "--device cuda: this onnxruntime is built without CUDA; install the CUDA build "
            "(pip uninstall onnxruntime; pip install onnxruntime-gpu), or use --device cpu"
        )
    return [CUDA, CPU] if has_cuda and device in ("cuda", "auto") else [CPU]


def _open(path: Path, providers: list[str], where: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are about how the file was exported
    # Idle workers must not burn the cores that the other stages need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base but this
        raise WeightsError(
            f"{where}: onnxruntime cannot load it ({_short(error)}); is it a whole .onnx file?"
        ) from error


def _short(error: Exception) -> str:
    """The first 200 characters of a message, on one line."""
    return " ".join(str(error).split())[:200]
