"""Shaping by the kernel: one HTB class per analytic, as a script or applied at once.

The alternative to the bridge, where programs cannot be paced: the kernel's hierarchical
token bucket (M. Devera, "HTB Linux queuing discipline manual", 2002) gives each class
its rate and lets it borrow what others leave up to the uplink. Packets are told apart
by their port (u32) or by a mark that the sender or a firewall has set (fwmark). What
matches no class shares a small one, so that nothing is locked out.

Differences from the manual:

1. Two levels only: the uplink and its analytics; no class has children of its own.
2. Leaves are plain FIFO queues, since kernels without ``fq_codel`` and ``sfq`` are
   common on gateways; each is bounded by a time at its rate.
3. ``rate`` and ``ceil`` are equal unless borrowing is asked for: a plan that grants a
   rate does not count on more.
4. No class gets less than 8 kbit/s, not even one that is granted nothing: its packets
   would wait forever and then be in the way. The uplink's own class bounds the sum.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal

from midhaul.errors import DataError

By = Literal["dport", "sport", "mark"]
"""How packets are told apart: destination port, source port, or firewall mark."""

FIRST_MINOR = 0x10
"""Number of the class of the first analytic; the others follow."""

LEAST_BPS = 8000.0
"""No class gets less."""

_MOST_CLASSES = 4000
_MTU_BYTES = 1514
_BURST_S = 0.002  # what a timer may be late
_PACKETS = 10  # of a queue, at least
MOST_BPS = 32e9
"""More than a 32-bit count of bytes per second holds."""

_NAME = re.compile(r"^[\w.-]{1,15}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class HtbClass:
    """The share of one analytic.

    Attributes:
        name: of the analytic; a comment in the script.
        rate_bps: what it is granted, Ethernet headers included.
        match: the port or the mark of its packets.
    """

    name: str
    rate_bps: float
    match: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HtbPlan:
    """How one device's outgoing traffic is divided.

    Attributes:
        device: where the uplink leaves.
        uplink_bps: what all together may send.
        classes: in order; their rates together do not exceed the uplink.
        by: how their packets are told apart.
        queue_s: how long a packet may wait in its class.
        may_borrow: whether a class may use what others leave.
        parent: where the tree is hung: ``root``, or a class such as ``1:1``.
        handle: major number of the tree, hexadecimal.

    Raises:
        DataError: a name, rate or match is impossible, one match occurs twice, or rates
            exceed the uplink.
    """

    device: str
    uplink_bps: float
    classes: tuple[HtbClass, ...]
    by: By = "dport"
    queue_s: float = 0.2
    may_borrow: bool = False
    parent: str = "root"
    handle: str = "1"

    def __post_init__(self) -> None:
        """Check names, rates and matches."""
        if not _NAME.match(self.device):
            message = f"expected the name of a network device, found {self.device!r}"
            raise DataError(message, "ip link shows their names")
        if not LEAST_BPS <= self.uplink_bps <= MOST_BPS:
            message = (
                f"expected an uplink of {LEAST_BPS:g} to {MOST_BPS:g} bit/s for a "
                f"kernel's class, found {self.uplink_bps}"
            )
            raise DataError(message)
        if len(self.classes) > _MOST_CLASSES:
            message = (
                f"expected up to {_MOST_CLASSES} classes, found {len(self.classes)}"
            )
            raise DataError(message)
        most = 0xFFFFFFFF if self.by == "mark" else 0xFFFF
        for one in self.classes:
            if not 0 <= one.rate_bps <= self.uplink_bps or not 1 <= one.match <= most:
                message = (
                    f"class {one.name}: expected a rate within the uplink and a "
                    f"{self.by} of 1 to {most}, found {one.rate_bps} and {one.match}"
                )
                raise DataError(message)
        if len({one.match for one in self.classes}) < len(self.classes):
            message = f"expected each {self.by} once"
            raise DataError(message)
        together = sum(one.rate_bps for one in self.classes)
        if together > self.uplink_bps * (1 + 1e-9):
            message = (
                f"classes ask for {together:g} bit/s together, the uplink has "
                f"{self.uplink_bps:g}"
            )
            raise DataError(message, "a RateAllocation never does")


def up_commands(plan: HtbPlan) -> list[list[str]]:
    """The ``tc`` commands that put a plan into force; what was there must be gone."""
    device, major = plan.device, plan.handle
    at = ["root"] if plan.parent == "root" else ["parent", plan.parent]
    rest_bps = plan.uplink_bps - sum(one.rate_bps for one in plan.classes)
    others = format(len(plan.classes) + FIRST_MINOR, "x")
    found = [
        _tc(
            "qdisc", device, *at, "handle", f"{major}:", "htb", "default", f"0x{others}"
        ),
        _class(plan, f"{major}:", "1", plan.uplink_bps, plan.uplink_bps),
    ]
    for index, one in enumerate(plan.classes):
        minor = format(index + FIRST_MINOR, "x")
        ceil_bps = plan.uplink_bps if plan.may_borrow else one.rate_bps
        found.append(_class(plan, f"{major}:1", minor, one.rate_bps, ceil_bps))
        found.append(_queue(plan, minor, one.rate_bps))
        found.append(_filter(plan, minor, one.match))
    found.append(_class(plan, f"{major}:1", others, rest_bps, plan.uplink_bps))
    found.append(_queue(plan, others, rest_bps))
    return found


def down_command(plan: HtbPlan) -> list[str]:
    """The ``tc`` command that takes it out of force."""
    at = ["root"] if plan.parent == "root" else ["parent", plan.parent]
    return ["tc", "qdisc", "del", "dev", plan.device, *at]


def script(plan: HtbPlan) -> str:
    """A shell script that a person can read: ``up``, ``down`` and ``show``."""
    lines: list[str] = []
    names = iter(plan.classes)
    for argv in up_commands(plan):
        if argv[1] == "class" and argv[argv.index("parent") + 1] != f"{plan.handle}:":
            one = next(names, None)
            # A name is a comment here: what ends a line must not end the comment.
            name = "everything else" if one is None else " ".join(one.name.split())
            lines.append(f"    # {name}")
        lines.append(f"    {shlex.join(argv)}")
    down = shlex.join(down_command(plan))
    device = shlex.quote(plan.device)
    commands = "\n".join(lines)
    return f"""#!/bin/sh
