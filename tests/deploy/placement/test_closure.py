"""Tests of maximum-weight closures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from tests.support.placement_reference import closure_reference

from midhaul.deploy.placement.closure import CutNetwork


def network(rng: np.random.Generator, n_types: int, n_bundles: int) -> tuple:
    """Needs as lists and as arrays."""
    density = rng.uniform(0.05, 0.8)
    needs = rng.random((n_types, n_bundles)) < density
    lists = [np.flatnonzero(row).tolist() for row in needs]
    indptr = np.concatenate([[0], np.cumsum(needs.sum(axis=1))])
    return lists, indptr, np.nonzero(needs)[1]


def brute_force(
    weights: np.ndarray, costs: np.ndarray, needs: list[list[int]]
) -> tuple[float, set[int]]:
    """Best weight over all sets of types, and the smallest set that reaches it."""
    best, found = 0.0, frozenset()
    for size in range(len(needs) + 1):
        for types in itertools.combinations(range(len(needs)), size):
            bundles = set().union(*(needs[t] for t in types))
            weight = weights[list(types)].sum() - costs[list(bundles)].sum()
            if weight > best:
                best, found = float(weight), frozenset(types)
    return best, set(found)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 6))
def test_closures_equal_brute_force_and_the_reference(
    seed: int, n_types: int, n_bundles: int
) -> None:
    """Weight and smallest set, for flows from nothing and from the last weights."""
    rng = np.random.default_rng(seed)
    needs, indptr, indices = network(rng, n_types, n_bundles)
    kept = CutNetwork(indptr, indices, n_bundles)
    for _ in range(4):
        weights = rng.integers(0, 9, n_types).astype(np.float64)
        costs = rng.integers(0, 9, n_bundles).astype(np.float64)
        weight, types = brute_force(weights, costs, needs)
        assert closure_reference(weights.tolist(), costs.tolist(), needs) == (
            weight,
            types,
        )
        closure = kept.best(weights, costs)
        assert closure.weight == pytest.approx(weight, abs=1e-9)
        assert set(np.flatnonzero(closure.types)) == types
        paid = set().union(*(needs[t] for t in types))
        assert set(np.flatnonzero(closure.bundles)) == paid


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_weights_agree_with_another_library(seed: int) -> None:
    """On larger networks, with scipy's maximum flow on whole numbers."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(20, 60)), int(rng.integers(20, 60))
    _, indptr, indices = network(rng, n, m)
    weights, costs = rng.integers(0, 400, n), rng.integers(0, 300, m)
    owners = np.repeat(np.arange(n), np.diff(indptr))
    begins = np.concatenate([np.zeros(n, np.int64), 1 + owners, 1 + n + np.arange(m)])
    ends = np.concatenate([1 + np.arange(n), 1 + n + indices, np.full(m, n + m + 1)])
    sizes = np.concatenate([weights, np.full(len(owners), 10**6), costs])
    graph = csr_array(
        (sizes.astype(np.int32), (begins, ends)), shape=(n + m + 2, n + m + 2)
    )
    flow = int(maximum_flow(graph, 0, n + m + 1).flow_value)
    closure = CutNetwork(indptr, indices, m).best(
        weights.astype(np.float64), costs.astype(np.float64)
    )
    assert closure.weight == pytest.approx(weights.sum() - flow, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_certificate_holds_for_weights_of_any_size(seed: int) -> None:
    """What is unsent equals what the closure found is worth, over 12 decades."""
    rng = np.random.default_rng(seed)
    needs, indptr, indices = network(rng, 40, 30)
    weights = 10 ** rng.uniform(-3, 9, 40)
    costs = 10 ** rng.uniform(-3, 9, 30)
    closure = CutNetwork(indptr, indices, 30).best(weights, costs)
    for t in np.flatnonzero(closure.types):
        assert closure.bundles[needs[t]].all()
    value = weights[closure.types].sum() - costs[closure.bundles].sum()
    assert closure.weight == pytest.approx(value, rel=1e-9, abs=1e-3)
