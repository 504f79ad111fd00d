"""A TLS server whose inference time is known, clients that ask it, and captures of it.

Server and clients write down what they know: when a request had arrived as a whole,
when the answer began, when the first byte was sent. All run on one machine, so their
clocks are one. On loopback there is no way to speak of; the tunnel is two network
namespaces with a link of user space between them: real packets, with a delay and a rate
that are set. Loopback needs tcpdump and the right to capture, the tunnel needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT, SERVER = "10.88.0.1", "10.88.0.2"
_ROLES = str(Path(__file__).with_name("packet_roles.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is sent, and over what.

    Attributes:
        name: for tables.
        tls: ``1.2``, ``1.3`` or empty for none.
        http: ``1.1`` or ``2``.
        upload_bytes: size of an image.
        inference_s: how long the server sleeps.
        n_requests: requests of each connection.
        n_connections: connections at the same time.
        n_streams: requests at the same time on one connection (HTTP/2).
        keeps_alive: whether requests share a connection.
        gap_s: pause of the client between requests.
        snaplen_bytes: what tcpdump keeps of a packet; 0 for all.
        delay_s: one-way delay of the tunnel; 0 for loopback.
        rate_bps: rate of the tunnel from client to server; 0 for no limit.
        loss: one of so many packets from the client is lost; 0 for none.
        has_key_log: whether the client writes down its keys.
    """

    name: str
    tls: str = "1.3"
    http: str = "1.1"
    upload_bytes: int = 60_000
    inference_s: float = 0.1
    n_requests: int = 3
    n_connections: int = 1
    n_streams: int = 1
    keeps_alive: bool = True
    gap_s: float = 0.02
    snaplen_bytes: int = 0
    delay_s: float = 0.0
    rate_bps: float = 0.0
    loss: int = 0
    has_key_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What both ends know of a request, ns since 1970.

    Attributes:
        sent_ns: the client was about to send it.
        received_ns: the server had it as a whole.
        answered_ns: the server was about to answer.
        done_ns: the client had the answer.
    """

    sent_ns: int
    received_ns: int
    answered_ns: int
    done_ns: int

    @property
    def inference_s(self) -> float:
        """From request received to answer begun."""
        return (self.answered_ns - self.received_ns) / 1e9

    @property
    def total_s(self) -> float:
        """From request sent to answer received."""
        return (self.done_ns - self.sent_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A capture with its truth.

    Attributes:
        capture: the file.
        truths: of every request, by the time it was sent.
        key_log: the client's keys; None without.
    """

    capture: Path
    truths: list[Truth]
    key_log: Path | None


def missing(*, needs_root: bool = False) -> str:
    """Why captures cannot be made here; empty when they can."""
    if shutil.which("tcpdump") is None:
        return "tcpdump is not installed"
    if os.geteuid() != 0:
        return "capturing needs root"
    if needs_root and not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    return ""


def record(case: Case, folder: Path) -> Recorded:
    """Serve, ask and capture.

    Args:
        case: what is sent.
        folder: for all files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    capture = folder / f"{case.name}.pcap"
    key_log = folder / f"{case.name}.keys" if case.has_key_log else None
    tunnel = _tunnel(case) if case.delay_s or case.rate_bps else _loopback()
    with tunnel as (client, server, host, device):
        options = {
            "host": host,
            "port": _free_port(),
            "folder": str(folder),
            "key_log": str(key_log) if key_log else "",
            **asdict(case),
        }
        with (
            _started(server, "serve", options),
            _captured(client, device, options["port"], capture, case.snaplen_bytes),
        ):
            _call(client, "ask", options)
            time.sleep(0.15)
    asked = _lines(folder / f"{case.name}.asked")
    served = {line["id"]: line for line in _lines(folder / f"{case.name}.served")}
    truths = [
        Truth(
            sent_ns=line["sent_ns"],
            received_ns=served[line["id"]]["received_ns"],
            answered_ns=served[line["id"]]["answered_ns"],
            done_ns=line["done_ns"],
        )
        for line in asked
    ]
    truths.sort(key=lambda truth: truth.sent_ns)
    return Recorded(capture=capture, truths=truths, key_log=key_log)


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def _loopback() -> Iterator[tuple[list[str], list[str], str, str]]:
    yield [], [], "127.0.0.1", "lo"


@contextlib.contextmanager
def _tunnel(case: Case) -> Iterator[tuple[list[str], list[str], str, str]]:
    """Two namespaces, each with a tunnel device, and a process between them."""
    stem = f"packetlab-{os.getpid()}"
    names = [f"{stem}-c", f"{stem}-s"]
    link: subprocess.Popen[str] | None = None
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        options = {"names": names, **asdict(case)}
        link = _process([], "link", options)
        for name, address in zip(names, (CLIENT, SERVER), strict=True):
            inside = ["ip", "-n", name]
            subprocess.run(
                [*inside, "addr", "add", f"{address}/24", "dev", "tun0"], check=True
            )
            subprocess.run([*inside, "link", "set", "tun0", "up"], check=True)
        into = [["ip", "netns", "exec", name] for name in names]
        yield into[0], into[1], SERVER, "tun0"
    finally:
        if link is not None:
            _stop(link)
        for name in names:
            subprocess.run(
                ["ip", "netns", "del", name], check=False, capture_output=True
            )


def _process(
    inside: list[str], what: str, options: dict[str, Any]
) -> subprocess.Popen[str]:
    command = [*inside, sys.executable, _ROLES, what, json.dumps(options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stdout = process.stdout
    if stdout is None or stdout.readline().strip() != "ready":
        _stop(process)
        message = f"{what} did not start"
        raise RuntimeError(message)
    return process


def _stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@contextlib.contextmanager
def _started(inside: list[str], what: str, options: dict[str, Any]) -> Iterator[None]:
    process = _process(inside, what, options)
    try:
        yield
    finally:
        _stop(process)


def _call(inside: list[str], what: str, options: dict[str, Any]) -> None:
    command = [*inside, sys.executable, _ROLES, what, json.dumps(options)]
    subprocess.run(command, check=True, timeout=120)


@contextlib.contextmanager
def _captured(
    inside: list[str], device: str, port: int, file: Path, snaplen: int
) -> Iterator[None]:
    command = ["tcpdump", "-i", device, "-U", "-n", "-Z", "root", "-w", str(file)]
    command += ["-B", "32768", "--immediate-mode", "-s", str(snaplen)]
    command += ["tcp", "port", str(port)]
    process = subprocess.Popen(
        [*inside, *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    stderr = process.stderr
    while stderr is not None and "listening on" not in (line := stderr.readline()):
        if not line:
            message = "tcpdump did not start"
            raise RuntimeError(message)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        if stderr is not None:
            stderr.close()
