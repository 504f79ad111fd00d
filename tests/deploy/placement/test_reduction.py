"""Tests of the reductions of a placement instance."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.mincut_instances import instances, optimum

from midhaul.deploy.placement.arrays import Instance
from midhaul.deploy.placement.reduction import (
    Reduced,
    equal_sets,
    mixed,
    reduce,
    stable_order,
)


def as_instance(reduced: Reduced) -> Instance:
    """A reduced instance in the form of an instance."""
    lengths = np.diff(reduced.indptr)[reduced.types]
    parts = [
        reduced.indices[reduced.indptr[t] : reduced.indptr[t + 1]]
        for t in reduced.types
    ]
    return Instance(
        values=reduced.values,
        usage=reduced.own,
        indptr=np.concatenate([[0], np.cumsum(lengths)]),
        indices=np.concatenate([np.zeros(0, np.int64), *parts]),
        costs=reduced.costs,
        capacities=reduced.capacities,
        rows=("",) * len(reduced.rows),
        groups=reduced.groups,
    )


@settings(deadline=None, max_examples=60)
@given(instances())
def test_a_reduced_instance_has_the_same_optimum(instance: Instance) -> None:
    """Nothing that could be part of a best choice is lost, and nothing is gained."""
    assert optimum(as_instance(reduce(instance))) == optimum(instance)


@settings(deadline=None, max_examples=60)
@given(instances(), st.integers(0, 2**32 - 1))
def test_choices_take_the_same_before_and_after(instance: Instance, seed: int) -> None:
    """Use of the rows that are left, value and feasibility agree for any choice."""
    reduced = reduce(instance)
    chosen = np.random.default_rng(seed).random(len(reduced.items)) < 0.5
    lifted = reduced.lift(chosen, instance.n_items)
    assert np.allclose(reduced.use(chosen), instance.use(lifted)[reduced.rows])
    assert reduced.values[chosen].sum() == instance.value(lifted)
    assert reduced.is_feasible(chosen) == instance.is_feasible(lifted)


@settings(deadline=None, max_examples=60)
@given(instances())
def test_bundles_and_types_are_as_few_as_can_be(instance: Instance) -> None:
    """No two bundles serve the same types, no two types need the same bundles."""
    reduced = reduce(instance)
    needs = np.zeros((reduced.n_types, reduced.n_bundles), np.bool_)
    owners = np.repeat(np.arange(reduced.n_types), np.diff(reduced.indptr))
    needs[owners, reduced.indices] = True
    assert len(np.unique(needs, axis=0)) == reduced.n_types
    users = needs[reduced.types]
    assert (users.sum(axis=0) >= 2).all() or reduced.n_bundles == 0
    assert len(np.unique(users, axis=1).T) == reduced.n_bundles
    assert np.array_equal(np.unique(reduced.types), np.arange(reduced.n_types))


@given(st.lists(st.sets(st.integers(0, 4)), max_size=12))
def test_equal_sets_are_found(sets: list[set[int]]) -> None:
    """Owners are in one class exactly when their members are the same."""
    owners = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    members = np.array([m for s in sets for m in sorted(s)], np.int64)
    heads, classes = equal_sets(owners, members, len(sets))
    for a, one in enumerate(sets):
        assert sets[heads[classes[a]]] == one
        for b, other in enumerate(sets):
            assert (classes[a] == classes[b]) == (one == other)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9)))
def test_orders_are_stable(keys: list[int]) -> None:
    """Counting gives the order that a stable sort gives."""
    expected = np.argsort(np.array(keys, np.int64), kind="stable")
    assert np.array_equal(stable_order(np.array(keys, np.int64), 10), expected)


def test_sets_with_equal_sums_are_told_apart() -> None:
    """A collision of sums is seen, and the sets are mixed with another salt."""
    salts: list[int] = []

    def weak(numbers: np.ndarray, salt: int) -> np.ndarray:
        salts.append(salt)
        return numbers.astype(np.uint64) if salt == 0 else mixed(numbers, salt)

    owners, members = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 2])
    _, classes = equal_sets(owners, members, 2, weak)
    assert classes[0] != classes[1]
    assert salts == [0, 1]


def test_rows_that_all_items_keep_together_go() -> None:
    """A capacity that cannot bind is no row, and items too large alone are gone."""
    instance = Instance(
        values=np.array([3.0, 2.0, 9.0]),
        usage=np.array([[1.0, 1.0], [1.0, 1.0], [9.0, 0.0]]),
        indptr=np.array([0, 1, 2, 2]),
        indices=np.array([0, 0]),
        costs=np.array([[2.0, 5.0]]),
        capacities=np.array([3.0, 7.0]),
        rows=("disk", "cores"),
        groups=np.arange(3),
    )
    reduced = reduce(instance)
    assert reduced.items.tolist() == [0, 1]
    assert reduced.rows.tolist() == [0]
    assert reduced.costs.tolist() == [[2.0]]
    assert reduced.n_types == 1
