"""A node's process: an HTTP server on loopback around :class:`Application`.

Nothing but HTTP happens on the event loop. Images are decoded and shown to the detector
by worker threads behind a queue; forwarding is asynchronous, so that a worker is never
held by a slow cloud. Durations come from one clock of one process and are never
compared with those of another.

An edge makes its own answer of its cloud's, with the times and bytes of both.

A node's detector is loaded, and has run once, before it counts.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midhaul import __version__, documents
from midhaul.errors import DataError, MidhaulError, NodeError
from midhaul.services.http import (
    Disconnected,
    HttpError,
    ServerLimits,
    allow_connections,
    header,
    read_body,
    token_for,
    write,
    write_json,
    write_text,
)
from midhaul.services.server import server_of
from midhaul.testbed.nodes.pipeline import (
    Look,
    PipelineReply,
    Station,
    durations,
    look,
    parcel,
    replies,
    settle,
)
from midhaul.testbed.nodes.settings import NodeFile
from midhaul.vision.detectors.detector import load_detector, parse_spec
from midhaul.wire import Client
from midhaul.wire.message import FRAMES, IMAGE_HEADER, Item, pack_answer, unpack_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from midhaul.services.http import Receive, Scope, Send
    from midhaul.testbed.nodes.settings import NodeSettings
    from midhaul.vision.detectors.detector import Detector
    from midhaul.wire import Answer


def said_by_cloud(answer: Answer, forward_ns: int) -> dict[str, Any]:
    """The cloud's durations and bytes, under the names that the edge reports."""
    said: dict[str, Any] = {
        "forward_ns": forward_ns,
        "backhaul_up_bytes": answer.sent_bytes,
        "backhaul_down_bytes": answer.received_bytes,
    }
    for name in ("queue_ns", "decode_ns", "inference_ns", "node_ns"):
        value: object = answer.meta.get(name)
        if not isinstance(value, int):
            message = f"the cloud's answer has no {name}"
            raise DataError(message)
        said[f"cloud_{name}"] = value
    said["backhaul_ns"] = forward_ns - said.pop("cloud_node_ns")
    return said


def gateway_status(answer: Answer) -> int:
    """What an edge answers when its cloud did not: bad input stays bad input."""
    if answer.status == "timeout":
        return 504
    return 422 if answer.status == "http-422" else 502


_WARM_PX = (480, 640, 3)


def load_and_warm(settings: NodeSettings) -> Detector | None:
    """Load the detector of some settings and run it once.

    MidhaulError if it cannot be loaded, or fails on a plain gray image.
    """
    if settings.detector is None:
        return None
    detector = load_detector(
        settings.detector, threads=settings.threads, seed=settings.seed
    )
    if parse_spec(settings.detector).kind not in ("recorded", "replay"):
        try:
            detector.detect(np.full(_WARM_PX, 127, np.uint8))
        except MidhaulError:
            raise
        except Exception as error:
            text = str(error).split("\n")[0]
            message = (
                f"detector {detector.name} fails on a plain gray image of 640x480 px: "
                f"{type(error).__name__}: {text}"
            )
            raise DataError(message) from error
    return detector


_LOG = logging.getLogger("midhaul.services.node")
_MAX_WAITING = 10_000
_SETTINGS_BYTES = 1 << 16  # they are parsed on the event loop
_LOAD_S = 110.0  # less than a testbed waits for the answer


