"""Small instances for the tests of the min-cut placer, and their exact optima."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from midhaul.deploy.placement.arrays import Instance

if TYPE_CHECKING:
    from jaxtyping import Bool


@st.composite
def instances(
    draw: st.DrawFn,
    *,
    max_items: int = 9,
    max_rows: int = 3,
    has_choices: bool | None = None,
) -> Instance:
    """Instances with equal elements, private ones, free ones, and items too large."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows = draw(st.integers(1, max_rows))
    is_exclusive = draw(st.booleans()) if has_choices is None else has_choices
    n = draw(st.integers(1, max_items))
    return random_instance(
        rng,
        n,
        n_elements=draw(st.integers(0, 8)),
        n_rows=n_rows,
        share=draw(st.sampled_from([0.0, 0.3, 0.5, 1.2])),
        n_groups=max(1, n // 2) if is_exclusive else n,
    )


def random_instance(
    rng: np.random.Generator,
    n_items: int,
    *,
    n_elements: int,
    n_rows: int = 1,
    share: float = 0.4,
    n_groups: int | None = None,
    density: float | None = None,
) -> Instance:
    """Items over random elements; capacities are a share of what all take together."""
    share_needed = rng.uniform(0.1, 0.7) if density is None else density
    needs = rng.random((n_items, n_elements)) < share_needed
    if n_elements > 1:
        needs[:, 0] = needs[:, 1]
    indptr = np.concatenate([[0], np.cumsum(needs.sum(axis=1))])
    indices = np.nonzero(needs)[1]
    usage = rng.integers(0, 5, (n_items, n_rows)) * (rng.random(n_rows) < 0.7)
    costs = rng.integers(0, 9, (n_elements, n_rows)) * (rng.random(n_rows) < 0.8)
    total = usage.sum(axis=0) + costs.sum(axis=0)
    groups = np.arange(n_items)
    if n_groups is not None and n_groups < n_items:
        groups = rng.integers(0, n_groups, n_items)
    return Instance(
        values=rng.integers(0, 12, n_items).astype(np.float64),
        usage=usage.astype(np.float64),
        indptr=indptr.astype(np.int64),
        indices=indices.astype(np.int64),
        costs=costs.astype(np.float64),
        capacities=np.floor(total * share),
        rows=tuple(f"row {r}" for r in range(n_rows)),
        groups=groups.astype(np.int64),
    )


def optimum(instance: Instance) -> float:
    """The highest value of a feasible choice, by trying all."""
    best = 0.0
    for bits in itertools.product((False, True), repeat=instance.n_items):
        chosen: Bool[np.ndarray, " n"] = np.array(bits, np.bool_)
        value = instance.value(chosen)
        if value > best and instance.is_feasible(chosen):
            best = value
    return best


def linear_bound(instance: Instance) -> float:
    """The optimum of the linear relaxation, by an independent solver."""
    from scipy.optimize import linprog  # noqa: PLC0415

    n, m = instance.n_items, instance.n_elements
    rows = [np.concatenate([instance.usage.T, instance.costs.T], axis=1)]
    limits = [instance.capacities]
    owners = np.repeat(np.arange(n), np.diff(instance.indptr))
    for item, element in zip(owners, instance.indices, strict=True):
        row = np.zeros((1, n + m))
        row[0, item], row[0, n + element] = 1, -1
        rows.append(row)
        limits.append(np.zeros(1))
    for group in np.unique(instance.groups):
        row = np.zeros((1, n + m))
        row[0, :n] = instance.groups == group
        rows.append(row)
        limits.append(np.ones(1))
    answer = linprog(
        np.concatenate([-instance.values, np.zeros(m)]),
        np.concatenate(rows),
        np.concatenate(limits),
        bounds=(0, 1),
    )
    return -float(answer.fun)
