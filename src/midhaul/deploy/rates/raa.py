"""The greedy of IoT-System-Server: RAA, by average ratio over continuous knobs.

Algorithm as coded in the seed (github.com/rita33cool1/IoT-System-Server, commit
e5b4c8c): while the smallest rates of all do not fit, drop the analytic of smallest
weight; then raise, again and again, the knob of the one with the largest ``w Q(k) /
R(k)`` by alpha, or to the smallest useful knob if it is below; the first increase that
does not fit takes what is left, and ends it.

It is kept as a baseline. The ratio is an average and not a marginal one, so it is
optimal neither for convex curves nor for steps.

Differences from the seed:

1. The rate of the knob that an analytic starts with is charged. The seed does not
   charge it, and exceeds its uplink by up to 3.8 %.
2. What analytics believe of their knobs (fitted QoS, kinds known by their names) is
   handed over, as ``model_of``. Without a model the knob is the position in the table
   of steps, from 0 at the first to 1 at the last, with quality and rate interpolated.
3. With a model, the rate of a knob is that of the table, interpolated and prolonged as
   a straight line: the seed's lines again, and whatever a transport adds.
4. Quality is that of the best step that the granted rate pays for.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.rates.base import check_uplink, of_rates
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float64

    from midhaul.deploy.curves.seed_curves import KnobModel
    from midhaul.deploy.rates.base import Demands, RateAllocation


def no_model(_name: str) -> KnobModel | None:
    """No analytic has a model: all are known by their tables."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Raa:
    """The seed's greedy, without its overshoot.

    Attributes:
        alpha: step of a knob, in (0, 1].
        model_of: the model of an analytic by its name;
            :func:`midhaul.deploy.curves.seed_curves.seed_model` for the seed's kinds.

    Raises:
        DataError: alpha is out of its range.
    """

    name = "raa"
    alpha: float = 0.01
    model_of: Callable[[str], KnobModel | None] = no_model

    def __post_init__(self) -> None:
        """Check the step."""
        if not 0 < self.alpha <= 1:
            message = f"expected alpha above 0 and at most 1, found {self.alpha}"
            raise DataError(message)

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """Rates without a bound.

        Raises:
            DataError: the uplink is negative or NaN.
        """
        check_uplink(uplink_bps)
        ladders = [
            _ladder(demands, analytic, self.model_of(name), self.alpha)
            for analytic, name in enumerate(demands.names)
        ]
        kept = _keep(ladders, uplink_bps)
        return of_rates(demands, _climb(ladders, kept, uplink_bps))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ladder:
    """All knobs that one analytic can have, from its first to its last.

    Attributes:
        rates_bps: ``(k,)`` what each costs.
        ratios: ``(k,)`` weight times quality over the rate believed.
        smallest_bps: rate of the smallest useful knob.
        rank: who is dropped first has the smallest.
    """

    rates_bps: list[float]
    ratios: list[float]
    smallest_bps: float
    rank: float


def _ladder(
    demands: Demands, analytic: int, model: KnobModel | None, alpha: float
) -> _Ladder:
    own = slice(int(demands.offsets[analytic]), int(demands.offsets[analytic + 1]))
    knobs, rates = demands.knobs[own], demands.rates_bps[own]
    qualities, weight = demands.qualities[own], float(demands.weights[analytic])
    if model is None:
        places = np.linspace(0, 1, len(rates)) if len(rates) > 1 else np.ones(1)
        ladder = _knobs(float(places[0]), float(places[0]), alpha)
        costs = believed = np.interp(ladder, places, rates)
        quality = np.interp(ladder, places, qualities)
        smallest, rank = float(rates[0]), weight
    else:
        ladder = _knobs(model.start, model.smallest, alpha)
        costs = _line(ladder, knobs, rates)
        costs[ladder == 0] = 0.0
        believed = np.array([model.rate_bps(knob) for knob in ladder])
        quality = np.array([model.quality(knob) for knob in ladder])
        smallest = float(_line(np.array([model.smallest]), knobs, rates)[0])
        rank = weight + model.priority
    ratios = weight * quality / np.maximum(believed, 1e-9)
    return _Ladder(
        rates_bps=np.maximum.accumulate(costs).tolist(),
        ratios=ratios.tolist(),
        smallest_bps=smallest,
        rank=rank,
    )


def _knobs(start: float, smallest: float, alpha: float) -> Float64[np.ndarray, " k"]:
    """From the start to the smallest useful knob, and on by alpha up to 1."""
    n = int(np.ceil((1 - smallest) / alpha - 1e-9))
    climb = np.minimum(smallest + alpha * np.arange(n + 1), 1.0)
    return climb if start >= smallest else np.concatenate([[start], climb])


def _line(
    at: Float64[np.ndarray, " k"],
    knobs: Float64[np.ndarray, " s"],
    rates: Float64[np.ndarray, " s"],
) -> Float64[np.ndarray, " k"]:
    """Rates of knobs: interpolated, and prolonged beyond both ends of the table."""
    if len(knobs) == 1:
        return np.full(len(at), rates[0])
    order = np.argsort(knobs, kind="stable")
    knobs, rates = knobs[order], rates[order]
    piece = np.clip(np.searchsorted(knobs, at) - 1, 0, len(knobs) - 2)
    width = np.maximum(knobs[piece + 1] - knobs[piece], 1e-12)
    slope = (rates[piece + 1] - rates[piece]) / width
    return np.maximum(rates[piece] + slope * (at - knobs[piece]), 0.0)


def _keep(ladders: list[_Ladder], uplink_bps: float) -> list[int]:
    """Who is left when the smallest rates fit; the smallest rank is dropped first."""
    order = sorted(range(len(ladders)), key=lambda i: (ladders[i].rank, i))
    needed = sum(ladder.smallest_bps for ladder in ladders)
    n_dropped = 0
    while n_dropped < len(order) and needed > uplink_bps:
        needed -= ladders[order[n_dropped]].smallest_bps
        n_dropped += 1
    return sorted(order[n_dropped:])


def _climb(
    ladders: list[_Ladder], kept: list[int], uplink_bps: float
) -> Float64[np.ndarray, " n"]:
    """The rates after all raises."""
    granted = np.zeros(len(ladders))
    places = [0] * len(ladders)
    for analytic in kept:
        granted[analytic] = ladders[analytic].rates_bps[0]
    rest = uplink_bps - float(granted.sum())
    heap = [(-ladders[analytic].ratios[0], analytic) for analytic in kept]
    heapq.heapify(heap)
    while heap:
        _, analytic = heapq.heappop(heap)
        ladder, place = ladders[analytic], places[analytic] + 1
        if place == len(ladder.rates_bps):
            continue
        extra = ladder.rates_bps[place] - ladder.rates_bps[place - 1]
        if extra > rest:
            granted[analytic] += max(rest, 0.0)
            break
        rest -= extra
        granted[analytic] = ladder.rates_bps[place]
        places[analytic] = place
        heapq.heappush(heap, (-ladder.ratios[place], analytic))
    return granted
