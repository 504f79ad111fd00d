"""The lab: a gateway and a cloud on one machine, and a real, shaped link between them.

Two network namespaces are joined by a veth pair. The kernel's token bucket (``tc tbf``)
holds both directions to their rates, which can be changed while traffic flows. Programs
are started inside with :meth:`Lab.command`; they see nothing but their own loopback and
the link. Everything is removed at the end, on SIGTERM too, and what a killed run has
left is removed by the next one.

Its *broker* is mosquitto. It listens on loopback unless told otherwise, lets nobody
send more than a stated size, keeps bounded queues, and writes what it holds for absent
clients to its folder, so that a restart loses nothing that it has acknowledged.
"""

from __future__ import annotations

import getpass
import json
import shutil
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from midhaul.errors import DataError, PrerequisiteError
from midhaul.machine.children import LoggedChild
from midhaul.machine.namespaces import (
    check_namespaces,
    namespace_names,
    remove_leftovers,
    remove_namespace,
    run_iproute,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

Side = Literal["gateway", "cloud"]

SIDES: tuple[Side, Side] = ("gateway", "cloud")
ADDRESSES: dict[Side, str] = {"gateway": "10.99.0.1", "cloud": "10.99.0.2"}
DEVICE = "eth0"
"""The device of the link, on either side."""

_SIMULATE = 'simulate instead: kind = "deploy.simulate"'
_LEAST_BPS = 1000.0  # below it the kernel's bucket cannot hold a packet
BURST_BYTES = 2000
"""What a slow link lets pass at once, and once more each time its rate is changed: the
kernel fills the bucket of a changed rate."""
_BURST_S = 0.002
_LEAST_QUEUE_BYTES = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the link has carried since it was made, Ethernet headers included.

    Up is gateway to cloud; dropped are packets that the full queue of a side has
    dropped.
    """

    up_bytes: int
    up_packets: int
    down_bytes: int
    down_packets: int
    up_dropped: int
    down_dropped: int


class Lab:
    """Two namespaces and the link between them; a context manager.

    An uplink of zero carries nothing; a packet may wait ``queue_s`` for the link, as in
    a modem's buffer. A PrerequisiteError where this is not Linux, not root, or ``ip``
    or ``tc`` is missing; a NodeError where the kernel refuses.
    """

    def __init__(
        self, *, uplink_bps: float, downlink_bps: float, queue_s: float = 0.2
    ) -> None:
        check_namespaces("the lab", _SIMULATE)
        self._queue_s = queue_s
        self._rates_bps = {"gateway": uplink_bps, "cloud": downlink_bps}
        names = namespace_names(SIDES)
        self._names: dict[Side, str] = dict(zip(SIDES, names, strict=True))
        self._is_shaped = {"gateway": False, "cloud": False}
        self._restore_sigterm: Any = None

    def __enter__(self) -> Self:
        """Remove what killed runs have left, then build."""
        remove_leftovers()
        self._catch_sigterm()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything."""
        self.close()

    def name(self, side: Side) -> str:
        """Name of a side's namespace."""
        return self._names[side]

    def address(self, side: Side) -> str:
        """Address of a side on the link."""
        return ADDRESSES[side]

    def command(self, side: Side, argv: Sequence[str] = ()) -> list[str]:
        """How a program is started inside a side."""
        return ["ip", "netns", "exec", self._names[side], *argv]

    def set_uplink(self, rate_bps: float) -> None:
        """Change the rate from gateway to cloud; what waits already keeps its place.

        A DataError is a rate that is negative, infinite or NaN.
        """
        self._shape("gateway", rate_bps)

    @property
    def uplink_bps(self) -> float:
        """Present rate from gateway to cloud."""
        return self._rates_bps["gateway"]

    @property
    def downlink_bps(self) -> float:
        """Present rate from cloud to gateway."""
        return self._rates_bps["cloud"]

    def traffic(self) -> Traffic:
        """What the link has carried so far."""
        up, down = (self._sent(side) for side in SIDES)
        return Traffic(
            up_bytes=up[0],
            up_packets=up[1],
            down_bytes=down[0],
            down_packets=down[1],
            up_dropped=up[2],
            down_dropped=down[2],
        )

    def close(self) -> None:
        """End what runs inside and remove the namespaces; twice is harmless."""
        for name in self._names.values():
            remove_namespace(name)
        if self._restore_sigterm is not None:
            signal.signal(signal.SIGTERM, self._restore_sigterm)
            self._restore_sigterm = None

    def _build(self) -> None:
        for name in self._names.values():
            run_iproute("ip", "netns", "add", name)
        near, far = (self._names[side] for side in SIDES)
        pair = ("type", "veth", "peer", "name", DEVICE, "netns", far)
        run_iproute("ip", "link", "add", "name", DEVICE, "netns", near, *pair)
        for side in SIDES:
            name = self._names[side]
            # Real packets: a veth would pass segments of 64 KB, which no link carries.
            run_iproute(
                "ip", "-n", name, "link", "set", "dev", DEVICE, "gso_max_segs", "1"
            )
            at = f"{ADDRESSES[side]}/30"
            run_iproute("ip", "-n", name, "address", "add", at, "dev", DEVICE)
            run_iproute("ip", "-n", name, "link", "set", "dev", "lo", "up")
            run_iproute("ip", "-n", name, "link", "set", "dev", DEVICE, "up")
            self._shape(side, self._rates_bps[side])

    def _shape(self, side: Side, rate_bps: float) -> None:
        if not 0 <= rate_bps < float("inf"):
            message = f"expected a rate of at least 0 bit/s, found {rate_bps}"
            raise DataError(message)
        if self._is_shaped[side] and rate_bps == self._rates_bps[side]:
            return
        burst = max(BURST_BYTES, int(rate_bps * _BURST_S / 8))
        if rate_bps == 0:
            burst = 1  # no packet fits: the link is dead
        limit = max(_LEAST_QUEUE_BYTES, int(rate_bps * self._queue_s / 8))
        rate = f"{int(max(rate_bps, _LEAST_BPS))}bit"
        head = ("tc", "-n", self._names[side], "qdisc", "replace", "dev", DEVICE)
        bucket = ("tbf", "rate", rate, "burst", str(burst), "limit", str(limit))
        run_iproute(*head, "root", "handle", "1:", *bucket)
        self._rates_bps[side], self._is_shaped[side] = rate_bps, True

    def _sent(self, side: Side) -> tuple[int, int, int]:
        """Bytes and packets that a side has sent, packets that it has dropped."""
        name = self._names[side]
        link = run_iproute("ip", "-n", name, "-j", "-s", "link", "show", "dev", DEVICE)
        sent = json.loads(link)[0]["stats64"]["tx"]
        queues = run_iproute(
            "tc", "-n", name, "-j", "-s", "qdisc", "show", "dev", DEVICE
        )
        root = next(queue for queue in json.loads(queues) if queue.get("root"))
        return sent["bytes"], sent["packets"], root["drops"]

    def _catch_sigterm(self) -> None:
        """Let SIGTERM unwind the program, so that the namespaces go."""
        is_ours = threading.current_thread() is threading.main_thread()
        if is_ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._restore_sigterm = signal.signal(
                signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
            )


LOOPBACK = "127.0.0.1"

_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"


class Broker(LoggedChild):
    """One mosquitto; a context manager.

    Its config, log and store are in ``folder``. Port 0 is one that is free in this
    namespace; ``command`` stands before the program, such as :meth:`Lab.command` of a
    side. A payload larger than ``max_message_bytes`` is refused; further messages than
    ``max_queued`` for an absent client are dropped. ``more`` are lines of its config. A
    PrerequisiteError where mosquitto is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        command: Sequence[str] = (),
        max_message_bytes: int = 16_000_000,
        max_queued: int = 1000,
        max_queued_bytes: int = 64_000_000,
        more: Sequence[str] = (),
    ) -> None:
        self._program = _found()
        port = port or _free_port(host)
        super().__init__(
            f"mosquitto on {host}:{port}", folder / "mosquitto.log", ready=" running"
        )
        self.host = host
        self.port = port
        self._prefix = list(command)
        self._folder = folder
        self._limits = {
            "message_size_limit": max_message_bytes,
            "max_queued_messages": max_queued,
            "max_queued_bytes": max_queued_bytes,
        }
        self._more = "".join(f"{line}\n" for line in more)

    def config(self) -> str:
        """The text of its config."""
        limits = "".join(f"{name} {value}\n" for name, value in self._limits.items())
        return (
            f"listener {self.port} {self.host}\n"
            "allow_anonymous true\n"
            f"user {getpass.getuser()}\n"
            "persistence true\n"
            f"persistence_location {self._folder.resolve()}/\n"
            "set_tcp_nodelay true\n"
            "log_dest stderr\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
            f"{limits}"
            f"{self._more}"
        )

    def _command(self) -> list[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "mosquitto.conf"
        file.write_text(self.config(), encoding="utf-8")
        return [*self._prefix, self._program, "-c", str(file)]


def _found() -> str:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SEARCHED)
    if program is None:
        message = "this needs the MQTT broker mosquitto, which is not installed"
        raise PrerequisiteError(message, "apt install mosquitto")
    return program


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]
