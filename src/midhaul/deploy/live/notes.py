"""What a live loop writes down: rate periods, grants, decisions and moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import DECISIONS, MOVES, PERIODS, RATES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.deploy.enforcement.lab import Traffic
    from midhaul.deploy.live.records import Records
    from midhaul.deploy.live.situation import Situation
    from midhaul.deploy.networks import Network

_BURST_BYTES = 5000  # what the link's bucket lets pass at once
_READING = 0.01  # clock and counters are not read in the same moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The begin of a rate period, and what was decided there.

    Attributes:
        at_s: when it began.
        late_s: by how much that was late.
        traffic: what the link had carried.
        facts: columns of the table ``periods``.
    """

    at_s: float
    late_s: float
    traffic: Traffic
    facts: Mapping[str, Any]


class Notes:
    """Writes rows of a repetition.

    Args:
        records: where they go.
        situation: who is there.
        network: the link.
        clock: seconds on the experiment's clock.
    """

    def __init__(
        self,
        records: Records,
        situation: Situation,
        network: Network,
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._who = situation
        self._network = network
        self._clock = clock

    def facts(
        self,
        now_s: float,
        stored_bytes: int,
        *,
        assumed_bps: float,
        reserved_bps: float,
    ) -> dict[str, Any]:
        """What a rate period begins with, and a row for each grant."""
        who = self._who
        for name, grant in who.grants.items():
            self._records.add(
                RATES,
                begins_s=now_s,
                analytic=name,
                workload=who.workloads[name],
                place=grant.place,
                rate_bps=grant.rate_bps,
                knob=grant.knob,
                quality=grant.quality,
            )
        weights = {analytic.name: analytic.weight for analytic in who.everybody}
        total = sum(weights.values())
        quality = sum(weights[n] * grant.quality for n, grant in who.grants.items())
        return {
            "n_cloud": len(who.in_cloud) + len(who.moving),
            "n_moving": len(who.moving),
            "n_gateway": len(who.on_gateway),
            "assumed_bps": assumed_bps,
            "reserved_bps": reserved_bps,
            "allocated_bps": sum(grant.rate_bps for grant in who.grants.values()),
            "stored_bytes": stored_bytes,
            "planned_qos": quality / total if total else None,
            "saved_bps": sum(a.saved_bps for a in who.on_gateway.values()),
        }

    def close(
        self, mark: Mark, now_s: float, traffic: Traffic, n_steps_down: int
    ) -> None:
        """Note a rate period that is over."""
        lasts_s = now_s - mark.at_s
        before = mark.traffic
        uplink_bps = self._network.mean_uplink_bps(mark.at_s, now_s)
        sent_bps = 8 * (traffic.up_bytes - before.up_bytes) / lasts_s
        most_bps = uplink_bps * (1 + _READING) + 8 * _BURST_BYTES / lasts_s
        planned_bps = mark.facts["allocated_bps"] + mark.facts["reserved_bps"]
        self._records.add(
            PERIODS,
            begins_s=mark.at_s,
            lasts_s=lasts_s,
            late_s=mark.late_s,
            uplink_bps=uplink_bps,
            sent_bps=sent_bps,
            received_bps=8 * (traffic.down_bytes - before.down_bytes) / lasts_s,
            n_dropped=traffic.up_dropped - before.up_dropped,
            n_steps_down=n_steps_down,
            is_overshoot=planned_bps > uplink_bps or sent_bps > most_bps,
            **mark.facts,
        )

    def decided(
        self,
        what: str,
        took_s: float,
        n: int,
        value: float | None,
        bound: float | None,
    ) -> None:
        """Note a decision and how long it took."""
        self._records.add(
            DECISIONS,
            at_s=self._clock(),
            what=what,
            took_s=took_s,
            n=n,
            value=value,
            bound=_finite(bound),
        )

    def moves(self, end_s: float) -> None:
        """Note what became of all moves that could be seen before the end."""
        for move in self._who.moves.values():
            if move.planned_starts_s < end_s:
                self._records.add(MOVES, **move.row(end_s))


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and bound < float("inf") else None
