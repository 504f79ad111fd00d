"""Several gateways: parts of a choice that are planned anew."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.mincut_instances import optimum, random_instance

from midhaul.deploy.placement.arrays import Instance
from midhaul.deploy.placement.lagrangian import core_of
from midhaul.deploy.placement.mincut import PartSearch, parts_of
from midhaul.deploy.placement.reduction import Reduced, reduce


def copies(one: Instance, n_copies: int) -> Instance:
    """Gateways that are alike, and each item on one of them at most."""
    n, e, r = one.n_items, one.n_elements, len(one.capacities)
    usage = np.zeros((n_copies * n, n_copies * r))
    costs = np.zeros((n_copies * e, n_copies * r))
    for c in range(n_copies):
        usage[c * n : (c + 1) * n, c * r : (c + 1) * r] = one.usage
        costs[c * e : (c + 1) * e, c * r : (c + 1) * r] = one.costs
    lengths = np.tile(np.diff(one.indptr), n_copies)
    return Instance(
        values=np.tile(one.values, n_copies),
        usage=usage,
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        indices=np.concatenate([one.indices + c * e for c in range(n_copies)]),
        costs=costs,
        capacities=np.tile(one.capacities, n_copies),
        rows=tuple(f"{c} {row}" for c in range(n_copies) for row in one.rows),
        groups=np.tile(one.groups, n_copies),
    )


def search_of(reduced: Reduced, bound: float, end_s: float = np.inf) -> PartSearch:
    """A search over the parts of an instance; without an end if none is given."""
    return PartSearch(
        reduced=reduced,
        parts=parts_of(reduced),
        bound=bound,
        end_s=end_s,
        rng=np.random.default_rng(0),
    )


def three_gateways() -> Instance:
    """60 items on three gateways that are alike, each with three limits."""
    rng = np.random.default_rng(3)
    one = random_instance(rng, 60, n_elements=25, n_rows=3, share=0.2, density=0.12)
    return copies(one, 3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3))
def test_parts_share_no_row(seed: int, n_copies: int) -> None:
    """Items of two parts touch no common row, and each copy has parts of its own."""
    rng = np.random.default_rng(seed)
    one = random_instance(rng, 6, n_elements=5, n_rows=2, share=0.5)
    reduced = reduce(copies(one, n_copies))
    parts = parts_of(reduced) if len(reduced.items) and len(reduced.rows) else []
    touched = reduced.own > 0
    for i, kind in enumerate(reduced.types):
        bundles = reduced.indices[reduced.indptr[kind] : reduced.indptr[kind + 1]]
        touched[i] |= (reduced.costs[bundles] > 0).any(axis=0)
    for i in range(len(parts)):
        for j in range(i):
            if (touched[i] & touched[j]).any():
                assert parts[i] == parts[j]
            elif touched[i].any() and touched[j].any():
                copy_of = reduced.items // one.n_items
                assert copy_of[i] == copy_of[j] or parts[i] != parts[j]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_two_small_parts_are_solved_to_the_end(seed: int) -> None:
    """Where two parts are all there is, deciding both anew finds the optimum."""
    rng = np.random.default_rng(seed)
    one = random_instance(rng, 5, n_elements=4, n_rows=2, share=0.4)
    instance = copies(one, 2)
    reduced = reduce(instance)
    if not len(reduced.items) or not len(reduced.rows):
        return
    search = search_of(reduced, bound=float(reduced.values.sum()))
    nothing = np.zeros(len(reduced.items), np.bool_)
    found = search.improve(nothing, enough=np.inf)
    assert reduced.is_feasible(found)
    if search.parts.max() == 1:
        assert reduced.values[found].sum() == pytest.approx(optimum(instance))


def test_an_image_moves_with_all_its_analytics() -> None:
    """Three layers of 60 and three of 40 are paired on three disks of 100."""
    sizes = np.array([40.0, 40.0, 40.0, 60.0, 60.0, 60.0])
    n = 8 * len(sizes)
    one = Instance(
        values=np.tile(np.arange(1.0, 9.0), len(sizes)),
        usage=np.zeros((n, 1)),
        indptr=np.arange(n + 1),
        indices=np.repeat(np.arange(len(sizes)), 8),
        costs=sizes[:, None],
        capacities=np.array([100.0]),
        rows=("disk",),
        groups=np.arange(n),
    )
    reduced = reduce(copies(one, 3))
    parts, layers = parts_of(reduced), reduced.items % n // 8
    # Two of 40 share a disk, so that a layer of 60 finds no room beside the third.
    on = {0: (0, 1), 1: (3,), 2: (4,)}
    known = np.array([k in on[g] for k, g in zip(layers, parts, strict=True)])
    assert reduced.is_feasible(known)
    everything = one.values.sum()
    found = search_of(reduced, everything).improve(known, enough=everything)
    assert reduced.is_feasible(found)
    assert reduced.values[found].sum() == everything


def test_without_time_the_known_choice_stays() -> None:
    """A search whose end has passed gives back what it was given."""
    reduced = reduce(three_gateways())
    known = np.zeros(len(reduced.items), np.bool_)
    known[0] = True
    found = search_of(reduced, 1.0, end_s=time.monotonic() - 1).improve(
        known, enough=np.inf
    )
    assert (found == known).all()


def test_a_core_has_only_rows_that_can_bind() -> None:
    """Rows of the other gateways, which no open item touches, are not in a core."""
    reduced = reduce(three_gateways())
    is_open = parts_of(reduced) == 0
    core, items = core_of(reduced, np.zeros(len(reduced.items), np.bool_), is_open)
    assert (items == np.flatnonzero(is_open)).all()
    assert len(core.rows) == len(reduced.rows) // 3
    total = core.own.sum(axis=0) + core.costs.sum(axis=0)
    assert (total > core.capacities).all()
