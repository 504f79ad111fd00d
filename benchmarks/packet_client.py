"""The clients of the packet lab: they ask, and write down when."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from typing import Any

from packet_ends import ANSWER_BYTES, NAME, Log, fix_version, received


def ask(options: dict[str, Any]) -> None:
    """Send all requests."""
    log = Log(f"{options['folder']}/{options['name']}.asked")
    context = None
    if options["tls"]:
        context = ssl.create_default_context(cafile=f"{options['folder']}/ca.pem")
        fix_version(context, options["tls"])
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
    options: dict[str, Any], context: ssl.SSLContext | None, log: Log, number: int
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
        while len(held.partition(b"\r\n\r\n")[2]) < ANSWER_BYTES:
            held += received(link)
        log.write(id=name, sent_ns=sent_ns, done_ns=time.time_ns())
        if not options["keeps_alive"]:
            link.close()
            link = None
        time.sleep(options["gap_s"])
    if link is not None:
        link.close()


def _ask_http2(
    options: dict[str, Any], context: ssl.SSLContext | None, log: Log, number: int
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
            http.receive_data(received(link))
            link.sendall(http.data_to_send())
            continue
        http.send_data(stream, body[at : at + n], end_stream=at + n == len(body))
        link.sendall(http.data_to_send())
        at += n


def _await(link: Any, http: Any, names: dict[int, tuple[str, int]], log: Log) -> None:
    import h2.events  # noqa: PLC0415

    while names:
        for event in http.receive_data(received(link)):
            if isinstance(event, h2.events.DataReceived):
                http.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, h2.events.StreamEnded):
                name, sent_ns = names.pop(event.stream_id)
                log.write(id=name, sent_ns=sent_ns, done_ns=time.time_ns())
        link.sendall(http.data_to_send())
