"""What is below MQTT: names are found, and nobody waits for a silent name server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest

from midhaul.deploy.enforcement.bridge_config import Endpoint
from midhaul.deploy.enforcement.mqtt.connection import open_wire

_STOPS = """
import asyncio, socket, time
from midhaul.deploy.enforcement.bridge_config import Endpoint
from midhaul.deploy.enforcement.mqtt.connection import open_wire
socket.getaddrinfo = lambda *_, **__: time.sleep(3600)
async def main():
    try:
        async with asyncio.timeout(0.1):
            await open_wire(Endpoint(), "broker.example", 1, None)
    except TimeoutError:
        print("stopped")
asyncio.run(main())
"""


def test_a_silent_name_server_does_not_keep_the_process() -> None:
    """It ends although the question is still open."""
    done = subprocess.run(
        [sys.executable, "-c", _STOPS],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "stopped\n"


def test_all_addresses_of_a_name_are_tried() -> None:
    """Of ``localhost`` too, which may be two; a name that is none is said."""

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            await (await open_wire(Endpoint(), "localhost", port, None)).close()
        for host in ("a" * 70 + ".example", "localhost"):
            with pytest.raises(OSError, match=r"\w"):
                await open_wire(Endpoint(), host, port, None)

    asyncio.run(scene())
