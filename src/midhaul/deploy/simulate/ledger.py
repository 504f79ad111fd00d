"""Ledger of a simulation: what the links carried, and who was granted what.

The uplink is a *fluid*: what is demanded beyond its rate waits, and goes later or
never.

With demand *d*, rate *c* and *b* bits waiting, over an interval of width *w*::

    b' = max(0, b + (d - c) w)

First come, first served, and all analytics share the wait. Bits that came in one
interval and leave in another have waited for the difference of the begins of the two;
beyond the deadline they are late. A pacer that drops what is late spends no rate on it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.control import plan_rates
from midhaul.deploy.simulate.scenario import Period, Rate
from midhaul.deploy.uplink_control import BackPressure, forecast_named

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.deploy.control import Policy, State
    from midhaul.deploy.rates.base import Demands, RateAllocation
    from midhaul.deploy.simulate.scenario import History, Scenario
    from midhaul.deploy.uplink_control import UplinkForecast


@dataclass(slots=True)
class _Chunk:
    """Bits that came in one interval: ``bits`` of ``n_bits`` still wait.

    ``quality`` is what its messages are worth together.
    """

    period: int
    came_s: float
    bits: float
    n_bits: float
    n_messages: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBits:
    """Bits that were late, the rate period in which they came, and what they lose."""

    period: int
    n_messages: float
    quality: float


class FluidUplink:
    """The queue before an uplink.

    Bits that wait longer than ``deadline_s`` are late; with expiry they are dropped.
    """

    def __init__(self, *, deadline_s: float, has_expiry: bool) -> None:
        self._deadline_s = deadline_s
        self._has_expiry = has_expiry
        self._queue: deque[_Chunk] = deque()
        self.waiting_bits = 0.0

    def carry(
        self,
        *,
        period: int,
        at_s: float,
        width_s: float,
        demand_bps: float,
        rate_bps: float,
        n_messages: float,
        quality: float,
    ) -> tuple[float, list[LateBits]]:
        """Let an interval pass: bits that left, and what turned out to be late.

        ``demand_bps`` is sent all the time; ``quality`` is what the messages that come
        are worth together, if they are not late.
        """
        late: list[LateBits] = []
        if self._has_expiry:
            late += self._expire(at_s)
        came = demand_bps * width_s
        if came > 0:
            self._queue.append(_Chunk(period, at_s, came, came, n_messages, quality))
        room = rate_bps * width_s
        left = 0.0
        while self._queue and left < room:
            head = self._queue[0]
            bits = min(head.bits, room - left)
            left += bits
            head.bits -= bits
            if at_s - head.came_s > self._deadline_s:
                late.append(_late(head, bits))
            if head.bits > 0:
                break
            self._queue.popleft()
        self._recount()
        return left, late

    def end(self) -> list[LateBits]:
        """End it all: what still waits will not arrive."""
        late = [_late(chunk, chunk.bits) for chunk in self._queue]
        self._queue.clear()
        self._recount()
        return late

    def _expire(self, at_s: float) -> list[LateBits]:
        late: list[LateBits] = []
        while self._queue and at_s - self._queue[0].came_s > self._deadline_s:
            chunk = self._queue.popleft()
            late.append(_late(chunk, chunk.bits))
        return late

    def _recount(self) -> None:
        self.waiting_bits = sum(chunk.bits for chunk in self._queue)


def _late(chunk: _Chunk, bits: float) -> LateBits:
    share = bits / chunk.n_bits
    return LateBits(
        period=chunk.period,
        n_messages=share * chunk.n_messages,
        quality=share * chunk.quality,
    )


_SLACK = 1e-9
"""Relative sum of rounding errors that is no overshoot."""

_LOOK_S = 1.0
"""How often a pacer looks at what waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What the chosen steps send together, and its weighted mean quality."""

    bps: float
    message_hz: float
    quality: float


@dataclass(slots=True)
class _Flow:
    """What came of a period's bits.

    ``quality`` is that of the messages sent times its seconds, as if none were late;
    ``late`` is of this period and of those before.
    """

    most_bits: float
    sent_bits: float = 0.0
    n_messages: float = 0.0
    quality: float = 0.0
    late: list[LateBits] = field(default_factory=list["LateBits"])


@dataclass(slots=True)
class _Open:
    """The rate period that goes on: what was asked and granted, and what came of it."""

    state: State
    free_bps: float
    assumed_bps: float
    asked: Demands
    granted: RateAllocation
    offers: dict[float, _Offer]


class PeriodLedger:
    """Opens a rate period, adds up what happens in it, and closes it to the history."""

    def __init__(self, scenario: Scenario, policy: Policy, history: History) -> None:
        self._scenario, self._policy, self._history = scenario, policy, history
        self._now_s = self._begins_s = 0.0
        self._saved_bits = self._received_bits = 0.0
        self._open: _Open | None = None
        self._counts = (0, 0, 0)
        self._uplink = FluidUplink(
            deadline_s=scenario.deadline_s, has_expiry=policy.has_back_pressure
        )
        self._pressure = BackPressure(scenario.deadline_s)
        self._left_bps = 0.0
        self._forecast = _forecast(scenario, policy)

    @property
    def assumed_bps(self) -> float:
        """What is counted on of the uplink in the period that begins.

        Of a link that does not change, that is its rate.
        """
        if self._forecast is None:
            return self._scenario.network.uplink_bps
        return self._forecast.next_bps

    @property
    def free_bps(self) -> float:
        """The same less what still waits, where the policy looks at that."""
        if not self._policy.has_back_pressure:
            return self.assumed_bps
        claim_bps = self._pressure.claim_bps(
            self._uplink.waiting_bits, self._policy.rate_period_s
        )
        return max(0.0, self.assumed_bps - claim_bps)

    def advance(self, state: State, now_s: float, *, is_pulling: bool) -> None:
        """Add up what went on since the last call."""
        passed_s = now_s - self._now_s
        saved_bps = sum(analytic.saved_bps for analytic in state.on_gateway)
        self._saved_bits += saved_bps * passed_s
        if is_pulling:
            self._received_bits += self._scenario.pull_bps * passed_s
        self._now_s = now_s

    def open(self, state: State, asked: Demands, granted: RateAllocation) -> None:
        """Begin a period with what was asked and granted of what is free."""
        self._begins_s = state.now_s
        self._saved_bits = self._received_bits = 0.0
        self._open = _Open(
            state=state,
            free_bps=self.free_bps,
            assumed_bps=self.assumed_bps,
            asked=asked,
            granted=granted,
            offers={1.0: _offer(state, asked, granted)},
        )
        n_moving, n_gateway = len(state.moving), len(state.on_gateway)
        self._counts = (len(state.in_cloud) + n_moving, n_moving, n_gateway)
        n_cloud = self._counts[0]
        for number, name in enumerate(asked.names):
            step = int(granted.steps[number])
            place = int(asked.offsets[number]) + step
            self._history.rates.append(
                Rate(
                    begins_s=state.now_s,
                    analytic=name,
                    place="cloud" if number < n_cloud else "gateway",
                    rate_bps=float(granted.rates_bps[number]),
                    knob=float(asked.knobs[place]) if step >= 0 else None,
                    quality=float(granted.qualities[number]),
                )
            )

    def close(self, state: State) -> None:
        """End the period and write it down."""
        now, lasts_s = self._open, self._now_s - self._begins_s
        if now is None or lasts_s <= 0:
            return
        rates, width_s = self._scenario.network.uplink_rates(
            self._begins_s, self._now_s
        )
        flow = self._flow(now, rates, width_s)
        uplink_bps = float(rates.mean())
        allocated_bps = float(now.granted.rates_bps.sum())
        weight = float(now.asked.weights.sum())
        has_bound = weight > 0 and math.isfinite(now.granted.bound)
        n_cloud, n_moving, n_gateway = self._counts
        self._history.periods.append(
            Period(
                begins_s=self._begins_s,
                lasts_s=lasts_s,
                n_cloud=n_cloud,
                n_moving=n_moving,
                n_gateway=n_gateway,
                uplink_bps=uplink_bps,
                assumed_bps=now.assumed_bps,
                allocated_bps=allocated_bps,
                demanded_bps=now.offers[1.0].bps,
                sent_bps=flow.sent_bits / lasts_s,
                received_bps=self._received_bits / lasts_s,
                late_bytes=flow.most_bits / 8,
                is_overshoot=allocated_bps > uplink_bps * (1 + _SLACK),
                stored_bytes=state.store.uncompressed_bytes,
                n_steps_down=self._pressure.n_steps_down,
                n_messages=flow.n_messages,
                n_late=0.0,
                planned_qos=now.granted.value / weight if weight > 0 else None,
                qos=flow.quality / lasts_s if weight > 0 else None,
                bound_qos=now.granted.bound / weight if has_bound else None,
                saved_bps=self._saved_bits / lasts_s,
            )
        )
        self._open = None
        self._charge(flow.late)
        if self._forecast is not None:
            self._forecast.observe(uplink_bps)

    def finish(self) -> None:
        """End the repetition: what still waits is late."""
        self._charge(self._uplink.end())

    def _flow(
        self, now: _Open, rates: Float64[np.ndarray, " n"], width_s: float
    ) -> _Flow:
        """Let the period's bits flow; a pacer looks at what waits every second."""
        n_each = max(1, math.ceil(width_s / _LOOK_S - _SLACK))
        width_s /= n_each
        self._pressure.begin()
        flow = _Flow(self._uplink.waiting_bits)
        for number, rate_bps in enumerate(np.repeat(rates, n_each).tolist()):
            if self._policy.has_back_pressure:
                self._pressure.look(
                    granted_bps=now.offers[1.0].bps,
                    waiting_bits=self._uplink.waiting_bits,
                    left_bps=self._left_bps,
                )
            offer = self._offered(now, self._pressure.share)
            left_bits, late = self._uplink.carry(
                period=len(self._history.periods),
                at_s=self._begins_s + number * width_s,
                width_s=width_s,
                demand_bps=offer.bps,
                rate_bps=rate_bps,
                n_messages=offer.message_hz * width_s,
                quality=offer.quality * width_s,
            )
            self._left_bps = left_bits / width_s
            flow.late += late
            flow.sent_bits += left_bits
            flow.most_bits = max(flow.most_bits, self._uplink.waiting_bits)
            flow.n_messages += offer.message_hz * width_s
            flow.quality += offer.quality * width_s
        return flow

    def _offered(self, now: _Open, share: float) -> _Offer:
        """What is sent on a rung; asked of the allocator when it is first used."""
        if share not in now.offers:
            free_bps = now.free_bps * share
            asked, granted = plan_rates(now.state, self._policy, free_bps)
            now.offers[share] = _offer(now.state, asked, granted)
        return now.offers[share]

    def _charge(self, late: list[LateBits]) -> None:
        """Take what was late from the periods in which it came."""
        periods = self._history.periods
        for one in late:
            was = periods[one.period]
            periods[one.period] = replace(
                was,
                n_late=was.n_late + one.n_messages,
                qos=max(0.0, (was.qos or 0.0) - one.quality / was.lasts_s),
            )


