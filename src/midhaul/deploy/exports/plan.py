"""A plan to apply: who runs where, at which rate and knob, and where to send it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation

CLOUD = "cloud"
"""Where an analytic runs that no gateway has."""

_LABEL_CHARACTERS = 63
_IMAGE = re.compile(
    r"^(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a plan does not know about the place where it is applied.

    Attributes:
        namespace: of Kubernetes.
        registry: put before the names of container images, ``registry.local:5000/``;
            nothing where they are complete.
        node_label: label of nodes that holds a gateway's name.
        cloud_label: label of the nodes of the cloud.
        cloud_value: its value.
        gateway_broker: MQTT broker of a gateway, ``HOST:PORT``, as a program on the
            gateway reaches it; Pods get the node's address in place of loopback.
        cloud_broker: MQTT broker of the cloud, ``HOST:PORT``, as gateways reach it.
        topic: topics of an analytic at its gateway; ``{analytic}`` is its name.
        device: network device of a gateway's uplink.
        ports: by analytic, the destination port of what it uploads; where they are
            missing, packets are told apart by firewall marks.
        user_id: under which containers run; images that need root need another.
    """

    namespace: str = "default"
    registry: str = ""
    node_label: str = "kubernetes.io/hostname"
    cloud_label: str = "midhaul/role"
    cloud_value: str = CLOUD
    gateway_broker: str = "127.0.0.1:1883"
    cloud_broker: str = "127.0.0.1:1884"
    topic: str = "iot/{analytic}/#"
    device: str = "eth0"
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    user_id: int = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What exports are made from.

    Attributes:
        analytics: all of them, in order.
        placement: who runs on which gateway, and what is pulled.
        homes: by analytic, the gateway where its sensor is and whose uplink it uses.
        uplinks_bps: by gateway.
        rates_bps: by analytic, its upload rate; missing where none was allocated.
        knobs: by analytic, the setting that its rate buys; missing where it buys none.

    Raises:
        DataError: an analytic's image has no name that a registry could know.
    """

    analytics: tuple[Analytic, ...]
    placement: Placement
    homes: Mapping[str, str]
    uplinks_bps: Mapping[str, float]
    rates_bps: Mapping[str, float] = field(default_factory=dict[str, float])
    knobs: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check names."""
        for analytic in self.analytics:
            if not _IMAGE.match(analytic.image):
                message = (
                    f"analytic {analytic.name}: expected the name of a container image "
                    f"like library/redis:7, found {analytic.image!r}"
                )
                raise DataError(message)

    @classmethod
    def of(
        cls,
        problem: PlacementProblem,
        placement: Placement,
        allocation: RateAllocation | None = None,
        demands: Demands | None = None,
    ) -> Plan:
        """A plan from what planners answer.

        Args:
            problem: what was asked. A sensor stands at the first of its analytic's
                ``sites``, or at the first gateway.
            placement: who runs where.
            allocation: rates, in the order of ``demands``, or of the problem's
            analytics
                without; none where only the placement is to be applied.
            demands: what the rates were allocated for. Without, steps count on the
                frontier of the curve that holds where each analytic runs.

        Raises:
            DataError: the allocation has another length than what it is for, or a name
                is not possible.
        """
        first = problem.gateways[0].name
        homes = {
            analytic.name: (problem.sites.get(analytic.name) or (first,))[0]
            for analytic in problem.analytics
        }
        rates_bps: dict[str, float] = {}
        knobs: dict[str, float] = {}
        if allocation is not None:
            names = [analytic.name for analytic in problem.analytics]
            names = names if demands is None else list(demands.names)
            if len(names) != len(allocation.rates_bps):
                message = (
                    f"expected a rate for each of {len(names)} analytics, found "
                    f"{len(allocation.rates_bps)}"
                )
                raise DataError(message)
            rates_bps = dict(zip(names, map(float, allocation.rates_bps), strict=True))
            steps = dict(zip(names, map(int, allocation.steps), strict=True))
            knobs = _knobs(problem, placement, demands, steps)
        return cls(
            analytics=problem.analytics,
            placement=placement,
            homes=homes,
            uplinks_bps={one.name: one.uplink_bps for one in problem.gateways},
            rates_bps=rates_bps,
            knobs=knobs,
        )

    def where(self, analytic: Analytic) -> str:
        """Where an analytic runs: a gateway, or the cloud."""
        return self.placement.gateway_of.get(analytic.name, CLOUD)

    def uploads_of(self, gateway: str) -> dict[str, float]:
        """Rates above zero on a gateway's uplink, by analytic."""
        return {
            analytic.name: self.rates_bps[analytic.name]
            for analytic in self.analytics
            if self.homes[analytic.name] == gateway
            and self.rates_bps.get(analytic.name, 0.0) > 0
        }


def _knobs(
    problem: PlacementProblem,
    placement: Placement,
    demands: Demands | None,
    steps: Mapping[str, int],
) -> dict[str, float]:
    """The setting of each one's step."""
    found: dict[str, float] = {}
    if demands is not None:
        for index, name in enumerate(demands.names):
            if steps[name] >= 0:
                at = int(demands.offsets[index]) + steps[name]
                found[name] = float(demands.knobs[at])
        return found
    for analytic in problem.analytics:
        is_placed = analytic.name in placement.gateway_of
        curve = analytic.gateway_curve if is_placed else analytic.cloud_curve
        if curve is not None and steps[analytic.name] >= 0:
            found[analytic.name] = float(curve.frontier().knobs[steps[analytic.name]])
    return found


def dns_name(text: str) -> str:
    """A name that Kubernetes accepts; a changed one ends in a hash and stays unique.

    Raises:
        DataError: the text is empty.
    """
    if not text:
        message = "expected a name, found an empty one"
        raise DataError(message)
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and len(plain) <= _LABEL_CHARACTERS:
        return plain
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    room = _LABEL_CHARACTERS - len(mark) - 1
    return f"{plain[:room].strip('-')}-{mark}".lstrip("-")
