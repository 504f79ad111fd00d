"""Priority sampling by density: rare cells are kept more often, by a known chance.

Duffield, Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums",
J. ACM 54 (2007), in the form of Ohlsson's sequential Poisson sampling (1998): a sample
has a number E of the exponential distribution and a rate r; those with the smallest
E / r stay. The smallest of the others, tau, makes the chance of each that stays
``1 - exp(-tau r)``, independent of the rest, so its inverse weighs it without bias.

The rate mixes a uniform share u with the inverse density of cells
(:mod:`midhaul.memory.selectors.cells`): of n samples so far, n_c of them in cell c,
``r_c = u / n + (1 - u) n_c^-a / sum over cells of n_c^(1 - a)``. With u = 1 it is a
uniform sample, with u = 0 and a = 1 every cell has the same room.

1. E is a hash of the sample, not a random number. So whoever sees the same stream in
   parts, in another order or on several gateways keeps the same samples, and a memory
   that was started again goes on as if nothing had happened.
2. A sample's chance is that of the tightest moment since it came: its mark ``limit`` is
   the least ``tau r`` of all.
3. What is forgotten with a half-life loses rate with its age, and counts fade alike.
4. Bins of the output that have less than ``rarest`` of what a model says alike are no
   rarer than that: errors of labels fall everywhere, and would fill all empty cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.selectors.base import Choice, Reason
from midhaul.memory.selectors.cells import Cells
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays


class PrioritySampler:
    """A sample of known probabilities, part uniform and part even over cells.

    Args:
        capacity: samples at most.
        bins: how outputs are discretised, and what predictions are of.
        uniform_share: part of the memory that is drawn uniformly, 0 to 1.
        exponent: a; how much rarer cells are preferred, 0 to 1.
        half_life_s: time after which a sample counts half; infinite to forget nothing.
        rarest: share of what a model says alike below which no output is rarer, 0 to 1.
        seed: of the hash.

    Raises:
        ConfigError: a share is outside of 0 to 1, or the half-life is not above 0.
    """

    n_marks = 3
    weighs_training = False
    name = "priority"

    def __init__(
        self,
        *,
        capacity: int,
        bins: Bins,
        uniform_share: float = 0.5,
        exponent: float = 1.0,
        half_life_s: float = np.inf,
        rarest: float = 0.002,
        seed: int = 0,
    ) -> None:
        for name, share in (
            ("uniform_share", uniform_share),
            ("exponent", exponent),
            ("rarest", rarest),
        ):
            if not 0 <= share <= 1:
                message = f"{name}: expected 0 to 1, found {share}"
                raise ConfigError(message)
        if not half_life_s > 0:
            message = f"half_life_s: expected a time above 0, found {half_life_s}"
            raise ConfigError(message)
        self.capacity = capacity
        self.cells = Cells(bins=bins)
        self.uniform_share = uniform_share
        self.exponent = exponent
        self.half_life_s = half_life_s
        self.rarest = rarest
        self._seed = seed
        self._counts = np.zeros(self.cells.n)
        self._now_s = -np.inf
        self._version = np.iinfo(np.int64).min

    @property
    def counts(self) -> Float64[np.ndarray, " c"]:
        """What was seen of each cell, faded; the sketch of the stream."""
        return self._counts

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> Choice:
        """Keep the smallest keys of all; the chances of those in memory tighten."""
        del rng
        n, m = len(kept), len(new)
        if not m:
            return _nothing(n)
        self._recount(kept, marks, new)
        self._fade(new)
        cells = self.cells.of(new)
        before = self._counts.copy()
        _count(self._counts, cells, self._share_left(new.time_s))
        noted = np.empty((m, self.n_marks))
        noted[:, _CELL] = cells
        _draw(
            np.ascontiguousarray(new.x).view(np.uint32),
            new.time_s.view(np.uint64),
            new.group,
            np.uint64(self._seed),
            noted,
        )
        return self._settle(kept, marks, new, noted, before)

    def join(
        self,
        kept: Samples,
        marks: np.ndarray,
        theirs: Samples,
        their_marks: np.ndarray,
        state: Arrays,
    ) -> Choice:
        """Take in what another sampler keeps, as if this one had seen its stream.

        Args:
            kept: what this one keeps.
            marks: of these.
            theirs: what the other keeps.
            their_marks: of these.
            state: of the other.

        Returns:
            What stays of both.

        Raises:
            DataError: the other is of other bins, or of another model.
        """
        self._check(state)
        if len(kept) and int(state["version"]) != self._version:
            message = (
                f"expected a memory of model {self._version}, found one of "
                f"{int(state['version'])}"
            )
            raise DataError(message, "let both be predicted by the same model first")
        before, when_s = self._counts.copy(), float(state["now_s"])
        now_s = max(self._now_s, when_s)
        mine, other = (
            counts * _left(now_s - then_s, self.half_life_s)
            for counts, then_s in ((before, self._now_s), (state["counts"], when_s))
        )
        self._counts, self._now_s = mine + other, now_s
        self._version = int(state["version"])
        return self._settle(kept, marks, theirs, their_marks.copy(), before)

    def _settle(
        self,
        kept: Samples,
        marks: np.ndarray,
        new: Samples,
        noted: np.ndarray,
        before: np.ndarray,
    ) -> Choice:
        """Keep the smallest keys of two sets that are counted."""
        n, m = len(kept), len(new)
        rate = self.rates()
        keys = np.empty(n + m)
        _rank(marks, rate, self._share_left(kept.time_s), keys[:n])
        _rank(noted, rate, self._share_left(new.time_s), keys[n:])
        tau = np.inf
        if n + m > self.capacity:
            tau = float(np.partition(keys, self.capacity)[self.capacity])
        is_in = keys < tau
        _tighten(marks, tau, keys[:n])
        _tighten(noted, tau, keys[n:])
        cells = noted[:, _CELL].astype(np.int64)
        reasons = self._reasons(before, cells, rate, is_in[n:], tau=tau)
        return Choice(keep=is_in[:n], take=is_in[n:], marks=noted, reasons=reasons)

    def weights(
        self, kept: Samples, marks: Float64[np.ndarray, "n q"]
    ) -> Float64[np.ndarray, " n"]:
        """One over the chance with which each was kept."""
        del kept
        return -1 / np.expm1(-marks[:, _LIMIT])

    def rates(self) -> Float64[np.ndarray, " c"]:
        """The rate of each cell, so that those of all samples sum to about one."""
        counts = self._counts
        total = counts.sum()
        floor = counts
        if self.rarest:
            region = self.cells.region(np.arange(self.cells.n))
            of_region = np.bincount(region, counts)
            floor = np.maximum(counts, self.rarest * of_region[region])
        # A cell that is asked for has its sample; an empty one must not divide by 0.
        shares = np.maximum(floor, 1e-300) ** -self.exponent
        spread = (1 - self.uniform_share) * shares / (shares * counts).sum()
        return self.uniform_share / total + spread

    def state(self) -> Arrays:
        """The counts, the time, the model that they are of."""
        return {
            "counts": self._counts,
            "now_s": np.array(self._now_s),
            "version": np.array(self._version),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state; DataError if it is of other bins."""
        self._check(state)
        self._counts = np.array(state["counts"], np.float64)
        self._now_s = float(state["now_s"])
        self._version = int(state["version"])

    def _check(self, state: Arrays) -> None:
        check_state(state, self.name, ("counts", "now_s", "version"))
        if state["counts"].shape != self._counts.shape:
            message = (
                f"expected counts of {self.cells.n} cells, found "
                f"{state['counts'].shape}"
            )
            raise DataError(message, "the state is of a memory with other bins")

    def _recount(self, kept: Samples, marks: np.ndarray, new: Samples) -> None:
        """Count anew what is in memory when another model has looked at it.

        What was seen is not there any more; the weights of those in memory sum to it.
        """
        version = int(new.model_version.max())
        if version != self._version and len(kept):
            cells = self.cells.of(kept)
            marks[:, _CELL] = cells
            weights = self.weights(kept, marks) * self._share_left(kept.time_s)
            self._counts = np.bincount(cells, weights, self.cells.n)
        self._version = version

    def _fade(self, new: Samples) -> None:
        """Let counts fade up to the last of the new samples."""
        last = float(new.time_s.max())
        if last > self._now_s:
            self._counts = self._counts * _left(last - self._now_s, self.half_life_s)
        self._now_s = max(self._now_s, last)

    def _share_left(self, time_s: np.ndarray) -> np.ndarray:
        return _left(np.maximum(self._now_s - time_s, 0), self.half_life_s)

    def _reasons(
        self,
        before: np.ndarray,
        cells: np.ndarray,
        rate: np.ndarray,
        take: np.ndarray,
        *,
        tau: float,
    ) -> np.ndarray:
        if np.isinf(tau):
            return np.full(len(cells), Reason.FILLING, np.int8)
        is_rare = rate > 2 * self._counts.sum() ** -1.0
        kind = np.where(is_rare, Reason.RARE, Reason.DRAWN)
        kind[before == 0] = Reason.NEW_REGION
        return np.where(take, kind[cells], Reason.DROPPED).astype(np.int8)


