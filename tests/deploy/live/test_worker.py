"""Workers over real brokers: what is planned is sent, answered and scored."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.live.config import WorkloadConfig
from midhaul.deploy.live.site import Child
from midhaul.errors import NodeError

if TYPE_CHECKING:
    from pathlib import Path

_HAS_BROKER = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(not _HAS_BROKER, reason="needs mosquitto")

_NS = 1_000_000_000


def options(broker: Broker, **more: Any) -> dict[str, Any]:
    """What every worker is told, and more."""
    config = WorkloadConfig.model_validate({"detector": "builtin:street-n"})
    return {
        "host": broker.host,
        "port": broker.port,
        "workload": config.model_dump(mode="json"),
        "seed": 1,
        "threshold": 0.2,
        **more,
    }


def assignment(
    lane: int, workload: str, place: str, knob: float | None
) -> dict[str, Any]:
    """Five messages a second for four seconds, from now."""
    now_ns = time.monotonic_ns()
    return {
        "lane": lane,
        "workload": workload,
        "place": place,
        "knob": knob,
        "first_ns": now_ns,
        "period_ns": _NS // 5,
        "until_ns": now_ns + 4 * _NS,
    }


async def exchange(folder: Path) -> list[dict[str, Any]]:
    """Let three analytics send, restart the broker in the middle; all lines."""
    lines: list[dict[str, Any]] = []

    def child(name: str, role: str, **more: Any) -> Child:
        told = options(broker, **more)
        log = folder / f"{name}.log"
        return Child(role, told, command=(), log=log, take=lines.append)

    with Broker(folder / "broker") as broker:
        workers = [
            child("publisher", "publish"),
            child("cloud", "consume", place="cloud"),
            child("gateway", "consume", place="gateway"),
        ]
        await asyncio.gather(*(worker.start() for worker in workers))
        await workers[2].call(do="start", analytic="b.1", workload="sounds")
        assigned = {
            "a.0": assignment(0, "images", "cloud", 0.25),
            "b.1": assignment(1, "sounds", "gateway", 1.0),
            "c.2": assignment(2, "images", "cloud", None),
        }
        workers[0].send({"do": "assign", "assigned": assigned})
        await until_scored(lines, 12)
        await asyncio.to_thread(broker.restart, down_s=0.5)
        await until_scored(lines, 40)
        await asyncio.gather(*(worker.stop() for worker in workers))
    return lines


async def until_scored(lines: list[dict[str, Any]], n: int) -> None:
    """Wait for scores, though not for ever."""
    async with asyncio.timeout(60):
        while len(scored(lines)) < n:  # noqa: ASYNC110  children write to a list
            await asyncio.sleep(0.02)


def scored(lines: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Which messages were scored, each once."""
    found = [line["scored"] for line in lines if "scored" in line]
    return {(header["analytic"], header["number"]) for header in found}


@needs_broker
def test_messages_are_answered_and_scored_across_a_restart(tmp_path: Path) -> None:
    """Both paths lead to a score, and a broker that restarts loses nothing sent."""
    lines = asyncio.run(exchange(tmp_path))
    plans = [line for line in lines if "planned" in line]
    by_name = {
        name: [p for p in plans if p["planned"]["analytic"] == name]
        for name in ("a.0", "b.1", "c.2")
    }
    assert {name: len(rows) for name, rows in by_name.items()} == dict.fromkeys(
        by_name, 20
    )
    assert all(row["n_bytes"] is None for row in by_name["c.2"])
    assert all(row["planned"]["sent_ns"] is None for row in by_name["c.2"])
    assert scored(lines) == {(name, n) for name in ("a.0", "b.1") for n in range(20)}
    for line in lines:
        if "scored" in line:
            assert 0 <= line["quality"] <= 1
            assert line["scored"]["planned_ns"] <= line["received_ns"]
            assert line["received_ns"] <= line["scored_ns"]
    small = [x["n_bytes"] for x in lines if "scored" in x and x["scored"]["knob"] == 1]
    assert max(small) < 1000, "on the gateway, results are uploaded, not clips"


@needs_broker
def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Its last words are in the error, and its log is named."""

    async def start() -> None:
        child = Child(
            "pull",
            {"folder": "/proc/nowhere", "registry": "x:1", "seed": 0},
            command=(),
            log=tmp_path / "pull.log",
        )
        try:
            await child.start()
        finally:
            await child.stop()

    with pytest.raises(NodeError, match="worker pull is not ready") as caught:
        asyncio.run(start())
    assert "pull.log" in caught.value.hint


@needs_broker
def test_a_worker_that_ends_fails_what_waits_for_it(tmp_path: Path) -> None:
    """A call is answered, or it raises; nobody waits for ever."""

    async def kill() -> None:
        child = Child(
            "pull",
            {"folder": str(tmp_path / "store"), "registry": "127.0.0.1:9", "seed": 0},
            command=(),
            log=tmp_path / "pull.log",
        )
        await child.start()
        assert (await child.call(do="state"))["held"] == []
        waiting = asyncio.create_task(child.call(do="pull", image="x"))
        await asyncio.sleep(0)  # it is sent
        await child.stop()
        with pytest.raises(NodeError, match="has ended"):
            await waiting
        with pytest.raises(NodeError, match="has ended"):
            child.check()

    asyncio.run(kill())
