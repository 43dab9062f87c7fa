"""How a benchmark's rows become figures: which joints count, and what the mean goes over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...skeleton.metrics import PROTOCOL_METRICS

ALL = tuple(range(17))
PERCENTAGES = ("pck150", "auc")


@dataclass(frozen=True, slots=True)
class Scoring:
    """Joints are numbered in Human3.6M-17; Hip, the root, comes first.

    Attributes:
        joints: those of MPJPE, P-MPJPE and N-MPJPE.
        near_joints: the root, and then those that PCK and AUC count.
        mean_of: the last line is the mean of all rows, or of the actions' means.
        actions: order of the table; actions not named here follow in alphabetical order.
        shown_only: actions in the table that the last line leaves out, where it is the mean of actions.
        rows: number of rows of the whole test set; None where it depends on the file.
    """

    joints: tuple[int, ...] = ALL
    near_joints: tuple[int, ...] = ALL
    mean_of: Literal["rows", "actions"] = "rows"
    actions: tuple[str, ...] = ()
    shown_only: tuple[str, ...] = ()
    rows: int | None = None

    def per_row(
        self, poses: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """(n, 17, 3) metres, twice -> each figure's (n,) values."""
        return {
            name: metric(
                poses[:, self.near_joints if name in PERCENTAGES else self.joints],
                target[:, self.near_joints if name in PERCENTAGES else self.joints],
                per_frame=True,
            )
            for name, metric in PROTOCOL_METRICS.items()
        }

    def order(self, actions: set[str]) -> list[str]:
        """The actions in the order of the table."""
        return [a for a in self.actions if a in actions] + sorted(actions - set(self.actions))

    def overall(
        self,
        values: Mapping[str, npt.NDArray[np.float64]],
        rows_of: Mapping[str, npt.NDArray[np.bool_]],
    ) -> dict[str, float]:
        """The figures of all, from the (n,) values and from which rows each action has."""
        if self.mean_of == "rows":
            return {name: float(v.mean()) for name, v in values.items()}
        counted = [rows for action, rows in rows_of.items() if action not in self.shown_only]
        parts = counted or list(rows_of.values())
        return {name: float(np.mean([v[rows].mean() for rows in parts])) for name, v in values.items()}


MOCAP17 = Scoring()
