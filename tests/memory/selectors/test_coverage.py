"""The coverage memory, held against its formulas, and several memories in one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.coverage_reference import (
    BINS,
    batches_of,
    kernel_matrices,
    made_samples,
    selected,
    sorted_rows,
)

from midhaul.errors import ConfigError, DataError
from midhaul.memory.checks import SelectorClaims, check_selector
from midhaul.memory.coverage.batches import Batches
from midhaul.memory.coverage.distances import (
    JensenShannonOfOutputs,
    JensenShannonOfPredictions,
    Wasserstein,
)
from midhaul.memory.coverage.overlap import PEAK, overlap, overlap_sums
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Samples, concatenate
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.coverage import CoverageMemory
from midhaul.memory.selectors.coverage_removal import (
    removed_batches,
    removed_by_matrices,
)
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.selectors.reservoir import Reservoir
from midhaul.memory.selectors.several import SeveralMemories, coverage_with_random

if TYPE_CHECKING:
    from midhaul.memory.selectors.base import Selector, SelectorChoice

CLAIMS = SelectorClaims(fills=False, needs_output=True, needs_prediction=True)


def chosen(
    selector: Selector, kept: Samples, new: Samples, seed: int
) -> SelectorChoice:
    """What becomes of samples, with chance of a seed."""
    marks = np.zeros((len(kept), selector.n_marks))
    return selector.choose(kept, marks, new, np.random.default_rng(seed))


def rows_of(choice: SelectorChoice) -> np.ndarray:
    """Numbers of what stays, those in memory first."""
    return np.flatnonzero(np.concatenate([choice.keep, choice.take]))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.0, 1e-3, 0.01, 1.0]),
    bandwidth=st.sampled_from([0.05, 0.1, 0.5]),
    sort=st.sampled_from(["value", "bin"]),
    levels=st.sampled_from([0, 4]),
    n_new=st.integers(1, 170),
)
def test_it_selects_what_the_formulas_select(
    seed: int, temperature: float, bandwidth: float, sort: Any, levels: int, n_new: int
) -> None:
    """The same rows go as in the slow loop, given the same chance."""
    rng = np.random.default_rng(seed)
    kept = made_samples(90, rng, levels=levels)
    new = made_samples(n_new, rng, levels=levels)
    options: dict[str, Any] = {
        "batch_size": 6,
        "bandwidth": bandwidth,
        "temperature": temperature,
        "sort": sort,
    }
    selector = CoverageMemory(capacity=92, bins=BINS, **options)
    found = rows_of(chosen(selector, kept, new, seed))
    if 90 + n_new <= 92:
        assert len(found) == 90 + n_new
        return
    every = concatenate([kept, new])
    chance = np.random.default_rng(seed)
    assert found.tolist() == selected(every, 92, chance, **options).tolist()
    assert selector.n_remainder_dropped == (90 + n_new) % 6


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), sort=st.sampled_from(["value", "bin"]))
def test_batches_follow_the_lexicographic_order(seed: int, sort: Any) -> None:
    """Ties of outputs are ranked by prediction, then by input, then as they came."""
    rng = np.random.default_rng(seed)
    samples = made_samples(101, rng, levels=2)
    parts = [samples.take(slice(0, 40)), samples.take(slice(40, None))]
    batches = Batches.of(parts, BINS, batch_size=4, sort=sort)
    order = np.concatenate([batches.rows.ravel(), batches.rest])
    assert order.tolist() == sorted_rows(samples, sort).tolist()
    told = samples.prediction.astype(np.float64)[batches.rows].mean(axis=1)
    assert batches.predictions == pytest.approx(told)
    assert (batches.outputs.sum(axis=1) == 4).all()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    temperature=st.sampled_from([0.0, 0.01]),
    share=st.floats(0.05, 1.0),
)
def test_the_loop_without_matrices_is_that_with_them(
    seed: int, n: int, temperature: float, share: float
) -> None:
    """Down to no batch at all, with all columns or with some that are sampled."""
    rng = np.random.default_rng(seed)
    samples = made_samples(4 * n, rng)
    batches = Batches.of([samples], BINS, batch_size=4)
    matrices = [
        overlap(rows, rows, 0.1) for rows in (batches.shares, batches.predictions)
    ]
    wanted = kernel_matrices([(samples, batches_of(samples, 4, "value"))], 0.1)
    for found, one in zip(matrices, wanted, strict=True):
        assert found == pytest.approx(one, abs=1e-9)
    is_counted = rng.permutation(n) < np.ceil(share * n)
    lots = rng.random(n)
    fast = removed_batches(batches, 0.1, is_counted, lots, temperature)
    slow = removed_by_matrices(matrices, is_counted, lots, temperature)
    assert sorted(fast.tolist()) == list(range(n))
    if temperature:  # at 0 sums that are equal but for rounding decide
        n_same = int(np.ceil(share * n)) - 1
        assert fast[:n_same].tolist() == slow[:n_same].tolist()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), bandwidth=st.sampled_from([0.01, 0.1, 2.0]))
def test_kernels_without_matrices_are_those_of_the_formula(
    seed: int, bandwidth: float
) -> None:
    """Across tiles, with empty bins and with equal distributions."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(21, 0.2), 530)
    p[3] = p[8]
    p[9] = np.eye(21)[4]
    q = rng.dirichlet(np.full(21, 0.2), 7)
    within, across = overlap(p, p, bandwidth), overlap(p, q, bandwidth)
    assert overlap_sums(p, None, bandwidth) == pytest.approx(within.sum(axis=1))
    found = overlap_sums(p, q, bandwidth)
    assert found == pytest.approx(across.sum(axis=1), rel=1e-6, abs=1e-12)
    assert within.max() == pytest.approx(PEAK)


