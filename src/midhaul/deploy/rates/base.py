"""Rate allocators: what each offers, what it is asked, and what it answers.

What all of them do at their begin and end stands here: check the uplink, write the
answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from midhaul.errors import DataError
from midhaul.model.display import MOST_ROWS, Display, Shown, counted, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.deploy.curves.qos_curve import QosCurve


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Demands(Shown):
    """Who wants upload rate, and what quality each rate buys: ``n`` curves in a row.

    The steps of analytic ``i`` are ``offsets[i]:offsets[i + 1]`` of the flat arrays, on
    its frontier: rates and qualities rise strictly.

    Attributes:
        names: of the analytics.
        weights: ``(n,)`` how much each counts.
        offsets: ``(n + 1,)`` where each one's steps begin.
        knobs: ``(s,)`` setting of each step.
        rates_bps: ``(s,)`` what it costs on the link, with what transports add.
        qualities: ``(s,)`` what it gives.
    """

    names: tuple[str, ...]
    weights: Float64[np.ndarray, " n"]
    offsets: Int64[np.ndarray, " n1"]
    knobs: Float64[np.ndarray, " s"]
    rates_bps: Float64[np.ndarray, " s"]
    qualities: Float64[np.ndarray, " s"]

    def __post_init__(self) -> None:
        """Check weights and lengths."""
        n = len(self.names)
        if len(self.weights) != n or len(self.offsets) != n + 1:
            message = (
                f"expected {n} weights and {n + 1} offsets for {n} names, found "
                f"{len(self.weights)} and {len(self.offsets)}"
            )
            raise DataError(message)
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            message = "expected weights of at least 0"
            raise DataError(message)

    @classmethod
    def of(
        cls, names: Sequence[str], weights: Sequence[float], curves: Sequence[QosCurve]
    ) -> Demands:
        """Demands from one curve per analytic; dominated steps are left out.

        Raises:
            DataError: the lengths differ or a curve has no useful step.
        """
        if not len(names) == len(weights) == len(curves):
            message = (
                f"expected as many names, weights and curves, found {len(names)}, "
                f"{len(weights)}, {len(curves)}"
            )
            raise DataError(message)
        whole = [curve.frontier() for curve in curves]

        def flat(field: str) -> Float64[np.ndarray, " s"]:
            parts = [getattr(curve, field) for curve in whole]
            return np.concatenate([np.zeros(0), *parts])

        return cls(
            names=tuple(names),
            weights=np.asarray(weights, np.float64),
            offsets=np.cumsum([0, *map(len, whole)], dtype=np.int64),
            knobs=flat("knobs"),
            rates_bps=flat("rates_bps"),
            qualities=flat("qualities"),
        )

    def __len__(self) -> int:
        """Number of analytics."""
        return len(self.names)

    def _display(self) -> Display:
        """How many curves, and what they ask for at most."""
        most = self.rates_bps[self.offsets[1:] - 1]
        text = f"{counted(len(self), 'analytic')}, "
        return Display(
            text=text + counted(len(self.knobs), "step"),
            columns=("analytic", "weight", "steps", "most_bps"),
            rows=list(
                zip(
                    self.names[:MOST_ROWS],
                    self.weights,
                    np.diff(self.offsets),
                    most,
                    strict=False,
                )
            ),
            n_rows=len(self),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RateAllocation(Shown):
    """How much of an uplink each analytic gets.

    Attributes:
        status: optimal where value equals bound; otherwise feasible.
        value: sum of weight times quality.
        bound: no allocation has a higher value; infinite without a guarantee.
        steps: ``(n,)`` index of the step that each one's rate buys, counted within its
            own steps; -1 where it buys none.
        rates_bps: ``(n,)`` what each is granted; may exceed what its step needs, where
            a baseline wastes rate. Never more than the uplink together.
        qualities: ``(n,)`` quality of the steps; 0 where there is none.
        price_per_bps: what one more bit/s of uplink would add to the value, about; NaN
            when the allocator knows none.
        names: of the analytics, in the same order; empty where nobody said.
    """

    status: Literal["optimal", "feasible"]
    value: float
    bound: float
    steps: Int64[np.ndarray, " n"]
    rates_bps: Float64[np.ndarray, " n"]
    qualities: Float64[np.ndarray, " n"]
    price_per_bps: float = float("nan")
    names: tuple[str, ...] = ()

    def _display(self) -> Display:
        """How good it is, and who gets what."""
        n_served = int((self.steps >= 0).sum())
        total = number(float(self.rates_bps.sum()))
        text = f"{self.status}, value {number(self.value)}"
        if math.isfinite(self.bound):
            text += f" of at most {number(self.bound)}"
        text += f", {n_served:,} of {counted(len(self.steps), 'analytic')} served"
        names = self.names or tuple(f"{i}" for i in range(len(self.steps)))
        columns = (self.rates_bps, self.qualities, self.steps)
        return Display(
            text=f"{text}, {total} bit/s",
            columns=("analytic", "rate_bps", "quality", "step"),
            rows=list(zip(names[:MOST_ROWS], *columns, strict=False)),
            n_rows=len(self.steps),
        )


class RateAllocator(Protocol):
    """An algorithm that divides an uplink."""

    @property
    def name(self) -> str:
        """What tables and charts call it."""
        ...

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates that together do not exceed the uplink.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        ...


SLACK = 1e-9
"""Share of an uplink by which sums of floating-point rates may seem to exceed it."""


def check_uplink(uplink_bps: float) -> None:
    """Refuse an uplink that is negative or NaN; infinite is allowed."""
    if math.isnan(uplink_bps) or uplink_bps < 0:
        message = f"expected an uplink of at least 0 bit/s, found {uplink_bps}"
        raise DataError(message)


def weighted_values(demands: Demands) -> Float64[np.ndarray, " s"]:
    """Weight times quality of every step."""
    return np.repeat(demands.weights, np.diff(demands.offsets)) * demands.qualities


def of_options(
    demands: Demands,
    options: Int64[np.ndarray, " n"],
    *,
    bound: float,
    price_per_bps: float = math.nan,
) -> RateAllocation:
    """The allocation that grants each analytic just what its step (-1: none) needs."""
    has_step = options >= 0
    rates_bps = np.zeros(len(demands))
    rates_bps[has_step] = demands.rates_bps[options[has_step]]
    qualities = np.zeros(len(demands))
    qualities[has_step] = demands.qualities[options[has_step]]
    # Not `@`: it starts threads whose time a small sum never brings back.
    value = float((demands.weights * qualities).sum())
    return RateAllocation(
        status="optimal" if value >= bound - SLACK * abs(bound) else "feasible",
        value=value,
        bound=max(bound, value),
        steps=np.where(has_step, options - demands.offsets[:-1], -1),
        rates_bps=rates_bps,
        qualities=qualities,
        price_per_bps=price_per_bps,
        names=demands.names,
    )


def of_rates(demands: Demands, rates_bps: Float64[np.ndarray, " n"]) -> RateAllocation:
    """The allocation in which each analytic runs the best step that its rate pays for.

    Without a guarantee: the bound is infinite. Rates are kept as granted, even where a
    step needs less.
    """
    counts = np.diff(demands.offsets)
    paid = demands.rates_bps <= np.repeat(rates_bps * (1 + SLACK), counts)
    n_paid = np.concatenate([[0], np.cumsum(paid)])
    steps = np.diff(n_paid[demands.offsets]) - 1
    answer = of_options(
        demands, np.where(steps >= 0, demands.offsets[:-1] + steps, -1), bound=math.inf
    )
    return RateAllocation(
        status="feasible",
        value=answer.value,
        bound=math.inf,
        steps=answer.steps,
        rates_bps=rates_bps,
        qualities=answer.qualities,
        names=demands.names,
    )
