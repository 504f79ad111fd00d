"""Wiring: nodes and cables are put together, and a topology comes of it.

A cable is two directed links, one each way. Builders of known shapes stand beside this
file; whoever has another shape in mind wires it in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Link, LinkQueue, Topology

if TYPE_CHECKING:
    from jaxtyping import Int32

MAX_NODES = 1_000_000
"""More of them are a slip of the hand, and would fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """What joins two nodes: one link each way.

    Attributes:
        rate_bps: bits per second, above 0; from the host's side upwards.
        delay_s: propagation delay of one way.
        queue: what waits for either link.
        back_rate_bps: bits per second the other way; None: as many.
        loss_share: share of packets that are lost on either link by chance.
        jitter_s: most by which chance adds to the delay of either.

    Raises:
        ConfigError: a rate is not above 0, a delay is negative or endless, or the share
            is no share.
    """

    rate_bps: float = 10e9
    delay_s: float = 1e-6
    queue: LinkQueue = field(default_factory=LinkQueue)
    back_rate_bps: float | None = None
    loss_share: float = 0.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no link can be."""
        for name in ("rate_bps", "back_rate_bps"):
            rate = getattr(self, name)
            if rate is not None and not rate > 0:
                message = f"a cable's {name} must be above 0 bit/s, found {rate:g}"
                raise ConfigError(message, f"give {name} a rate, such as 1e9")
        for name in ("delay_s", "jitter_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                message = f"a cable's {name} must be at least 0 s, found {value:g}"
                raise ConfigError(message)
        if not 0 <= self.loss_share < 1:
            message = (
                "a cable's loss_share must be at least 0 and below 1, found "
                f"{self.loss_share:g}"
            )
            raise ConfigError(message)


class Wiring:
    """Collects nodes and cables, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self._hosts: list[str] = []
        self._links: list[Link] = []

    def switch(self, name: str) -> str:
        """Add a node that forwards; its name."""
        self._check_room(1)
        self._nodes.append(name)
        return name

    def host(self, name: str) -> str:
        """Add a node at which traffic begins and ends; its name."""
        self._hosts.append(self.switch(name))
        return name

    def join(self, one: str, other: str, cable: Cable) -> None:
        """Add the links of a cable, first from ``one``."""
        back = cable.rate_bps if cable.back_rate_bps is None else cable.back_rate_bps
        for source, target, rate in ((one, other, cable.rate_bps), (other, one, back)):
            self._links.append(
                Link(
                    source=source,
                    target=target,
                    rate_bps=float(rate),
                    delay_s=float(cable.delay_s),
                    queue=cable.queue,
                    loss_share=float(cable.loss_share),
                    jitter_s=float(cable.jitter_s),
                )
            )

    def hosts_at(self, switch: str, n: int, cable: Cable) -> None:
        """Add ``n`` hosts to a switch, named on from those there are."""
        self._check_room(n)
        for _ in range(n):
            self.join(self.host(f"host{len(self._hosts)}"), switch, cable)

    def _check_room(self, n: int) -> None:
        if len(self._nodes) + n > MAX_NODES:
            message = f"a topology has {MAX_NODES:,} nodes at most"
            raise ConfigError(message, "ask for fewer hosts or switches")

    def topology(self) -> Topology:
        """What has been put together."""
        return Topology(
            nodes=tuple(self._nodes),
            links=tuple(self._links),
            hosts=tuple(self._hosts),
        )


def at_least(least: int, **counts: int) -> None:
    """Refuse counts of things that are too few, by their names; ConfigError."""
    for name, found in counts.items():
        if found < least:
            message = f"{name} must be at least {least}, found {found}"
            raise ConfigError(message)


def racks(topology: Topology) -> tuple[Int32[np.ndarray, " n"], ...]:
    """Hosts by the node that they hang on, as indices of nodes.

    Racks stand in the order of their first hosts; a host with several cables belongs to
    the node of its first one. ConfigError if the topology has no hosts.
    """
    if not topology.hosts:
        message = "racks need hosts, the topology names none"
        raise ConfigError(message, "name them in Topology.hosts")
    index = {name: i for i, name in enumerate(topology.nodes)}
    hosts = set(topology.hosts)
    above: dict[str, str] = {}
    for link in topology.links:
        if link.source in hosts:
            above.setdefault(link.source, link.target)
    found: dict[str, list[int]] = {}
    for host in topology.hosts:
        found.setdefault(above.get(host, host), []).append(index[host])
    return tuple(np.array(rack, np.int32) for rack in found.values())
