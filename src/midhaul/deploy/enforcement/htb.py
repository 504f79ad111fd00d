"""HTB: shaping by the kernel, one class per analytic, as a script or applied at once.

The alternative to the bridge, where programs cannot be paced: the kernel's hierarchical
token bucket (M. Devera, "HTB Linux queuing discipline manual", 2002) gives each class
its rate and lets it borrow what others leave up to the uplink. Packets of IPv4 and IPv6
are told apart by their port (u32) or by a mark that the sender or a firewall has set
(fwmark). What matches no class shares a small one, so that nothing is locked out. Where
that is asked for, ports by which a gateway is managed have a class with a floor of its
own, and what stays on the device's own networks is not held back at all.

Differences from the manual:

1. Two levels only: the uplink and its analytics; no class has children of its own.
2. Leaves are plain FIFO queues, since kernels without ``fq_codel`` and ``sfq`` are
   common on gateways; each is bounded by a time at its rate.
3. ``rate`` and ``ceil`` are equal unless borrowing is asked for: a plan that grants a
   rate does not count on more.
4. No class gets less than 8 kbit/s, not even one that is granted nothing: its packets
   would wait forever and then be in the way.
5. A class sends at its rate whatever its parent has left, so the rates of all must fit
   into the uplink together: a floor is taken from what the analytics leave, and where
   they leave too little, all of them are scaled down by the same factor.
6. Ports are read at their usual place. Packets of IPv4 with options, later fragments
   and packets of IPv6 with extension headers match no port, and share the small class.

A plan in force is applied, changed and counted with ``tc``.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from midhaul.errors import DataError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANAGEMENT_PORTS = (22, 6443, 10250, 10000, 10002)
"""TCP ports of ssh, the API server, the kubelet, and KubeEdge's two of CloudCore."""

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

_MOST_FLOOR = 0.02  # of the uplink
_IPV6 = 6
_TCP = "6"
_FAMILIES = (("ip", "ip"), ("ipv6", "ip6"))
_NEIGHBOURS = ("169.254.0.0/16", "224.0.0.0/24", "fe80::/10", "ff00::/12")
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
        floor_bps: what is kept for ``management``, at most a fiftieth of the uplink
            and at least 8 kbit/s; 0 for none.
        management: TCP ports, at either end, by which the gateway is managed.
        lan: networks, such as ``192.168.1.0/24`` and ``fd00:1::/64``, that are reached
            over the device and not over the uplink. Nothing to them is held back, but
            what analytics send.
        spares_neighbours: whether the script finds the device's own networks and spares
            them as well.

    Raises:
        DataError: a name, rate, match or network is impossible, one match occurs twice,
            or rates exceed the uplink.
    """

    device: str
    uplink_bps: float
    classes: tuple[HtbClass, ...]
    by: By = "dport"
    queue_s: float = 0.2
    may_borrow: bool = False
    parent: str = "root"
    handle: str = "1"
    floor_bps: float = 0.0
    management: tuple[int, ...] = MANAGEMENT_PORTS
    lan: tuple[str, ...] = ()
    spares_neighbours: bool = False

    def __post_init__(self) -> None:
        """Check names, rates, matches and networks."""
        self._check_device()
        self._check_classes()
        for network in self.lan:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                message = f"expected a network like 192.168.1.0/24, found {network!r}"
                raise DataError(message) from error

    def _check_device(self) -> None:
        if not _NAME.match(self.device):
            message = f"expected the name of a network device, found {self.device!r}"
            raise DataError(message, "ip link shows their names")
        if not LEAST_BPS <= self.uplink_bps <= MOST_BPS:
            message = (
                f"expected an uplink of {LEAST_BPS:g} to {MOST_BPS:g} bit/s for a "
                f"kernel's class, found {self.uplink_bps}"
            )
            raise DataError(message)
        if not 0 <= self.floor_bps <= self.uplink_bps:
            message = f"expected a floor within the uplink, found {self.floor_bps}"
            raise DataError(message)

    def _check_classes(self) -> None:
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

    @property
    def kept_bps(self) -> float:
        """What management has at least; 0 without a floor."""
        if not self.floor_bps:
            return 0.0
        return max(LEAST_BPS, min(self.floor_bps, _MOST_FLOOR * self.uplink_bps))

    @property
    def scale(self) -> float:
        """Factor on the rates of all classes, so that the floor is left; at most 1."""
        together = sum(one.rate_bps for one in self.classes)
        room = max(0.0, self.uplink_bps - self.kept_bps)
        return min(1.0, room / together) if together else 1.0


def up_commands(plan: HtbPlan) -> list[list[str]]:
    """The ``tc`` commands that put a plan into force; what was there must be gone."""
    device, major = plan.device, plan.handle
    at = ["root"] if plan.parent == "root" else ["parent", plan.parent]
    rates_bps = [one.rate_bps * plan.scale for one in plan.classes]
    rest_bps = plan.uplink_bps - plan.kept_bps - sum(rates_bps)
    others, floor = (format(len(plan.classes) + FIRST_MINOR + i, "x") for i in (0, 1))
    found = [
        _tc(
            "qdisc", device, *at, "handle", f"{major}:", "htb", "default", f"0x{others}"
        ),
        _class(plan, f"{major}:", "1", plan.uplink_bps, plan.uplink_bps),
    ]
    for index, (one, rate_bps) in enumerate(zip(plan.classes, rates_bps, strict=True)):
        minor = format(index + FIRST_MINOR, "x")
        ceil_bps = plan.uplink_bps if plan.may_borrow else rate_bps
        found.append(_class(plan, f"{major}:1", minor, rate_bps, ceil_bps))
        found.append(_queue(plan, minor, rate_bps))
        found += _filters(plan, minor, one.match)
    found.append(_class(plan, f"{major}:1", others, rest_bps, plan.uplink_bps))
    found.append(_queue(plan, others, rest_bps))
    if plan.kept_bps:
        found.append(_class(plan, f"{major}:1", floor, plan.kept_bps, plan.uplink_bps))
        found.append(_queue(plan, floor, plan.kept_bps))
        found += _management_filters(plan, floor)
    found += _lan_filters(plan)
    return found


def down_command(plan: HtbPlan) -> list[str]:
    """The ``tc`` command that takes it out of force."""
    at = ["root"] if plan.parent == "root" else ["parent", plan.parent]
    return ["tc", "qdisc", "del", "dev", plan.device, *at]


def script(plan: HtbPlan) -> str:
    """A shell script that a person can read: ``up``, ``down`` and ``show``.

    A command that fails takes all of it down again.
    """
    lines: list[str] = []
    # A name is a comment here: what ends a line must not end the comment.
    names = [" ".join(one.name.split()) for one in plan.classes]
    ports = ", ".join(map(str, plan.management))
    remarks = iter([*names, "everything else", f"TCP ports {ports}: the floor"])
    for argv in up_commands(plan):
        if argv[1] == "class" and argv[argv.index("parent") + 1] != f"{plan.handle}:":
            lines.append(f"    # {next(remarks)}")
        lines.append(f"    {shlex.join(argv)}")
    down = shlex.join(down_command(plan))
    device = shlex.quote(plan.device)
    commands = "\n".join(lines + _neighbour_lines(plan))
    scaled = (
        f"# Rates are {plan.scale:.1%} of what was granted: the floor is "
        f"{plan.kept_bps / 1e3:g} kbit/s.\n"
        if plan.scale < 1
        else ""
    )
    return f"""#!/bin/sh
