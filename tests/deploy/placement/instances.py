"""Small placement problems and instances, and their optima by looking at everything."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from midhaul.deploy.placement.arrays import Instance
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float64

    from midhaul.deploy.placement.arrays import Built

DIGESTS = tuple("abcdef")
BPS = 8.0
"""A line with this rate carries a byte per second."""


def make_instance(
    values: list[float],
    needs: list[list[int]],
    costs: list[list[float]],
    capacities: list[float],
    usage: list[list[float]] | None = None,
    groups: list[int] | None = None,
) -> Instance:
    """An instance from lists; items take nothing themselves and exclude nobody."""
    n, n_rows = len(values), len(capacities)
    return Instance(
        values=np.array(values, np.float64),
        usage=np.array(usage or np.zeros((n, n_rows)), np.float64),
        indptr=np.cumsum([0, *map(len, needs)], dtype=np.int64),
        indices=np.array([e for need in needs for e in need], np.int64),
        costs=np.array(costs, np.float64).reshape(len(costs), n_rows),
        capacities=np.array(capacities, np.float64),
        rows=tuple(f"row{r}" for r in range(n_rows)),
        groups=np.array(groups or range(n), np.int64),
    )


@st.composite
def small_instances(draw: st.DrawFn) -> Instance:
    """Up to seven items, six elements, three rows; whole numbers."""
    n, n_elements = draw(st.integers(0, 7)), draw(st.integers(1, 6))
    n_rows = draw(st.integers(0, 3))
    number = st.integers(0, 9).map(float)

    def rows(n: int) -> st.SearchStrategy[list[list[float]]]:
        row = st.lists(number, min_size=n_rows, max_size=n_rows)
        return st.lists(row, min_size=n, max_size=n)

    elements = st.sets(st.integers(0, n_elements - 1)).map(sorted)
    usage = draw(rows(n))
    return make_instance(
        values=draw(st.lists(number, min_size=n, max_size=n)),
        needs=draw(st.lists(elements, min_size=n, max_size=n)),
        costs=draw(rows(n_elements)),
        capacities=draw(
            st.lists(st.integers(0, 30).map(float), min_size=n_rows, max_size=n_rows)
        ),
        usage=usage,
        groups=draw(st.lists(st.integers(0, n), min_size=n, max_size=n)),
    )


def subsets(n: int) -> Iterator[Bool[np.ndarray, " n"]]:
    """All subsets of n things."""
    for bits in itertools.product((False, True), repeat=n):
        yield np.array(bits, np.bool_)


def best_value(
    instance: Instance,
    is_allowed: Callable[[Bool[np.ndarray, " n"]], bool] | None = None,
) -> float:
    """The most that any feasible subset is worth, among those allowed."""
    return max(
        instance.value(chosen)
        for chosen in subsets(instance.n_items)
        if instance.is_feasible(chosen) and (is_allowed is None or is_allowed(chosen))
    )


def best_knapsack(
    values: Float64[np.ndarray, " k"], shares: Float64[np.ndarray, " k"], full: float
) -> float:
    """The optimum of a knapsack."""
    return max(
        float(values[taken].sum())
        for taken in subsets(len(values))
        if shares[taken].sum() <= full
    )


@st.composite
def small_images(draw: st.DrawFn) -> dict[str, ContainerImage]:
    """Up to four images of the same six layers."""
    sizes = draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=6, max_size=6
        )
    )
    layers = [
        Layer(digest=digest, compressed_bytes=small, uncompressed_bytes=large)
        for digest, (small, large) in zip(DIGESTS, sizes, strict=True)
    ]
    stacks = st.lists(st.sampled_from(layers), min_size=1, max_size=4, unique=True)
    return {
        f"image{i}": ContainerImage(name=f"image{i}", layers=tuple(draw(stacks)))
        for i in range(draw(st.integers(1, 4)))
    }


@st.composite
def small_gateways(draw: st.DrawFn, name: str) -> Gateway:
    """A gateway that carries about a byte per second."""
    digests = st.frozensets(st.sampled_from(DIGESTS), max_size=2)
    return Gateway(
        name=name,
        disk_bytes=draw(st.sampled_from([math.inf, 0.0, 10.0, 25.0])),
        n_cores=draw(st.sampled_from([math.inf, 1.0, 2.5])),
        memory_bytes=draw(st.sampled_from([math.inf, 4.0])),
        downlink_bps=draw(st.sampled_from([math.inf, 0.0, BPS, 2 * BPS])),
        layers=draw(digests),
        held=draw(digests),
    )


@st.composite
def small_problems(
    draw: st.DrawFn, max_gateways: int = 1, max_analytics: int = 6
) -> PlacementProblem:
    """Up to six analytics; sizes and times of a few units, so that much ties."""
    images = draw(small_images())
    gateways = tuple(
        draw(small_gateways(f"gateway{g}"))
        for g in range(draw(st.integers(1, max_gateways)))
    )
    analytics = tuple(
        Analytic(
            name=f"analytic{i}",
            image=draw(st.sampled_from(sorted(images))),
            saved_bps=float(draw(st.integers(0, 9))),
            weight=draw(st.sampled_from([0.5, 1.0, 2.0])),
            n_cores=draw(st.sampled_from([0.0, 0.5, 1.0])),
            memory_bytes=float(draw(st.integers(0, 2))),
            lifetime_s=draw(st.sampled_from([3.0, 6.0, 10.0, 15.0, math.inf])),
        )
        for i in range(draw(st.integers(0, max_analytics)))
    )
    backhaul = st.sampled_from([math.inf, BPS, 2.5 * BPS])
    names = [gateway.name for gateway in gateways]
    return PlacementProblem(
        analytics=analytics,
        images=images,
        gateways=gateways,
        now_s=draw(st.sampled_from([0.0, 2.0])),
        slot_s=draw(st.sampled_from([math.inf, 9.0, 20.0])),
        startup_s=draw(st.dictionaries(st.sampled_from(sorted(images)), st.just(2.0))),
        backhaul_bps=draw(backhaul) if max_gateways > 1 else math.inf,
        has_peer_pulls=draw(st.booleans()),
        sites=draw(
            st.dictionaries(
                st.sampled_from(["analytic0", "analytic1"]),
                st.lists(st.sampled_from(names), unique=True).map(tuple),
            )
        ),
    )


def tight_problem(seed: int) -> PlacementProblem:
    """Gateways on a backhaul that is too slow for them, and analytics that leave."""
    rng = np.random.default_rng(seed)
    pool = [
        Layer(
            digest=digest,
            compressed_bytes=int(rng.integers(1, 12)),
            uncompressed_bytes=1,
        )
        for digest in DIGESTS
    ]
    images = {
        f"image{i}": ContainerImage(
            name=f"image{i}",
            layers=tuple(
                pool[k] for k in rng.choice(6, rng.integers(1, 4), replace=False)
            ),
        )
        for i in range(5)
    }
    gateways = tuple(
        Gateway(
            name=f"gateway{g}",
            downlink_bps=BPS * float(rng.integers(1, 4)),
            layers=frozenset({DIGESTS[rng.integers(6)]}),
        )
        for g in range(rng.integers(2, 4))
    )
    analytics = tuple(
        Analytic(
            name=f"analytic{i}",
            image=f"image{rng.integers(5)}",
            saved_bps=float(rng.integers(1, 10)),
            lifetime_s=float(rng.integers(6, 30)),
        )
        for i in range(4)
    )
    return PlacementProblem(
        analytics=analytics,
        images=images,
        gateways=gateways,
        slot_s=20.0,
        backhaul_bps=BPS * float(rng.integers(1, 4)),
        has_peer_pulls=bool(rng.integers(2)),
        sites={
            analytic.name: tuple(g.name for g in gateways if rng.random() < 0.6)
            for analytic in analytics
        },
    )


def has_order_in_time(built: Built, chosen: Bool[np.ndarray, " n"]) -> bool:
    """Whether some order of the images on gateway 0 meets all deadlines."""
    problem = built.problem
    gateway = problem.gateways[0]
    there = gateway.layers | gateway.held
    due: dict[str, float] = {}
    for i in np.flatnonzero(chosen):
        image = problem.analytics[built.analytics[i]].image
        due[image] = min(due.get(image, math.inf), float(built.deadlines_s[i]))
    for order in itertools.permutations(due):
        have, n_bytes, is_late = set(there), 0, False
        for image in order:
            for layer in problem.images[image].layers:
                if layer.digest not in have:
                    have.add(layer.digest)
                    n_bytes += layer.compressed_bytes
            takes_s = 8 * n_bytes / gateway.downlink_bps if n_bytes else 0.0
            is_late |= takes_s > due[image]
        if not is_late:
            return True
    return not due
