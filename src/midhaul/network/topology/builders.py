"""Shapes of networks, built: dumbbell, parking lot, star, fabrics, ring, edge to cloud.

M. Al-Fares, A. Loukissas, A. Vahdat: *A Scalable, Commodity Data Center Network
Architecture*, SIGCOMM 2008 (fat tree). A. Roy, H. Zeng, J. Bagga, G. Porter, A. C.
Snoeren: *Inside the Social Network's (Datacenter) Network*, SIGCOMM 2015 (Clos of pods
and planes). J. Kim, W. J. Dally, S. Scott, D. Abts: *Technology-Driven,
Highly-Scalable Dragonfly Topology*, ISCA 2008.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError
from midhaul.network.topology.wiring import Cable, Wiring, at_least

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Topology

CLOUD = "cloud"
"""Name of the host that stands for the cloud."""

_STUB = Cable(rate_bps=100e12)
_HOME = Cable(rate_bps=10e9, delay_s=10e-6)
_METRO = Cable(rate_bps=10e9, delay_s=0.5e-3)
_CORE = Cable(rate_bps=40e9, delay_s=5e-3)
_CLOUD = Cable(rate_bps=100e9, delay_s=10e-6)


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


def leaf_spine(
    n_leaves: int, n_spines: int, n_hosts: int, *, access: Cable, fabric: Cable
) -> Topology:
    """Each leaf is joined to each spine.

    Args:
        n_leaves: ``leaf0`` ….
        n_spines: ``spine0`` ….
        n_hosts: below each leaf; named ``host0`` … over all leaves.
        access: from a host to its leaf.
        fabric: from a leaf to a spine.

    Returns:
        The topology.

    Raises:
        ConfigError: a count is below 1.
    """
    at_least(1, n_leaves=n_leaves, n_spines=n_spines, n_hosts=n_hosts)
    wiring = Wiring()
    spines = [wiring.switch(f"spine{i}") for i in range(n_spines)]
    for i in range(n_leaves):
        leaf = wiring.switch(f"leaf{i}")
        wiring.hosts_at(leaf, n_hosts, access)
        for spine in spines:
            wiring.join(leaf, spine, fabric)
    return wiring.topology()


def fat_tree(n_ports: int, *, cable: Cable, access: Cable | None = None) -> Topology:
    """The fat tree of Al-Fares et al.: switches that all have the same ports.

    ``n_ports`` pods, each of half as many ``leaf`` and as many ``fabric`` switches, a
    quarter of its square of ``core`` switches, and a quarter of its cube of hosts.

    Args:
        n_ports: of a switch, even.
        cable: between switches.
        access: from a host to its leaf; as between switches by default.

    Returns:
        The topology.

    Raises:
        ConfigError: the ports are odd or fewer than two.
    """
    at_least(2, n_ports=n_ports)
    if n_ports % 2:
        message = f"the switches of a fat tree have an even n_ports, found {n_ports}"
        raise ConfigError(message)
    half = n_ports // 2
    return clos(
        n_pods=n_ports,
        n_racks=half,
        n_hosts=half,
        n_planes=half,
        n_spines=half,
        access=access or cable,
        fabric=cable,
        spine=cable,
    )


def clos(  # noqa: PLR0913  a fabric has that many numbers
    *,
    n_pods: int,
    n_racks: int,
    n_hosts: int,
    n_planes: int,
    access: Cable,
    fabric: Cable,
    spine: Cable,
    n_spines: int | None = None,
    oversubscription: float = 1.0,
) -> Topology:
    """Three tiers: racks of hosts, pods of racks, and planes of spines above the pods.

    Each leaf is joined to the fabric switch of each plane in its pod, and that one to
    each spine of its plane.

    Args:
        n_pods: groups of racks.
        n_racks: in each pod; their switches are ``leaf0`` … over all pods.
        n_hosts: in each rack; ``host0`` … over all racks.
        n_planes: fabric switches of a pod: ``fabric0_0`` …, the pod first.
        access: from a host to its leaf.
        fabric: from a leaf to a fabric switch.
        spine: from a fabric switch to a spine: ``spine0_0`` …, the plane first.
        n_spines: of each plane; by default as oversubscription asks for.
        oversubscription: what the leaves may send to a fabric switch over what it may
            send to its spines; with ``n_spines`` it is not asked.

    Returns:
        The topology.

    Raises:
        ConfigError: a count is below 1, or no whole number of spines has that
            oversubscription.
    """
    at_least(1, n_pods=n_pods, n_racks=n_racks, n_hosts=n_hosts, n_planes=n_planes)
    if n_spines is None:
        n_spines = _spines(n_racks, oversubscription, fabric, spine)
    at_least(1, n_spines=n_spines)
    wiring = Wiring()
    spines = [
        [wiring.switch(f"spine{plane}_{i}") for i in range(n_spines)]
        for plane in range(n_planes)
    ]
    for pod in range(n_pods):
        switches = [wiring.switch(f"fabric{pod}_{i}") for i in range(n_planes)]
        for switch, above in zip(switches, spines, strict=True):
            for one in above:
                wiring.join(switch, one, spine)
        for i in range(n_racks):
            leaf = wiring.switch(f"leaf{pod * n_racks + i}")
            wiring.hosts_at(leaf, n_hosts, access)
            for switch in switches:
                wiring.join(leaf, switch, fabric)
    return wiring.topology()


def _spines(n_racks: int, ratio: float, fabric: Cable, spine: Cable) -> int:
    """How many spines of a plane have an oversubscription."""
    if not ratio > 0:
        message = f"oversubscription must be above 0, found {ratio:g}"
        raise ConfigError(message)
    exact = n_racks * fabric.rate_bps / (spine.rate_bps * ratio)
    n = round(exact)
    if n < 1 or abs(exact - n) > 1e-6 * exact:
        message = (
            f"an oversubscription of {ratio:g} needs a whole number of spines in each "
            f"plane, found {exact:g} for {n_racks} racks"
        )
        raise ConfigError(message, "give n_spines, or another oversubscription")
    return n


def dragonfly(
    n_routers: int,
    n_hosts: int,
    n_globals: int,
    *,
    access: Cable,
    local: Cable,
    wide: Cable,
    n_groups: int | None = None,
) -> Topology:
    """Groups in which each router knows each other, with one cable between two groups.

    Args:
        n_routers: of a group, ``a`` of the paper: ``router0_0`` …, the group first.
        n_hosts: of a router, ``p``; ``host0`` … over all groups.
        n_globals: cables of a router to other groups, ``h``.
        access: from a host to its router.
        local: between routers of a group.
        wide: between groups.
        n_groups: at most ``a h + 1``, which is the default; between fewer groups there
            is one cable as well, and ports stay free.

    Returns:
        The topology.

    Raises:
        ConfigError: a count is below 1, or there are more groups than can be joined.
    """
    at_least(1, n_routers=n_routers, n_hosts=n_hosts, n_globals=n_globals)
    most = n_routers * n_globals + 1
    n_groups = most if n_groups is None else n_groups
    at_least(1, n_groups=n_groups)
    if n_groups > most:
        message = (
            f"{n_routers} routers with {n_globals} cables to other groups can join "
            f"{most} groups, found n_groups = {n_groups}"
        )
        raise ConfigError(message)
    wiring = Wiring()
    groups: list[list[str]] = []
    for group in range(n_groups):
        routers = [wiring.switch(f"router{group}_{i}") for i in range(n_routers)]
        for router in routers:
            wiring.hosts_at(router, n_hosts, access)
        for one, other in combinations(routers, 2):
            wiring.join(one, other, local)
        groups.append(routers)
    # The port of group i that leads to group j is the (j - i - 1)-th, round the groups.
    for i, j in combinations(range(n_groups), 2):
        there = groups[i][(j - i - 1) // n_globals]
        back = groups[j][(i - j - 1) % n_groups // n_globals]
        wiring.join(there, back, wide)
    return wiring.topology()


def wan_ring(
    n_sites: int,
    *,
    ring: Cable,
    access: Cable = _HOME,
    n_hosts: int = 1,
    chords: Sequence[tuple[int, int]] = (),
) -> Topology:
    """Sites in a ring, so that there are two ways between any two of them.

    Args:
        n_sites: ``site0`` …, at least three.
        ring: from a site to the next.
        access: from a host to its site.
        n_hosts: of each site; ``host0`` … over all sites.
        chords: pairs of sites that are joined across, by their numbers.

    Returns:
        The topology.

    Raises:
        ConfigError: a count is too small, or a chord joins no two sites.
    """
    at_least(3, n_sites=n_sites)
    at_least(1, n_hosts=n_hosts)
    wiring = Wiring()
    sites = [wiring.switch(f"site{i}") for i in range(n_sites)]
    for site in sites:
        wiring.hosts_at(site, n_hosts, access)
    for i, site in enumerate(sites):
        wiring.join(site, sites[(i + 1) % n_sites], ring)
    for one, other in chords:
        if one == other or not (0 <= one < n_sites and 0 <= other < n_sites):
            message = (
                f"a chord joins two of the sites 0 to {n_sites - 1}, found {one} and "
                f"{other}"
            )
            raise ConfigError(message)
        wiring.join(sites[one], sites[other], ring)
    return wiring.topology()


def edge_to_cloud(
    n_gateways: int,
    *,
    uplinks: Sequence[Cable],
    n_metros: int = 4,
    n_exits: int = 2,
    metro: Cable = _METRO,
    core: Cable = _CORE,
    cloud: Cable = _CLOUD,
) -> Topology:
    """Gateways on access uplinks, a metro ring, a core and a cloud.

    Gateways and the cloud are hosts. Gateway *i* hangs on metro *i* modulo their
    number; the metros that lead to the core stand evenly around the ring.

    Args:
        n_gateways: ``gateway0`` ….
        uplinks: from a gateway to its metro, taken in turn; ``back_rate_bps`` is the
            downlink.
        n_metros: ``metro0`` …, in a ring (two: a single cable between them).
        n_exits: metros that lead to the ``core``.
        metro: along the ring.
        core: from an exit to the core.
        cloud: from the core to the ``cloud``.

    Returns:
        The topology.

    Raises:
        ConfigError: a count is below 1, there is no uplink, or there are more exits
            than metros.
    """
    at_least(
        1,
        n_gateways=n_gateways,
        uplinks=len(uplinks),
        n_metros=n_metros,
        n_exits=n_exits,
    )
    if n_exits > n_metros:
        message = f"n_exits is at most n_metros, {n_metros}, found {n_exits}"
        raise ConfigError(message)
    wiring = Wiring()
    far = wiring.host(CLOUD)
    middle = wiring.switch("core")
    wiring.join(middle, far, cloud)
    metros = [wiring.switch(f"metro{i}") for i in range(n_metros)]
    n_cables = n_metros if n_metros > 2 else n_metros - 1  # noqa: PLR2004  no ring
    for i in range(n_cables):
        wiring.join(metros[i], metros[(i + 1) % n_metros], metro)
    for i in range(n_exits):
        wiring.join(metros[i * n_metros // n_exits], middle, core)
    for i in range(n_gateways):
        gateway = wiring.host(f"gateway{i}")
        wiring.join(gateway, metros[i % n_metros], uplinks[i % len(uplinks)])
    return wiring.topology()


def shared_backhaul(uplinks: Mapping[str, Cable], *, backhaul: Cable) -> Topology:
    """Gateways by their own names, each on its uplink, behind a backhaul for all.

    Args:
        uplinks: from each gateway to the ``hub``, by the gateway's name, such as those
            of a plan; ``back_rate_bps`` is the downlink.
        backhaul: from the hub to the ``cloud``.

    Returns:
        The topology, its hosts the gateways and then the cloud.

    Raises:
        ConfigError: there is no gateway, or one is named as another node is.
    """
    at_least(1, gateways=len(uplinks))
    for name in (CLOUD, "hub"):
        if name in uplinks:
            message = f"a gateway cannot be named {name!r}, as another node is"
            raise ConfigError(message)
    wiring = Wiring()
    hub = wiring.switch("hub")
    for name, uplink in uplinks.items():
        wiring.join(wiring.host(name), hub, uplink)
    wiring.join(hub, wiring.host(CLOUD), backhaul)
    return wiring.topology()
