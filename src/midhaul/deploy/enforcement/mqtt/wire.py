"""The bytes below MQTT: TCP, TLS over TCP, and websockets over either."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from midhaul.errors import require

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from midhaul.deploy.enforcement.bridge_config import Endpoint

_READ_BYTES = 1 << 16
_CLOSES_S = 0.5


class Wire(Protocol):
    """A stream of bytes in both directions."""

    async def read(self) -> bytes:
        """What has come; empty when the other side has closed."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, whole packets at a time; waits while the other side is slow."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


async def open_wire(
    endpoint: Endpoint, host: str, port: int, context: ssl.SSLContext | None
) -> Wire:
    """Connect.

    Args:
        endpoint: for its transport and name.
        host: one of its addresses.
        port: the port there.
        context: for TLS; None without.

    Raises:
        OSError: there is no connection.
        PrerequisiteError: websockets need a library that is not installed.
    """
    name = endpoint.server_name or host if context is not None else None
    if endpoint.transport == "websockets":
        return await _open_websocket(endpoint, host, port, context)
    error = OSError(f"{host} has no address")
    for address in await _addresses(host, port):
        try:
            reader, writer = await asyncio.open_connection(
                address,
                port,
                ssl=context,
                server_hostname=name,
                local_addr=_from(endpoint),
            )
        except OSError as said:
            error = said
        else:
            return _Tcp(reader, writer)
    raise error


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a name.

    Asked for in a thread that nobody waits for at the end: a name server that does not
    answer must not keep a bridge from stopping.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: list[str] = []
        error: OSError | None = None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as said:
            error = said
        except UnicodeError as said:  # a name that is none
            error = OSError(f"{host}: {said}")
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=ask, daemon=True, name=f"resolve {host}").start()
    return await answer


def _from(endpoint: Endpoint) -> tuple[str, int] | None:
    return (endpoint.bind_address, 0) if endpoint.bind_address else None


class _Tcp:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSES_S):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


async def _open_websocket(
    endpoint: Endpoint, host: str, port: int, context: ssl.SSLContext | None
) -> Wire:
    require("aiohttp", "deploy")
    import aiohttp  # noqa: PLC0415  optional

    scheme = "ws" if context is None else "wss"
    shown = f"[{host}]" if ":" in host else host
    connector = aiohttp.TCPConnector(local_addr=_from(endpoint))
    session = aiohttp.ClientSession(connector=connector)
    try:
        stream = await session.ws_connect(
            f"{scheme}://{shown}:{port}{endpoint.path}",
            protocols=("mqtt",),
            ssl=True if context is None else context,
            server_hostname=endpoint.server_name or None if context else None,
            max_msg_size=0,
            autoping=True,
        )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.ClientError):
            message = f"websocket on {host}:{port}{endpoint.path}: {error}"
            raise ConnectionError(message) from error
        raise
    return _Websocket(session, stream)


class _Websocket:
    def __init__(
        self, session: aiohttp.ClientSession, stream: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._session, self._socket = session, stream

    async def read(self) -> bytes:
        from aiohttp import WSMsgType  # noqa: PLC0415  optional

        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return message.data
        if message.type is WSMsgType.ERROR:
            raise ConnectionError(str(message.data))
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSES_S):
                await self._socket.close()
        await self._session.close()
