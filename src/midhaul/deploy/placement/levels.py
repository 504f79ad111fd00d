"""When pulls must have ended: which deadlines need a capacity row of their own.

Jobs on one machine meet all deadlines exactly if, for every deadline ``d``, the jobs
that are due by ``d`` fit into the time until ``d``: order them by deadline (J. R.
Jackson, "Scheduling a Production Line to Minimize Maximum Tardiness", UCLA, 1955).
Differences from the paper:

1. Jobs share parts. What is due by ``d`` is the union of the layers of all images due
   by ``d``; pulled in the order of their deadlines, each carries what is missing still.
2. A deadline by which even everything fits needs no row.
3. Of more than :data:`MAX_LEVELS` others some are left out. That only loosens the
   problem, so its bounds stay valid; whoever plans looks afterwards whether a deadline
   that was left out is broken, and gives it a row then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

MAX_LEVELS = 16
"""Deadlines of one line that get a row at first."""

SLACK = 1e-9
"""Relative overrun that counts as being in time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A line that carries layers, and who needs which by when.

    Attributes:
        rate_bps: of the line.
        deadlines_s: ``(k,)`` deadline of each need.
        layers: ``(k,)`` what is needed; pulled once over this line.
        n_bytes: ``(l,)`` what each layer carries.
    """

    rate_bps: float
    deadlines_s: Float64[np.ndarray, " k"]
    layers: Int64[np.ndarray, " k"]
    n_bytes: Float64[np.ndarray, " l"]

    def capacity_bytes(self, deadline_s: float) -> float:
        """What it carries by a deadline."""
        if math.isinf(self.rate_bps) or math.isinf(deadline_s):
            return math.inf
        return self.rate_bps * deadline_s / 8

    def broken_s(
        self, needed: Bool[np.ndarray, " k"] | None = None
    ) -> Float64[np.ndarray, " d"]:
        """Deadlines by which the needs due do not fit, rising.

        Args:
            needed: ``(k,)`` which needs count; all when None.
        """
        due, layers = self.deadlines_s, self.layers
        if needed is not None:
            due, layers = due[needed], layers[needed]
        if math.isinf(self.rate_bps) or not len(due):
            return np.zeros(0)
        first = np.full(len(self.n_bytes), np.inf)
        np.minimum.at(first, layers, due)
        order = np.argsort(first, kind="stable")
        total = np.concatenate([[0.0], np.cumsum(self.n_bytes[order])])
        distinct = np.unique(due[np.isfinite(due)])
        union = total[np.searchsorted(first[order], distinct, side="right")]
        room = self.rate_bps * distinct / 8
        return distinct[union > room * (1 + SLACK)]


def levels_of(
    line: Line, also_s: Float64[np.ndarray, " d"]
) -> Float64[np.ndarray, " d"]:
    """The deadlines of a line that get a row, rising.

    Args:
        line: with all that may be needed.
        also_s: deadlines that must be among them where they matter.
    """
    tight = line.broken_s()
    if len(tight) <= MAX_LEVELS:
        return tight
    spread = np.linspace(0, len(tight) - 1, MAX_LEVELS).round().astype(np.int64)
    return np.union1d(tight[spread], np.intersect1d(tight, also_s))