# Divides what leaves {plan.device}: {plan.uplink_bps / 1e6:g} Mbit/s among \
{len(plan.classes)} analytics, by {plan.by}.
# Written by midhaul. Use: sh shape.sh up | down | show   (as root)
set -eu

up() {{
    down
{commands}
}}

down() {{
    {down} 2>/dev/null || true
}}

case "${{1:-}}" in
    up) up ;;
    down) down ;;
    show) tc -s class show dev {device} ;;
    *) echo "usage: $0 up | down | show" >&2; exit 2 ;;
esac
"""


def _tc(what: str, device: str, *rest: str) -> list[str]:
    return ["tc", what, "add", "dev", device, *rest]


def _class(
    plan: HtbPlan, parent: str, minor: str, rate_bps: float, ceil_bps: float
) -> list[str]:
    rate = f"{int(max(rate_bps, LEAST_BPS))}bit"
    ceil = f"{int(max(ceil_bps, LEAST_BPS))}bit"
    at = ("parent", parent, "classid", f"{plan.handle}:{minor}")
    bursts = [
        str(max(2 * _MTU_BYTES, int(bps * _BURST_S / 8)))
        for bps in (rate_bps, ceil_bps)
    ]
    bucket = ("rate", rate, "ceil", ceil, "burst", bursts[0], "cburst", bursts[1])
    return _tc("class", plan.device, *at, "htb", *bucket, "quantum", str(_MTU_BYTES))


def _queue(plan: HtbPlan, minor: str, rate_bps: float) -> list[str]:
    limit = max(_PACKETS * _MTU_BYTES, int(rate_bps * plan.queue_s / 8))
    at = ("parent", f"{plan.handle}:{minor}")
    return _tc("qdisc", plan.device, *at, "bfifo", "limit", str(limit))


def _filter(plan: HtbPlan, minor: str, match: int) -> list[str]:
    head = ("parent", f"{plan.handle}:", "protocol", "ip", "prio", "1")
    flow = ("flowid", f"{plan.handle}:{minor}")
    if plan.by == "mark":
        test = ("handle", str(match), "fw")
    else:
        test = ("u32", "match", "ip", plan.by, str(match), "0xffff")
    return _tc("filter", plan.device, *head, *test, *flow)