# Divides what leaves {plan.device}: {plan.uplink_bps / 1e6:g} Mbit/s among \
{len(plan.classes)} analytics, by {plan.by}.
{scaled}# Written by midhaul. Use: sh shape.sh up | down | show   (as root)
set -eu

up() {{
    down
{commands}
}}

down() {{
    {down} 2>/dev/null || true
}}

case "${{1:-}}" in
    up)
        trap 'down; echo "nothing is shaped" >&2' EXIT
        up
        trap - EXIT
        ;;
    down) down ;;
    show) tc -s qdisc show dev {device}; tc -s class show dev {device} ;;
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


def _filters(plan: HtbPlan, minor: str, match: int) -> list[list[str]]:
    """What sends an analytic's packets to its class, of both families."""
    if plan.by == "mark":
        test = ("handle", str(match), "fw")
        return [_filter(plan, "all", 1, minor, *test)]
    return [
        _filter(plan, family, 1 + n, minor, *_port(word, plan.by, match))
        for n, (family, word) in enumerate(_FAMILIES)
    ]


def _management_filters(plan: HtbPlan, minor: str) -> list[list[str]]:
    """What sends packets of the managing ports, at either end, to the floor's class."""
    return [
        _filter(
            plan, family, 3 + n, minor, *_port(word, end, port), *_protocol(word, _TCP)
        )
        for n, (family, word) in enumerate(_FAMILIES)
        for port in plan.management
        for end in ("sport", "dport")
    ]


def _lan_filters(plan: HtbPlan) -> list[list[str]]:
    """What lets packets to known networks, and whatever keeps a link alive, pass."""
    if not plan.lan and not plan.spares_neighbours:
        return []
    found = [_filter(plan, "arp", 7, "0", "u32", "match", "u32", "0", "0")]
    for text in (*_NEIGHBOURS, *plan.lan):
        network = ipaddress.ip_network(text, strict=False)
        found.append(_lan_filter(plan, int(network.version == _IPV6), str(network)))
    return found


def _lan_filter(plan: HtbPlan, number: int, network: str) -> list[str]:
    family, word = _FAMILIES[number]
    return _filter(plan, family, 5 + number, "0", "u32", "match", word, "dst", network)


