"""Fugu's stochastic MPC: plans over the predicted distribution of how long chunks take.

F. Y. Yan et al., "Learning in situ: a randomized experiment in video streaming", NSDI
2020, section 4.

Differences from the paper:

1. One predictor serves all chunks of the horizon: it is asked with the size of each,
   and with the history and the buffer as they are now.
2. What TCP says is not simulated, so a predictor of its 62 inputs cannot be asked. It
   is asked with the 34 inputs of recorded downloads, see :func:`download_inputs`.
3. The first chunk is of the lowest rung for every scheme.
4. The last bin is open: what takes longest of all takes the longer the larger it is, in
   proportion to the lowest rung. With one time for all, a plan that surely stalls would
   take the highest rung, as the lowest would stall as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.sessions.planning import Weighing, best_rungs
from midhaul.memory.sources.fugu import fugu_times_s
from midhaul.memory.sources.history import N_PAST

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int64

    from midhaul.memory.sessions.base import Players

_BYTES_PER_MB = 1e6
_LEAST_S = 0.0005


class TimePredictor(Protocol):
    """Says how long chunks may take; any predictor of this area is one."""

    def predict(self, x: Float32[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """The distribution over bins of time for each input."""
        ...


def download_inputs(now: Players) -> Float32[np.ndarray, "m 34"]:
    """The 34 inputs of sets S-inc and S-per, for each player, chunk ahead and rung.

    Rows are those of the first player, of its next chunk, rung by rung; then of the
    chunk behind that.
    """
    n, n_ahead, n_rungs = now.sizes_bytes.shape
    sizes_mb = now.past_bytes[:, -N_PAST:] / _BYTES_PER_MB
    past_s = now.past_s[:, -N_PAST:]
    rate = sizes_mb / np.maximum(past_s, _LEAST_S)
    past = np.stack([rate, past_s, sizes_mb, now.past_buffer_s[:, -N_PAST:]], axis=2)
    x = np.empty((n, n_ahead * n_rungs, 4 * N_PAST + 2), np.float32)
    x[..., :-2] = past.reshape(n, 1, -1)
    x[..., -2] = now.past_buffer_s[:, -1:]
    x[..., -1] = now.sizes_bytes.reshape(n, -1) / _BYTES_PER_MB
    return x.reshape(n * n_ahead * n_rungs, -1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FuguMpc:
    """Plans by what a predictor says.

    Attributes:
        predictor: asked once a chunk, for all players, chunks ahead and rungs.
        times_s: ``(k,)`` the time that stands for each of its bins.
        weighing: what is good.
        name: what tables call it.
    """

    predictor: TimePredictor
    times_s: Float64[np.ndarray, " k"] = field(default_factory=fugu_times_s)
    weighing: Weighing = field(default_factory=Weighing)
    name: str = "fugu"

    def choose(self, now: Players) -> Int64[np.ndarray, " n"]:
        """The next rung of the best plan over what may come.

        DataError if the predictor answers in another number of bins, or what it says
        is no distribution.
        """
        told = np.asarray(self.predictor.predict(download_inputs(now)), np.float64)
        n, n_ahead, n_rungs = now.sizes_bytes.shape
        wanted = (n * n_ahead * n_rungs, len(self.times_s))
        if told.shape != wanted or not (told >= 0).all():
            message = (
                f"predictor of {self.name}: expected shares of {wanted[1]} bins for "
                f"{wanted[0]} inputs, found the shape {told.shape} or less than 0"
            )
            raise DataError(message, "times_s has a time for each bin that it predicts")
        total = told.sum(axis=1, keepdims=True)
        if not (np.abs(total - 1) < 1e-2).all():  # noqa: PLR2004  of single precision
            message = f"predictor of {self.name}: shares that do not sum to one"
            raise DataError(message, "let it answer by a softmax")
        shares = (told / total).reshape(n, n_ahead, n_rungs, -1)
        times_s = np.broadcast_to(self.times_s, shares.shape).copy()
        sizes = now.sizes_bytes
        times_s[..., -1] *= sizes / sizes.min(axis=2, keepdims=True)
        return best_rungs(now, times_s, shares, self.weighing)
