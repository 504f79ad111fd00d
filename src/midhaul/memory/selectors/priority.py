"""Priority sampling by density: rare cells are kept more often, by a known chance.

Duffield, Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums",
J. ACM 54 (2007): a sample has a number U between 0 and 1 and a
rate r; those with the smallest U / r stay. The smallest of the others, tau, makes the
chance of each that stays ``min(1, tau r)``, so its inverse weighs it without bias.

The rate mixes a uniform share u with the inverse density of cells
(:mod:`midhaul.memory.cells`): of n samples so far, n_c of them in cell c,
``r_c = u / n + (1 - u) n_c^-a / sum over cells of n_c^(1 - a)``. With u = 1 it is a
uniform sample, with u = 0 and a = 1 every cell has the same room.

1. U is a hash of the sample, not a random number. So whoever sees the same stream in
   parts, in another order or on several gateways keeps the same samples, and a memory
   that was started again goes on as if nothing had happened.
2. A sample's chance is that of the tightest moment since it came: its mark ``limit`` is
   the least ``tau r`` of all.
3. What is forgotten with a half-life loses rate with its age, and counts fade alike.
4. Bins of the output that have less than ``rarest`` of what a model says alike are no
   rarer than that: errors of labels fall everywhere, and would fill all empty cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.cells import Cells, cell_of, level_limits
from midhaul.memory.selectors.base import Reason, SelectorChoice
from midhaul.memory.selectors.pool import check_state

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int8, Int64

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
    ) -> SelectorChoice:
        """Keep the smallest keys of all; the chances of those in memory tighten."""
        del rng
        n, m = len(kept), len(new)
        if not m:
            return _nothing(n)
        self.cells.check(new)
        self._recount(kept, marks, new)
        self._fade(new)
        before = self._counts.copy()
        noted = np.empty((m, self.n_marks))
        _note(
            *self.cells.arrays(new),
            np.ascontiguousarray(new.x).view(np.uint32),
            new.time_s,
            new.group,
            np.uint64(self._seed),
            self._age,
            noted,
            self._counts,
        )
        return self._settle(kept, marks, new, noted, before)

    def join(
        self,
        kept: Samples,
        marks: np.ndarray,
        theirs: Samples,
        their_marks: np.ndarray,
        state: Arrays,
    ) -> SelectorChoice:
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
            counts * _left(then_s, (now_s, self.half_life_s))
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
    ) -> SelectorChoice:
        """Keep the smallest keys of two sets that are counted."""
        n, m = len(kept), len(new)
        rate = self.rates()
        keys = np.empty(n + m)
        sets = ((marks, kept.time_s, slice(0, n)), (noted, new.time_s, slice(n, n + m)))
        for rows, time_s, at in sets:
            _rank(rows, rate, time_s, self._age, keys[at])
        tau = np.inf
        if n + m > self.capacity:
            keys.partition(self.capacity)
            tau = float(keys[self.capacity])
        is_in = np.empty(n + m, np.bool_)
        for rows, time_s, at in sets:
            _decide(rows, rate, time_s, self._age, tau, is_in[at])
        reasons = np.empty(m, np.int8)
        _explain(noted, is_in[n:], self._kinds(before, rate, tau), reasons)
        return SelectorChoice(
            keep=is_in[:n], take=is_in[n:], marks=noted, reasons=reasons
        )

    def weights(
        self, kept: Samples, marks: Float64[np.ndarray, "n q"]
    ) -> Float64[np.ndarray, " n"]:
        """One over the chance with which each was kept."""
        del kept
        return 1 / np.minimum(marks[:, _LIMIT], 1.0)

    def relabel(
        self,
        kept: Samples,
        marks: Float64[np.ndarray, "n q"],
        rows: Int64[np.ndarray, " r"],
    ) -> None:
        """Move what is counted to the cells of outputs that became known.

        A sample in memory stands for others of its cell whose outputs came as late and
        that are not there any more: its weight is moved, which is right on average. Its
        chance up to now was that of the cell where it was expected.
        """
        some = kept.take(rows)
        before = marks[rows, _CELL].astype(np.int64)
        weight = self.weights(some, marks[rows]) * _lefts(some.time_s, self._age)
        leaves = np.bincount(before, weight, self.cells.n)
        part = np.minimum(leaves, self._counts) / np.where(leaves > 0, leaves, 1)
        cells = self.cells.of(some)
        comes = np.bincount(cells, weight * part[before], self.cells.n)
        self._counts = self._counts - leaves * part + comes
        marks[rows, _CELL] = cells

    def check_marks(self, marks: Float64[np.ndarray, "n q"]) -> None:
        """DataError where a number, a limit or a cell is none."""
        number, limit, cell = marks.T
        is_cell = (cell >= 0) & (cell < self.cells.n) & (cell == np.floor(cell))
        is_good = (number > 0) & (number < 1) & (limit > 0) & is_cell
        if not is_good.all():
            message = f"marks of {self.name}: found {marks[~is_good][0]}"
            raise DataError(message, "the state was changed, or is of other bins")

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
        counts = np.array(state["counts"], np.float64)
        if counts.shape != self._counts.shape:
            message = f"expected counts of {self.cells.n} cells, found {counts.shape}"
            raise DataError(message, "the state is of a memory with other bins")
        is_count = np.isfinite(counts) & (counts >= 0)
        if not is_count.all() or np.isnan(float(state["now_s"])):
            message = f"expected counts of at least 0 and a time, found {state}"
            raise DataError(message, "the state was changed: use another")

    def _recount(self, kept: Samples, marks: np.ndarray, new: Samples) -> None:
        """Count anew what is in memory when another model has looked at it.

        What was seen is not there any more; the weights of those in memory sum to it.
        """
        version = int(new.model_version.max())
        if version != self._version and len(kept):
            cells = self.cells.of(kept)
            marks[:, _CELL] = cells
            weights = self.weights(kept, marks) * _lefts(kept.time_s, self._age)
            self._counts = np.bincount(cells, weights, self.cells.n)
        self._version = version

    def _fade(self, new: Samples) -> None:
        """Let counts fade up to the last of the new samples."""
        last = float(new.time_s.max())
        if last > self._now_s:
            self._counts = self._counts * _left(self._now_s, (last, self.half_life_s))
            self._now_s = last

    @property
    def _age(self) -> tuple[float, float]:
        """What ages are counted from, and the half-life."""
        return self._now_s, self.half_life_s

    def _kinds(self, before: np.ndarray, rate: np.ndarray, tau: float) -> np.ndarray:
        """Why a sample of each cell is kept."""
        if np.isinf(tau):
            return np.full(self.cells.n, Reason.FILLING, np.int8)
        is_rare = rate > 2 / self._counts.sum()
        kind = np.where(is_rare, Reason.RARE, Reason.DRAWN).astype(np.int8)
        kind[before == 0] = Reason.NEW_REGION
        return kind


_NUMBER, _LIMIT, _CELL = range(PrioritySampler.n_marks)
_HASHED = 8


def _nothing(n: int) -> SelectorChoice:
    return SelectorChoice(
        keep=np.ones(n, np.bool_),
        take=np.zeros(0, np.bool_),
        marks=np.zeros((0, PrioritySampler.n_marks)),
        reasons=np.zeros(0, np.int8),
    )


@numba.njit(cache=True, nogil=True)
def _left(time_s: float, age: tuple[float, float]) -> float:
    """What is left of a sample of that time."""
    now_s, half_life_s = age
    if half_life_s == np.inf or time_s >= now_s:
        return 1.0
    return 0.5 ** ((now_s - time_s) / half_life_s)


@numba.njit(cache=True, nogil=True)
def _lefts(
    time_s: Float64[np.ndarray, " n"], age: tuple[float, float]
) -> Float64[np.ndarray, " n"]:
    """The same of many samples."""
    found = np.empty(len(time_s))
    for i in range(len(time_s)):
        found[i] = _left(time_s[i], age)
    return found


@numba.njit(cache=True, nogil=True)
def _mixed(h: np.uint64) -> np.uint64:
    """SplitMix64's finaliser."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _note(  # noqa: PLR0913, PLR0917  a kernel has arrays
    y: Float64[np.ndarray, " m"],
    inner: Float64[np.ndarray, " k1"],
    prediction: Float32[np.ndarray, "m k"],
    x: np.ndarray,
    time_s: Float64[np.ndarray, " m"],
    group: Int64[np.ndarray, " m"],
    seed: np.uint64,
    age: tuple[float, float],
    noted: Float64[np.ndarray, "m 3"],
    counts: Float64[np.ndarray, " c"],
) -> None:
    """Note the number and the cell of each sample, and count it.

    The number is uniform and a hash. ``x`` are inputs as whole numbers of 32 bits. Of
    many inputs the first are looked at: one line of memory, not all of them.
    """
    n, d = x.shape
    head, factor = min(d, _HASHED), np.uint64(0x9E3779B97F4A7C15)
    fades = age[1] != np.inf
    times, limits = time_s.view(np.uint64), level_limits(prediction.shape[1])
    for i in range(n):
        total = np.uint64(0)
        for j in range(0, head - 1, 2):
            pair = np.uint64(x[i, j]) | np.uint64(x[i, j + 1]) << np.uint64(32)
            total = total * factor + pair
        if head % 2:
            total += np.uint64(x[i, head - 1])
        h = _mixed(times[i] ^ (seed * factor))
        h = _mixed((h ^ np.uint64(group[i])) + total)
        cell = cell_of(i, y, inner, prediction, limits)
        counts[cell] += _left(time_s[i], age) if fades else 1.0
        # 53 bits, never 0, so that no key is 0
        noted[i, _NUMBER] = (np.float64(h >> np.uint64(11)) + 0.5) / 2.0**53
        noted[i, _LIMIT] = np.inf
        noted[i, _CELL] = cell


