"""Who is where in a live run, what each was granted, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.deploy.live.channel import RESULT, UP, Assignment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.problem import Analytic
    from midhaul.deploy.rates.base import Demands, RateAllocation

IDLE_BPS = 200.0
"""Rate of a lane that nothing is planned for; what is late in it uses spare rate."""

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one analytic was given: a rate, the setting it buys, and its quality."""

    place: str
    rate_bps: float
    knob: float | None
    quality: float


@dataclass(slots=True, kw_only=True)
class LiveMove:
    """A move that a placement asks for; ``starts_s`` is None until it happens."""

    analytic: Analytic
    slot_s: float
    planned_starts_s: float
    starts_s: float | None = None

    def row(self, end_s: float) -> dict[str, Any]:
        """A row of the table ``moves``, at the end of the repetition."""
        one = self.analytic
        leaves_s = min(one.departure_s, end_s)
        planned_s = max(0.0, leaves_s - self.planned_starts_s)
        saved_s = 0.0 if self.starts_s is None else max(0.0, leaves_s - self.starts_s)
        return {
            "analytic": one.name,
            "image": one.image,
            "slot_s": self.slot_s,
            "planned_starts_s": self.planned_starts_s,
            "starts_s": self.starts_s,
            "leaves_s": leaves_s,
            "saved_bps": one.saved_bps,
            "planned_saved_bits": one.saved_bps * planned_s,
            "saved_bits": one.saved_bps * saved_s,
            "is_realised": self.starts_s is not None,
        }


