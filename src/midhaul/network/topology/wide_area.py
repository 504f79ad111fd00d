"""WAN ring and edge to cloud: gateways, uplinks, a metro ring, a core and a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.errors import ConfigError
from midhaul.network.topology.wiring import Cable, Wiring, at_least

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import Topology

CLOUD = "cloud"
"""Name of the host that stands for the cloud."""

_HOME = Cable(rate_bps=10e9, delay_s=10e-6)
_METRO = Cable(rate_bps=10e9, delay_s=0.5e-3)
_CORE = Cable(rate_bps=40e9, delay_s=5e-3)
_CLOUD = Cable(rate_bps=100e9, delay_s=10e-6)


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
