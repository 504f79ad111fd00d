"""The exact placer and the marginal greedy, on arrays."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.instances import best_value, make_instance, small_instances
from tests.support.placement_reference import in_order_of_merit

from midhaul.deploy.placement.marginal_greedy import (
    best_single,
    needs_alone,
    solve_greedily,
)
from midhaul.deploy.placement.milp import solve_milp

if TYPE_CHECKING:
    from midhaul.deploy.placement.arrays import Instance


@settings(deadline=None, max_examples=50)
@given(small_instances())
def test_exact_equals_brute_force(instance: Instance) -> None:
    """Value and bound are those of the best of all subsets."""
    choice = solve_milp(instance)
    best = best_value(instance)
    assert instance.is_feasible(choice.chosen)
    assert choice.is_optimal
    assert not choice.is_timed_out
    assert instance.value(choice.chosen) == pytest.approx(best)
    assert choice.bound == pytest.approx(best)


@settings(deadline=None, max_examples=50)
@given(small_instances())
def test_greedy_is_feasible_and_follows_its_rule(instance: Instance) -> None:
    """The kernel takes what the plain reference takes, or the best single item."""
    choice = solve_greedily(instance)
    plain = in_order_of_merit(instance)
    single = best_single(instance)
    assert instance.is_feasible(choice.chosen)
    assert choice.bound == math.inf
    expected = max(instance.value(plain), instance.value(single))
    assert instance.value(choice.chosen) == expected
    if instance.value(plain) >= instance.value(single):
        assert choice.chosen.tolist() == plain.tolist()


@given(small_instances())
def test_alone_everybody_pays_for_all(instance: Instance) -> None:
    """What an item takes alone is what a choice of it alone takes."""
    for i, need in enumerate(needs_alone(instance)):
        chosen = np.arange(instance.n_items) == i
        assert need == pytest.approx(instance.use(chosen))


def test_a_bound_that_a_start_would_spoil() -> None:
    """With the greedy's choice as a start, HiGHS 1.16 says 18 here and finds 16."""
    own = [[0.0, 8.0], [0.0, 7.0], [0.0, 6.0]]
    instance = make_instance(
        [8.0, 1.0, 2.0, 8.0, 7.0, 7.0, 1.0],
        [[0, 1], [2], [0, 3], [0, 1, 4, 5], [1, 5, 6], [1], [2]],
        [[8.0, 0.0], [7.0, 0.0], [2.0, 0.0], [5.0, 0.0], *own],
        [20.0, 20.0],
        groups=[0, 2, 3, 0, 1, 1, 2],
    )
    choice = solve_milp(instance)
    assert choice.bound == pytest.approx(17)
    assert instance.value(choice.chosen) == best_value(instance) == 17


def test_prices_are_the_slopes_of_the_relaxation() -> None:
    """A knapsack with one split item: its ratio is the price of the capacity."""
    instance = make_instance(
        [12.0, 10.0, 1.0], [[0], [1], [2]], [[4.0], [5.0], [3.0]], [6.0]
    )
    choice = solve_milp(instance, has_prices=True)
    assert choice.prices.tolist() == pytest.approx([10 / 5])
    assert np.isnan(solve_milp(instance).prices).all()
    roomy = make_instance([1.0], [[0]], [[1.0]], [5.0])
    assert solve_milp(roomy, has_prices=True).prices.tolist() == [0.0]


def test_a_solver_without_time_still_answers() -> None:
    """It returns the greedy's choice, and says that it ran out of time."""
    instance = edges_of_a_graph(40, 200, 12, seed=1)
    choice = solve_milp(instance, time_limit_s=0.0, has_prices=True)
    assert choice.is_timed_out
    assert not choice.is_optimal
    assert instance.is_feasible(choice.chosen)
    assert choice.bound >= instance.value(choice.chosen)


def edges_of_a_graph(n_nodes: int, n_edges: int, room: int, *, seed: int) -> Instance:
    """Items are edges, elements their ends: the densest subgraph of some size."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(n_nodes), 2))
    drawn = rng.permutation(len(pairs))[:n_edges]
    return make_instance(
        [1.0] * len(drawn),
        [list(pairs[i]) for i in drawn],
        [[1.0]] * n_nodes,
        [float(room)],
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_edges_of_graphs_are_solved(seed: int, room: int) -> None:
    """On the hard kind of set-union knapsack, exact is exact and greedy is below."""
    instance = edges_of_a_graph(8, 12, room, seed=seed)
    best = max(
        sum(
            set(instance.indices[2 * i : 2 * i + 2].tolist()) <= set(nodes)
            for i in range(instance.n_items)
        )
        for nodes in itertools.combinations(range(8), room)
    )
    choice = solve_milp(instance)
    assert instance.value(choice.chosen) == best
    assert choice.bound == pytest.approx(best)
    assert instance.value(solve_greedily(instance).chosen) <= best


def test_items_come_back_when_their_layers_are_paid() -> None:
    """An item that did not fit fits once another one has paid for its layer."""
    instance = make_instance(
        [10.0, 9.0, 1.0],
        [[0], [0, 1], [2]],
        [[5.0], [2.0], [9.0]],
        [7.0],
    )
    assert solve_greedily(instance).chosen.tolist() == [True, True, False]


def test_large_instances_take_the_time_of_their_needs() -> None:
    """Twenty thousand items that share layers: the greedy keeps the capacity."""
    rng = np.random.default_rng(0)
    n = 20_000
    needs = [[int(rng.integers(50)), 50 + i] for i in range(n)]
    instance = make_instance(
        rng.uniform(1, 9, n).tolist(),
        needs,
        [[float(size)] for size in rng.integers(1, 100, n + 50)],
        [50_000.0],
    )
    choice = solve_greedily(instance)
    assert instance.is_feasible(choice.chosen)
    assert instance.use(choice.chosen)[0] > 49_000
