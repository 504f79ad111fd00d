"""A worker process as the orchestrator sees it: orders go in, lines come out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from midhaul.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LONGEST_LINE = 1 << 24
_READY_S = 60.0
_STOP_S = 10.0


class Child:
    """One worker.

    Args:
        role: its role and name.
        options: for it.
        command: what stands before the program, such as a namespace's.
        log: file for what it writes to stderr.
        take: called with each line that is no reply.
    """

    def __init__(
        self,
        role: str,
        options: dict[str, Any],
        *,
        command: Sequence[str],
        log: Path,
        take: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.role = role
        self.log = log
        program = [sys.executable, "-m", "midhaul.deploy.live.worker"]
        self._argv = [*command, *program, role, json.dumps(options)]
        self._take = take
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._n_calls = 0
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            NodeError: it ends, or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LONGEST_LINE,
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read())
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(self.ended.wait())
        await asyncio.wait(
            {ready, ended}, timeout=_READY_S, return_when="FIRST_COMPLETED"
        )
        ended.cancel()
        if not ready.done():
            ready.cancel()
            raise self._failure("is not ready")  # noqa: EM101  it is a part of it

    def send(self, order: dict[str, Any]) -> None:
        """Give an order that has no reply.

        Raises:
            NodeError: the process has ended.
        """
        process = self._process
        if process is None or process.stdin is None or self.ended.is_set():
            raise self._failure("takes no orders")  # noqa: EM101  it is a part of it
        process.stdin.write(json.dumps(order).encode() + b"\n")

    async def call(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its reply.

        Raises:
            NodeError: the process ends before.
        """
        self._n_calls += 1
        number = self._n_calls
        future = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        self.send({**order, "id": number})
        return await future

    def check(self) -> None:
        """Refuse to go on without it.

        Raises:
            NodeError: it has ended.
        """
        if self.ended.is_set():
            raise self._failure("has ended")  # noqa: EM101  it is a part of it

    async def stop(self) -> None:
        """Close its stdin and wait; kill it if that does not help."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        process = self._process
        try:
            if process is not None and process.stdout is not None:
                async for line in process.stdout:
                    self._handle(json.loads(line))
        finally:
            self.ended.set()
            for future in self._replies.values():
                if not future.done():
                    future.set_exception(self._failure("has ended"))

    def _handle(self, line: dict[str, Any]) -> None:
        if "reply" in line:
            future = self._replies.pop(line["reply"])
            if not future.done():
                future.set_result(line)
        elif "ready" in line:
            self._ready.set()
        elif self._take is not None:
            self._take(line)

    def _failure(self, what: str) -> NodeError:
        try:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            said = ""
        last = said.rpartition("\n")[2] or "it said nothing"
        return NodeError(f"worker {self.role} {what}: {last}", f"see {self.log}")