def _left(age_s: Any, half_life_s: float) -> Any:
    """What is left of a count of that age."""
    if np.isinf(half_life_s):
        return np.ones(np.shape(age_s))
    return 0.5 ** (age_s / half_life_s)


_NUMBER, _LIMIT, _CELL = range(PrioritySampler.n_marks)
_HASHED = 8


def _nothing(n: int) -> Choice:
    return Choice(
        keep=np.ones(n, np.bool_),
        take=np.zeros(0, np.bool_),
        marks=np.zeros((0, PrioritySampler.n_marks)),
        reasons=np.zeros(0, np.int8),
    )


@numba.njit(cache=True, nogil=True)
def _count(
    counts: Float64[np.ndarray, " c"],
    cells: Int64[np.ndarray, " m"],
    shares: Float64[np.ndarray, " m"],
) -> None:
    for i in range(len(cells)):
        counts[cells[i]] += shares[i]


@numba.njit(cache=True, nogil=True)
def _mixed(h: np.uint64) -> np.uint64:
    """SplitMix64's finaliser."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _draw(
    x: np.ndarray,
    time: np.ndarray,
    group: Int64[np.ndarray, " m"],
    seed: np.uint64,
    noted: Float64[np.ndarray, "m 3"],
) -> None:
    """Note a number of the exponential distribution of each sample, by what it is.

    ``x`` are inputs as whole numbers of 32 bits, ``time`` as ones of 64. Of many inputs
    the first and the last are looked at, which is a quarter of the memory to read.
    """
    n, d = x.shape
    head = min(d, _HASHED)
    tail = max(d - _HASHED, head)
    for i in range(n):
        total = np.uint64(0)
        for j in range(head):
            total = total * np.uint64(0x100000001B3) + np.uint64(x[i, j])
        for j in range(tail, d):
            total = total * np.uint64(0x100000001B3) + np.uint64(x[i, j])
        h = _mixed(time[i] ^ (seed * np.uint64(0x9E3779B97F4A7C15)))
        h = _mixed((h ^ np.uint64(group[i])) + total)
        # 53 bits, never 0, so that its logarithm is finite
        u = (np.float64(h >> np.uint64(11)) + 0.5) / 2.0**53
        noted[i, _NUMBER] = -np.log(u)
        noted[i, _LIMIT] = np.inf


@numba.njit(cache=True, nogil=True)
def _rank(
    marks: Float64[np.ndarray, "n 3"],
    rate: Float64[np.ndarray, " c"],
    left: Float64[np.ndarray, " n"],
    keys: Float64[np.ndarray, " n"],
) -> None:
    """The key of each sample: its number over its rate."""
    for i in range(len(marks)):
        keys[i] = marks[i, _NUMBER] / (rate[int(marks[i, _CELL])] * left[i])


@numba.njit(cache=True, nogil=True)
def _tighten(
    marks: Float64[np.ndarray, "n 3"], tau: float, keys: Float64[np.ndarray, " n"]
) -> None:
    """Note the tightest limit so far; the number over the key is the rate."""
    for i in range(len(marks)):
        limit = tau * marks[i, _NUMBER] / keys[i]
        marks[i, _LIMIT] = min(marks[i, _LIMIT], limit)
