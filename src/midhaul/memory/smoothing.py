"""Smoothing of predictions: a mixture that bounds how bad a score may be.

A net is surest where it has seen least. Mixed with a uniform distribution of share s,
no log score of k bins is below ``ln(s / k)``, and the mean loses at most
``-ln(1 - s)``. How much of what is mixed is learnt from predictions whose outputs have
come: for each level of confidence the shares of four parts are those of maximum
likelihood, found by expectation maximisation (Dempster, Laird and Rubin 1977, the
mixture whose components are known).

The parts are the prediction itself, the same flattened (its square root), what came
when the same bin was expected at that level of confidence, and the uniform
distribution, which never has less than ``least``. Bins that were seldom expected at a
level have what came at the level as a whole: as much as :data:`LIKE_ITS_LEVEL`
predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

N_LEVELS = 6
"""Levels of confidence, with alike many predictions each."""

LEAST_UNIFORM = 0.02
"""The least share of the uniform distribution: with 21 bins no score is below -6.96."""

LIKE_ITS_LEVEL = 20.0
_N_ROUNDS = 60
_PRIOR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smoothing:
    """Mixes predictions over ``k`` bins by their level of confidence.

    Attributes:
        limits: ``(l - 1,)`` largest shares of a bin that part the levels, rising.
        shares: ``(l, 4)`` of each part.
        came: ``(l, k, k)`` what came at each level where each bin was expected.
    """

    limits: Float64[np.ndarray, " l1"]
    shares: Float64[np.ndarray, "l 4"]
    came: Float64[np.ndarray, "l k k"]

    @classmethod
    def fitted(
        cls,
        prediction: Float32[np.ndarray, "n k"],
        bin_of: Int64[np.ndarray, " n"],
        *,
        least: float = LEAST_UNIFORM,
    ) -> Smoothing:
        """The mixture that was best for predictions whose bins are known.

        ConfigError if ``least`` is no share below 1.
        """
        if not 0 <= least < 1:
            message = f"least: expected a share of at least 0 below 1, found {least}"
            raise ConfigError(message)
        k = prediction.shape[1]
        if not len(bin_of):
            return cls.none(k, least)
        most = prediction.max(axis=1)
        limits = np.quantile(most, np.arange(1, N_LEVELS) / N_LEVELS).astype(np.float64)
        level = np.searchsorted(limits, most, side="right")
        mode = prediction.argmax(axis=1)
        of_level = np.full((N_LEVELS, k), _PRIOR / k)
        np.add.at(of_level, (level, bin_of), 1.0)
        of_level /= of_level.sum(axis=1, keepdims=True)
        came = np.tile(LIKE_ITS_LEVEL * of_level[:, None], (1, k, 1))
        np.add.at(came, (level, mode, bin_of), 1.0)
        came /= came.sum(axis=2, keepdims=True)
        given = _given(prediction, bin_of, came[level, mode, bin_of])
        shares = np.array(
            [_mixed_shares(given[level == one], least) for one in range(N_LEVELS)]
        )
        return cls(limits=limits, shares=shares, came=came)

    @classmethod
    def none(cls, k: int, least: float = LEAST_UNIFORM) -> Smoothing:
        """The one before anything is known: the least share is uniform."""
        return cls(
            limits=np.zeros(0),
            shares=np.array([[1 - least, 0, 0, least]]),
            came=np.full((1, k, k), 1 / k),
        )

    def smoothed(
        self, prediction: Float32[np.ndarray, "n k"]
    ) -> Float32[np.ndarray, "n k"]:
        """Predictions, mixed."""
        level = np.searchsorted(self.limits, prediction.max(axis=1), side="right")
        share = self.shares[level].astype(np.float32)
        k = prediction.shape[1]
        found = share[:, :1] * prediction + share[:, 1:2] * _flat(prediction)
        mode = prediction.argmax(axis=1)
        found += share[:, 2:3] * self.came.astype(np.float32)[level, mode]
        return found + share[:, 3:] / np.float32(k)


def _flat(prediction: np.ndarray) -> np.ndarray:
    root = np.sqrt(prediction)
    return root / root.sum(axis=1, keepdims=True)


def _given(prediction: np.ndarray, bin_of: np.ndarray, came: np.ndarray) -> np.ndarray:
    """``(n, 4)`` what each part gave to the bin that came; ``came`` is its third."""
    rows = np.arange(len(bin_of))
    k = prediction.shape[1]
    return np.stack(
        [
            prediction[rows, bin_of],
            _flat(prediction)[rows, bin_of],
            came,
            np.full(len(bin_of), 1 / k),
        ],
        axis=1,
    ).astype(np.float64)


def _mixed_shares(given: np.ndarray, least: float) -> np.ndarray:
    """Shares of maximum likelihood, the last of them not below ``least``."""
    n_parts = given.shape[1]
    shares = np.full(n_parts, 1 / n_parts)
    for _ in range(_N_ROUNDS):
        if not len(given):
            break
        weighted = given * shares
        total = weighted.sum(axis=1, keepdims=True)
        shares = (weighted / np.maximum(total, 1e-300)).mean(axis=0)
        if shares[-1] < least:
            rest = shares[:-1].sum()
            scale = (1 - least) / rest if rest > 0 else 0.0
            shares = np.append(shares[:-1] * scale, least)
    return shares
