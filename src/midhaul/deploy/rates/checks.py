"""The conformance suite of rate allocators, ours or a stranger's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.rates.base import Demands
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.deploy.rates.base import RateAllocation, RateAllocator

TOLERANCE = 1e-6
"""Share by which sums of floating-point numbers may be off."""


def check_allocator(
    allocator: RateAllocator,
    *,
    n_instances: int = 20,
    n_analytics: int = 12,
    seed: int = 0,
    is_optimal: bool = False,
) -> None:
    """Hold an allocator to what plans expect of it, on random and on odd demands.

    Args:
        allocator: the allocator.
        n_instances: how many random demands.
        n_analytics: analytics of each, at most.
        seed: of the demands.
        is_optimal: whether more uplink must never give less value.

    Raises:
        ValueError: it says what does not hold, and for which demands.
    """
    rng = np.random.default_rng(seed)
    instances = [*_odd_demands()]
    instances += [
        _random_demands(int(rng.integers(1, n_analytics + 1)), rng)
        for _ in range(n_instances)
    ]
    for number, demands in enumerate(instances):
        all_bps = float(sum(demands.rates_bps[demands.offsets[1:] - 1]))
        before = 0.0
        for share in (0.0, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0):
            uplink_bps = share * all_bps
            where = f"{allocator.name}, demands {number}, uplink {uplink_bps:g} bit/s"
            answer = allocator.allocate(demands, uplink_bps)
            check_allocation(answer, demands, uplink_bps, where)
            again = allocator.allocate(demands, uplink_bps)
            _check(
                np.array_equal(answer.rates_bps, again.rates_bps),
                f"{where}: equal demands must give equal rates",
            )
            _check(
                not is_optimal or answer.value >= before * (1 - TOLERANCE),
                f"{where}: more uplink gives {answer.value} after {before}",
            )
            before = answer.value
    for uplink_bps in (-1.0, math.nan):
        _check_refuses(allocator, instances[-1], uplink_bps)


def check_allocation(
    answer: RateAllocation, demands: Demands, uplink_bps: float, where: str = ""
) -> None:
    """Hold one answer to what was asked."""
    n = len(demands)
    for name in ("steps", "rates_bps", "qualities"):
        found = getattr(answer, name).shape
        _check(found == (n,), f"{where}: expected {n} {name}, found {found}")
    _check(bool((answer.rates_bps >= 0).all()), f"{where}: a rate is negative")
    granted = float(answer.rates_bps.sum())
    _check(
        granted <= uplink_bps * (1 + TOLERANCE), f"{where}: {granted} bit/s are granted"
    )
    counts = np.diff(demands.offsets)
    is_step = (answer.steps >= -1) & (answer.steps < counts)
    _check(bool(is_step.all()), f"{where}: a step is not among those of its analytic")
    options = np.where(answer.steps >= 0, demands.offsets[:-1] + answer.steps, -1)
    needed = np.append(demands.rates_bps, 0.0)[options]
    _check(
        bool((needed <= answer.rates_bps * (1 + TOLERANCE)).all()),
        f"{where}: a step costs more than its analytic is granted",
    )
    qualities = np.append(demands.qualities, 0.0)[options]
    _check(
        np.allclose(answer.qualities, qualities, rtol=TOLERANCE, atol=0),
        f"{where}: qualities are not those of the steps",
    )
    value = float(demands.weights @ qualities)
    _check(
        math.isclose(answer.value, value, rel_tol=TOLERANCE),
        f"{where}: the value is {answer.value}, the steps have {value}",
    )
    _check(
        answer.bound >= value * (1 - TOLERANCE),
        f"{where}: the bound {answer.bound} is below the value {value}",
    )
    _check(
        answer.status != "optimal"
        or math.isclose(answer.bound, value, rel_tol=TOLERANCE),
        f"{where}: optimal with a value of {value} and a bound of {answer.bound}",
    )


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assert
    if not holds:
        raise ValueError(message)


def _check_refuses(
    allocator: RateAllocator, demands: Demands, uplink_bps: float
) -> None:
    try:
        allocator.allocate(demands, uplink_bps)
    except DataError:
        return
    message = f"{allocator.name}: expected DataError for an uplink of {uplink_bps}"
    raise ValueError(message)


def _random_demands(n: int, rng: np.random.Generator) -> Demands:
    """Curves of one to six steps; some weigh nothing."""
    curves = [_random_curve(int(rng.integers(1, 7)), rng) for _ in range(n)]
    weights = np.round(np.maximum(rng.uniform(-0.1, 1, n), 0), 3)
    return Demands.of([f"a{i}" for i in range(n)], weights.tolist(), curves)


def _random_curve(n: int, rng: np.random.Generator) -> QosCurve:
    rates = np.sort(rng.integers(1, 2000, n)).astype(np.float64) * 1000
    return QosCurve.of(
        "random", np.arange(n, dtype=float), rates, rng.uniform(0.01, 1, n)
    )


def _odd_demands() -> Iterable[Demands]:
    """Nobody, one, nobody that counts, equals, and a step that costs nothing."""
    flat = np.array([0.5])
    free = QosCurve.of("free", np.arange(2.0), np.array([0, 1e6]), np.array([0.2, 0.9]))
    one = QosCurve.of("one", flat, np.array([1e6]), flat)
    yield Demands.of([], [], [])
    yield Demands.of(["a"], [1.0], [one])
    yield Demands.of(["a", "b"], [0.0, 0.0], [one, free])
    yield Demands.of([f"a{i}" for i in range(5)], [1.0] * 5, [one] * 5)
    yield Demands.of(["a", "b"], [1.0, 0.5], [one, free])
