"""How a server takes connections and lets go of them, and reads bodies."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.services.http import read_body
from midhaul.services.server import server_of

if TYPE_CHECKING:
    from midhaul.services.http import Receive, Scope, Send

_GRACE_S = 30
_LONG_S = 4  # and a head may take longer


async def _idle(scope: Scope, receive: Receive, send: Send) -> None:
    """Begins and ends, and answers nobody."""
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


@pytest.mark.parametrize("n_steps", range(5))
def test_a_connection_that_begins_as_a_server_ends_is_not_waited_for(
    n_steps: int,
) -> None:
    """It was accepted, and not set up: nobody would have ended it."""

    async def end() -> float:
        server = server_of(_idle, grace_s=_GRACE_S)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        with socket.socket() as listening, socket.socket() as client:
            listening.bind(("127.0.0.1", 0))
            await server.startup([listening])
            client.connect(listening.getsockname())
            for _ in range(n_steps):
                await asyncio.sleep(0)
            begun = time.monotonic()
            await server.shutdown([listening])
            assert not server.server_state.connections
            return time.monotonic() - begun

    assert asyncio.run(end()) < _LONG_S


class _Seen(ThreadPoolExecutor):
    """Threads, and what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **named: Any) -> Any:
        """As it does, and keep it."""
        self.given.append(fn.args)
        return super().submit(fn, *args, **named)


def test_bodies_are_joined_without_the_interpreters_lock() -> None:
    """One piece that is not of bytes would have the join keep it."""
    chunks = [bytes([n]) * 100_000 for n in range(10)]
    rest = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(rest)
        return {"type": "http.request", "body": chunk, "more_body": chunk != chunks[-1]}

    async def read() -> bytes:
        asyncio.get_running_loop().set_default_executor(seen)
        return await read_body({"headers": []}, receive, max_bytes=1 << 24, timeout_s=9)

    seen = _Seen()
    assert asyncio.run(read()) == b"".join(chunks)
    ((_join, pieces),) = seen.given
    assert len(pieces) > 1
    assert {type(piece) for piece in pieces} == {bytes}
