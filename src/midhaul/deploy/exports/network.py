"""What holds a plan's rates: the bridge's rate map, its file, and the tc script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import MOST_BPS, HtbClass, HtbPlan, script
from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.deploy.exports.plan import Plan, Site


def rate_map(plan: Plan, site: Site, gateway: str) -> RateMap:
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


def bridge_file(site: Site, gateway: str) -> str:
    """The file of ``midhaul serve bridge`` on a gateway, TOML.

    Raises:
        DataError: a broker is not ``HOST:PORT``.
    """
    near, far = _end(site.gateway_broker), _end(site.cloud_broker)
    return (
        # Of two bridges with one name, brokers throw the first out.
        f'name = "{gateway}"\n'
        'rates = "rates.json"\nstats = "bridge-stats.json"\n\n'
        f'[local]\nhost = "{near[0]}"\nport = {near[1]}\n\n'
        f'[remote]\nhost = "{far[0]}"\nport = {far[1]}\n'
    )


def htb_plan(plan: Plan, site: Site, gateway: str) -> HtbPlan:
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
    )


def tc_script(plan: Plan, site: Site, gateway: str) -> str:
    """A shell script that shapes a gateway's uplink; errors as :func:`htb_plan`."""
    return script(htb_plan(plan, site, gateway))


def _end(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not set(host).isdisjoint('"\\\n'):
        message = f"expected a broker as HOST:PORT, found {text!r}"
        raise DataError(message)
    return host, int(port)
