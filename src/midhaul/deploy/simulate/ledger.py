"""Keeps the books of a simulation: what the links carried, who was granted what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from midhaul.deploy.simulate.records import Period, Rate
from midhaul.deploy.simulate.uplink import carry

if TYPE_CHECKING:
    from midhaul.deploy.control import Policy, State
    from midhaul.deploy.rates.base import Demands, RateAllocation
    from midhaul.deploy.simulate.records import History
    from midhaul.deploy.simulate.scenario import Scenario

_SLACK = 1e-9
"""Relative sum of rounding errors that is no overshoot."""


class Ledger:
    """Opens a rate period, adds up what happens in it, and closes it.

    Args:
        scenario: what is simulated.
        policy: how it decides.
        history: where finished periods go.
    """

    def __init__(self, scenario: Scenario, policy: Policy, history: History) -> None:
        self._scenario, self._policy, self._history = scenario, policy, history
        self._now_s = self._begins_s = 0.0
        self._saved_bits = self._received_bits = self._waiting_bits = 0.0
        self._asked: Demands | None = None
        self._granted: RateAllocation | None = None
        self._counts = (0, 0, 0)

    def assumed_bps(self, now_s: float) -> float:
        """What is known of the uplink: its mean over the rate period before.

        Of a link that does not change, that is its rate.
        """
        period_s = self._policy.rate_period_s
        begins_s = max(0.0, now_s - period_s)
        ends_s = now_s if now_s > 0 else 1.0
        return self._scenario.network.mean_uplink_bps(begins_s, ends_s)

    def advance(self, state: State, now_s: float, *, is_pulling: bool) -> None:
        """Add up what went on since the last call."""
        passed_s = now_s - self._now_s
        saved_bps = sum(analytic.saved_bps for analytic in state.on_gateway)
        self._saved_bits += saved_bps * passed_s
        if is_pulling:
            self._received_bits += self._scenario.pull_bps * passed_s
        self._now_s = now_s

    def open(self, state: State, asked: Demands, granted: RateAllocation) -> None:
        """Begin a period with what was asked and granted."""
        self._begins_s = state.now_s
        self._saved_bits = self._received_bits = 0.0
        self._asked, self._granted = asked, granted
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
        asked, granted = self._asked, self._granted
        lasts_s = self._now_s - self._begins_s
        if asked is None or granted is None or lasts_s <= 0:
            return
        rates, width_s = self._scenario.network.uplink_rates(
            self._begins_s, self._now_s
        )
        demanded_bps = _demanded_bps(asked, granted)
        before = self._waiting_bits
        self._waiting_bits, most = carry(before, demanded_bps, rates, width_s)
        sent_bits = demanded_bps * lasts_s + before - self._waiting_bits
        uplink_bps, allocated_bps = float(rates.mean()), float(granted.rates_bps.sum())
        weight = float(asked.weights.sum())
        has_bound = weight > 0 and math.isfinite(granted.bound)
        n_cloud, n_moving, n_gateway = self._counts
        self._history.periods.append(
            Period(
                begins_s=self._begins_s,
                lasts_s=lasts_s,
                n_cloud=n_cloud,
                n_moving=n_moving,
                n_gateway=n_gateway,
                uplink_bps=uplink_bps,
                assumed_bps=self.assumed_bps(self._begins_s),
                allocated_bps=allocated_bps,
                demanded_bps=demanded_bps,
                sent_bps=sent_bits / lasts_s,
                received_bps=self._received_bits / lasts_s,
                late_bytes=most / 8,
                is_overshoot=allocated_bps > uplink_bps * (1 + _SLACK),
                stored_bytes=state.store.uncompressed_bytes,
                planned_qos=granted.value / weight if weight > 0 else None,
                bound_qos=granted.bound / weight if has_bound else None,
                saved_bps=self._saved_bits / lasts_s,
            )
        )
        self._asked = self._granted = None


def _demanded_bps(asked: Demands, granted: RateAllocation) -> float:
    """What the chosen steps send together."""
    has_step = granted.steps >= 0
    places = asked.offsets[:-1][has_step] + granted.steps[has_step]
    return float(asked.rates_bps[places].sum())