def test_it_holds_what_every_selector_is_held_to() -> None:
    """The conformance suite, for batches that a tiny memory can hold, and for both."""
    check_selector(
        lambda n: CoverageMemory(capacity=n, bins=BINS, batch_size=3),
        BINS,
        replace(CLAIMS, least_capacity=3),
    )
    check_selector(
        lambda n: coverage_with_random(
            capacity=n, bins=BINS, random_fraction=0.5, batch_size=3
        ),
        BINS,
        replace(CLAIMS, least_capacity=6),
    )


def test_what_is_rare_stays() -> None:
    """Samples of another kind have more than twice the share that they came with."""
    rng = np.random.default_rng(5)
    many = made_samples(4900, rng)
    rare = Samples.of(
        many.x[:100],
        np.full(100, 9.0),
        prediction=np.tile(np.eye(5)[4], (100, 1)),
    )
    selector = CoverageMemory(capacity=200, bins=BINS, batch_size=10, temperature=1e-4)
    memory = SampleMemory(selector, BINS, seed=1)
    memory.offer(concatenate([many.take(many.y < 0.25), rare]))
    share = float((memory.get().y == 9).mean())
    assert share > 2 * 100 / memory.n_offered
    assert len(memory) == 200
    assert memory.weighted() is None


def test_remainders_are_counted_and_only_where_there_is_no_room() -> None:
    """While there is room all stay; then what fills no batch goes and is counted."""
    rng = np.random.default_rng(6)
    selector = CoverageMemory(capacity=64, bins=BINS, batch_size=16)
    memory = SampleMemory(selector, BINS)
    first = memory.offer(made_samples(50, rng))
    assert set(first.reasons) == {Reason.FILLING}
    assert (len(memory), selector.n_remainder_dropped) == (50, 0)
    second = memory.offer(made_samples(21, rng))
    assert set(second.reasons) <= {Reason.DROPPED, Reason.DRAWN}
    assert (len(memory), selector.n_remainder_dropped) == (64, 71 % 16)
    again = CoverageMemory(capacity=64, bins=BINS, batch_size=16)
    again.restore(selector.state())
    assert again.n_remainder_dropped == 71 % 16


def test_large_offers_are_selected_in_chunks() -> None:
    """The same as offering the chunks one after the other."""
    rng = np.random.default_rng(7)
    new = made_samples(300, rng)
    whole = CoverageMemory(capacity=60, bins=BINS, batch_size=4, insert_chunksize=100)
    found = rows_of(chosen(whole, new.take(slice(0, 0)), new, 3))
    step = CoverageMemory(capacity=60, bins=BINS, batch_size=4, insert_chunksize=None)
    held, chance = np.zeros(0, np.int64), np.random.default_rng(3)
    for start in range(0, 300, 100):
        chunk = np.arange(start, start + 100)
        marks = np.zeros((len(held), 0))
        choice = step.choose(new.take(held), marks, new.take(chunk), chance)
        held = np.concatenate([held[choice.keep], chunk[choice.take]])
    assert found.tolist() == sorted(held.tolist())


def test_it_forgets_a_share_but_no_more_than_comes() -> None:
    """Once for each offer; what is forgotten is counted."""
    rng = np.random.default_rng(8)
    kept, new = made_samples(60, rng), made_samples(200, rng)
    selector = CoverageMemory(
        capacity=60, bins=BINS, batch_size=4, forget=1.0, insert_chunksize=100
    )
    choice = chosen(selector, kept, new, 1)
    assert not choice.keep.any()
    assert selector.n_forgotten == 60
    few = CoverageMemory(capacity=60, bins=BINS, batch_size=4, forget=1.0)
    chosen(few, kept, new.take(slice(0, 5)), 1)
    assert few.n_forgotten == 5
    none = CoverageMemory(capacity=60, bins=BINS, batch_size=4)
    chosen(none, kept, new, 1)
    assert none.n_forgotten == 0


