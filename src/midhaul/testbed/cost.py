"""Models of price and energy: stated coefficients times measured usage.

Nothing here is measured. A node costs money for every hour it is there, used or not; a
link costs money for what it carries. Energy counts only what work adds: CPU time and
bytes, not the idle machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS_PER_HOUR = 3600.0
_BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What nodes and links cost.

    Attributes:
        usd_per_node_hour: price of a node being there, by its name.
        usd_per_gb: price of 10⁹ bytes over a link, by its name.

    Raises:
        ValueError: a price is negative.
    """

    usd_per_node_hour: Mapping[str, float] = field(default_factory=dict[str, float])
    usd_per_gb: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check the signs."""
        for name, price in (*self.usd_per_node_hour.items(), *self.usd_per_gb.items()):
            _check_not_negative(f"price of {name}", price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What work takes.

    Attributes:
        j_per_cpu_s: joule per second of CPU time, by node.
        j_per_byte: joule per byte carried, by link.

    Raises:
        ValueError: a coefficient is negative.
    """

    j_per_cpu_s: Mapping[str, float] = field(default_factory=dict[str, float])
    j_per_byte: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check the signs."""
        for name, value in (*self.j_per_cpu_s.items(), *self.j_per_byte.items()):
            _check_not_negative(f"energy of {name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What requests used.

    Attributes:
        n_requests: how many they were.
        duration_s: how long the nodes were there for them.
        cpu_s: CPU seconds by node.
        link_bytes: bytes carried by link.

    Raises:
        ValueError: there was no request.
    """

    n_requests: int
    duration_s: float
    cpu_s: Mapping[str, float] = field(default_factory=dict[str, float])
    link_bytes: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        """Check that there is something to divide by."""
        if self.n_requests < 1:
            message = f"usage per request needs a request, found {self.n_requests}"
            raise ValueError(message)


def usd_per_request(usage: Usage, prices: Prices) -> float:
    """Model: what one request costs.

    Args:
        usage: what requests used; links without a price are free.
        prices: of nodes and links; all nodes with a price count, busy or idle.
    """
    hours = usage.duration_s / _SECONDS_PER_HOUR
    nodes = sum(prices.usd_per_node_hour.values()) * hours
    links = _dot(usage.link_bytes, prices.usd_per_gb) / _BYTES_PER_GB
    return (nodes + links) / usage.n_requests


def j_per_request(usage: Usage, energy: Energy) -> float:
    """Model: what one request takes, idle machines not counted.

    Args:
        usage: what requests used; what has no coefficient takes nothing.
        energy: of CPU time and bytes.
    """
    nodes = _dot(usage.cpu_s, energy.j_per_cpu_s)
    links = _dot(usage.link_bytes, energy.j_per_byte)
    return (nodes + links) / usage.n_requests


def _dot(amounts: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    return sum(amount * coefficients.get(name, 0.0) for name, amount in amounts.items())


def _check_not_negative(name: str, value: float) -> None:
    if not value >= 0:
        message = f"{name} must not be negative, found {value}"
        raise ValueError(message)
