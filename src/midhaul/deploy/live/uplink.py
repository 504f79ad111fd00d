"""Uplink of a live loop: what is counted on, and the backlog that takes some back.

The *backlog* is what waits for the uplink, as the bridge counts it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.deploy.uplink_control import BackPressure, EwmaForecast, forecast_named

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.deploy.control import Policy
    from midhaul.deploy.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, and what left since the last look.

    Attributes:
        waiting_bits: in the bridge's lanes, and sent but not acknowledged.
        left_bps: rate at which messages were acknowledged since the last look.
    """

    waiting_bits: float
    left_bps: float


class BacklogMeter:
    """Reads the bridge's counters.

    Args:
        file: where the bridge writes them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._up_s = self._bytes_out = 0.0

    def read(self) -> Backlog | None:
        """What waits now; None where the counters cannot be read or are old."""
        try:
            stats = json.loads(self._file.read_text(encoding="utf-8"))
            up_s, bytes_out = float(stats["up_s"]), float(stats["total"]["bytes_out"])
            n_bytes = stats["bytes_waiting"] + stats["bytes_in_flight"]
        except (OSError, ValueError, KeyError):
            return None
        passed_s, before = up_s - self._up_s, self._bytes_out
        if passed_s == 0:
            return None
        self._up_s, self._bytes_out = up_s, bytes_out
        left_bps = 8 * (bytes_out - before) / passed_s if passed_s > 0 else 0.0
        return Backlog(waiting_bits=8.0 * n_bytes, left_bps=max(0.0, left_bps))


_MOST_RESERVED = 0.5  # share of the uplink; with less, pulls slow down by themselves
_SEEN_S = 1.0
_TRIED = 0.25  # share of the usual rate that a link which carried nothing is tried with


class LiveUplink:
    """The uplink as the loop knows it: the rate periods that have ended, and the queue.

    Args:
        network: the link.
        policy: how to decide.
        duration_s: of the repetition.
        deadline_s: a message that waits longer is late.
        stats_file: counters of the bridge.

    Attributes:
        assumed_bps: what was forecast for the period that goes on.
        reserved_bps: what of it is kept free for acknowledgements of pulls.
        free_bps: what of it all messages together may send.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        *,
        duration_s: float,
        deadline_s: float,
        stats_file: Path,
    ) -> None:
        self._network, self._policy = network, policy
        self._pressure = BackPressure(deadline_s)
        self._meter = BacklogMeter(stats_file)
        self._waiting_bits = 0.0
        self.assumed_bps = self.reserved_bps = self.free_bps = 0.0
        period_s = policy.rate_period_s
        first_bps = network.mean_uplink_bps(0.0, _SEEN_S)

        def coming_bps(number: int) -> float:
            ends_s = min((number + 1) * period_s, duration_s)
            return network.mean_uplink_bps(number * period_s, ends_s)

        self._usual = EwmaForecast(first_bps)
        self._last_bps = first_bps
        self._forecast = forecast_named(
            policy.forecast,
            max_over_share=policy.max_over_share,
            first_bps=first_bps,
            coming_bps=coming_bps,
        )

    @property
    def n_steps_down(self) -> int:
        """How often knobs went down within the period."""
        return self._pressure.n_steps_down

    @property
    def drained_bps(self) -> float:
        """What messages may leave at together, those that wait included.

        A promise bounds what is offered, not how fast leaves what was offered before:
        that follows acknowledgements, so no queue grows of it beyond the window of the
        bridge. After a fall the forecast is a small part of what the link carries, and
        messages would outlive their deadline beside a link that is free.
        """
        if not self._policy.has_back_pressure:
            return self.free_bps
        usual_bps = self._usual.next_bps
        carries_bps = max(min(self._last_bps, usual_bps), _TRIED * usual_bps)
        given_bps = carries_bps * self._policy.uplink_share
        return max(self.free_bps, given_bps - self.reserved_bps)

    def ended(self, begins_s: float, ends_s: float) -> None:
        """A rate period has ended: what it could carry is known now."""
        carried_bps = self._network.mean_uplink_bps(begins_s, ends_s)
        self._forecast.observe(carried_bps)
        self._usual.observe(carried_bps)
        self._last_bps = carried_bps

    def begin(self) -> None:
        """Begin a rate period: say what to count on."""
        is_steady = self._network.trace is None
        self.assumed_bps = (
            self._network.uplink_bps if is_steady else self._forecast.next_bps
        )
        self._pressure.begin()

    def reserve(self, acks_bps: float) -> None:
        """Keep a part free, and leave the rest to messages.

        Args:
            acks_bps: what acknowledgements of pulls take, if the uplink has it.
        """
        policy = self._policy
        self.reserved_bps = min(acks_bps, _MOST_RESERVED * self.assumed_bps)
        claim_bps = 0.0
        if policy.has_back_pressure:
            claim_bps = self._pressure.claim_bps(
                self._waiting_bits, policy.rate_period_s
            )
        given_bps = self.assumed_bps * policy.uplink_share
        self.free_bps = max(0.0, given_bps - self.reserved_bps - claim_bps)

    def look(self, granted_bps: float) -> float | None:
        """The share of the grant that may be offered now; None where that is as it was.

        Args:
            granted_bps: sum of the rates at the begin of the period.
        """
        backlog = self._meter.read()
        if backlog is None or not self._policy.has_back_pressure:
            return None
        self._waiting_bits = backlog.waiting_bits
        before = self._pressure.share
        share = self._pressure.look(
            granted_bps=granted_bps,
            waiting_bits=backlog.waiting_bits,
            left_bps=backlog.left_bps,
        )
        return None if share == before else share

    def pullable_bps(self, pull_bps: float, ack_share: float) -> float:
        """How fast a pull goes whose acknowledgements share the uplink with messages.

        Args:
            pull_bps: as fast as it can go otherwise.
            ack_share: bytes on the uplink for each byte that is pulled.
        """
        carries_bps = min(self._last_bps, self._usual.next_bps)
        given_bps = (1 - _MOST_RESERVED) * self.assumed_bps * self._policy.uplink_share
        acks_bps = max(0.0, carries_bps - given_bps)
        return max(1.0, min(pull_bps, acks_bps / ack_share))
