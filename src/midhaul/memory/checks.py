"""Conformance suite of selectors, ours or a stranger's.

What every memory relies on: the capacity holds, equal seeds give equal choices, what
was saved and restored goes on like what was not, nobody else's arrays are changed, and
weights, where there are any, sum to the stream's counts.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.base import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.memory.samples import Bins
    from midhaul.memory.selectors.base import Arrays, Selector

    MakeSelector = Callable[[int], Selector]
    """A new one of that capacity."""

_SMALL = 7
_CAPACITIES = (1, _SMALL, 40)
_OFFERS = (3, 1, 0, 50, 7, 120, 1)
"""Samples of each offer: fewer than there is room for, none, more than the capacity."""
_GROUP = 5
_N_STREAMS = 300
_Z = 4.5
"""Standard errors; among some hundred sums none is further off by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorClaims:
    """What a selector promises, so that it is held to no more and no less.

    Attributes:
        least_capacity: below which it cannot be made.
        fills: true where it keeps everything while there is room.
        needs_output: true where samples whose output is not known are refused.
        needs_prediction: true where samples that no model has seen are refused.
    """

    least_capacity: int = 1
    fills: bool = True
    needs_output: bool = False
    needs_prediction: bool = False


def check_stream(
    bins: Bins, offers: Sequence[int], seed: int = 0
) -> tuple[Samples, ...]:
    """Samples in groups of five, the first bins more often, one second apart."""
    rng = np.random.default_rng([seed, 7])
    n = sum(offers)
    share = 1 / np.arange(1, bins.n + 1) ** 2
    output = rng.choice(bins.n, n, p=share / share.sum())
    inner = np.clip(bins.edges, -1e6, 1e6)
    prediction = rng.dirichlet(np.full(bins.n, 0.5), n) + np.eye(bins.n)[output]
    whole = Samples.of(
        rng.normal(size=(n, 3)).astype(np.float32),
        ((inner[:-1] + inner[1:]) / 2)[output],
        prediction=prediction / prediction.sum(axis=1, keepdims=True),
        time_s=np.arange(n, dtype=np.float64),
        group=np.arange(n) // _GROUP,
        model_version=0,
    )
    ends = np.cumsum([0, *offers])
    return tuple(whole.take(slice(a, b)) for a, b in itertools.pairwise(ends))


def check_selector(
    make: MakeSelector, bins: Bins, claims: SelectorClaims | None = None
) -> None:
    """Hold a selector to what everybody expects of it.

    Args:
        make: a new one of a capacity.
        bins: those that it was told, if it is told bins.
        claims: what it promises; everything by default.

    Raises:
        ValueError: it does not keep what a selector promises.
    """
    claims = claims or SelectorClaims()
    for capacity in sorted({max(c, claims.least_capacity) for c in _CAPACITIES}):
        _check_capacity(make, capacity, bins, claims)
        _check_state(make, capacity, bins)
        _check_lowered(make, capacity, bins)
    _check_odd_offers(make, bins, max(_SMALL, claims.least_capacity))
    _check_what_is_missing(make, bins, claims)
    _check_weights(make, bins, claims)


def demand(*, is_met: bool, expected: str, found: object) -> None:
    """ValueError with what was expected where it is not met."""
    if not is_met:
        message = f"expected {expected}, found {found}"
        raise ValueError(message)


class _Followed:
    """A memory beside a selector: what it holds, and that nothing of it was changed."""

    def __init__(self, selector: Selector, seed: int = 3) -> None:
        self.selector = selector
        self.rng = np.random.default_rng(seed)
        self.marks = np.zeros((0, selector.n_marks))
        self.kept: Samples | None = None

    def offer(self, new: Samples) -> np.ndarray:
        kept = new.take(slice(0, 0)) if self.kept is None else self.kept
        before, before_new = _copied(kept), _copied(new)
        found = self.selector.choose(kept, self.marks, new, self.rng)
        who = self.selector.name
        for name, one, other in (("memory", kept, before), ("offer", new, before_new)):
            same = all(
                np.array_equal(
                    getattr(one, f.name), getattr(other, f.name), equal_nan=True
                )
                for f in fields(Samples)
            )
            demand(is_met=same, expected=f"{who} to leave the {name} alone", found="")
        n, m = len(kept), len(new)
        for name, wanted, shape in (
            ("keep", (n,), found.keep.shape),
            ("take", (m,), found.take.shape),
            ("reasons", (m,), found.reasons.shape),
            ("marks", (m, self.selector.n_marks), found.marks.shape),
        ):
            demand(is_met=shape == wanted, expected=f"{name} of {wanted}", found=shape)
        is_reason = (found.reasons != Reason.DROPPED) & (found.reasons != Reason.NOISE)
        demand(
            is_met=bool((is_reason == found.take).all()),
            expected="a reason to keep for what is kept and for nothing else",
            found=found.reasons,
        )
        self.kept = _joined(kept.take(found.keep), new.take(found.take))
        self.marks = np.concatenate([self.marks[found.keep], found.marks[found.take]])
        demand(
            is_met=len(self.kept) <= self.selector.capacity,
            expected=f"at most {self.selector.capacity} samples",
            found=len(self.kept),
        )
        return np.concatenate([found.keep, found.take])


def _copied(samples: Samples) -> Samples:
    return Samples(**{f.name: getattr(samples, f.name).copy() for f in fields(samples)})


def _joined(one: Samples, other: Samples) -> Samples:
    return Samples(
        **{
            f.name: np.concatenate([getattr(one, f.name), getattr(other, f.name)])
            for f in fields(one)
        }
    )


