"""What waits in a bridge, and what it has counted, outlives the bridge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.deploy.enforcement.bridge_parts import (
    bridging,
    collecting,
    config_of,
    connected,
    is_balanced,
    listening,
    needs_mosquitto,
    publish,
    until,
)

from midhaul.deploy.enforcement.bridge_store import IN_MEMORY, BridgeStore, Stored
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap
from midhaul.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig

pytestmark = needs_mosquitto

_FAST = RateMap(rates_bps={"iot/#": 1e8})
_SLOW = RateMap(rates_bps={"iot/#": 1e5})
_SERVE = [sys.executable, "-m", "midhaul", "serve", "bridge"]


@pytest.fixture
def brokers(tmp_path: Path) -> Generator[tuple[Broker, Broker]]:
    """A local and a remote broker."""
    with Broker(tmp_path / "local") as local, Broker(tmp_path / "remote") as remote:
        yield local, remote


def test_what_waits_survives_a_restart(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """The remote broker is away; counters go on where they were, and add up."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST)
    wanted = [b"%d" % n for n in range(150)]

    async def scene() -> None:
        remote.stop()
        async with bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", wanted)
            await until(lambda: bridge.stats()["n_queued"] == len(wanted))
        remote.start()
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["n_out"] == len(wanted))
            await until(lambda: len(found) >= len(wanted))
            said = bridge.stats()
        assert [bytes(one.payload) for one in found] == wanted
        assert (said["n_in"], said["n_dropped"], said["n_queued"]) == (150, 0, 0)
        assert said["topics"]["iot/a"]["max_delay_s"] > 0

    asyncio.run(scene())


