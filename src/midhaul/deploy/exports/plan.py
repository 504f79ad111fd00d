"""A plan to apply: who runs where, at which rate and knob, and where to send it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping  # noqa: TC003 - sections look types up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, MinLen

from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.deploy.placement.base import Placement, Pull
    from midhaul.deploy.problem import Analytic, PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation

CLOUD = "cloud"
"""Where an analytic runs that no gateway has."""

_LABEL_CHARACTERS = 63
_TLS_PORTS = frozenset({8883, 8884})
_TLS_SCHEMES = frozenset({"mqtts", "ssl", "tls"})
_PLAIN_SCHEMES = frozenset({"mqtt", "tcp"})
_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_IMAGE = re.compile(
    r"^(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """A taint of nodes that Pods put up with, as Kubernetes names its parts.

    Attributes:
        key: key of the taint; any where empty.
        value: its value; any where empty.
        effect: its effect; any where empty.
    """

    key: str = ""
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSite:
    """What a plan does not know about the place where it is applied.

    Attributes:
        name: what all plans for this place have in common; what an earlier one had and
            a new one has not, can be pruned by it.
        namespace: namespace of Kubernetes.
        registry: put before the names of container images, e.g. registry.local:5000/.
        with_digests: name images by digest, where images were read from a registry.
        pull_secrets: secrets with which nodes pull; pull-REGISTRY for each registry
            that wanted a password of the plan, where empty.
        private_registries: registries that wanted a password of the plan.
        node_label: label of nodes that holds a gateway's name.
        cloud_label: label of the nodes of the cloud.
        cloud_value: value of that label.
        tolerations: taints of gateways that analytics and pulls put up with, beside a
            gateway's being away.
        max_unavailable: how many analytics of one place may be evicted at once, in a
            PodDisruptionBudget; none is written without.
        gateway_broker: MQTT broker of each gateway. It is ``HOST:PORT``, as a program
            on the gateway reaches it; Pods get the node's address for loopback.
        cloud_broker: MQTT broker of the cloud. It is ``HOST:PORT``, as gateways reach
            it.
        cloud_broker_has_tls: whether it wants TLS; ports 8883, 8884 and mqtts:// do,
            without.
        cloud_ca_file: its certificate authority, as a gateway finds it; the system's
            where empty.
        cloud_username: user at it, for the bridge; the password is not here.
        topic: topics of an analytic at its gateway. Its name replaces ``{analytic}``.
        device: network device of a gateway's uplink.
        ports: by analytic, the destination port of what it uploads; firewall marks
            where one is missing.
        floor_bps: what the kernel's classes keep for ssh, the kubelet and KubeEdge, at
            most a fiftieth of an uplink.
        lan: networks, e.g. 10.1.0.0/16, that gateways reach without their uplink,
            beside those they are in.
        with_bandwidth: annotate Pods on gateways with what they may send, for CNI's
            bandwidth plugin and KubeEdge.
        peer_mirror: where containerd of a gateway finds what its peers have (Spegel);
            empty where gateways take nothing from each other.
        plain_http: registries that are asked without TLS, beside those on loopback.
        user_id: user under which containers run. Images that need root need another.
    """

    name: Annotated[str, MinLen(1)] = "midhaul"
    namespace: Annotated[str, _NAMESPACE] = "default"
    registry: str = ""
    with_digests: bool = True
    pull_secrets: tuple[str, ...] = ()
    private_registries: tuple[str, ...] = ()
    node_label: str = "kubernetes.io/hostname"
    cloud_label: str = "midhaul/role"
    cloud_value: str = CLOUD
    tolerations: tuple[Toleration, ...] = ()
    max_unavailable: Annotated[int | None, Ge(0)] = None
    gateway_broker: str = "127.0.0.1:1883"
    cloud_broker: str = "127.0.0.1:1884"
    cloud_broker_has_tls: bool | None = None
    cloud_ca_file: str = ""
    cloud_username: str = ""
    topic: str = "iot/{analytic}/#"
    device: str = "eth0"
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    floor_bps: Annotated[float, Ge(0)] = 64e3
    lan: tuple[str, ...] = ()
    with_bandwidth: bool = False
    peer_mirror: str = "http://127.0.0.1:30020"
    plain_http: tuple[str, ...] = ()
    user_id: Annotated[int, Ge(0)] = 65534

    @property
    def secrets(self) -> dict[str, str]:
        """Names of Secrets to pull with, and the registry of each where it is known."""
        if self.pull_secrets:
            return dict.fromkeys(self.pull_secrets, "")
        return {dns_name(f"pull-{one}"): one for one in self.private_registries}

    @property
    def has_tls(self) -> bool:
        """Whether the broker of the cloud is asked by TLS."""
        if self.cloud_broker_has_tls is not None:
            return self.cloud_broker_has_tls
        scheme, _, port = scheme_host_port(self.cloud_broker)
        return scheme in _TLS_SCHEMES or (not scheme and port in _TLS_PORTS)


def scheme_host_port(broker: str) -> tuple[str, str, int]:
    """The parts of a broker's address; the scheme is empty where none is given."""
    scheme, slashes, rest = broker.rpartition("://")
    host, _, port = rest.rpartition(":")
    is_known = not slashes or scheme in {*_TLS_SCHEMES, *_PLAIN_SCHEMES}
    is_host = bool(host) and set(host).isdisjoint('"\\\n/ ')
    if not (is_known and is_host and port.isascii() and port.isdigit()):
        message = f"expected a broker as HOST:PORT, found {broker!r}"
        raise DataError(message)
    return scheme, host.removeprefix("[").removesuffix("]"), int(port)


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
        digests: by place and image, the digest that names its content there; missing
            where it is not known.
        has_peer_pulls: whether pulls count on layers that other gateways have.
        layers_there: digests of layers that some gateway has already.
        downlinks_bps: by gateway, the rate of its pulls; unlimited where missing.
        slot_s: time in which the pulls are to end.

    Raises:
        DataError: an analytic's image has no name that a registry could know.
    """

    analytics: tuple[Analytic, ...]
    placement: Placement
    homes: Mapping[str, str]
    uplinks_bps: Mapping[str, float]
    rates_bps: Mapping[str, float] = field(default_factory=dict[str, float])
    knobs: Mapping[str, float] = field(default_factory=dict[str, float])
    digests: Mapping[tuple[str, str], str] = field(
        default_factory=dict[tuple[str, str], str]
    )
    has_peer_pulls: bool = False
    layers_there: frozenset[str] = frozenset()
    downlinks_bps: Mapping[str, float] = field(default_factory=dict[str, float])
    slot_s: float = math.inf

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
                analytics without; none where only the placement is to be applied.
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
            digests=_digests(problem),
            has_peer_pulls=problem.has_peer_pulls,
            layers_there=frozenset().union(
                *(one.layers | one.held for one in problem.gateways)
            ),
            downlinks_bps={one.name: one.downlink_bps for one in problem.gateways},
            slot_s=problem.slot_s,
        )

    def image_at(self, image: str, place: str, site: ExportSite) -> str:
        """The name by which a node there pulls an image."""
        digest = self.digests.get((place, image), "") if site.with_digests else ""
        pin = f"@{digest}" if digest and "@" not in image else ""
        return f"{site.registry}{image}{pin}"

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

    def waves(self) -> dict[str, int]:
        """By gateway that pulls something, in which wave it does, from 1.

        Where layers are to come from peers, a gateway begins when those have ended that
        bring the layers which it shares with them; else all begin at once.
        """
        gateways: dict[str, list[str]] = {}
        for pull in self._in_time():
            gateways.setdefault(pull.gateway, []).extend(pull.digests)
        waves: dict[str, int] = {}
        brings: dict[str, int] = {}
        for gateway, digests in gateways.items():
            before = [brings[d] for d in digests if d in brings]
            waves[gateway] = 1 + max(before, default=0) if self.has_peer_pulls else 1
            brings |= {d: waves[gateway] for d in digests if d not in brings}
        return waves

    def wave_ends_s(self) -> tuple[float, ...]:
        """When each wave has ended, at the rate of each gateway's own line.

        The first is the plan's; the others begin when the one before has ended.
        """
        waves = self.waves()
        takes_s: dict[str, float] = {}
        for pull in self.placement.pulls:
            if pull.compressed_bytes:
                rate_bps = self.downlinks_bps.get(pull.gateway, math.inf)
                seconds = 8 * pull.compressed_bytes / rate_bps if rate_bps else math.inf
                takes_s[pull.gateway] = takes_s.get(pull.gateway, 0.0) + seconds
        ends: list[float] = []
        for wave in range(1, max(waves.values(), default=0) + 1):
            mine = {gateway for gateway, number in waves.items() if number == wave}
            if wave == 1:
                planned = [p.ends_s for p in self.placement.pulls if p.gateway in mine]
                ends.append(max(planned, default=0.0))
            else:
                ends.append(ends[-1] + max(takes_s.get(g, 0.0) for g in mine))
        return tuple(ends)

    def pulls_of_peers(self) -> list[Pull]:
        """Pulls that count on a layer which another gateway has, or pulls as well."""
        if not self.has_peer_pulls:
            return []
        found: list[Pull] = []
        owners = dict.fromkeys(self.layers_there, "")
        for pull in self._in_time():
            if any(owners.get(d, pull.gateway) != pull.gateway for d in pull.digests):
                found.append(pull)
            for digest in pull.digests:
                owners.setdefault(digest, pull.gateway)
        return found

    def _in_time(self) -> list[Pull]:
        """Pulls by their ends."""
        return sorted(self.placement.pulls, key=lambda p: (p.ends_s, p.gateway))


def _digests(problem: PlacementProblem) -> dict[tuple[str, str], str]:
    """What names each image at each place: in the cloud an index, if there is one."""
    names = {analytic.image for analytic in problem.analytics}
    found: dict[tuple[str, str], str] = {}
    for name in names:
        image = problem.images[name]
        found[CLOUD, name] = image.index_digest or image.manifest_digest
        for gateway in problem.gateways:
            there = problem.image_at(name, gateway)
            if there is not None:
                found[gateway.name, name] = there.manifest_digest
    return {key: digest for key, digest in found.items() if digest}


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
    """A name that Kubernetes accepts; a changed one ends in a hash and stays unique."""
    if not text:
        message = "expected a name, found an empty one"
        raise DataError(message)
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text and len(plain) <= _LABEL_CHARACTERS:
        return plain
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    room = _LABEL_CHARACTERS - len(mark) - 1
    return f"{plain[:room].strip('-')}-{mark}".lstrip("-")