class GatewaySituation:
    """The analytics that are there; the experiment's clock is zero at ``begin_ns``.

    ``phases_s`` is from an analytic's arrival to its first message; a message that was
    sent may come until its deadline.
    """

    def __init__(
        self,
        begin_ns: int,
        phases_s: Mapping[str, float],
        workloads: Mapping[str, str],
        deadline_s: float,
    ) -> None:
        self._begin_ns = begin_ns
        self._deadline_s = deadline_s
        self._phases_s = phases_s
        self.workloads = workloads
        self.in_cloud: dict[str, Analytic] = {}
        self.moving: dict[str, Analytic] = {}
        self.on_gateway: dict[str, Analytic] = {}
        self.moves: dict[str, LiveMove] = {}
        self.grants: dict[str, Grant] = {}
        self._lanes: dict[str, int] = {}
        self._free: dict[int, float] = {}
        self._n_lanes = 0

    def __len__(self) -> int:
        """Analytics that are there."""
        return len(self.in_cloud) + len(self.moving) + len(self.on_gateway)

    def admit(self, analytic: Analytic) -> None:
        """Somebody comes; everybody begins in the cloud."""
        self.in_cloud[analytic.name] = analytic
        self._lanes[analytic.name] = self._lane(analytic.arrival_s)
        self.grants[analytic.name] = Grant(
            place="cloud", rate_bps=0.0, knob=None, quality=0.0
        )

    def departed(self, now_s: float) -> list[tuple[Analytic, bool]]:
        """Remove who leaves; each with whether it was on the gateway."""
        found: list[tuple[Analytic, bool]] = []
        for group in (self.in_cloud, self.moving, self.on_gateway):
            leaving = [a for a in group.values() if a.departure_s <= now_s]
            for analytic in leaving:
                del group[analytic.name]
                self.grants.pop(analytic.name, None)
                self._free[self._lanes.pop(analytic.name)] = now_s
                found.append((analytic, group is self.on_gateway))
        return found

    def plan_move(self, analytic: Analytic, slot_s: float, starts_s: float) -> None:
        """An analytic is to move; it stays in the cloud until its image is there."""
        self.moving[analytic.name] = self.in_cloud.pop(analytic.name)
        self.moves[analytic.name] = LiveMove(
            analytic=analytic, slot_s=slot_s, planned_starts_s=starts_s
        )

    def give_up(self, image: str) -> None:
        """An image did not come: who waits for it stays in the cloud."""
        for analytic in self.waiting_for(image):
            self.in_cloud[analytic.name] = self.moving.pop(analytic.name)

    def waiting_for(self, image: str) -> list[Analytic]:
        """Who moves as soon as an image is there."""
        return [a for a in self.moving.values() if a.image == image]

    def begin_on_gateway(self, analytic: Analytic, now_s: float) -> None:
        """An analytic runs on the gateway from now on, within the rate that it has."""
        self.on_gateway[analytic.name] = self.moving.pop(analytic.name)
        self.moves[analytic.name].starts_s = now_s
        self.grants[analytic.name] = self._moved(analytic)

    def take_rates(
        self, demands: Demands, answer: RateAllocation, now_s: float
    ) -> None:
        """Take over what was allocated.

        Whose rate falls gets another lane: its old one would first work off the last,
        larger message at the new rate.
        """
        places = dict.fromkeys([*self.in_cloud, *self.moving], "cloud")
        places |= dict.fromkeys(self.on_gateway, "gateway")
        for number, name in enumerate(demands.names):
            if name not in places:
                continue
            step = int(answer.steps[number])
            at = int(demands.offsets[number]) + step
            rate_bps = float(answer.rates_bps[number])
            if rate_bps < self.grants[name].rate_bps:
                self._free[self._lanes[name]] = now_s
                self._lanes[name] = self._lane(now_s)
            self.grants[name] = Grant(
                place=places[name],
                rate_bps=rate_bps,
                knob=float(demands.knobs[at]) if step >= 0 else None,
                quality=float(answer.qualities[number]),
            )

    def assigned(self, end_s: float) -> dict[str, dict[str, Any]]:
        """What every sensor does, for the publisher."""
        return {
            analytic.name: asdict(
                self._assignment(analytic, self.grants[analytic.name], end_s)
            )
            for analytic in self.everybody
        }

    def rate_map(self, uplink_bps: float) -> RateMap:
        """What every lane gets: each has one topic for messages and one for results."""
        rates = {
            f"{topic}/{lane}": IDLE_BPS
            for topic in (UP, RESULT)
            for lane in range(self._n_lanes)
        }
        for name, grant in self.grants.items():
            topic = UP if grant.place == "cloud" else RESULT
            rates[f"{topic}/{self._lanes[name]}"] = max(grant.rate_bps, IDLE_BPS)
        return RateMap(rates_bps=rates, uplink_bps=uplink_bps)

    @property
    def everybody(self) -> Sequence[Analytic]:
        """All analytics: in the cloud, moving, on the gateway."""
        groups = (self.in_cloud, self.moving, self.on_gateway)
        return [analytic for group in groups for analytic in group.values()]

    def _assignment(self, analytic: Analytic, grant: Grant, end_s: float) -> Assignment:
        first_s = analytic.arrival_s + self._phases_s[analytic.name]
        hz = _hz(analytic)
        return Assignment(
            lane=self._lanes[analytic.name],
            workload=self.workloads[analytic.name],
            place=grant.place,
            knob=grant.knob,
            first_ns=self._begin_ns + round(first_s * _NS),
            period_ns=round(_NS / hz),
            until_ns=self._begin_ns + round(min(analytic.departure_s, end_s) * _NS),
        )

    def _lane(self, now_s: float) -> int:
        """A lane for a new analytic: one that is free for long enough, or a new one.

        What its last owner sent may still be on its way until the deadline.
        """
        for lane, since_s in self._free.items():
            if since_s + self._deadline_s <= now_s:
                del self._free[lane]
                return lane
        self._n_lanes += 1
        return self._n_lanes - 1

    def _moved(self, analytic: Analytic) -> Grant:
        curve = analytic.gateway_curve
        has = self.grants[analytic.name].rate_bps
        if curve is None or has < curve.rates_bps[-1]:
            return Grant(place="gateway", rate_bps=has, knob=None, quality=0.0)
        return Grant(
            place="gateway",
            rate_bps=float(curve.rates_bps[-1]),
            knob=float(curve.knobs[-1]),
            quality=float(curve.qualities[-1]),
        )


def _hz(analytic: Analytic) -> float:
    """Messages per second of an analytic."""
    return 1.0 if analytic.cloud_curve is None else analytic.cloud_curve.message_hz
