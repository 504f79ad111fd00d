"""Packets are captured while providers are asked, and can be split."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from typing import TYPE_CHECKING

import pytest
from benchmarks.packet_lab import missing

from midhaul.captures.capture import captures_in
from midhaul.captures.tracking import split
from midhaul.errors import PrerequisiteError
from midhaul.federation.record.config import SniffConfig
from midhaul.federation.record.experiment import Sniffer, arguments

if TYPE_CHECKING:
    from pathlib import Path

_WHY = missing()


def test_tcpdump_is_told_everything(tmp_path: Path) -> None:
    """Device, snapshot length, rotation, region pair, filter; who it becomes."""
    config = SniffConfig(device="eth0", region_pair="us2sg", user="nobody")
    words = arguments(config, tmp_path, is_root=True)
    text = " ".join(words)
    assert "-i eth0" in text
    assert "-s 256 -G 3600" in text
    assert f"-w {tmp_path}/us2sg-%Y%m%d_%H%M%S.pcap" in text
    assert "-Z nobody" in text
    assert text.endswith("tcp port 443 or port 53")
    assert "-Z" not in arguments(config, tmp_path, is_root=False)
    owner = arguments(SniffConfig(), tmp_path, is_root=True)
    assert owner[owner.index("-Z") + 1] == tmp_path.owner()


@pytest.mark.skipif(bool(_WHY), reason=_WHY or "captures can be made")
def test_what_was_captured_can_be_split(tmp_path: Path) -> None:
    """A server on loopback that takes its time."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.2)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = server.server_address[1]
    config = SniffConfig(device="lo", filter=f"tcp port {port}", region_pair="us2us")
    with Sniffer(config, tmp_path) as sniffer:
        client = http.client.HTTPConnection("127.0.0.1", port)
        begin = time.perf_counter()
        client.request("POST", "/", body=b"x" * 40_000)
        assert client.getresponse().read() == b"{}"
        took_s = time.perf_counter() - begin
        client.close()
    server.shutdown()
    server.server_close()
    thread.join()
    assert sniffer.n_dropped == 0
    (one,) = split(captures_in(tmp_path))
    (exchange,) = one.exchanges
    assert exchange.status == "ok"
    assert exchange.inference_ns is not None
    assert 0.2 <= exchange.inference_ns / 1e9 <= took_s
    assert exchange.upload_bytes > 40_000


@pytest.mark.skipif(bool(_WHY), reason=_WHY or "captures can be made")
def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With what tcpdump says, and how capturing is allowed."""
    config = SniffConfig(device="nowhere0")
    with pytest.raises(PrerequisiteError, match="nowhere0"), Sniffer(config, tmp_path):
        pass
