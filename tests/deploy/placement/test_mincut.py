"""Tests of the min-cut placer: bounds, values, prices and cores.

Several gateways: parts of a choice that are planned anew.
"""

from __future__ import annotations

import time

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
    core_of,
    feasible_part,
    fill,
    improve,
    one_row,
    several_rows,
    with_groups,
)
from midhaul.deploy.placement.milp import solve_milp
from midhaul.deploy.placement.mincut import (
    MinCutPlacer,
    PartSearch,
    bound_of_parts,
    parts_of,
    solve,
)
from midhaul.deploy.placement.reduction import Reduced, add_in_order, reduce

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


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_bound_of_parts_lies_between(seed: int, has_time: bool) -> None:  # noqa: FBT001
    """No choice is worth more, and the relaxation's bound is no lower."""
    rng = np.random.default_rng(seed)
    one = random_instance(rng, 5, n_elements=4, n_rows=2, share=0.4)
    instance = copies(one, 2)
    reduced = reduce(instance)
    if not len(reduced.items) or not len(reduced.rows):
        return
    here = with_groups(Relaxation(reduced), np.inf)
    end_s = np.inf if has_time else time.monotonic()
    bound = bound_of_parts(reduced, here, parts_of(reduced), end_s)
    assert bound >= optimum(instance) * (1 - 1e-6)
    if has_time:
        assert bound <= here.bound * (1 + 1e-6) + 1e-9


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
