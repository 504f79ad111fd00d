"""The server of the packet lab: its inference is a sleep, and it writes down when."""

from __future__ import annotations

import contextlib
import datetime as dt
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from packet_ends import ANSWER_BYTES, NAME, Log, fix_version, received


def serve(options: dict[str, Any]) -> None:
    """Serve until SIGTERM."""
    log = Log(f"{options['folder']}/{options['name']}.served")
    context = None
    if options["tls"]:
        _make_certificate(Path(options["folder"]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        fix_version(context, options["tls"])
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


def _make_certificate(folder: Path) -> None:
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


def _serve_http1(link: socket.socket, log: Log) -> None:
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            held += received(link)
        head, _, held = held.partition(b"\r\n\r\n")
        fields = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line
        )
        n_missing = int(fields["Content-Length"]) - len(held)
        while n_missing > 0:
            n_missing -= len(received(link))
        held = b""
        received_ns = time.time_ns()
        time.sleep(float(fields["X-Sleep-S"]))
        body = b"x" * ANSWER_BYTES
        answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        answered_ns = time.time_ns()
        link.sendall(answer)
        link.sendall(body)
        log.write(id=fields["X-Id"], received_ns=received_ns, answered_ns=answered_ns)


def _serve_http2(link: socket.socket, log: Log) -> None:
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
            http.send_data(stream, b"x" * ANSWER_BYTES, end_stream=True)
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
            data = received(link)
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
