"""A TLS server whose inference time is known, clients that ask it, and captures of it.

Server and clients write down what they know: when a request had arrived as a whole,
when the answer began, when the first byte was sent. All run on one machine, so their
clocks are one. On loopback there is no way to speak of; the tunnel is two network
namespaces with a link of user space between them: real packets, with a delay and a rate
that are set. Loopback needs tcpdump and the right to capture, the tunnel needs root.

    python benchmarks/packet_lab.py serve '{"port": 8443, ...}'     (started by others)
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "vision.midhaul.test"
CLIENT, SERVER = "10.88.0.1", "10.88.0.2"
_ANSWER_BYTES = 3000
_PIECE = 1 << 16


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
    make_certificate(folder)
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


def make_certificate(folder: Path) -> None:
    """A key and a certificate of the server, signed by itself."""
    from cryptography import x509  # noqa: PLC0415 - only where one is made
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    if (folder / "server.pem").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    text = pem + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(text)
    (folder / "ca.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
    )


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
    command = [*inside, sys.executable, __file__, what, json.dumps(options)]
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
    command = [*inside, sys.executable, __file__, what, json.dumps(options)]
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


# What the processes do.


class _Log:
    """Appends lines, from any thread."""

    def __init__(self, file: str) -> None:
        self._file = Path(file).open("w", encoding="utf-8")  # noqa: SIM115 - the process ends with it
        self._lock = threading.Lock()

    def write(self, **fields: int | str) -> None:
        with self._lock:
            self._file.write(json.dumps(fields) + "\n")
            self._file.flush()


def serve(options: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    log = _Log(f"{options['folder']}/{options['name']}.served")
    context = None
    if options["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _fix_version(context, options["tls"])
        context.load_cert_chain(f"{options['folder']}/server.pem")
        context.set_alpn_protocols(["h2"] if options["http"] == "2" else ["http/1.1"])
    if options["http"] == "2":
        import h2.connection  # noqa: F401, PLC0415 - not while the first client waits
    listener = socket.create_server((options["host"], options["port"]), backlog=64)
    print("ready", flush=True)
    handle = _serve_http2 if options["http"] == "2" else _serve_http1

    def one(raw: socket.socket) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, EOFError):
            link = context.wrap_socket(raw, server_side=True) if context else raw
            with link:
                handle(link, log)

    while True:
        raw, _ = listener.accept()
        threading.Thread(target=one, args=(raw,), daemon=True).start()


def _fix_version(context: ssl.SSLContext, version: str) -> None:
    wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = wanted


def _serve_http1(link: socket.socket, log: _Log) -> None:
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            held += _received(link)
        head, _, held = held.partition(b"\r\n\r\n")
        fields = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
        )
        n_missing = int(fields["Content-Length"]) - len(held)
        while n_missing > 0:
            n_missing -= len(_received(link))
        held = b""
        received_ns = time.time_ns()
        time.sleep(float(fields["X-Sleep-S"]))
        body = b"x" * _ANSWER_BYTES
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        answered_ns = time.time_ns()
        link.sendall(answer)
        link.sendall(body)
        log.write(id=fields["X-Id"], received_ns=received_ns, answered_ns=answered_ns)


def _received(link: socket.socket) -> bytes:
    data = link.recv(_PIECE)
    if not data:
        raise EOFError
    return data


def _serve_http2(link: socket.socket, log: _Log) -> None:
    import h2.config  # noqa: PLC0415 - only some cases need it
    import h2.connection  # noqa: PLC0415
    import h2.events  # noqa: PLC0415

    lock = threading.Lock()
    config = h2.config.H2Configuration(client_side=False)
    http = h2.connection.H2Connection(config=config)
    http.initiate_connection()
    link.sendall(http.data_to_send())
    heads: dict[int, dict[bytes, bytes]] = {}

    def answer(stream: int, received_ns: int) -> None:
        fields = heads[stream]
        time.sleep(float(fields[b"x-sleep-s"]))
        with lock, contextlib.suppress(OSError):
            answered_ns = time.time_ns()
            http.send_headers(stream, [(":status", "200"), ("server", "packet-lab")])
            link.sendall(http.data_to_send())
            http.send_data(stream, b"x" * _ANSWER_BYTES, end_stream=True)
            link.sendall(http.data_to_send())
        log.write(
            id=fields[b"x-id"].decode(),
            received_ns=received_ns,
            answered_ns=answered_ns,
        )

    while True:
        if not isinstance(link, ssl.SSLSocket) or not link.pending():
            select.select([link], [], [])
        with lock:
            data = _received(link)
            for event in http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    http.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                elif isinstance(event, h2.events.StreamEnded):
                    threading.Thread(
                        target=answer, args=(event.stream_id, time.time_ns())
                    ).start()
            link.sendall(http.data_to_send())


def ask(options: dict[str, Any]) -> None:
    """Send all requests."""
    log = _Log(f"{options['folder']}/{options['name']}.asked")
    context = None
    if options["tls"]:
        context = ssl.create_default_context(cafile=f"{options['folder']}/ca.pem")
        _fix_version(context, options["tls"])
        context.set_alpn_protocols(["h2"] if options["http"] == "2" else ["http/1.1"])
        if options["key_log"]:
            context.keylog_filename = options["key_log"]
    sender = _ask_http2 if options["http"] == "2" else _ask_http1
    threads = [
        threading.Thread(target=sender, args=(options, context, log, number))
        for number in range(options["n_connections"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _connected(
    options: dict[str, Any], context: ssl.SSLContext | None
) -> socket.socket:
    raw = socket.create_connection((options["host"], options["port"]))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname=NAME) if context else raw


def _ask_http1(
    options: dict[str, Any], context: ssl.SSLContext | None, log: _Log, number: int
) -> None:
    link = None
    body = os.urandom(options["upload_bytes"])
    for i in range(options["n_requests"]):
        link = link or _connected(options, context)
        name = f"{number}-{i}"
        head = (
            f"POST /detect HTTP/1.1\r\nHost: {NAME}\r\nX-Id: {name}\r\n"
            f"X-Sleep-S: {options['inference_s']}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        sent_ns = time.time_ns()
        link.sendall(head.encode())
        link.sendall(body)
        held = b""
        while len(held.partition(b"\r\n\r\n")[2]) < _ANSWER_BYTES:
            held += _received(link)
        log.write(id=name, sent_ns=sent_ns, done_ns=time.time_ns())
        if not options["keeps_alive"]:
            link.close()
            link = None
        time.sleep(options["gap_s"])
    if link is not None:
        link.close()


def _ask_http2(
    options: dict[str, Any], context: ssl.SSLContext | None, log: _Log, number: int
) -> None:
    import h2.config  # noqa: PLC0415
    import h2.connection  # noqa: PLC0415

    link = _connected(options, context)
    http = h2.connection.H2Connection(
        config=h2.config.H2Configuration(client_side=True)
    )
    http.initiate_connection()
    link.sendall(http.data_to_send())
    for i in range(options["n_requests"]):
        names = {}
        for k in range(options["n_streams"]):
            stream = http.get_next_available_stream_id()
            names[stream] = (f"{number}-{i}-{k}", time.time_ns())
            fields = [
                (":method", "POST"),
                (":scheme", "https"),
                (":path", "/detect"),
                (":authority", NAME),
                ("x-id", names[stream][0]),
                ("x-sleep-s", str(options["inference_s"] * (1 + k))),
            ]
            http.send_headers(stream, fields)
            link.sendall(http.data_to_send())
            _send_body(link, http, stream, os.urandom(options["upload_bytes"]))
        _await(link, http, names, log)
        time.sleep(options["gap_s"])
    http.close_connection()
    link.sendall(http.data_to_send())
    link.close()


def _send_body(link: Any, http: Any, stream: int, body: bytes) -> None:
    at = 0
    while at < len(body):
        n = min(
            http.local_flow_control_window(stream),
            http.max_outbound_frame_size,
            len(body) - at,
        )
        if n <= 0:
            http.receive_data(_received(link))
            link.sendall(http.data_to_send())
            continue
        http.send_data(stream, body[at : at + n], end_stream=at + n == len(body))
        link.sendall(http.data_to_send())
        at += n


def _await(link: Any, http: Any, names: dict[int, tuple[str, int]], log: _Log) -> None:
    import h2.events  # noqa: PLC0415

    while names:
        for event in http.receive_data(_received(link)):
            if isinstance(event, h2.events.DataReceived):
                http.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, h2.events.StreamEnded):
                name, sent_ns = names.pop(event.stream_id)
                log.write(id=name, sent_ns=sent_ns, done_ns=time.time_ns())
        link.sendall(http.data_to_send())


def link(options: dict[str, Any]) -> None:
    """Carry packets between two namespaces, later and at a rate."""
    devices = [_tun(name) for name in options["names"]]
    print("ready", flush=True)
    delay_s, rate_bps = options["delay_s"], options["rate_bps"]
    waiting: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    free_s, n_sent = 0.0, 0
    while True:
        now = time.monotonic()
        due = [queue[0][0] for queue in waiting if queue]
        left_s = max(min(due) - now, 0) if due else None
        ready, _, _ = select.select(devices, [], [], left_s)
        now = time.monotonic()
        for device in ready:
            packet = os.read(device, 1 << 16)
            side = devices.index(device)
            leaves_s = now
            if side == 0:
                n_sent += 1
                if options["loss"] and n_sent % options["loss"] == 0:
                    continue
                if rate_bps:
                    free_s = max(free_s, now) + len(packet) * 8 / rate_bps
                    leaves_s = free_s
            waiting[side].append((leaves_s + delay_s, packet))
        now = time.monotonic()
        for side, queue in enumerate(waiting):
            while queue and queue[0][0] <= now:
                with contextlib.suppress(OSError):
                    os.write(devices[1 - side], queue.popleft()[1])


def _tun(namespace: str) -> int:
    """A tunnel device in a namespace, whose packets this process reads and writes."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open(encoding="ascii") as file:
        if libc.setns(file.fileno(), 0x40000000):
            message = f"setns: {os.strerror(ctypes.get_errno())}"
            raise OSError(message)
    device = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", b"tun0", 0x0001 | 0x1000)
    fcntl.ioctl(device, 0x400454CA, request)
    return device


_ROLES: dict[str, Callable[[dict[str, Any]], None]] = {
    "serve": serve,
    "ask": ask,
    "link": link,
}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](json.loads(sys.argv[2]))