def test_without_a_file_what_waits_is_counted_as_dropped(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """It is lost when the bridge stops, and the counters say so."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST, queue_file=IN_MEMORY)

    async def scene() -> None:
        remote.stop()
        async with bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", [b"x"] * 5)
            await until(lambda: bridge.stats()["n_queued"] == 5)
        total = bridge.stats()["total"]
        assert (total["n_dropped"], total["n_stopped"], total["n_queued"]) == (5, 5, 0)

    asyncio.run(scene())


def test_a_bridge_that_is_killed_loses_nothing_and_says_what_came_twice(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """SIGKILL with messages on the way, again and again; QoS 2 arrives once."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _SLOW, is_work_conserving=True)
    file = _file(tmp_path, config)

    async def scene() -> None:
        async with listening(remote, "iot/#") as found:
            n_sent = 0
            for _ in range(3):
                async with _serving(file, tmp_path):
                    await publish(local, "iot/once", _numbers(n_sent, 20), qos=2)
                    await publish(local, "iot/least", _numbers(n_sent, 20), qos=1)
                    n_sent += 20
                    await until(lambda n=n_sent: len(found) >= n)
            _FAST.write(tmp_path / "rates.json")
            async with _serving(file, tmp_path) as process:
                await until(lambda: _total(tmp_path)["n_queued"] == 0)
                await until(lambda: len(_of(found, "iot/once")) >= n_sent)
                process.terminate()
                assert await process.wait() == 0
        total = _total(tmp_path)
        once, least = _of(found, "iot/once"), _of(found, "iot/least")
        assert once == _numbers(0, n_sent)
        assert set(least) == set(_numbers(0, n_sent))
        assert len(least) - n_sent <= total["n_maybe_twice"]
        assert is_balanced(total)
        assert total["n_dropped"] == 0

    asyncio.run(scene())


def test_exactly_once_holds_while_the_remote_broker_is_away(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """It restarts in the middle, the bridge does too, and both keep their sessions."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _SLOW, max_in_flight=5)

    async def scene() -> None:
        async with bridging(config) as bridge:
            await connected(bridge)
            await publish(local, "iot/a", _numbers(0, 60), qos=2)
            await until(lambda: bridge.stats()["n_out"] >= 5)
            await asyncio.to_thread(remote.stop)
            await until(lambda: not bridge.stats()["remote"]["is_connected"])
        await asyncio.to_thread(remote.start)
        _FAST.write(tmp_path / "rates.json")
        async with collecting(remote, qos=2) as found, bridging(config) as bridge:
            n_before = bridge.stats()["n_out"]
            await until(lambda: bridge.stats()["n_out"] == 60)
            await until(lambda: len(found) >= 60 - n_before)
            total = bridge.stats()["total"]
        payloads = [bytes(one.payload) for one in found]
        assert payloads == sorted(set(payloads), key=int)
        assert total["n_maybe_twice"] == 0
        assert is_balanced(total)

    asyncio.run(scene())


def test_messages_of_lanes_that_are_gone_move_wait_and_go(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """A new map takes them; what no filter has any more is dropped after a while."""
    local, remote = brokers
    closed = RateMap(rates_bps={"iot/a": 0.0, "iot/b": 0.0})
    config = config_of(tmp_path, local, remote, closed, idle_s=0.5)

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await connected(bridge)
            await publish(local, "iot/a", [b"a"] * 3)
            await publish(local, "iot/b", [b"b"] * 2)
            await until(lambda: bridge.stats()["n_queued"] == 5)
            RateMap(rates_bps={"iot/+": 1e8}).write(tmp_path / "rates.json")
            await until(lambda: bridge.stats()["n_out"] == 5)
            RateMap(rates_bps={"iot/+": 0.0}).write(tmp_path / "rates.json")
            await until(lambda: bridge.stats()["n_maps"] == 3)
            await publish(local, "iot/c", [b"c"])
            await until(lambda: bridge.stats()["n_queued"] == 1)
            RateMap(rates_bps={"other": 1e6}).write(tmp_path / "rates.json")
            await until(lambda: bridge.stats()["total"].get("n_no_lane") == 1)
            await until(lambda: set(bridge.stats()["topics"]) == {"(others)"})
            said = bridge.stats()
        assert sorted(said["lanes"]) == ["(others)", "other"]
        assert said["topics"]["(others)"]["n_in"] == said["n_in"] == 6
        assert is_balanced(said["total"])
        assert [bytes(one.payload) for one in found] == [b"a"] * 3 + [b"b"] * 2

    asyncio.run(scene())


def test_one_queue_has_one_bridge(tmp_path: Path) -> None:
    """A second process is told, and so is who names a file that is none."""
    file = tmp_path / "q"
    here = BridgeStore(str(file), survives="kill")
    code = (
        "import sys; from midhaul.deploy.enforcement.bridge_store import BridgeStore\n"
        "BridgeStore(sys.argv[1], survives='kill')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "another process has the queue" in done.stderr
    here.abort()
    BridgeStore(str(file), survives="power").abort()
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        BridgeStore(str(file), survives="kill")
    with pytest.raises(StoreError, match="cannot be used"):
        BridgeStore(str(tmp_path / "none" / "q"), survives="kill")


def test_what_was_not_committed_was_never_there(tmp_path: Path) -> None:
    """A message, its packet id and its counters are kept together, or not at all."""
    file = str(tmp_path / "q")
    first = Stored(
        number=1,
        flow="up",
        topic="a",
        qos=2,
        is_retained=True,
        came_s=1.5,
        expiry_s=None,
        n_bytes=9,
        n_payload_bytes=3,
    )

    store = BridgeStore(file, survives="kill")
    store.also(lambda: [("INSERT OR REPLACE INTO fact VALUES ('n', '1')", ())])
    store.add(first, [(9, b"\x00\xff"), (38, ("k", "v"))], b"abc")
    store.sent(1, 77)
    store.commit()
    store.released(1)
    store.abort()
    again = BridgeStore(file, survives="kill")
    (found,) = again.messages("up")
    assert found.mid == 77
    assert not found.is_released
    assert again.last_number() == 1
    assert again.fact("n") == "1"
    properties, payload = again.contents(1)
    assert (properties, payload) == ([[9, b"\x00\xff"], [38, ["k", "v"]]], b"abc")
    again.abort()


def _file(folder: Path, config: BridgeConfig) -> Path:
    file = folder / "bridge.json"
    file.write_text(config.model_dump_json(), encoding="utf-8")
    return file


@contextlib.asynccontextmanager
async def _serving(
    file: Path, folder: Path
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A bridge in a process of its own, connected; killed at the end."""
    stats = folder / "stats.json"
    stats.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        *_SERVE, str(file), stdout=subprocess.DEVNULL
    )
    try:
        await until(stats.exists)
        await until(lambda: _said(folder)["remote"]["is_connected"])
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "stats.json").read_text(encoding="utf-8"))


def _total(folder: Path) -> dict[str, Any]:
    return _said(folder)["total"]


def _numbers(begin: int, n: int) -> list[bytes]:
    return [b"%d" % number for number in range(begin, begin + n)]


def _of(found: list[Any], topic: str) -> list[bytes]:
    return [bytes(one.payload) for one in found if str(one.topic) == topic]