def test_densities_can_rest_on_a_share_of_the_batches() -> None:
    """As many as the share says are drawn first, and removal counts these alone."""
    new = made_samples(403, np.random.default_rng(9))
    selector = CoverageMemory(
        capacity=300, bins=BINS, batch_size=4, distance_sample_fraction=0.405
    )
    found = rows_of(chosen(selector, new.take(slice(0, 0)), new, 2))
    rng = np.random.default_rng(2)
    batches = Batches.of([new], BINS, batch_size=4)
    is_counted = np.zeros(100, np.bool_)
    is_counted[rng.choice(100, 41, replace=False)] = True
    matrices = [
        overlap(rows, rows, 0.1) for rows in (batches.shares, batches.predictions)
    ]
    gone = removed_by_matrices(matrices, is_counted, rng.random(25), 0.01)
    stays = np.delete(batches.rows, gone, axis=0)
    assert found.tolist() == sorted(stays.ravel().tolist())


def test_other_distances_take_the_place_of_the_two() -> None:
    """The default's own two give its selections; Wasserstein gives others."""
    rng = np.random.default_rng(10)
    kept, new = made_samples(40, rng), made_samples(160, rng)

    def rows(*distances: Any) -> list[int]:
        selector = CoverageMemory(
            capacity=80, bins=BINS, batch_size=8, distances=distances
        )
        return rows_of(chosen(selector, kept, new, 4)).tolist()

    both = JensenShannonOfOutputs(bins=BINS), JensenShannonOfPredictions()
    assert rows(*both) == rows()
    assert rows(Wasserstein()) != rows()
    assert len(rows(Wasserstein())) == 80


def test_several_memories_share_the_room_by_weight() -> None:
    """Each part has what it has alone, and what two hold is held once."""
    rng = np.random.default_rng(11)
    stream = [made_samples(40, rng) for _ in range(4)]
    both = SeveralMemories(
        capacity=40,
        parts=(lambda n: Fifo(capacity=n), lambda n: Reservoir(capacity=n)),
        weights=(3, 1),
    )
    memory = SampleMemory(both, BINS, seed=2)
    for new in stream:
        memory.offer(new)
    alone = SampleMemory(Fifo(capacity=30), BINS)
    for new in stream:
        alone.offer(new)
    held = {float(y) for y in memory.get().y}
    assert {float(y) for y in alone.get().y} <= held
    assert 30 < len(memory) <= 40
    assert len(held) == len(memory)
    assert memory.weighted() is None


def test_only_one_kind_needs_no_several() -> None:
    """Without a random share, or with nothing else, there is one memory."""
    made = {
        share: coverage_with_random(capacity=512, bins=BINS, random_fraction=share).name
        for share in (0, 0.25, 1)
    }
    assert made == {0: "coverage", 0.25: "several", 1: "reservoir-forgetting"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"capacity": 255}, "capacity of a coverage memory: expected 256 or more"),
        ({"temperature": -1.0}, "temperature"),
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"forget": 1.5}, "forget"),
        ({"distance_sample_fraction": 0.0}, "distance_sample_fraction"),
        ({"insert_chunksize": 0}, "insert_chunksize"),
        ({"batch_size": 0}, "batch_size"),
        ({"sort": "size"}, "sort"),
    ],
)
def test_odd_settings_are_refused(options: dict[str, Any], match: str) -> None:
    """A memory below one batch would lose all it has at its first selection."""
    settings_: dict[str, Any] = {"capacity": 1000, "bins": BINS, **options}
    with pytest.raises(ConfigError, match=match):
        CoverageMemory(**settings_)


def test_odd_parts_are_refused() -> None:
    """No part, a weight of 0, a part without room, a fraction above 1, other states."""

    def part(n: int) -> Selector:
        return Fifo(capacity=n)

    for parts, weights in (((), None), ((part,), (0,)), ((part, part), (1, 1000))):
        with pytest.raises(ConfigError, match="memories"):
            SeveralMemories(capacity=10, parts=parts, weights=weights)
    with pytest.raises(ConfigError, match="random_fraction"):
        coverage_with_random(capacity=1000, bins=BINS, random_fraction=1.5)
    with pytest.raises(DataError, match="state of several"):
        SeveralMemories(capacity=10, parts=(part,)).restore({"a": np.zeros(1)})
    with pytest.raises(DataError, match="coverage"):
        CoverageMemory(capacity=1000, bins=BINS).restore({})
