"""What holds a plan's rates: the bridge's rate map, its file, and the tc script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import (
    LEAST_BPS,
    MOST_BPS,
    HtbClass,
    HtbPlan,
    script,
)
from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.deploy.exports.plan import scheme_host_port
from midhaul.deploy.store.reference import parse_reference
from midhaul.errors import DataError
from midhaul.model import Tally

if TYPE_CHECKING:
    from midhaul.deploy.exports.plan import ExportSite, Plan


def rate_map(plan: Plan, site: ExportSite, gateway: str) -> RateMap:
    """The rates on a gateway's uplink, by topic filter.

    Raises:
        DataError: an analytic's name makes no topic, or two make the same one.
    """
    rates_bps: dict[str, float] = {}
    for name, rate_bps in plan.uploads_of(gateway).items():
        if {"+", "#", "\0"} & set(name):
            message = f"analytic {name!r} cannot be part of an MQTT topic"
            raise DataError(message, "give it a name without + and #")
        topic = site.topic.replace("{analytic}", name)
        if topic in rates_bps:
            message = f"expected a topic per analytic, found {topic} twice"
            raise DataError(message, "the topic holds {analytic}")
        rates_bps[topic] = rate_bps
    return RateMap(rates_bps=rates_bps, uplink_bps=plan.uplinks_bps[gateway])


def bridge_file(site: ExportSite, gateway: str) -> str:
    """The file of ``midhaul serve bridge`` on a gateway, TOML.

    Raises:
        DataError: a broker is not ``HOST:PORT``.
    """
    ends = (("local", site.gateway_broker), ("remote", site.cloud_broker))
    # Of two bridges with one name, brokers throw the first out.
    lines = [f'name = "{gateway}"']
    lines += ['rates = "rates.json"', 'stats = "bridge-stats.json"']
    for name, broker in ends:
        _, host, port = scheme_host_port(broker)
        lines += ["", f"[{name}]", f'host = "{host}"', f"port = {port}"]
    if site.cloud_username:
        lines.append(f"username = {json.dumps(site.cloud_username)}")
    if site.has_tls:
        lines.append("has_tls = true")
    if site.cloud_ca_file:
        lines.append(f"ca_file = {json.dumps(site.cloud_ca_file)}")
    return "\n".join([*lines, ""])


def htb_plan(plan: Plan, site: ExportSite, gateway: str) -> HtbPlan:
    """The kernel's classes for a gateway's uplink.

    Packets are told apart by destination port where the site knows all ports, else by
    firewall marks 1, 2, … in the order of the analytics.

    Raises:
        DataError: the uplink is zero or more than the kernel can count, or one port is
            given twice.
    """
    uploads = plan.uploads_of(gateway)
    has_ports = bool(uploads) and set(uploads) <= set(site.ports)
    uplink_bps = plan.uplinks_bps[gateway]
    classes = tuple(
        HtbClass(
            name=name,
            rate_bps=rate_bps,
            match=site.ports[name] if has_ports else index + 1,
        )
        for index, (name, rate_bps) in enumerate(uploads.items())
    )
    return HtbPlan(
        device=site.device,
        uplink_bps=min(uplink_bps, MOST_BPS),
        classes=classes,
        by="dport" if has_ports else "mark",
        floor_bps=min(site.floor_bps, uplink_bps),
        lan=site.lan,
        spares_neighbours=True,
    )


def tc_script(plan: Plan, site: ExportSite, gateway: str) -> str:
    """A shell script that shapes a gateway's uplink; errors as :func:`htb_plan`."""
    return script(htb_plan(plan, site, gateway))


def cut_rates(plan: Plan, site: ExportSite) -> Tally:
    """How many analytics the kernel's classes give less than the plan, for the floor.

    Raises:
        DataError: as :func:`htb_plan`.
    """
    shaped = [g for g, bps in plan.uplinks_bps.items() if bps >= LEAST_BPS]
    plans = {gateway: htb_plan(plan, site, gateway) for gateway in shaped}
    cut = {g: one for g, one in plans.items() if one.scale < 1}
    least = min((one.scale for one in cut.values()), default=1.0)
    return Tally(
        what=f"analytics get less in shape.sh than the plan grants, {1 - least:.1%} at "
        "most, since ssh and the kubelet keep a floor",
        n=sum(len(one.classes) for one in cut.values()),
        of=sum(len(one.classes) for one in plans.values()),
        max_share=1.0,
        advice="Lower uplink_bps of the gateways by site.floor_bps, or set that to 0.",
        places=tuple(cut),
    )


def peer_tallies(plan: Plan, site: ExportSite) -> tuple[Tally, Tally]:
    """How many pulls count on peers that no export brings, or that bring them late."""
    counted = plan.pulls_of_peers()
    lost = [] if site.peer_mirror else counted
    waves, ends_s = plan.waves(), plan.wave_ends_s()
    late = [
        pull
        for pull in plan.placement.pulls
        if waves[pull.gateway] > 1 and ends_s[waves[pull.gateway] - 1] > plan.slot_s
    ]
    n = len(plan.placement.pulls)
    return (
        Tally(
            what="pulls count on layers of other gateways, which no export brings",
            n=len(lost),
            of=n,
            max_share=0.0,
            advice="Name site.peer_mirror, or plan with has_peer_pulls = false.",
            places=tuple(f"{pull.image} to {pull.gateway}" for pull in lost),
        ),
        Tally(
            what="pulls end after the slot, since they wait for their peers' pulls",
            n=len(late),
            of=n,
            max_share=0.0,
            advice="Raise slot_s or downlinks, or plan with has_peer_pulls = false.",
            places=tuple(f"{pull.image} to {pull.gateway}" for pull in late),
        ),
    )


def peer_hosts(plan: Plan, site: ExportSite, gateway: str) -> dict[str, str]:
    """Where containerd looks for layers before it asks a registry, by registry.

    Each is the text of ``hosts.toml`` in a folder of the registry's name below
    containerd's ``config_path``. Empty where nothing comes from peers.
    """
    if not plan.has_peer_pulls or not site.peer_mirror:
        return {}
    pulled = {p.image for p in plan.placement.pulls if p.gateway == gateway}
    names = [plan.image_at(image, gateway, site) for image in sorted(pulled)]
    found = dict.fromkeys(parse_reference(name) for name in names)
    texts: dict[str, str] = {}
    for reference in found:
        is_plain = reference.is_loopback or reference.registry in site.plain_http
        scheme = "http" if is_plain else "https"
        texts[reference.registry] = (
            f'server = "{scheme}://{reference.host}"\n\n'
            f'[host."{site.peer_mirror}"]\n  capabilities = ["pull", "resolve"]\n'
        )
    return texts