def _neighbour_lines(plan: HtbPlan) -> list[str]:
    """Lines of the script that spare the networks which the device is in."""
    if not plan.spares_neighbours:
        return []
    four, six = (
        shlex.join(_lan_filter(plan, n, "ADDRESS")).replace("ADDRESS", '"$address"')
        for n in (0, 1)
    )
    return [
        "    # the device's own networks, which the uplink does not carry",
        f"    ip -o addr show dev {shlex.quote(plan.device)} |",
        "        while read -r _ _ family address _; do",
        '            case "$family" in',
        f"                inet) {four} ;;",
        f"                inet6) {six} ;;",
        "            esac",
        "        done",
    ]


def _port(word: str, end: str, port: int) -> tuple[str, ...]:
    return ("u32", "match", word, end, str(port), "0xffff")


def _protocol(word: str, number: str) -> tuple[str, ...]:
    return ("match", word, "protocol", number, "0xff")


def _filter(
    plan: HtbPlan, family: str, order: int, minor: str, *test: str
) -> list[str]:
    # Two families cannot share an order. Class 0 is none: what goes there is not held.
    head = ("parent", f"{plan.handle}:", "protocol", family, "prio", str(order))
    return _tc("filter", plan.device, *head, *test, "flowid", f"{plan.handle}:{minor}")


_TIMEOUT_S = 20.0
_KERNEL = "this kernel has no sch_htb, cls_u32 (ports) or cls_fw (marks)"
_CLASS = re.compile(
    r"class htb \w+:(?P<minor>\w+) .*?"
    r"Sent (?P<bytes>\d+) bytes (?P<packets>\d+) pkt \(dropped (?P<dropped>\d+),",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """What the kernel has counted for a class, Ethernet headers included.

    ``n_dropped`` are packets dropped because its queue was full.
    """

    n_bytes: int
    n_packets: int
    n_dropped: int


def apply(plan: HtbPlan, *, command: Sequence[str] = ()) -> None:
    """Put a plan into force in place of the one before.

    ``command`` stands before ``tc``. A PrerequisiteError where ``tc`` is missing; a
    NodeError where the kernel refuses, and nothing is in force then.
    """
    remove(plan, command=command)
    try:
        for argv in up_commands(plan):
            _call(argv, command)
    except NodeError:
        remove(plan, command=command)
        raise


def remove(plan: HtbPlan, *, command: Sequence[str] = ()) -> None:
    """Take a plan out of force; harmless where none is."""
    _run(down_command(plan), command)


def change_rates(
    plan: HtbPlan, rates_bps: Mapping[str, float], *, command: Sequence[str] = ()
) -> HtbPlan:
    """Give the classes of a plan in force new rates; what waits keeps its place.

    The plan that is in force now is returned. A DataError where a class is unknown, or
    rates are impossible; a NodeError where the kernel refuses.
    """
    if unknown := set(rates_bps) - {one.name for one in plan.classes}:
        message = f"expected rates of classes of the plan, found {sorted(unknown)}"
        raise DataError(message)
    classes = tuple(
        replace(one, rate_bps=rates_bps.get(one.name, one.rate_bps))
        for one in plan.classes
    )
    changed = replace(plan, classes=classes)
    for argv in up_commands(changed):
        if argv[1] == "class":
            _call([*argv[:2], "change", *argv[3:]], command)
    return changed


def read_counts(
    plan: HtbPlan, *, command: Sequence[str] = ()
) -> dict[str, ClassCounts]:
    """What the kernel has counted, by analytic; ``""`` is everything else.

    A NodeError where the plan is not in force.
    """
    said = _call(["tc", "-s", "class", "show", "dev", plan.device], command)
    blocks = said.split("\n\n")
    by_minor: dict[int, ClassCounts] = {}
    for block in blocks:
        if match := _CLASS.search(block):
            by_minor[int(match["minor"], 16)] = ClassCounts(
                n_bytes=int(match["bytes"]),
                n_packets=int(match["packets"]),
                n_dropped=int(match["dropped"]),
            )
    names = [*(one.name for one in plan.classes), ""]
    if not {FIRST_MINOR + index for index in range(len(names))} <= set(by_minor):
        message = f"the plan is not in force on {plan.device}"
        raise NodeError(message, "apply it first")
    return {name: by_minor[FIRST_MINOR + index] for index, name in enumerate(names)}


def _call(argv: Sequence[str], command: Sequence[str]) -> str:
    done = _run(argv, command)
    if done.returncode:
        message = f"{shlex.join(argv)} failed: {done.stderr.strip()}"
        is_kernel = "classifier not found" in done.stderr or "unknown" in done.stderr
        hint = _KERNEL if is_kernel else "shaping needs root and CAP_NET_ADMIN"
        raise NodeError(message, hint)
    return done.stdout


def _run(
    argv: Sequence[str], command: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    if shutil.which("tc") is None:
        message = "this needs tc, which is not installed"
        raise PrerequisiteError(message, "apt install iproute2")
    return subprocess.run(  # noqa: S603 - fixed programs, no shell
        [*command, *argv],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
