"""Tests of the min-cut placer: bounds, values, prices and cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.mincut_instances import (
    instances,
    linear_bound,
    optimum,
    random_instance,
)
from tests.support.placement_reference import add_in_order_reference

from midhaul.deploy.placement.arrays import Instance
from midhaul.deploy.placement.checks import check_placer
from midhaul.deploy.placement.lagrangian import (
    Relaxation,
    feasible_part,
    fill,
    improve,
    one_row,
    several_rows,
    with_groups,
)
from midhaul.deploy.placement.milp import solve_milp
from midhaul.deploy.placement.mincut import MinCutPlacer, solve
from midhaul.deploy.placement.reduction import add_in_order, reduce

FAR_S = float("inf")


@settings(deadline=None, max_examples=80)
@given(instances())
def test_small_instances_are_solved_to_the_end(instance: Instance) -> None:
    """The value is the optimum, the bound is at least that, and the choice is kept."""
    choice = solve(instance)
    best = optimum(instance)
    assert instance.is_feasible(choice.chosen)
    assert instance.value(choice.chosen) == pytest.approx(best)
    assert best <= choice.bound * (1 + 1e-9) <= best * (1 + 1e-6) + 1e-9
    assert choice.is_optimal
    assert not choice.is_timed_out
    assert (choice.prices >= 0).all()


@settings(deadline=None, max_examples=50)
@given(instances(), st.integers(0, 2**32 - 1))
def test_every_price_gives_a_bound(instance: Instance, seed: int) -> None:
    """The Lagrangian is at least the optimum, wherever it is taken."""
    reduced = reduce(instance)
    rng = np.random.default_rng(seed)
    prices = rng.exponential(1.0, len(reduced.rows)) * (rng.random() < 0.9)
    groups = rng.exponential(2.0, int(reduced.groups.max(initial=-1)) + 1)
    here = Relaxation(reduced).at(prices, groups)
    assert here.bound >= optimum(instance) - 1e-9
    assert np.allclose(here.use, reduced.use(here.chosen))
    assert here.value == reduced.values[here.chosen].sum()


@settings(deadline=None, max_examples=50)
@given(instances(), st.integers(0, 2**32 - 1))
def test_losses_are_how_far_the_bound_falls(instance: Instance, seed: int) -> None:
    """With an item decided otherwise, no choice is worth more than bound less loss."""
    reduced = reduce(instance)
    if len(reduced.items) == 0:
        return
    rng = np.random.default_rng(seed)
    here = Relaxation(reduced).at(rng.exponential(0.5, len(reduced.rows)))
    losses = here.losses(reduced)
    assert (losses >= -1e-9).all()
    for item in range(len(reduced.items)):
        best = 0.0 if here.chosen[item] else -np.inf
        for bits in range(2 ** len(reduced.items)):
            chosen = (bits >> np.arange(len(reduced.items))) % 2 == 1
            if chosen[item] != here.chosen[item] and reduced.is_feasible(chosen):
                best = max(best, float(reduced.values[chosen].sum()))
        assert best <= here.bound - losses[item] + 1e-9


@settings(deadline=None, max_examples=60)
@given(instances(max_items=20, max_rows=1, has_choices=False))
def test_one_row_ends_at_the_linear_bound(instance: Instance) -> None:
    """The dual of one row is the linear relaxation, of which closures are the corners.

    Items that do not fit alone are left out of both.
    """
    reduced = reduce(instance)
    if len(reduced.rows) == 0:
        return
    here, keeps = one_row(Relaxation(reduced))
    assert here.bound == pytest.approx(linear_bound(_kept(instance)), rel=1e-7)
    if keeps is not None:
        assert reduced.is_feasible(keeps.chosen)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_several_rows_end_near_the_linear_bound(seed: int, n_rows: int) -> None:
    """Cutting planes reach the linear relaxation, from above, to their precision."""
    rng = np.random.default_rng(seed)
    instance = _kept(random_instance(rng, 30, n_elements=20, n_rows=n_rows))
    reduced = reduce(instance)
    if len(reduced.rows) == 0:
        return
    here = several_rows(Relaxation(reduced), None, FAR_S)
    expected = linear_bound(instance)
    assert expected * (1 - 1e-7) <= here.bound <= expected * (1 + 1e-5) + 1e-9


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_choices_end_at_the_linear_bound(seed: int) -> None:
    """Groups of exclusive items are priced as well."""
    rng = np.random.default_rng(seed)
    made = random_instance(rng, 30, n_elements=20, n_rows=3, n_groups=12)
    instance = _kept(made)
    reduced = reduce(instance)
    if len(reduced.rows) == 0 or not reduced.has_choices:
        return
    here = with_groups(Relaxation(reduced), FAR_S)
    assert here.bound == pytest.approx(linear_bound(instance), rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(instances(max_items=20), st.integers(0, 2**32 - 1))
def test_filling_keeps_everything(instance: Instance, seed: int) -> None:
    """From a feasible part near the best closure, value rises and all is kept."""
    reduced = reduce(instance)
    if len(reduced.rows) == 0:
        return
    relaxation = Relaxation(reduced)
    rng = np.random.default_rng(seed)
    here = relaxation.at(rng.exponential(1.0, len(reduced.rows)))
    start = feasible_part(relaxation, here)
    assert reduced.is_feasible(start)
    filled = fill(reduced, start, here.prices)
    assert reduced.is_feasible(filled)
    assert (filled >= start).all()


@settings(deadline=None, max_examples=50)
@given(instances(max_items=20), st.integers(0, 2**32 - 1))
def test_the_compiled_fill_equals_its_reference(instance: Instance, seed: int) -> None:
    """Items are added in the same order, under the same limits."""
    reduced = reduce(instance)
    if len(reduced.items) == 0:
        return
    order = np.random.default_rng(seed).permutation(len(reduced.items))
    chosen = np.zeros(len(order), np.bool_)
    expected = add_in_order_reference(reduced, order, chosen)
    n_added = add_in_order(
        order,
        reduced.types,
        reduced.indptr,
        reduced.indices,
        reduced.own,
        reduced.costs,
        reduced.groups,
        chosen,
        np.zeros(reduced.n_bundles, np.bool_),
        np.zeros(len(order), np.bool_),
        reduced.limits.copy(),
    )
    assert np.array_equal(chosen, expected)
    assert n_added == expected.sum()


@settings(deadline=None, max_examples=30)
@given(instances(max_items=12), st.integers(1, 6))
def test_a_small_core_keeps_all_limits(instance: Instance, n_items: int) -> None:
    """Whatever the core leaves out, its choice is feasible and its bound holds."""
    reduced = reduce(instance)
    if len(reduced.rows) == 0:
        return
    relaxation = Relaxation(reduced)
    here = relaxation.at(np.full(len(reduced.rows), 0.5))
    improved = improve(
        reduced,
        here,
        np.zeros(len(reduced.items), np.bool_),
        n_items=n_items,
        least_gain=1e-9,
        time_limit_s=5.0,
    )
    assert reduced.is_feasible(improved.chosen)
    best = optimum(instance)
    assert improved.bound >= best - 1e-6
    if improved.is_complete:
        assert reduced.values[improved.chosen].sum() == pytest.approx(best)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_groups", [None, 40])
def test_larger_instances_agree_with_the_exact_placer(
    seed: int, n_groups: int | None
) -> None:
    """Bound above and value below the optimum of the whole program."""
    rng = np.random.default_rng(seed)
    instance = random_instance(
        rng,
        80,
        n_elements=60,
        n_rows=1 + seed % 3,
        share=0.3,
        n_groups=n_groups,
        density=0.03,
    )
    choice, exact = solve(instance), solve_milp(instance)
    best = instance.value(exact.chosen)
    assert instance.is_feasible(choice.chosen)
    assert choice.bound >= best * (1 - 1e-6)
    assert instance.value(choice.chosen) >= best * (1 - 1e-5)


def test_without_time_there_is_still_a_bound_and_a_choice() -> None:
    """The first bound and choice do not wait for the clock; the answer says so."""
    rng = np.random.default_rng(3)
    instance = random_instance(
        rng, 60, n_elements=40, n_rows=3, share=0.3, density=0.05
    )
    choice = solve(instance, time_limit_s=0.0)
    assert choice.is_timed_out
    assert instance.is_feasible(choice.chosen)
    assert choice.bound >= instance.value(solve(instance).chosen)


def test_no_items_is_an_answer() -> None:
    """An instance without items has the empty choice, which is optimal."""
    instance = random_instance(np.random.default_rng(0), 0, n_elements=3)
    choice = solve(instance)
    assert choice.is_optimal
    assert choice.bound == 0
    assert len(choice.chosen) == 0


def test_the_price_is_what_more_room_brings() -> None:
    """The bound rises with a capacity at the rate of its price."""
    rng = np.random.default_rng(5)
    instance = random_instance(rng, 200, n_elements=30, share=0.4, density=0.05)
    reduced = reduce(instance)
    here, _ = one_row(Relaxation(reduced))
    assert here.prices[0] > 0
    for more in (-2.0, 2.0):
        wider = Instance(
            values=instance.values,
            usage=instance.usage,
            indptr=instance.indptr,
            indices=instance.indices,
            costs=instance.costs,
            capacities=instance.capacities + more,
            rows=instance.rows,
            groups=instance.groups,
        )
        there, _ = one_row(Relaxation(reduce(wider)))
        assert there.bound <= here.bound + more * here.prices[0] + 1e-9


def test_the_placer_conforms() -> None:
    """Tables call it mincut, and it passes the conformance suite of placers."""
    assert MinCutPlacer().name == "mincut"
    check_placer(MinCutPlacer())


def _kept(instance: Instance) -> Instance:
    """The instance without items that do not fit alone or are worth nothing."""
    items = reduce(instance).items
    lengths = np.diff(instance.indptr)
    kept = np.zeros(instance.n_items, np.bool_)
    kept[items] = True
    return Instance(
        values=instance.values[items],
        usage=instance.usage[items],
        indptr=np.concatenate([[0], np.cumsum(lengths[items])]),
        indices=instance.indices[np.repeat(kept, lengths)],
        costs=instance.costs,
        capacities=instance.capacities,
        rows=instance.rows,
        groups=instance.groups[items],
    )
