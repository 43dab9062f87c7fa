"""The Gaussian mixture of start errors: what detector and lifter do wrong, as 85 numbers a pose.

An error vector is [2D error of 17 joints (34, normalised units) | 3D error of 17 joints (51, metres)].
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SIZE = 17 * 5


@dataclass(frozen=True, eq=False)
class Mixture:
    """M weighted Gaussians over error vectors.

    Attributes:
        weights: (M,); means: (M, 85); factors: (M, 85, 85) lower Cholesky factors of the covariances.
    """

    weights: Array
    means: Array
    factors: Array

    def __post_init__(self) -> None:
        m = len(self.weights)
        if self.means.shape != (m, SIZE) or self.factors.shape != (m, SIZE, SIZE):
            raise ValueError(
                f"Mixture: expected means {(m, SIZE)} and factors {(m, SIZE, SIZE)}, "
                f"got {self.means.shape} and {self.factors.shape}"
            )

    def centred(self, component: npt.NDArray[np.int64], normal: Array) -> Array:
        """Noise without the components' means: (n,) components and (n, 85) normal draws -> (n, 17, 5)."""
        noise = np.einsum("nij,nj->ni", self.factors[component], normal)
        return to_nodes(noise.astype(np.float32))

    def pick(self, uniform: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """(n,) uniform numbers in [0, 1) -> (n,) component numbers, by weight."""
        edges = np.cumsum(self.weights / self.weights.sum())
        return np.minimum(np.searchsorted(edges, np.asarray(uniform), side="right"), len(self.weights) - 1)


def to_nodes(vectors: Array) -> Array:
    """(n, 85) error vectors -> (n, 17, 5): u, v, x, y, z of each joint."""
    n = len(vectors)
    return np.concatenate([vectors[:, :34].reshape(n, 17, 2), vectors[:, 34:].reshape(n, 17, 3)], axis=-1)


def from_nodes(nodes: Array) -> Array:
    """The inverse of `to_nodes`."""
    n = len(nodes)
    return np.concatenate([nodes[..., :2].reshape(n, 34), nodes[..., 2:].reshape(n, 51)], axis=-1)


def fit(errors: npt.ArrayLike, components: int = 5, seed: int = 0) -> Mixture:
    """EM fit (scikit-learn, full covariances) to (n, 17, 5) errors; DiffPose equation 6, CCE+CAG section 2.2.3."""
    # Only training fits; starting up need not wait for it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        components, covariance_type="full", reg_covar=1e-7, random_state=seed, max_iter=60
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound on rounds is meant
        model.fit(from_nodes(np.asarray(errors, np.float32)).astype(np.float64))
    factors = np.linalg.cholesky(np.asarray(model.covariances_))
    weights, means = np.asarray(model.weights_), np.asarray(model.means_)
    return Mixture(weights.astype(np.float32), means.astype(np.float32), factors.astype(np.float32))
