"""Shaper: the process behind all links, a TCP proxy with a clock per direction.

    python -m midhaul.testbed.links.shaper FD attached|detached

It is told what to do by JSON lines over the socket FD (by
:mod:`midhaul.testbed.links.links`) and answers each with one line. An attached one ends
when that socket is closed.

Pieces wait in bounded queues, so that a fast sender is held back by TCP as it would be
by a slow link. Timers of an event loop are usually rounded to a millisecond, which is
4 % of what 150 kB take at 50 Mbit/s; the selector here waits to the microsecond.

One direction of a link is a *clock*: when do these bytes leave, when do they arrive?

A link with rate r and delay d is a server that works through bytes in the order in
which they come. A piece of n bytes that is there at time t begins at
``max(t, end of the piece before)``, has left after ``8 n / r`` and arrives d later. All
connections share the clock, so they share the rate; bytes are admitted in pieces of a
few milliseconds, so they share it fairly and nothing is sent in large bursts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import select
import selectors
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from midhaul.machine.processes import prompt

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_S = 0.004
_LEAST_BYTES = 1500
_MOST_BYTES = 64 << 10


@dataclass(slots=True)
class Pipe:
    """The clock of one direction.

    Attributes:
        rate_bps: bits per second; infinite where nothing is slowed down.
        delay_s: of propagation.
        early_s: how much earlier pieces are let go, to make up for the time that the
            shaper itself takes; found by calibration.
    """

    rate_bps: float = math.inf
    delay_s: float = 0.0
    early_s: float = 0.0
    _free_at_s: float = 0.0

    @property
    def piece_bytes(self) -> int:
        """Most bytes that may be admitted at once."""
        if math.isinf(self.rate_bps):
            return _MOST_BYTES
        fair = int(self.rate_bps * _PIECE_S / 8)
        return min(max(fair, _LEAST_BYTES), _MOST_BYTES)

    def admit(self, n_bytes: int, there_s: float) -> tuple[float, float]:
        """Put a piece on the link.

        Args:
            n_bytes: its size.
            there_s: the time from which on it was there to be sent.

        Returns:
            When its last bit leaves, and when it is to be let go.
        """
        left_s = max(there_s, self._free_at_s) + 8 * n_bytes / self.rate_bps
        self._free_at_s = left_s
        return left_s, left_s + self.delay_s - self.early_s


_LOG = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_BACKLOG = 2048
_AHEAD_S = 0.008
_AT_ONCE_S = 0.0002
_LEAST_PIECES = 16


class FineSelector(selectors.DefaultSelector):
    """The default selector with time-outs that are not rounded to milliseconds."""

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait like any selector; an epoll descriptor can itself be waited for."""
        fileno = getattr(self, "fileno", None)
        if timeout is not None and timeout > 0 and fileno is not None:
            select.select([fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


@dataclass(slots=True)
class Channel:
    """Both directions between two nodes, and where the farther one listens.

    Attributes:
        port: of the node that is reached through this.
        up: towards it.
        down: back from it.
        up_bytes: carried towards it so far.
        down_bytes: carried back so far.
        is_probe: true when it takes one connection only, to measure the clocks.
    """

    port: int
    up: Pipe
    down: Pipe
    up_bytes: int = 0
    down_bytes: int = 0
    is_probe: bool = False

    def count_up(self, n_bytes: int) -> None:
        """Count bytes towards the node."""
        self.up_bytes += n_bytes

    def count_down(self, n_bytes: int) -> None:
        """Count bytes back from the node."""
        self.down_bytes += n_bytes


@dataclass(slots=True)
class Shaper:
    """Everything that the process holds."""

    channels: list[Channel] = field(default_factory=list[Channel])
    servers: set[asyncio.Server] = field(default_factory=set[asyncio.Server])
    carrying: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line asks for.

        Orders: ``add`` a channel and answer its port; ``probe`` the clocks of a
        channel towards another port; ``early`` sets what calibration found for its two
        directions; ``count`` answers the bytes up and down of every channel.
        """
        match order["do"]:
            case "add":
                channel = Channel(
                    port=order["port"], up=Pipe(*order["up"]), down=Pipe(*order["down"])
                )
                self.channels.append(channel)
                return {"port": await self._listen(channel)}
            case "probe":
                real = self.channels[order["channel"]]
                probe = Channel(
                    port=order["port"], up=real.up, down=real.down, is_probe=True
                )
                return {"port": await self._listen(probe)}
            case "early":
                channel = self.channels[order["channel"]]
                channel.up.early_s, channel.down.early_s = order["early_s"]
                return {}
            case "count":
                return {"bytes": [(c.up_bytes, c.down_bytes) for c in self.channels]}
            case unknown:
                return {"error": f"unknown order {unknown!r}"}

    async def _listen(self, channel: Channel) -> int:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if channel.is_probe:
                server.close()
                self.servers.discard(server)
            task = asyncio.create_task(_connect(channel, reader, writer))
            self.carrying.add(task)
            task.add_done_callback(self.carrying.discard)

        server = await asyncio.start_server(accept, _HOST, 0, backlog=_BACKLOG)
        self.servers.add(server)
        return server.sockets[0].getsockname()[1]


async def _connect(
    channel: Channel, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter
) -> None:
    """Carry one connection, both ways, until both sides have ended or one broke."""
    writers = [near_writer]
    try:
        far, far_writer = await asyncio.open_connection(_HOST, channel.port)
        writers.append(far_writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(near, far_writer, channel.up, channel.count_up))
            both.create_task(_carry(far, near_writer, channel.down, channel.count_down))
    except* OSError as broken:
        _LOG.debug("a connection to port %d broke: %s", channel.port, broken.exceptions)
    finally:
        for writer in writers:
            writer.close()


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pipe: Pipe,
    count: Callable[[int], None],
) -> None:
    """Carry one direction of one connection.

    The link is kept busy by admitting pieces a little ahead of time. Where this process
    is held up for longer than that, a piece that had been waiting counts from the end
    of the one before, so that a busy machine does not make the link slower.
    """
    loop = asyncio.get_running_loop()
    n_pieces = _LEAST_PIECES + int(2 * pipe.delay_s / (_AHEAD_S / 2))
    on_the_way = asyncio.Queue[tuple[float, bytes]](n_pieces)

    async def arrive() -> None:
        while True:
            due_s, piece = await on_the_way.get()
            await _until(due_s)
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    async with asyncio.TaskGroup() as both:
        both.create_task(arrive())
        asked_s = left_s = loop.time()
        while piece := await reader.read(pipe.piece_bytes):
            count(len(piece))
            there_s = loop.time()
            if there_s - asked_s < _AT_ONCE_S:
                there_s = min(there_s, left_s)
            left_s, due_s = pipe.admit(len(piece), there_s)
            await on_the_way.put((due_s, piece))
            await _until(left_s - _AHEAD_S)
            asked_s = loop.time()
        await on_the_way.put((loop.time() + pipe.delay_s, b""))


async def _until(time_s: float) -> None:
    wait_s = time_s - asyncio.get_running_loop().time()
    if wait_s > 0:
        await asyncio.sleep(wait_s)


async def obey_all(control: socket.socket, *, is_attached: bool) -> None:
    """Obey every line of a socket, and live on after it where detached."""
    shaper = Shaper()
    reader, writer = await asyncio.open_connection(sock=control)
    while line := await reader.readline():
        try:
            said = await shaper.obey(json.loads(line))
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(said).encode() + b"\n")
    if not is_attached:
        await asyncio.Event().wait()


def main() -> None:
    """Serve the socket that the arguments name."""
    fd, tie = sys.argv[1:]
    control = socket.socket(fileno=int(fd))
    with (
        asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(FineSelector())
        ) as runner,
        prompt(),
        contextlib.suppress(KeyboardInterrupt),
    ):
        runner.run(obey_all(control, is_attached=tie == "attached"))


if __name__ == "__main__":
    main()
