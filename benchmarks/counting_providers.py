"""Providers on loopback that count every call before they answer or fail.

    python benchmarks/counting_providers.py SETTINGS.json

Prints one line of JSON, the ports of the providers in their order. Each answers
``POST /infer`` as a node of midhaul does; ``GET /counts`` says what was counted. A call
is counted when it arrives, whatever becomes of it; money, when the provider would bill
it. Whenever the money of all of them together exceeds ``budget_usd``, that is a
violation. Without SETTINGS nothing is done.

SETTINGS holds ``budget_usd``, ``billed`` (statuses) and ``providers``, a list of
objects with ``price_usd``, ``latency_s`` and the shares of calls that meet
``throttled``, ``unavailable``, ``malformed`` or ``timeout``. Which calls do, a hash of
the item and of how often it was asked before decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import resource
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn

from midhaul.model import Detections
from midhaul.services.http import header, read_body, write, write_json
from midhaul.wire.message import FRAMES, IMAGE_HEADER, pack_answer

if TYPE_CHECKING:
    from midhaul.services.http import Receive, Scope, Send

NUSD = 1_000_000_000
NAMES = ("person", "car")
HANG_S = 600.0
BACKLOG = 4096
FAULTS = ("throttled", "unavailable", "malformed", "timeout")


class Providers:
    """All providers of the settings, told apart by the port that was asked."""

    def __init__(self, settings: dict[str, Any], ports: list[int]) -> None:
        self.settings = dict(zip(ports, settings["providers"], strict=True))
        self.numbers = {port: number for number, port in enumerate(ports)}
        self.budget_nusd = round(settings["budget_usd"] * NUSD)
        self.billed = set(settings["billed"])
        self.calls: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.spent_nusd = 0
        self.n_violations = 0
        found = Detections(
            boxes=np.array([[4, 4, 40, 40], [10, 8, 30, 60]], np.float32),
            scores=np.array([0.9, 0.6], np.float32),
            labels=np.array([0, 1], np.int32),
            names=NAMES,
        )
        self.answer = pack_answer({}, [{}], [found])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/counts":
            await write_json(send, 200, self.counts())
            return
        await read_body(scope, receive, max_bytes=1 << 25, timeout_s=60)
        port = scope["server"][1]
        settings = self.settings[port]
        status = self.count(self.numbers[port], settings, scope)
        await asyncio.sleep(settings["latency_s"])
        if status == "throttled":
            await send({"type": "http.response.start", "status": 429,
                        "headers": [(b"retry-after", b"0.05")]})  # fmt: skip
            await send({"type": "http.response.body", "body": b"too many"})
        elif status == "unavailable":
            await write(send, 503, b"down", b"text/plain")
        elif status == "malformed":
            await write(send, 200, b"<!DOCTYPE html><p>hello", b"text/html")
        else:
            if status == "timeout":
                await _hang(receive)
            await write(send, 200, self.answer, FRAMES.encode())

    def count(self, number: int, settings: dict[str, Any], scope: Scope) -> str:
        """Count a call, and say what becomes of it."""
        item = header(scope, IMAGE_HEADER.encode())
        key = f"{number} {item}"
        digest = hashlib.blake2b(f"{key} {self.items[key]}".encode(), digest_size=8)
        chance = int.from_bytes(digest.digest(), "big") / 2**64
        self.items[key] += 1
        status = "ok"
        for fault in FAULTS:
            chance -= settings.get(fault, 0.0)
            if chance < 0:
                status = fault
                break
        self.calls[f"{number} {status}"] += 1
        if status in self.billed:
            self.spent_nusd += round(settings["price_usd"] * NUSD)
            self.n_violations += self.spent_nusd > self.budget_nusd
        return status

    def counts(self) -> dict[str, Any]:
        """Everything that was counted."""
        return {
            "calls": dict(self.calls),
            "items": dict(self.items),
            "spent_usd": self.spent_nusd / NUSD,
            "n_violations": self.n_violations,
        }


async def _hang(receive: Receive) -> None:
    """Say nothing until the other end goes away."""
    try:
        async with asyncio.timeout(HANG_S):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


def main() -> None:
    """Serve until killed."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets: list[socket.socket] = []
    for _ in settings["providers"]:
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        one.listen(BACKLOG)
        sockets.append(one)
    ports = [one.getsockname()[1] for one in sockets]
    print(json.dumps(ports), flush=True)
    application: Any = Providers(settings, ports)
    uvicorn.Server(
        uvicorn.Config(
            application, log_level=logging.WARNING, access_log=False, lifespan="off",
            http="httptools", loop="uvloop", backlog=BACKLOG, ws="none",
            timeout_keep_alive=75, timeout_graceful_shutdown=1,
        )
    ).run(sockets=sockets)  # fmt: skip


if __name__ == "__main__" and sys.argv[1:]:
    main()
