"""The diffusion processes of the papers: forward noising, start and denoising, one class for all.

State h: (..., 17, 5) = normalised u, v and x, y, z in metres relative to Hip, camera axes. Always

    h_k = h_0 + s_k e,    s_k = levels[k],

and what e and s_k are is the paper's. The network sees the state as its paper writes it, sqrt(abar_k) h_k
where the signal shrinks, and answers e (in units of `unit`) or the pose; the samplers see h_k.

    mixture   e ~ Gaussian mixture fitted to what detector and lifter do wrong, s_k from 0 to 1: h_K has the
              distribution of the lifter's poses around the truth. This is DiffPose's equation 7 with the
              kernels around the pose they belong to, mu^G = h_0 + mu_m (mu_m enters at the noise's pace
              s_k; there: 1 - sqrt(alpha_k)), scaled so that it holds for the supplement's betas too, whose
              alpha_K is 0.95 and not 0. DiffPose's and CCE+CAG's texts; neither code uses its mixture.
    gaussian  e ~ N(0, scale^2), s_k = sqrt((1 - abar_k) / abar_k): the standard diffusion of DiffPose's
              equation 4, of both codes (scale 0.1 for u, v and 1 for x, y, z) and of DiffuPose (u, v exact).
    none      one level, e = start - truth: a regressor that corrects the lifter's pose.

Run time starts at the lifted pose and detected 2D plus `spread` times a draw (both codes: no draw at all,
so their hypotheses are identical; DiffPose's text: drawn), at the step whose noise is as large as the
lifter's error on val (both codes: step 6 or 12 of 51, chosen by hand); or, `start="noise"`, from pure noise
at step K. The mixture is of people the lifter never saw, in any view, and so larger than that error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..skeleton import H36M17
from ..skeleton.errors import InputError
from .diffusion import centre_root, mask_hidden
from .mixture import SIZE, Array, Mixture, to_nodes
from .refine import draw_noise
from .schedules import SCHEDULES, linear, relative_levels, sigmas

JOINTS = len(H36M17.joints)
MAX_STEPS = 1000
Noise = Literal["mixture", "gaussian", "none"]
Target = Literal["noise", "previous", "pose"]


@dataclass(frozen=True)
class ProcessConfig:
    """Raises InputError: a value makes no sense."""

    noise: Noise = "mixture"
    schedule: Literal["linear", "cosine"] = "linear"
    steps: int = 50  # K
    components: int = 5  # M of the mixture
    scale_2d: float = 0.1  # of the Gaussian noise of u and v against that of x, y, z; 0: exact 2D
    start: Literal["lifted", "noise"] = "lifted"
    spread: float = 0.5  # of the drawn starts against the lifter's own error
    # What is learnt: the noise e; h_{k-1} (DiffPose's equation 9, CCE+CAG's 5), to which the network's
    # answer leads by h_{k-1} = h_k - (s_k - s_{k-1}) e; or the pose.
    target: Target = "noise"
    clamp: float = 0.0  # believed poses stay within so many metres a coordinate; 0: no limit

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MAX_STEPS:
            raise InputError(f"diffusion steps {self.steps}: expected 1 to {MAX_STEPS}")
        if not 1 <= self.components <= 50:
            raise InputError(f"mixture components {self.components}: expected 1 to 50")
        if not 0 <= self.spread <= 10:
            raise InputError(f"--spread {self.spread:g}: expected 0 to 10")
        if self.noise == "mixture" and self.start == "noise":
            raise InputError(
                "the mixture is of errors around a lifted pose; pure noise as start needs gaussian"
            )


class Process:
    """Levels and noise of one configuration.

    Args:
        mixture: fitted to start errors.
        lifter_error: root mean square of x, y, z errors of the poses that run time starts from, metres; by
            default the mixture's.

    Attributes:
        levels: (K + 1,) s_k, float64. unit: (5,) size of e a channel, metres and normalised units.
        enter: the step at which run time starts.
    """

    def __init__(self, config: ProcessConfig, mixture: Mixture, lifter_error: float | None = None):
        self.config, self.mixture = config, mixture
        abar = SCHEDULES[config.schedule](config.steps)
        if config.schedule == "linear" and config.start == "noise":
            # DiffPose's betas end far from pure noise; Ho et al.'s, scaled to K, do not (DiffuPose's code).
            abar = linear(config.steps, 0.1 / config.steps, min(20 / config.steps, 0.999))
        rms = error_size(mixture)
        self.shrinks = config.noise == "gaussian"
        if config.noise == "mixture":
            self.levels, unit = relative_levels(abar), rms
        elif config.noise == "gaussian":
            self.levels, unit = sigmas(abar), np.array([config.scale_2d] * 2 + [1.0] * 3)
        else:
            self.levels, unit = np.array([0.0, 1.0]), np.ones(5)
        self.noised = torch.tensor(unit > 0)  # channels that carry noise
        self.unit = torch.tensor(np.where(unit > 0, unit, 1.0), dtype=torch.float32)
        self.last = len(self.levels) - 1
        self.enter = self.last
        if config.noise != "none" and config.start == "lifted":
            drawn = float(np.sqrt((unit[2:] ** 2).mean()))
            wanted = (mean_error(mixture) if lifter_error is None else lifter_error) / drawn
            self.enter = max(1, int(np.abs(self.levels - wanted).argmin()))
        self._levels = torch.from_numpy(self.levels).float()
        self._weights = torch.from_numpy(mixture.weights)
        self._means = torch.from_numpy(to_nodes(mixture.means))
        self._factors = torch.from_numpy(mixture.factors)

    def draw(self, count: int, g: torch.Generator) -> Tensor:
        """(count, 17, 5) training errors e; zeros where there is no noise."""
        if self.config.noise == "none":
            return torch.zeros(count, JOINTS, 5)
        if self.config.noise == "gaussian":
            noise = torch.randn(count, JOINTS, 5, generator=g) * self.unit * self.noised
            noise[:, 0, 2:] = 0  # the root is known
            return noise
        # As at run time: the lifter's error and, beside it, the drawn one.
        drawn, m = self._centred(count, g)
        return drawn + self._means[m] + self.config.spread * self._centred(count, g)[0]

    def _centred(self, count: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        m = torch.multinomial(self._weights, count, replacement=True, generator=g)
        # Every component for every row, then the row's own: less to move than a matrix a row.
        normal = torch.randn(count, SIZE, generator=g)
        vectors = torch.einsum("mij,bj->bmi", self._factors, normal)[torch.arange(count), m]  # (B, 85)
        uv, xyz = vectors[:, :34].reshape(count, JOINTS, 2), vectors[:, 34:].reshape(count, JOINTS, 3)
        return torch.cat([uv, xyz], dim=-1), m

    def level(self, k: Tensor) -> Tensor:
        """(G,) steps, also between two -> (G,) s_k."""
        levels = self._levels.to(k.device)
        low = k.floor().long().clamp(0, self.last - 1)
        return levels[low] + (k - low) * (levels[low + 1] - levels[low])

    def fall(self, k: Tensor) -> Tensor:
        """(G,) steps -> (G,) how an error in e shows in h_{k-1}, over its mean square root over all steps."""
        falls = np.diff(self.levels) * (1 / np.sqrt(1 + self.levels[:-1] ** 2) if self.shrinks else 1.0)
        return torch.from_numpy(falls / np.sqrt((falls**2).mean())).float().to(k.device)[k.long() - 1]

    def answer(self, model: nn.Module, state: Tensor, k: Tensor, context: Tensor) -> Tensor:
        """What the network says of h_k: (G, H, 17, 5), (G,) -> (G, H, 17, 5), float32, in units of e."""
        if self.shrinks:
            share = (1 + self.level(k) ** 2).rsqrt()[:, None, None, None]
            state = torch.where(self.noised.to(state.device), state * share, state)
        out = model(state, k, context).float()
        return out if self.config.target == "pose" else out * self.unit.to(out.device)

    def clean(self, answer: Tensor, state: Tensor, k: Tensor, observed: Tensor) -> Tensor:
        """The clean state that an answer means. observed (G, 1, 17, 1) of 0 and 1."""
        if self.config.target != "pose":
            answer = state - self.level(k)[:, None, None, None] * answer
        answer = torch.where(self.noised.to(state.device), answer, state)
        if self.config.clamp:
            limited = answer[..., 2:].clamp(-self.config.clamp, self.config.clamp)
            answer = torch.cat([answer[..., :2], limited], dim=-1)
        return centre_root(mask_hidden(answer, observed))

    def start_noise(self, hypotheses: int, seed: int, key: np.ndarray) -> Array:
        """(H, 17, 5) unit-level draws of one person in one frame, the same whatever the batch.

        Around a lifted pose in antithetic pairs, an odd last one without noise (`refine.draw_noise`).
        """
        if self.config.noise == "none":
            return np.zeros((hypotheses, JOINTS, 5), np.float32)
        if self.config.noise == "mixture":
            return draw_noise(self.mixture, hypotheses, seed, key)
        rng = np.random.default_rng([seed, int(key[1]), int(key[0])])
        if self.config.start == "noise":
            return self.fresh(hypotheses, rng)
        half = self.fresh(hypotheses // 2, rng)
        pairs = np.stack([half, -half], axis=1).reshape(-1, JOINTS, 5)
        return np.concatenate([pairs, np.zeros((hypotheses % 2, JOINTS, 5), np.float32)])

    def fresh(self, count: int, rng: np.random.Generator) -> Array:
        """(count, 17, 5) independent unit-level draws without the kernels' means."""
        if self.config.noise == "mixture":
            normal = rng.standard_normal((count, SIZE)).astype(np.float32)
            return self.mixture.centred(self.mixture.pick(rng.random(count)), normal)
        noise = rng.standard_normal((count, JOINTS, 5)).astype(np.float32)
        noise *= (self.unit * self.noised).numpy()
        noise[:, 0, 2:] = 0
        return noise

    def start(self, start: Array, noise: Array) -> Array:
        """h at step `enter`: (G, 17, 5) [2D | lifted 3D] and (G, H, 17, 5) unit draws -> (G, H, 17, 5)."""
        level = np.float32(self.levels[self.enter])
        if self.config.start == "noise":
            return np.where(self.noised.numpy(), level * noise, start[:, None]).astype(np.float32)
        return (start[:, None] + self.config.spread * level * noise).astype(np.float32)


def error_size(mixture: Mixture) -> np.ndarray:
    """(5,) root mean square of a mixture's draws per channel, over the 16 joints that are not the root."""
    variance = (mixture.factors.astype(np.float64) ** 2).sum(axis=-1) + mixture.means.astype(np.float64) ** 2
    mean = (mixture.weights[:, None] * variance).sum(axis=0) / mixture.weights.sum()
    return np.sqrt(to_nodes(mean[None])[0, 1:].mean(axis=0))


def mean_error(mixture: Mixture) -> float:
    """Root mean square of a mixture's x, y, z, metres."""
    return float(np.sqrt((error_size(mixture)[2:] ** 2).mean()))