def _check_capacity(
    make: MakeSelector, capacity: int, bins: Bins, claims: SelectorClaims
) -> None:
    """The limit, the filling, and that the same question has one answer."""
    selector = make(capacity)
    demand(is_met=bool(selector.name), expected="a name", found=selector.name)
    demand(
        is_met=selector.capacity == capacity,
        expected=f"a capacity of {capacity}",
        found=selector.capacity,
    )
    one, other = _Followed(selector), _Followed(make(capacity))
    n_seen = 0
    for new in check_stream(bins, _OFFERS):
        first, second = one.offer(new), other.offer(new)
        demand(
            is_met=np.array_equal(first, second),
            expected=f"{selector.name} to choose the same with the same seed",
            found="another choice",
        )
        n_seen += len(new)
        n_kept = 0 if one.kept is None else len(one.kept)
        if claims.fills:
            wanted = min(n_seen, capacity)
            demand(
                is_met=n_kept == wanted,
                expected=f"{wanted} of {n_seen} samples kept by {selector.name}",
                found=n_kept,
            )


def _check_lowered(make: MakeSelector, capacity: int, bins: Bins) -> None:
    """A capacity that is lowered before the first offer is like one from the start."""
    one, lowered = _Followed(make(capacity)), _Followed(make(3 * capacity))
    lowered.selector.capacity = capacity
    for new in check_stream(bins, _OFFERS):
        demand(
            is_met=np.array_equal(one.offer(new), lowered.offer(new)),
            expected=f"{one.selector.name} to choose by a capacity that was lowered",
            found="another choice",
        )


def read_back(state: Arrays) -> Arrays:
    """A state as it is read from a file, which may hold no pickles."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(one) for name, one in state.items()}
    np.savez(file, allow_pickle=False, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        return {name: read[name] for name in read.files}


def _check_state(make: MakeSelector, capacity: int, bins: Bins) -> None:
    """What was restored goes on like what was not; a stranger's state is refused."""
    stream = check_stream(bins, _OFFERS, seed=1)
    for cut in range(len(stream)):
        one = _Followed(make(capacity))
        for new in stream[:cut]:
            one.offer(new)
        other = _Followed(make(capacity))
        other.selector.restore(read_back(one.selector.state()))
        other.kept = None if one.kept is None else _copied(one.kept)
        other.marks = one.marks.copy()
        other.rng.bit_generator.state = one.rng.bit_generator.state
        for new in stream[cut:]:
            demand(
                is_met=np.array_equal(one.offer(new), other.offer(new)),
                expected=f"{one.selector.name} to go on as before it was restored",
                found="another choice",
            )
    selector = make(capacity)
    try:
        selector.restore({"of_somebody_else": np.zeros(3)})
    except DataError:
        return
    message = f"{selector.name} takes a state that is not its own"
    raise ValueError(message)


def _check_odd_offers(make: MakeSelector, bins: Bins, capacity: int) -> None:
    """Duplicates, one sample at a time, and a clock that goes backwards."""
    (some,) = check_stream(bins, (30,), seed=2)
    followed = _Followed(make(capacity))
    for _ in range(3):
        followed.offer(some)
    one_by_one = _Followed(make(capacity))
    for row in range(len(some)):
        one_by_one.offer(some.take(slice(row, row + 1)))
    backwards = _Followed(make(capacity))
    backwards.offer(some)
    backwards.offer(replace(some, time_s=some.time_s - 1e4))
    alike = _Followed(make(capacity))
    alike.offer(some.take(np.zeros(30, np.int64)))
    alike.offer(some)


def _check_what_is_missing(
    make: MakeSelector, bins: Bins, claims: SelectorClaims
) -> None:
    """What it does not need may be missing, what it needs is a DataError."""
    (some,) = check_stream(bins, (30,), seed=4)
    y = some.y.copy()
    y[::3] = np.nan
    bare = replace(some, prediction=np.zeros((len(some), 0), np.float32))
    for new, needed, what in (
        (replace(some, y=y), claims.needs_output, "outputs"),
        (bare, claims.needs_prediction, "predictions"),
    ):
        followed = _Followed(make(max(_SMALL, claims.least_capacity)))
        try:
            followed.offer(new)
        except DataError:
            demand(is_met=needed, expected=f"no need of {what}", found="a DataError")
        else:
            demand(
                is_met=not needed,
                expected=f"a DataError of {followed.selector.name} without {what}",
                found="a choice",
            )


def _check_weights(make: MakeSelector, bins: Bins, claims: SelectorClaims) -> None:
    """None, or one for each sample; on average they count the stream, bin by bin."""
    offers, capacity = (10, 25, 0, 30, 25), max(12, claims.least_capacity)
    sums = np.zeros((_N_STREAMS, 2))
    for seed in range(_N_STREAMS):
        memory = SampleMemory(make(capacity), bins, seed=seed)
        stream = check_stream(bins, offers, seed=100 + seed)
        for new in stream:
            memory.offer(new)
        weighted = memory.weighted()
        if weighted is None:
            return
        demand(
            is_met=bool((weighted.weight > 0).all() and len(weighted) == len(memory)),
            expected="a weight above 0 for each sample in memory",
            found=weighted.weight,
        )
        if memory.selector.weighs_training:
            return
        total = sum(len(new) for new in stream)
        is_rare = bins.of(weighted.y) > 0
        n_rare = sum(int((bins.of(new.y) > 0).sum()) for new in stream)
        sums[seed] = (
            weighted.weight.sum() - total,
            weighted.weight[is_rare].sum() - n_rare,
        )
    error = sums.mean(axis=0)
    allowed = _Z * sums.std(axis=0) / np.sqrt(_N_STREAMS) + 1e-6
    demand(
        is_met=bool((np.abs(error) <= allowed).all()),
        expected=f"weights that sum to the stream within {allowed}",
        found=error,
    )