def _forecast(scenario: Scenario, policy: Policy) -> UplinkForecast | None:
    """What the policy counts on; None where the uplink does not change."""
    network, period_s = scenario.network, policy.rate_period_s
    if network.trace is None:
        return None

    def coming_bps(number: int) -> float:
        ends_s = min((number + 1) * period_s, scenario.duration_s)
        return network.mean_uplink_bps(number * period_s, ends_s)

    return forecast_named(
        policy.forecast,
        max_over_share=policy.max_over_share,
        first_bps=network.mean_uplink_bps(0.0, _LOOK_S),
        coming_bps=coming_bps,
    )


def _offer(state: State, asked: Demands, granted: RateAllocation) -> _Offer:
    """What the chosen steps send together."""
    has_step = granted.steps >= 0
    places = asked.offsets[:-1][has_step] + granted.steps[has_step]
    curves = [
        *(analytic.cloud_curve for analytic in (*state.in_cloud, *state.moving)),
        *(analytic.gateway_curve for analytic in state.on_gateway),
    ]
    hz = [1.0 if c is None or not c.message_hz else c.message_hz for c in curves]
    weight = float(asked.weights.sum())
    return _Offer(
        bps=float(asked.rates_bps[places].sum()),
        message_hz=float(np.array(hz, np.float64)[has_step].sum()),
        quality=granted.value / weight if weight > 0 else 0.0,
    )
