"""Dumbbell, parking lot and star: topologies with one thing to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.network.topology.wiring import Cable, Wiring, at_least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model import Topology

_STUB = Cable(rate_bps=100e12)


def dumbbell(n_pairs: int, *, access: Cable, middle: Cable) -> Topology:
    """Two switches with a cable between them, that all pairs of hosts share.

    Args:
        n_pairs: hosts on each side: ``source0`` …, ``target0`` ….
        access: between a host and its switch, ``left`` or ``right``.
        middle: from ``left`` to ``right``.

    Returns:
        The topology, its hosts the sources and then the targets.

    Raises:
        ConfigError: there is no pair.
    """
    at_least(1, n_pairs=n_pairs)
    wiring = Wiring()
    left, right = wiring.switch("left"), wiring.switch("right")
    wiring.join(left, right, middle)
    for name, switch in (("source", left), ("target", right)):
        for i in range(n_pairs):
            wiring.join(wiring.host(f"{name}{i}"), switch, access)
    return wiring.topology()


def parking_lot(cables: Sequence[Cable], *, stub: Cable = _STUB) -> Topology:
    """A line of links, with a host at each joint that lets flows enter and leave.

    ``host0`` and the last host stand at the ends, ``switch1`` … between them, each with
    the host of its number.

    Args:
        cables: along the line, at least one.
        stub: from a switch to its host; by default one that slows nothing down.

    Returns:
        The topology.

    Raises:
        ConfigError: there is no cable.
    """
    n = len(cables)
    at_least(1, cables=n)
    wiring = Wiring()
    line = [wiring.host("host0")]
    line += [wiring.switch(f"switch{i}") for i in range(1, n)]
    for i, switch in enumerate(line[1:], 1):
        wiring.join(wiring.host(f"host{i}"), switch, stub)
    line.append(wiring.host(f"host{n}"))
    for i, cable in enumerate(cables):
        wiring.join(line[i], line[i + 1], cable)
    return wiring.topology()


def star(n_hosts: int, *, access: Cable) -> Topology:
    """One switch with hosts around it: what an incast meets.

    Args:
        n_hosts: ``host0`` …, at least two.
        access: from a host to the ``switch``.

    Returns:
        The topology.

    Raises:
        ConfigError: there are fewer than two hosts.
    """
    at_least(2, n_hosts=n_hosts)
    wiring = Wiring()
    wiring.hosts_at(wiring.switch("switch"), n_hosts, access)
    return wiring.topology()
