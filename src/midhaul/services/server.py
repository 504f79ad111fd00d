"""HTTP server of nodes and federations, which takes new connections in small groups.

An event loop's own server accepts all who wait at once: after a burst of thousands,
clients that are already connected wait until the last of them is set up. Here everybody
who is connected has a turn between groups; the others wait in the kernel's queue. A
loop that comes late has enough to do, and takes one at a time. Who connects and says
nothing is left to the kernel (``TCP_DEFER_ACCEPT`` of Linux) for as long as a head may
take, and costs the loop nothing.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import math
import socket
import sys
from typing import Any

import uvicorn

from midhaul.errors import NodeError
from midhaul.services.http import AdmissionControl, protocol_of
from midhaul.wire.limits import ServerLimits

_BACKLOG = 16_384
_AT_ONCE = 8
_PAUSE_S = 2e-3
_LATE_S = 2e-3  # a loop with nothing to do is later than that only by chance
_NO_FILES_S = 1.0  # as asyncio waits when a process has no file descriptor left
_KEEPALIVE_S = 75  # longer than any client of ours keeps an idle connection
_GRACE_S = 2


def server_of(
    application: Any,
    limits: ServerLimits | None = None,
    token: str = "",
    *,
    grace_s: int = _GRACE_S,
) -> PacedServer:
    """The HTTP server that nodes run in, for any ASGI application.

    Requests must bear the token, which is empty for none; those that are being answered
    when it is to end have ``grace_s``.
    """
    limits = limits or ServerLimits()
    return PacedServer(
        uvicorn.Config(
            AdmissionControl(application, limits, token),
            log_level=logging.ERROR,
            access_log=False,
            date_header=False,
            http=protocol_of(limits),
            lifespan="on",
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            server_header=False,
            timeout_graceful_shutdown=grace_s,
            timeout_keep_alive=_KEEPALIVE_S,
            ws="none",
        )
    )


def listen(name: str, host: str, port: int) -> socket.socket:
    """A socket that takes connections already; they wait until the server is ready.

    NodeError where it cannot be had, with the name of who wanted it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else str(error)
        message = f"{name}: port {port} on {host} {reason}"
        hint = "choose another port, or 0 for a free one"
        raise NodeError(message, hint) from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = listening.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"


class PacedServer(uvicorn.Server):
    """Uvicorn's server on sockets that it is given, with its own way to accept.

    Attributes:
        is_listening: whether it accepts connections.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = False
        self._at_once = _AT_ONCE
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._beginning: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen.

        What is loaded by now stays: the collector of garbage would walk through all of
        it again and again while many connections come and go, 0.1 s each time.
        """
        await super().startup(sockets=[])
        gc.collect()
        gc.freeze()
        for listening in sockets or ():
            self._leave_silent_ones(listening)
            listening.listen(_BACKLOG)
            listening.settimeout(0)
            self._listen(listening)
        self.is_listening = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that are there."""
        loop = asyncio.get_running_loop()
        for listening in sockets or ():
            loop.remove_reader(listening)
            if listening in self._pauses:
                self._pauses.pop(listening).cancel()
        self.is_listening = False
        if self._beginning:  # else they would not be ended, and be waited for
            await asyncio.wait(self._beginning)
        await super().shutdown(sockets)

    def _leave_silent_ones(self, listening: socket.socket) -> None:
        """Have the kernel keep connections until their first byte is there."""
        option = getattr(socket, "TCP_DEFER_ACCEPT", None)
        if option is not None:
            protocol: Any = self.config.http_protocol_class
            seconds = math.ceil(protocol.limits.head_timeout_s)
            listening.setsockopt(socket.IPPROTO_TCP, option, seconds)

    def _listen(self, listening: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take some of those that wait, and pause where there may be more."""
        pause_s = _PAUSE_S
        for _ in range(self._at_once):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                pause_s = _NO_FILES_S
                break
            connection.settimeout(0)
            task = asyncio.ensure_future(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._pauses[listening] = loop.call_later(
            pause_s, self._after_pause, listening, loop.time() + pause_s
        )

    def _after_pause(self, listening: socket.socket, due_s: float) -> None:
        """Listen again, for fewer where the loop had other things to do meanwhile."""
        is_late = asyncio.get_running_loop().time() > due_s + _LATE_S
        self._at_once = 1 if is_late else min(_AT_ONCE, 2 * self._at_once)
        self._pauses.pop(listening, None)
        self._listen(listening)

    async def _begin(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # it was gone before it was set up
        except asyncio.CancelledError:
            connection.close()
            raise

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        return protocol(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
