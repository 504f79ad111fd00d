"""ASGI application of a served memory: what it answers to whom.

Bodies are Arrow streams or JSON, told apart by their first byte; answers are what the
client accepts, or of the kind that the body was.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from midhaul import __version__
from midhaul.memory.serving.engine import Refused
from midhaul.memory.serving.messages import (
    ARROW_TYPE,
    JSON_TYPE,
    Piece,
    write_counts,
    write_fates,
    write_samples,
)
from midhaul.services.http import (
    Disconnected,
    HttpError,
    header,
    read_body,
    write,
    write_json,
)
from midhaul.services.memory_metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from midhaul.memory.serving.config import MemoryFile
    from midhaul.memory.serving.engine import ServedMemory
    from midhaul.memory.serving.snapshots import Snapshots
    from midhaul.memory.serving.worker import MemoryWorker
    from midhaul.services.http import Receive, Scope, Send
    from midhaul.services.memory_metrics import MemoryMetrics

_HELP = (
    "a memory knows POST /offer, /label, /decision, /retrained, /model and /merge, and "
    "GET /decision, /samples, /sketch, /export, /info, /health and /metrics"
)
_NPZ_TYPE = b"application/octet-stream"
_OBJECT = b"{["


class MemoryApplication:
    """One memory, to be served by any ASGI server with its lifespan protocol.

    Args:
        config: of the file.
        engine: touched by the worker only.
        worker: not started yet.
        snapshots: of the engine.
        metrics: that count what is answered.
        on_ready: called when it answers.
    """

    def __init__(
        self,
        config: MemoryFile,
        engine: ServedMemory,
        worker: MemoryWorker,
        snapshots: Snapshots,
        metrics: MemoryMetrics,
        *,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._engine = engine
        self._worker = worker
        self._snapshots = snapshots
        self._metrics = metrics
        self._on_ready = on_ready
        self._is_ready = False
        self._n_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the life span of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                await self._route(scope, receive, send)
            except Refused as refusal:
                self._metrics.refused(refusal.reason)
                said = {"error": refusal.text, "reason": refusal.reason}
                await write_json(send, refusal.status, said)
            except HttpError as error:
                self._metrics.refused(f"http-{error.status}")
                await write_json(send, error.status, {"error": error.text})
            except Disconnected:
                return

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._worker.start()
        syncing: asyncio.Task[None] | None = None
        if self._config.journal.sync == "interval":
            syncing = asyncio.create_task(self._sync())
        self._is_ready = True
        self._on_ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._is_ready = False
        if syncing is not None:
            syncing.cancel()
        await asyncio.to_thread(self._worker.stop)
        await asyncio.to_thread(self._snapshots.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(self._config.journal.sync_s)
            await asyncio.wrap_future(self._snapshots.sync())

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        match (scope["method"], scope["path"]):
            case ("POST", "/offer"):
                await self._offer(scope, receive, send)
            case ("POST", "/label"):
                piece = await self._piece(scope, receive)
                await self._operated(send, self._worker.operate("label", pieces=piece))
            case ("POST", "/decision"):
                await self._operated(send, self._worker.operate("decide"))
            case ("POST", "/retrained"):
                version = _version(scope)
                await self._operated(send, self._worker.operate("retrained", **version))
            case ("POST", "/model"):
                await self._model(scope, receive, send)
            case ("POST", "/merge"):
                piece = await self._piece(scope, receive)
                await self._operated(send, self._worker.operate("merge", pieces=piece))
            case ("GET", "/health"):
                said = {"name": self._config.name, "ready": self._is_ready}
                await write_json(send, 200 if self._is_ready else 503, said)
            case ("GET", path) if path in self._asked:
                await self._asked[path](self, scope, send)
            case (method, path):
                raise HttpError(404, f"no {method} {path} here; {_HELP}")

    async def _offer(self, scope: Scope, receive: Receive, send: Send) -> None:
        piece = await self._piece(scope, receive)
        begin_s = time.perf_counter()
        outcome = await self._answer(self._worker.operate("offer", pieces=piece))
        is_json = _wants_json(scope, is_json=piece[0].is_json)
        body = write_fates(outcome.fates, outcome.reasons, is_json=is_json)
        self._metrics.offered(time.perf_counter() - begin_s)
        await write(send, 200, body, (JSON_TYPE if is_json else ARROW_TYPE).encode())

    async def _model(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._config.accepts_models:
            raise HttpError(403, f"{self._config.name} takes no models: accepts_models")
        version = _version(scope)
        piece = await self._piece(scope, receive)
        await self._operated(
            send, self._worker.operate("model", pieces=piece, **version)
        )

    async def _samples(self, scope: Scope, send: Send) -> None:
        del scope
        engine = self._engine

        def written() -> bytes:
            told = {
                "model_version": str(engine.version),
                "n_offered": str(engine.memory.n_offered),
            }
            return write_samples(engine.weighted(), told)

        body = await self._answer(self._worker.ask(written))
        await write(send, 200, body, ARROW_TYPE.encode())

    async def _sketch(self, scope: Scope, send: Send) -> None:
        said, counts = await self._answer(self._worker.ask(self._engine.sketch))
        if _wants_json(scope, is_json=True):
            columns = {name: one.tolist() for name, one in counts.items()}
            await write_json(send, 200, {**said, **columns})
            return
        told = {"sketch": json.dumps(said)}
        await write(send, 200, write_counts(counts, told), ARROW_TYPE.encode())

    async def _export(self, scope: Scope, send: Send) -> None:
        del scope
        state = await self._answer(self._worker.ask(self._engine.exported))
        body = await self._answer(self._snapshots.exported(state))
        await write(send, 200, body, _NPZ_TYPE)

    async def _decision(self, scope: Scope, send: Send) -> None:
        del scope
        said = await self._answer(self._worker.ask(lambda: self._engine.decision))
        if said is None:
            raise HttpError(404, "nothing is decided yet; POST /decision asks the rule")
        await write_json(send, 200, said)

    async def _counted(self, scope: Scope, send: Send) -> None:
        del scope
        text = await self._answer(self._worker.ask(self._metrics.text))
        await write(send, 200, text, CONTENT_TYPE)

    async def _info(self, scope: Scope, send: Send) -> None:
        del scope
        engine = self._engine

        def told() -> dict[str, Any]:
            return {
                **engine.sketch()[0],
                "counts": dict(engine.counts),
                "has_model": engine.has_model,
                "n_other_model": engine.n_other_model,
                "n_since_decision": len(engine.since),
            }

        said = await self._answer(self._worker.ask(told))
        said |= {
            "name": self._config.name,
            "upload": self._config.upload.model_dump(mode="json"),
            "journal": self._config.journal.model_dump(mode="json"),
            "disk_failure": self._snapshots.failure,
            "pid": os.getpid(),
            "midhaul": __version__,
        }
        await write_json(send, 200, said)

    _asked = {  # noqa: RUF012 - it does not change
        "/samples": _samples,
        "/sketch": _sketch,
        "/export": _export,
        "/decision": _decision,
        "/metrics": _counted,
        "/info": _info,
    }

    async def _piece(self, scope: Scope, receive: Receive) -> tuple[Piece]:
        """The body of a request."""
        if not self._is_ready:
            raise HttpError(503, f"{self._config.name} is not ready")
        if self._n_requests >= self._config.max_requests:
            text = f"{self._config.name} is overloaded: {self._n_requests} requests"
            raise HttpError(503, text)
        self._n_requests += 1
        try:
            body = await read_body(
                scope,
                receive,
                max_bytes=self._config.max_body_bytes,
                timeout_s=self._config.body_timeout_s,
            )
        finally:
            self._n_requests -= 1
        return (Piece(data=body, is_json=body.lstrip()[:1] in _OBJECT),)

    async def _operated(self, send: Send, future: Future[Any]) -> None:
        await write_json(send, 200, await self._answer(future))

    async def _answer(self, future: Future[Any]) -> Any:
        self._n_requests += 1
        try:
            outcome = await asyncio.wrap_future(future)
        finally:
            self._n_requests -= 1
        if isinstance(outcome, Refused):
            raise outcome
        return outcome


def _wants_json(scope: Scope, *, is_json: bool) -> bool:
    accepted = header(scope, b"accept")
    if ARROW_TYPE in accepted:
        return False
    return is_json or JSON_TYPE in accepted


def _version(scope: Scope) -> dict[str, int]:
    """The version in a query, if there is one."""
    try:
        query = dict(
            parse_qsl(
                scope["query_string"].decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(scope["query_string"]),
                max_num_fields=1,
            )
        )
    except ValueError as error:
        raise HttpError(400, f"the query cannot be read: {error}") from error
    if unknown := sorted(set(query) - {"version"}):
        raise HttpError(400, f"unknown option {unknown[0][:50]!r}; there is version")
    if not query:
        return {}
    text = query["version"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004
        raise HttpError(400, f"version should be a whole number, found {text[:50]!r}")
    return {"version": int(text)}
