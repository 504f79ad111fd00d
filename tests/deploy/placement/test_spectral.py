"""The bound for dense sharing: always a bound, and tight where it is meant for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.placement.mincut_instances import instances, optimum
from tests.deploy.placement.test_tabu import dense_problem

from midhaul.deploy.placement.building import build
from midhaul.deploy.placement.lagrangian import Relaxation, one_row
from midhaul.deploy.placement.reduction import reduce
from midhaul.deploy.placement.relaxed import least_norm, spectral_bound

if TYPE_CHECKING:
    from midhaul.deploy.placement.arrays import Instance


@settings(deadline=None, max_examples=150)
@given(instances(max_items=9), st.integers(0, 40))
def test_nothing_is_worth_more(instance: Instance, n_steps: int) -> None:
    """Whatever row counts and however early it stops, no choice is above the bound."""
    reduced = reduce(instance)
    if not len(reduced.items) or not len(reduced.rows):
        return
    best = optimum(instance)
    for row in range(len(reduced.rows)):
        prices = np.zeros(len(reduced.rows))
        prices[row] = 1.0
        bound = spectral_bound(reduced, prices, time_limit_s=math.inf, n_steps=n_steps)
        assert bound >= best * (1 - 1e-9)


def test_dense_sharing_has_a_tight_bound() -> None:
    """With 185 layers in a pool it is less than half of the linear relaxation's."""
    instance = build(dense_problem(200, 185, 0.1, 0.75, 3)).instance
    reduced = reduce(instance)
    here, _ = one_row(Relaxation(reduced))
    bound = spectral_bound(reduced, here.prices, time_limit_s=math.inf, n_steps=60)
    assert 12497 <= bound <= here.bound / 2  # the best value known


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_norm_is_that_of_a_matrix_that_is_allowed(seed: int) -> None:
    """No matrix with a free entry less has a lower norm; more steps never raise it."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.uniform(0.5, 2, 6), rng.uniform(0.5, 2, 5)
    is_open = rng.random((6, 5)) < 0.4
    is_open[0, 0] = True
    norms = [
        least_norm(rows, columns, is_open, time_limit_s=math.inf, n_steps=n)
        for n in (0, 8, 100)
    ]
    assert norms[0] >= norms[1] >= norms[2]
    fewer = is_open.copy()
    fewer[0, 0] = False
    if fewer.any():
        stricter = least_norm(rows, columns, fewer, time_limit_s=math.inf, n_steps=400)
        assert norms[2] <= stricter * 1.05
    blocked = ~is_open
    largest = max(
        (rows[blocked[:, e]] ** 2).sum() ** 0.5 * columns[e] for e in range(5)
    )
    assert norms[2] >= largest * (1 - 1e-9)
