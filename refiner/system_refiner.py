"""Any system of `training/systems.py` as it runs: start, sampler, hypotheses, their mean and spread.

The same call as `refine.Refiner`, which is the shipped system; here every part can be exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..lifter.normalise import MIRROR_2D, mirror, normalise_keypoints
from ..lifter.runtime import Array, chunks
from ..skeleton import H36M17
from ..skeleton.errors import InputError
from .diffusion import mask_hidden
from .process import Process
from .refine import MIRROR_STATE, mean_and_spread
from .samplers import SAMPLERS, intervals
from .schedules import index_steps, karras_steps

SamplerName = Literal["ddim", "ddpm", "heun"]


@dataclass(frozen=True)
class SamplingConfig:
    """How a trained system is run. Raises InputError: a value makes no sense."""

    sampler: SamplerName = "ddim"
    calls: int = 5  # of the network, for each hypothesis
    hypotheses: int = 5
    flip: bool = True  # average with the mirror image's answer, in lifter and refiner
    churn: float = 0.0  # S_churn of heun; EDM's default
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(f"--sampler {self.sampler}: choose from {', '.join(SAMPLERS)}")
        if self.calls < 1:
            raise InputError(f"--ddim-steps {self.calls}: expected 1 or more")
        if not 1 <= self.hypotheses <= 200:
            raise InputError(f"--hypotheses {self.hypotheses}: expected 1 to 200")
        if not 0 <= self.churn <= 100:
            raise InputError(f"--churn {self.churn}: expected 0 to 100")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected 0 or more")
        try:
            intervals(self.sampler, self.calls)
        except ValueError as error:
            raise InputError(f"--ddim-steps {self.calls}: {error}") from error


class SystemRefiner:
    """First 3D -> hypotheses of better 3D, with any network, process and sampler.

    Args:
        network: with `guidance(keypoints)` and the call (state, k, guidance) of `denoisers.CceCag`.
        rows: frames that go through the network at once.

    Raises:
        InputError: more network calls than the process has steps, or hypotheses that could not differ.
    """

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        sampling: SamplingConfig | None = None,
        device: str = "cpu",
        rows: int = 128,
    ):
        self.network = network.eval().to(device)
        self.process, self.device, self.rows = process, device, rows
        self.sampling = s = sampling or SamplingConfig()
        if process.config.noise == "none" and (s.hypotheses, s.calls) != (1, 1):
            raise InputError("a regressor answers once: --hypotheses 1 --ddim-steps 1")
        space = karras_steps if s.sampler == "heun" else index_steps
        walked = intervals(s.sampler, s.calls)
        if walked > process.enter:
            most = 2 * process.enter - 1 if s.sampler == "heun" else process.enter
            raise InputError(
                f"--ddim-steps {s.calls}: expected at most {most}, as run time enters at step {process.enter} "
                f"of {process.last}; --diffusion-steps in training gives more"
            )
        self.visited = space(process.levels, walked, process.enter)
        self.sampler = SAMPLERS[s.sampler]
        if s.sampler == "heun":
            self.sampler = partial(self.sampler, churn=s.churn)

    def __call__(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike
    ) -> tuple[Array, Array]:
        """Mean (n, 17, 3) metres and standard deviation (n, 17), as `refine.Refiner.__call__`."""
        return mean_and_spread(self.sample(keypoints, observed, lifted, keys))

    def sample(
        self, keypoints: npt.ArrayLike, observed: npt.ArrayLike, lifted: npt.ArrayLike, keys: npt.ArrayLike
    ) -> Array:
        """(n, H, 17, 3) metres relative to Hip, camera axes: every hypothesis.

        Args:
            keypoints: (n, 17, 2) pixels. observed: (n, 17) bool. lifted: (n, 17, 3) metres.
            keys: (n, 2) int, frame and person: what the noise is drawn by.
        """
        points = torch.as_tensor(np.asarray(keypoints, np.float32))
        seen = torch.as_tensor(np.asarray(observed, bool))
        poses, names = np.asarray(lifted, np.float32), np.asarray(keys)
        out = np.empty((len(points), self.sampling.hypotheses, len(H36M17.joints), 3), np.float32)
        with torch.inference_mode():
            for where, part in chunks(len(points), self.rows, pad=False):
                x = normalise_keypoints(points[part], seen[part])
                out[where] = self._sample(x, poses[part], names[part])
        return out

    def _sample(self, x: Tensor, lifted: Array, keys: np.ndarray) -> Array:
        s = self.sampling
        begin = np.concatenate([x[..., :2].numpy(), lifted], axis=-1)  # (G, 17, 5)
        noise = np.stack([self.process.start_noise(s.hypotheses, s.seed, key) for key in keys])
        state = self._both(torch.from_numpy(self.process.start(begin, noise)))  # (2G, H, 17, 5)
        x = torch.cat([x, mirror(x, MIRROR_2D)]) if s.flip else x
        x = x.to(self.device)
        observed = x[:, None, :, 2:]  # (2G, 1, 17, 1)
        guidance = self.network.guidance(x)  # type: ignore[operator]

        def denoise(h: Tensor, k: float) -> Tensor:
            at = torch.full((len(h),), float(k), device=self.device)
            return self.process.clean(self.process.answer(self.network, h, at, guidance), h, at, observed)

        # Beside the start's own draws, so that neither hangs on the other, nor on what else is in the batch.
        sources = [np.random.default_rng([s.seed, int(person), int(frame), 1]) for frame, person in keys]

        def draw() -> Tensor:
            fresh = np.stack([self.process.fresh(s.hypotheses, source) for source in sources])
            return mask_hidden(self._both(torch.from_numpy(fresh)), observed)

        state = mask_hidden(state, observed)
        out: Any = self.sampler(denoise, state, self.process.levels, self.visited, draw)
        out = out[..., 2:].cpu().numpy()
        if not s.flip:
            return out
        straight, mirrored = np.split(out, 2)
        mean = (straight + mirrored[:, :, H36M17.flip_order] * MIRROR_STATE[2:]) / 2
        return mean.astype(np.float32)

    def _both(self, state: Tensor) -> Tensor:
        """(G, H, 17, 5) -> (2G, H, 17, 5): as it is and, where flips are averaged, mirrored."""
        if self.sampling.flip:
            signs = tuple(float(v) for v in MIRROR_STATE)
            state = torch.cat([state, mirror(state, signs)])
        return state.to(self.device)