class Application:
    """One node, to be served by any ASGI server with its lifespan protocol.

    Args:
        settings: of the node.
        cloud_url: where it reaches its cloud; None where it has none.
        on_failure: called with the error when the detector cannot be loaded at the
            start; the server should end then.
        load: loads the detector of the settings.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        cloud_url: str | None = None,
        on_failure: Callable[[MidhaulError], None] = _LOG.error,
        load: Callable[[NodeSettings], Detector | None] | None = None,
    ) -> None:
        self._settings = settings
        self._cloud_url = cloud_url
        self._on_failure = on_failure
        self._load = load or load_and_warm
        self._station: Station | None = None
        self._client = Client()
        self._workers = ThreadPoolExecutor(settings.workers, "worker")
        self._loader = ThreadPoolExecutor(1, "loader")
        self._changing = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the life span of the process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                await self._route(scope, receive, send)
            except HttpError as error:
                await write_text(send, error.status, error.text)
            except Disconnected:
                return

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._client.__aenter__()
        loading = asyncio.create_task(self._start())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await self._client.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        async with self._changing:
            try:
                self._station = await self._loaded(self._settings)
            except MidhaulError as error:
                self._on_failure(error)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        match (scope["method"], scope["path"]):
            case ("POST", "/infer"):
                await self._infer(scope, receive, send)
            case ("GET", "/health"):
                is_ready = self._station is not None
                said = {"name": self._settings.name, "ready": is_ready}
                await write_json(send, 200 if is_ready else 503, said)
            case ("GET", "/info"):
                await write_json(send, 200, self._info())
            case ("PUT", "/settings"):
                await self._change(scope, receive, send)
            case (method, path):
                text = (
                    f"no {method} {path} here; a node knows POST /infer, GET /health, "
                    "GET /info and PUT /settings"
                )
                raise HttpError(404, text)

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        body = await read_body(
            scope,
            receive,
            max_bytes=settings.max_body_bytes,
            timeout_s=settings.timeout_s,
        )
        begin = perf_counter_ns()
        if self._waiting >= _MAX_WAITING:
            text = f"node {settings.name} is overloaded: {self._waiting} requests wait"
            raise HttpError(503, text)
        answering = asyncio.create_task(self._answer(scope, body, begin))
        leaving = asyncio.ensure_future(receive())
        self._waiting += 1
        try:
            await asyncio.wait(
                (answering, leaving), return_when=asyncio.FIRST_COMPLETED
            )
            if not answering.done():
                raise Disconnected
            await write(send, 200, answering.result(), FRAMES.encode())
        finally:
            self._waiting -= 1
            answering.cancel()
            leaving.cancel()

    async def _answer(self, scope: Scope, body: bytes, begin: int) -> bytes:
        """Work on a request and pack its answer; errors become HTTP errors."""
        station = self._station
        if station is None:
            raise HttpError(503, f"node {self._settings.name} is not ready yet")
        try:
            items = unpack_request(
                body,
                content_type=header(scope, b"content-type"),
                image=header(scope, IMAGE_HEADER.encode()),
            )
        except DataError as error:
            raise HttpError(400, error.message) from error
        try:
            return await self._work(station, items, begin)
        except DataError as error:
            raise HttpError(422, error.message) from error
        except MidhaulError as error:
            _LOG.exception("request failed")
            raise HttpError(500, error.message) from error
        except (HttpError, asyncio.CancelledError):
            raise
        except Exception as error:
            _LOG.exception("request failed")
            text = f"node {self._settings.name}: {type(error).__name__}: {error}"
            raise HttpError(500, text) from error

    async def _work(self, station: Station, items: list[Item], begin: int) -> bytes:
        loop = asyncio.get_running_loop()
        queue_ns, looks = await loop.run_in_executor(
            self._workers, _look_at_all, station, items, perf_counter_ns()
        )
        meta: dict[str, Any] = {"queue_ns": queue_ns, **durations(looks)}
        sent = [parcel(station, looked) for looked in looks]
        parcels = [one for one in sent if one is not None]
        came: list[PipelineReply] = []
        if parcels:
            came, said = await self._forward(parcels)
            meta |= said
        back = iter(came)
        settled = [
            settle(station, looked, one, None if one is None else next(back))
            for looked, one in zip(looks, sent, strict=True)
        ]
        meta["answered_by"] = "+".join(dict.fromkeys(s.answered_by for s in settled))
        meta["node_ns"] = perf_counter_ns() - begin
        return pack_answer(
            meta, [s.entry() for s in settled], [s.detections for s in settled]
        )

    async def _forward(
        self, parcels: list[Item]
    ) -> tuple[list[PipelineReply], dict[str, Any]]:
        """Ask the cloud; what it answered per parcel, and what that took."""
        cloud = f"node {self._settings.name}: its cloud {self._settings.cloud}"
        if self._cloud_url is None:
            raise HttpError(502, f"{cloud} has no address")
        begin = perf_counter_ns()
        answer = await self._client.send(
            self._cloud_url, parcels, timeout_s=self._settings.timeout_s
        )
        forward_ns = perf_counter_ns() - begin
        if not answer.is_ok:
            raise HttpError(gateway_status(answer), f"{cloud} failed: {answer.error}")
        try:
            came = replies(answer.meta["images"], answer.detections)
            said = said_by_cloud(answer, forward_ns)
        except DataError as error:
            raise HttpError(502, f"{cloud} failed: {error.message}") from error
        if len(came) != len(parcels):
            text = f"{cloud} answered {len(came)} of {len(parcels)} images"
            raise HttpError(502, text)
        return came, said

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        body = await read_body(
            scope, receive, max_bytes=_SETTINGS_BYTES, timeout_s=settings.timeout_s
        )
        if self._changing.locked():
            text = f"node {settings.name} is still loading a detector; ask again later"
            await write_json(send, 409, {"error": text})
            return
        try:
            changed = self._settings.changed(_json_object(body))
            await self._changing.acquire()  # at once, so that the next one sees it
            await asyncio.wait_for(asyncio.shield(self._change_to(changed)), _LOAD_S)
        except MidhaulError as error:
            await write_json(send, 400, {"error": str(error)})
        except TimeoutError:
            text = f"the detector is not loaded after {_LOAD_S:g} s; the "
            text += "settings hold once it is, see GET /info"
            await write_json(send, 504, {"error": text})
        else:
            await write_json(send, 200, self._info())

    async def _change_to(self, changed: NodeSettings) -> None:
        try:
            self._station = await self._loaded(changed)
            self._settings = changed
        finally:
            self._changing.release()

    async def _loaded(self, settings: NodeSettings) -> Station:
        """A station with the detector of the settings, the present one if it fits."""
        here = self._station
        if here is not None and here.settings.detector == settings.detector:
            return Station(settings=settings, detector=here.detector)
        loop = asyncio.get_running_loop()
        detector = await loop.run_in_executor(self._loader, self._load, settings)
        return Station(settings=settings, detector=detector)

    def _info(self) -> dict[str, Any]:
        station = self._station
        detector = None if station is None else station.detector
        return {
            "settings": self._settings.to_dict(),
            "cloud_url": self._cloud_url,
            "detector": None if detector is None else detector.name,
            "names": [] if detector is None else list(detector.names),
            "pid": os.getpid(),
            "midhaul": __version__,
            "python": platform.python_version(),
        }


def _look_at_all(
    station: Station, items: list[Item], queued: int
) -> tuple[int, list[Look]]:
    """In a worker thread: the wait in the queue, and a look at each image."""
    queue_ns = perf_counter_ns() - queued
    return queue_ns, [look(station, item) for item in items]


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found: object = documents.parse_json(body)
    except ValueError as error:
        message = f"settings are a JSON object: {error}"
        raise DataError(message) from error
    if not isinstance(found, dict):
        message = "settings are a JSON object"
        raise DataError(message)
    return cast("dict[str, Any]", found)


_LINGER_S = 0.5


def serve(file: Path) -> None:
    """Serve a node until it is told to stop by SIGTERM or SIGINT.

    MidhaulError if the file is wrong, its port is in use, or its detector cannot be
    loaded.
    """
    signal.signal(signal.SIGTERM, _leave)
    allow_connections()
    node = NodeFile.read(file)
    if node.settings.workdir is not None:
        _enter(Path(node.settings.workdir))
    listening = _listen(node)
    if node.is_attached:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    failures: list[MidhaulError] = []

    def fail(error: MidhaulError) -> None:
        failures.append(error)
        server.should_exit = True

    token = token_for(listening.getsockname()[0])
    application = Application(node.settings, cloud_url=node.cloud_url, on_failure=fail)
    limits = ServerLimits.of(node.settings)
    server = server_of(application, limits, token)
    try:
        server.run(sockets=[listening])
    except SystemExit:  # as SIGTERM is told once more when the server has ended
        _end_soon()
        raise
    if failures:
        raise failures[0]


def _listen(node: NodeFile) -> socket.socket:
    """The socket to serve: one that was handed over, or a new one."""
    if node.fd is not None:
        return socket.socket(fileno=node.fd)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = node.settings.port
    try:
        listening.bind((node.host, port))
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else str(error)
        message = f"node {node.settings.name}: port {port} on {node.host} {reason}"
        hint = "choose another port, or 0 for a free one"
        raise NodeError(message, hint) from error
    return listening


def _enter(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        os.chdir(workdir)
    except OSError as error:
        message = f"the working directory {workdir} cannot be used: {error.strerror}"
        raise DataError(message) from error


def _end_soon() -> None:
    """End the process although a model is still being loaded by a thread of it."""

    def end() -> None:
        time.sleep(_LINGER_S)
        os._exit(0)

    threading.Thread(target=end, daemon=True, name="end").start()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _end_with_stdin() -> None:
    """Stop as soon as the program that started this one is gone."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve the node of the file that is the only argument.

    A launcher shows the last line that a node wrote, so an error is one line here.
    """
    try:
        serve(Path(sys.argv[1]))
    except MidhaulError as error:
        sys.exit(f"{error.message} ({error.hint})" if error.hint else error.message)


if __name__ == "__main__":
    main()
