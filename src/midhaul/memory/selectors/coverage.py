"""Coverage memory: what stays fills the sample space as evenly as it can.

Dietmueller et al., "On Sample Selection for Continual Learning: a Video Streaming Case
Study". Samples are sorted and cut into batches. A batch's density is
its mean kernel with all batches, the least of two spaces: outputs and predictions.
Batches are removed one by one, with chances softmax(density / temperature), until the
rest fits. Where it differs: docs/explanation/coverage-memory.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.coverage.batches import Batches, check_batching, check_usable
from midhaul.memory.coverage.increase import check_bandwidth
from midhaul.memory.coverage.overlap import PEAK
from midhaul.memory.samples import concatenate
from midhaul.memory.selectors.base import Reason, SelectorChoice
from midhaul.memory.selectors.coverage_removal import (
    removed_batches,
    removed_by_matrices,
)
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.memory.coverage.batches import Sort
    from midhaul.memory.coverage.distances import BatchDistance
    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays

    Rows = Int64[np.ndarray, " n"]


class CoverageMemory:
    """Removes batches of samples where they are densest.

    Nothing is removed while there is room. When there is none, batches are cut anew,
    and what does not fill one goes too: :attr:`n_remainder_dropped` counts it.

    Args:
        capacity: how many samples stay at most; a batch or more.
        bins: how outputs are discretised.
        batch_size: samples of a batch.
        bandwidth: of the kernel of distances.
        temperature: how far the densest batch is preferred; 0 removes it always.
        sort: whether batches follow outputs or their bins.
        forget: share of the memory that goes by lot before each selection, at most as
            much as is new.
        distance_sample_fraction: share of batches, drawn for each selection, that
            densities are estimated from.
        insert_chunksize: how many new samples one selection takes at most.
        distances: of the spaces, in place of Jensen-Shannon ones of outputs and of
            predictions; they cost a matrix each.

    Raises:
        ConfigError: an argument is out of its range.
    """

    n_marks = 0
    weighs_training = False
    name = "coverage"

    def __init__(  # noqa: PLR0913  the seed's settings
        self,
        *,
        capacity: int,
        bins: Bins,
        batch_size: int = 256,
        bandwidth: float = 0.1,
        temperature: float = 0.01,
        sort: Sort = "value",
        forget: float = 0.0,
        distance_sample_fraction: float = 1.0,
        insert_chunksize: int | None = 2_000_000,
        distances: Sequence[BatchDistance] = (),
    ) -> None:
        check_batching(batch_size, sort)
        check_bandwidth(bandwidth)
        for name, value, is_good, wanted in (
            ("temperature", temperature, 0 <= temperature < np.inf, "0 or more"),
            ("forget", forget, 0 <= forget <= 1, "a share"),
            (
                "distance_sample_fraction",
                distance_sample_fraction,
                0 < distance_sample_fraction <= 1,
                "a share above 0",
            ),
            (
                "insert_chunksize",
                insert_chunksize,
                insert_chunksize is None or insert_chunksize > 0,
                "1 or more",
            ),
        ):
            if not is_good:
                raise _wrong(name, wanted, value)
        self.batch_size = batch_size
        self.capacity = capacity
        self.bins = bins
        self.bandwidth = bandwidth
        self.temperature = temperature
        self.sort: Sort = sort
        self.forget = forget
        self.distance_sample_fraction = distance_sample_fraction
        self.insert_chunksize = insert_chunksize
        self.distances = tuple(distances)
        self.n_remainder_dropped = 0
        self.n_forgotten = 0

    @property
    def capacity(self) -> int:
        """Samples at most."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        if capacity < self.batch_size:
            name, wanted = "capacity", f"{self.batch_size} or more"
            raise _wrong(name, wanted, capacity)
        self._capacity = capacity

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Keep everything while there is room, else remove batches."""
        del marks
        check_usable(new)
        n, m = len(kept), len(new)
        parts = [part for part in (kept, new) if len(part)]
        left = np.arange(n)
        had_room = True
        step = self.insert_chunksize or max(m, 1)
        for start in range(0, m, step):
            chunk = n + np.arange(start, min(start + step, m))
            if len(left) + len(chunk) <= self.capacity:
                left = np.concatenate([left, chunk])
                continue
            had_room = False
            if start == 0:
                left = self._remembered(left, len(chunk), rng)
            left = self._selected(parts, np.concatenate([left, chunk]), rng)
        is_left = np.zeros(n + m, np.bool_)
        is_left[left] = True
        take = is_left[n:]
        reason = Reason.FILLING if had_room else Reason.DRAWN
        return SelectorChoice(
            keep=is_left[:n],
            take=take,
            marks=np.zeros((m, 0)),
            reasons=np.where(take, reason, Reason.DROPPED).astype(np.int8),
        )

    def _remembered(self, rows: Rows, n_new: int, rng: np.random.Generator) -> Rows:
        """What is left of the memory when a share of it is forgotten."""
        n = min(int(np.ceil(len(rows) * self.forget)), n_new)
        if not n:
            return rows
        self.n_forgotten += n
        return rng.choice(rows, len(rows) - n, replace=False)

    def _selected(
        self, parts: Sequence[Samples], rows: Rows, rng: np.random.Generator
    ) -> Rows:
        """Rows of the batches that stay."""
        batches = Batches.of(
            parts, self.bins, batch_size=self.batch_size, sort=self.sort, rows=rows
        )
        self.n_remainder_dropped += len(batches.rest)
        n_stay = min(self.capacity // self.batch_size, len(batches))
        is_counted = np.ones(len(batches), np.bool_)
        if self.distance_sample_fraction < 1:
            n_counted = int(np.ceil(len(batches) * self.distance_sample_fraction))
            chosen = rng.choice(len(batches), n_counted, replace=False)
            is_counted[:] = False
            is_counted[chosen] = True
        lots = np.zeros(len(batches) - n_stay)
        if self.temperature > 0:
            lots = rng.random(len(lots))
        gone = self._removed(parts, batches, is_counted, lots)
        stays = np.ones(len(batches), np.bool_)
        stays[gone] = False
        return batches.rows[stays].ravel()

    def _removed(
        self,
        parts: Sequence[Samples],
        batches: Batches,
        is_counted: np.ndarray,
        lots: Float64[np.ndarray, " r"],
    ) -> Rows:
        if not self.distances:
            return removed_batches(
                batches, self.bandwidth, is_counted, lots, self.temperature
            )
        every = concatenate(parts)
        cut = [every.take(rows) for rows in batches.rows]
        far = [distance.matrix(cut) / self.bandwidth for distance in self.distances]
        matrices = [PEAK * np.exp(-0.5 * own**2) for own in far]
        return removed_by_matrices(matrices, is_counted, lots, self.temperature)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: with what probability a sample is kept, nobody knows."""
        del kept, marks

    def state(self) -> Arrays:
        """What was counted."""
        return {
            "n_remainder_dropped": np.array(self.n_remainder_dropped),
            "n_forgotten": np.array(self.n_forgotten),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state; DataError if it is of another selector."""
        check_state(state, self.name, ("n_remainder_dropped", "n_forgotten"))
        self.n_remainder_dropped = int(state["n_remainder_dropped"])
        self.n_forgotten = int(state["n_forgotten"])


def _wrong(name: str, wanted: str, found: object) -> ConfigError:
    message = f"{name} of a coverage memory: expected {wanted}, found {found}"
    return ConfigError(message, "it keeps whole batches of samples")