@numba.njit(cache=True, nogil=True)
def _rank(
    marks: Float64[np.ndarray, "n 3"],
    rate: Float64[np.ndarray, " c"],
    time_s: Float64[np.ndarray, " n"],
    age: tuple[float, float],
    keys: Float64[np.ndarray, " n"],
) -> None:
    """The key of each sample: its number over its rate."""
    fades = age[1] != np.inf
    for i in range(len(marks)):
        now = rate[int(marks[i, _CELL])]
        if fades:
            now *= _left(time_s[i], age)
        keys[i] = marks[i, _NUMBER] / now


@numba.njit(cache=True, nogil=True)
def _decide(
    marks: Float64[np.ndarray, "n 3"],
    rate: Float64[np.ndarray, " c"],
    time_s: Float64[np.ndarray, " n"],
    age: tuple[float, float],
    tau: float,
    is_in: Bool[np.ndarray, " n"],
) -> None:
    """Which keys are below tau, and the tightest limit so far."""
    fades = age[1] != np.inf
    for i in range(len(marks)):
        now = rate[int(marks[i, _CELL])]
        if fades:
            now *= _left(time_s[i], age)
        is_in[i] = marks[i, _NUMBER] / now < tau  # as it was ranked, to the last bit
        marks[i, _LIMIT] = min(marks[i, _LIMIT], tau * now)


@numba.njit(cache=True, nogil=True)
def _explain(
    noted: Float64[np.ndarray, "m 3"],
    take: Bool[np.ndarray, " m"],
    kinds: Int8[np.ndarray, " c"],
    reasons: Int8[np.ndarray, " m"],
) -> None:
    for i in range(len(noted)):
        reasons[i] = kinds[int(noted[i, _CELL])] * take[i]  # dropped is 0
