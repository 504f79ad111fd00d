"""Nodes and the directed links between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from midhaul.model.bounds import check_bounds
from midhaul.model.display import MOST_ROWS, Display, Shown, counted

Discipline = Literal["fifo", "red", "codel", "fq_codel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkQueue:
    """What waits for a link, and what becomes of too much of it.

    Attributes:
        discipline: fifo; red, which marks or drops from a length on; codel (RFC 8289);
            fq_codel (RFC 8290).
        max_packets: packets that may wait; None: as many as come.
        max_bytes: bytes that may wait; None: as many as come.
        mark_from: packets from which red marks, or drops what cannot be marked.
        mark_all_from: packets from which it marks each; a step where it is mark_from.
        mark_share: share that it marks just below ``mark_all_from``.
        has_ecn: true where a packet that can be marked is not dropped for that.
        target_s: codel: waiting time that is put up with.
        interval_s: codel: for how long more than that is.

    Raises:
        ConfigError: a number is out of its bounds.
    """

    discipline: Discipline = "fifo"
    max_packets: Annotated[int | None, Ge(1), Le(1_000_000_000_000)] = None
    max_bytes: Annotated[int | None, Ge(1), Le(1_000_000_000_000)] = None
    mark_from: Annotated[float, Ge(0), Le(1e9)] = 0.0
    mark_all_from: Annotated[float, Ge(0), Le(1e9)] = 0.0
    mark_share: Annotated[float, Ge(0), Le(1)] = 1.0
    has_ecn: bool = True
    target_s: Annotated[float, Ge(0), Le(1e6)] = 0.005
    interval_s: Annotated[float, Ge(0), Le(1e6)] = 0.1

    def __post_init__(self) -> None:
        """Refuse what no queue can be."""
        check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A directed link; traffic the other way is a link of its own.

    Attributes:
        source: name of the node that sends.
        target: name of the node that receives.
        rate_bps: bits per second it carries; infinite when it is not shaped.
        delay_s: propagation delay of one way.
        queue: what waits for it.
        loss_share: share of packets that are lost on it by chance.
        jitter_s: most by which chance adds to the delay; packets stay in order.
        rate_changes: times in seconds, rising, and the rate in bit/s from then on.
    """

    source: str
    target: str
    rate_bps: float = float("inf")
    delay_s: float = 0.0
    queue: LinkQueue = field(default_factory=LinkQueue)
    loss_share: float = 0.0
    jitter_s: float = 0.0
    rate_changes: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """``source->target``, as tables show it."""
        return f"{self.source}->{self.target}"

    @property
    def is_shaped(self) -> bool:
        """True when the link slows anything down."""
        return self.rate_bps != float("inf") or self.delay_s > 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Topology(Shown):
    """Nodes and links.

    Attributes:
        nodes: names of the nodes, unique.
        links: directed links between them.
        hosts: names of the nodes that forward nothing; traffic begins and ends at them.
            Where empty, every node may do all.

    Raises:
        ValueError: a name is repeated, a link ends at no node, or a host is no node.
    """

    nodes: tuple[str, ...]
    links: tuple[Link, ...]
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that names are unique and that links end at nodes."""
        known = set(self.nodes)
        if len(known) != len(self.nodes):
            message = f"node names must be unique, found {', '.join(self.nodes)}"
            raise ValueError(message)
        for link in self.links:
            for end in (link.source, link.target):
                if end not in known:
                    message = f"link {link.name} ends at {end}, which is no node"
                    raise ValueError(message)
        if strangers := set(self.hosts) - known:
            message = f"hosts must be nodes, found {', '.join(sorted(strangers))}"
            raise ValueError(message)

    def _line(self) -> str:
        """How much there is of what."""
        hosts = f", {len(self.hosts):,} of them hosts" if self.hosts else ""
        return f"{counted(len(self.nodes), 'node')}{hosts}, {len(self.links):,} links"

    def _display(self) -> Display:
        """The first links."""
        return Display(
            text=self._line(),
            columns=("link", "rate_bps", "delay_s", "queue"),
            rows=[
                (link.name, link.rate_bps, link.delay_s, link.queue.discipline)
                for link in self.links[:MOST_ROWS]
            ],
            n_rows=len(self.links),
        )
