"""Nodes and the directed links between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A directed link; traffic the other way is a link of its own.

    Attributes:
        source: name of the node that sends.
        target: name of the node that receives.
        rate_bps: bits per second it carries; infinite when it is not shaped.
        delay_s: propagation delay of one way.
    """

    source: str
    target: str
    rate_bps: float = float("inf")
    delay_s: float = 0.0

    @property
    def name(self) -> str:
        """``source->target``, as tables show it."""
        return f"{self.source}->{self.target}"

    @property
    def is_shaped(self) -> bool:
        """True when the link slows anything down."""
        return self.rate_bps != float("inf") or self.delay_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Nodes and links.

    Attributes:
        nodes: names of the nodes, unique.
        links: directed links between them.

    Raises:
        ValueError: a name is repeated, or a link ends at no node.
    """

    nodes: tuple[str, ...]
    links: tuple[Link, ...]

    def __post_init__(self) -> None:
        """Check that names are unique and that links end at nodes."""
        if len(set(self.nodes)) != len(self.nodes):
            message = f"node names must be unique, found {', '.join(self.nodes)}"
            raise ValueError(message)
        for link in self.links:
            for end in (link.source, link.target):
                if end not in self.nodes:
                    message = f"link {link.name} ends at {end}, which is no node"
                    raise ValueError(message)
