"""What a node that is none of ours may answer to the client."""

from __future__ import annotations

import asyncio
import contextlib
import gzip

import pytest

from midhaul.errors import NodeError
from midhaul.wire.client import Client

BOMB = gzip.compress(bytes(1 << 20))
HUGE = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
PACKED = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"


@pytest.mark.parametrize(
    ("begin", "rest", "said"),
    [
        (HUGE, b"", "an answer has more than 67108864 bytes"),
        (ENDLESS, CHUNK, "an answer has more than 67108864 bytes"),
        (PACKED % (len(BOMB), BOMB), b"", "something else than an answer"),
    ],
)
def test_answers_are_bounded(begin: bytes, rest: bytes, said: str) -> None:
    """Neither their length, nor what they would inflate to, fills the memory."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            writer.write(begin)
            while rest:
                writer.write(rest)
                await writer.drain()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, Client() as client:
            found = await client.infer(url, [("a", b"x")], timeout_s=60)
            assert found.status == "broken"
            assert said in (found.error or "")
            with pytest.raises(NodeError):
                await client.get(url, "info", timeout_s=60)

    asyncio.run(main())
