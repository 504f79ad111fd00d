"""What a corrector is asked and what it answers: percentiles of true slowdowns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from midhaul.model.display import Display, Shown, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.network.corrector.features import PathFeatures

LEVELS = np.array(
    [
        *(0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85),
        *(
            0.9,
            0.925,
            0.95,
            0.96,
            0.97,
            0.98,
            0.985,
            0.99,
            0.9925,
            0.995,
            0.9975,
            0.999,
        ),
    ]
)
"""Shares of flows whose slowdowns are told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Correction(Shown):
    """Slowdowns that ``n`` paths would have packet by packet, in ``b`` classes of size.

    Attributes:
        slowdown: ``(n, b, q)`` percentiles at :data:`LEVELS`, at least 1 and rising.
        low: ``(n, b, q)`` least that each may be, 9 times of 10.
        high: ``(n, b, q)`` most that each may be.
        counts: ``(n, b)`` flows of the foreground that it is said of.
        outside: for each path what is outside of what training has seen, in words.
    """

    slowdown: Float64[np.ndarray, "n b q"]
    low: Float64[np.ndarray, "n b q"]
    high: Float64[np.ndarray, "n b q"]
    counts: Int64[np.ndarray, "n b"]
    outside: tuple[tuple[str, ...], ...]

    def _display(self) -> Display:
        """How many paths it is said of, and how many are outside of training."""
        n, n_outside = len(self.outside), sum(bool(one) for one in self.outside)
        text = f"slowdowns of {counted(n, 'path')}, {n_outside} outside of training"
        return Display(text=text)


class Corrector(Protocol):
    """Tells what packets would say of paths, by their features."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def predict(self, features: Sequence[PathFeatures]) -> Correction:
        """Percentiles of slowdowns of each path, with intervals and warnings."""
        ...


def pooled(
    slowdown: Float64[np.ndarray, "k q"],
    weight: Float64[np.ndarray, " k"],
    shares: Float64[np.ndarray, " s"],
    levels: Float64[np.ndarray, " q"] = LEVELS,
) -> Float64[np.ndarray, " s"]:
    """Percentiles of a mixture of distributions that are told by percentiles.

    Between two percentiles the logarithm of slowdowns is spread evenly; below the first
    one and above the last one nothing is known, and all is put there.
    """
    values = np.log(slowdown)
    # Each percentile stands for what is nearer to it; finer between where it matters.
    fine = np.linspace(0, 1, 8, endpoint=False)[1:]
    points, masses = [values[:, :1]], [np.full(1, levels[0])]
    for i in range(len(levels) - 1):
        step = levels[i + 1] - levels[i]
        inner = (
            values[:, i : i + 1]
            + (values[:, i + 1 : i + 2] - values[:, i : i + 1]) * fine
        )
        points.append(inner)
        masses.append(np.full(len(fine), step / len(fine)))
    points.append(values[:, -1:])
    masses.append(np.full(1, 1 - levels[-1]))
    all_points = np.concatenate(points, axis=1)
    mass = np.concatenate(masses)[None, :] * (weight / weight.sum())[:, None]
    order = np.argsort(all_points, axis=None, kind="stable")
    ordered, total = all_points.ravel()[order], np.cumsum(mass.ravel()[order])
    at = np.minimum(np.searchsorted(total, shares - 1e-12), len(ordered) - 1)
    return np.exp(ordered[at])
