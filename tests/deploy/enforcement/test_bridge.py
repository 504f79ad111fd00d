"""The bridge forwards what it may, keeps what it promised, and counts the rest."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from tests.deploy.enforcement.bridge_parts import (
    bridging,
    collecting,
    config_of,
    counters,
    needs_mosquitto,
    publish,
    until,
)

from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap, is_filter, read_rate_map
from midhaul.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = needs_mosquitto

_FAST = RateMap(rates_bps={"iot/#": 1e8})


@pytest.fixture
def brokers(tmp_path: Path) -> Generator[tuple[Broker, Broker]]:
    """A local and a remote broker."""
    with Broker(tmp_path / "local") as local, Broker(tmp_path / "remote") as remote:
        yield local, remote


def test_a_message_arrives_under_its_new_name(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Prefix, payload and the order of a topic; other topics stay where they are."""
    local, remote = brokers
    config = config_of(
        tmp_path, local, remote, _FAST, local_prefix="iot/", remote_prefix="site7/"
    )

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "other", [b"no"])
            await publish(local, "iot/a", [b"%d" % n for n in range(30)])
            await until(lambda: len(found) >= 30)
            await until(lambda: bridge.stats()["topics"]["iot/a"]["n_out"] == 30)
        assert {str(message.topic) for message in found} == {"site7/a"}
        assert [message.payload for message in found] == [b"%d" % n for n in range(30)]
        said = counters(tmp_path)
        lane, topic = said["lanes"]["iot/#"], said["topics"]["iot/a"]
        assert (lane["n_in"], lane["n_out"], lane["n_dropped"]) == (30, 30, 0)
        assert topic["bytes_in"] == topic["bytes_out"] == 50
        assert lane["bytes_out"] > topic["bytes_out"]

    asyncio.run(scene())


def test_a_message_without_a_remote_name_does_not_stop_the_others(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Its topic is the prefix that is taken away; it is dropped and counted."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST, local_prefix="iot/a")

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", [b"nameless"])
            await publish(local, "iot/a/b", [b"named"])
            await until(lambda: len(found) == 1)
            assert bridge.stats()["topics"]["iot/a"]["n_dropped"] == 1
        assert str(found[0].topic) == "/b"

    asyncio.run(scene())


def test_both_brokers_may_restart(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Each in its turn, with messages on the way: none is lost."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST, max_in_flight=5)
    wanted = [b"%d" % n for n in range(60)]

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["n_connects"] == 1)
            await publish(local, "iot/a", wanted[:20])
            await asyncio.to_thread(remote.stop)
            await publish(local, "iot/a", wanted[20:30])
            await asyncio.to_thread(remote.start)
            await publish(local, "iot/a", wanted[30:40])
            await asyncio.to_thread(local.restart)
            await publish(local, "iot/a", wanted[40:])  # before the bridge is back
            await until(lambda: wanted[-1] in [message.payload for message in found])
            said = bridge.stats()
        assert {message.payload for message in found} == set(wanted)
        assert said["remote"]["n_connects"] >= 2
        assert said["local"]["n_connects"] >= 2
        assert said["lanes"]["iot/#"]["n_dropped"] == 0

    asyncio.run(scene())


def test_a_killed_broker_costs_only_what_it_had_acknowledged(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Everything that it had not is sent again when it is back, in order."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST, max_in_flight=5)
    closed = RateMap(rates_bps={"iot/#": 0.0})
    wanted = [b"%d" % n for n in range(40)]

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", wanted[:20])
            await asyncio.to_thread(remote.stop, is_kill=True)
            await until(lambda: not bridge.stats()["remote"]["is_connected"])
            acknowledged = bridge.stats()["topics"]["iot/a"]["n_out"]
            closed.write(tmp_path / "rates.json")  # until the reader is back
            await until(lambda: bridge.stats()["n_maps"] == 2)
            await publish(local, "iot/a", wanted[20:])
            await asyncio.to_thread(remote.start)
            await until(lambda: found.n_connects == 2)
            _FAST.write(tmp_path / "rates.json")
            await until(lambda: wanted[-1] in [message.payload for message in found])
        payloads = [bytes(message.payload) for message in found]
        assert set(wanted[acknowledged:]) <= set(payloads)
        assert payloads[-20:] == wanted[-20:]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("drop", "kept"), [("oldest", range(12, 20)), ("newest", range(8))]
)
def test_what_does_not_fit_is_dropped_and_counted(
    tmp_path: Path, brokers: tuple[Broker, Broker], drop: str, kept: range
) -> None:
    """While the remote broker is away, eight messages wait, and no more."""
    local, remote = brokers
    config = config_of(
        tmp_path,
        local,
        remote,
        _FAST,
        max_queue_messages=8,
        drop=drop,
        max_message_bytes=100,
    )
    closed = RateMap(rates_bps={"iot/#": 0.0})

    async def scene() -> None:
        remote.stop()
        async with bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", [b"%d" % n for n in range(20)])
            await publish(local, "iot/big", [bytes(101)])
            await until(lambda: "iot/big" in bridge.stats()["topics"])
            closed.write(tmp_path / "rates.json")  # until the reader is there
            await until(lambda: bridge.stats()["n_maps"] == 2)
            remote.start()
            async with collecting(remote) as found:
                _FAST.write(tmp_path / "rates.json")
                await until(lambda: len(found) == 8)
            said = bridge.stats()["topics"]
        assert [int(bytes(message.payload)) for message in found] == list(kept)
        assert (said["iot/a"]["n_in"], said["iot/a"]["n_dropped"]) == (20, 12)
        assert said["iot/big"]["n_too_large"] == 1
        assert said["iot/a"]["max_delay_s"] > 0

    asyncio.run(scene())


def test_a_rate_map_is_taken_over_while_messages_flow(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """A lane of rate zero waits for its rate; a broken map changes nothing."""
    local, remote = brokers
    closed = RateMap(rates_bps={"iot/a": 0.0}, uplink_bps=1e6)
    config = config_of(tmp_path, local, remote, closed)
    file = tmp_path / "rates.json"

    async def scene() -> None:
        async with collecting(remote) as found, bridging(config) as bridge:
            await until(lambda: bridge.stats()["local"]["is_connected"])
            await publish(local, "iot/a", [b"x"] * 3)
            await until(lambda: bridge.stats()["lanes"]["iot/a"]["n_waiting"] == 3)
            file.write_text("{", encoding="utf-8")
            await until(lambda: bridge.stats()["map_error"] != "")
            assert not found
            both = {"iot/a": 1e6, "iot/b": 3e6}
            RateMap(rates_bps=both, uplink_bps=2e6).write(file)
            await until(lambda: len(found) == 3)
            await until(lambda: bridge.stats()["n_maps"] == 2)
            await publish(local, "iot/b", [b"y"])
            await until(lambda: len(found) == 4)
            said = bridge.stats()
        assert said["map_error"] == ""
        assert said["n_maps"] == 2
        assert said["lanes"]["iot/a"]["rate_bps"] == 0.5e6  # scaled to the uplink
        assert said["lanes"]["iot/b"]["rate_bps"] == 1.5e6

    asyncio.run(scene())


def test_counters_are_published_at_the_local_broker(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Whoever subscribes to the topic of counters sees them."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST)

    async def scene() -> None:
        async with (
            aiomqtt.Client(local.host, local.port) as client,
            bridging(config),
        ):
            await client.subscribe("midhaul/bridge/stats")
            async with asyncio.timeout(10):
                message = await anext(client.messages)
        assert json.loads(bytes(message.payload))["lanes"]["iot/#"]["n_in"] == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a table"),
        ('{"rates": {}}', "unknown key rates"),
        ('{"rates_bps": 5}', "rates_bps as a table"),
        ('{"rates_bps": {"a": "5"}}', "expected a in bit/s, found '5'"),
        ('{"rates_bps": {"a": NaN}}', "a: expected at least 0 bit/s, found nan"),
        ('{"rates_bps": {"a/#/b": 1}}', "topic filter of MQTT, found 'a/#/b'"),
        ('{"uplink_bps": -1, "rates_bps": {}}', "uplink of at least 0"),
    ],
)
def test_a_wrong_rate_map_is_refused_in_words(
    tmp_path: Path, text: str, said: str
) -> None:
    """The message names the file and what is wrong in it."""
    file = tmp_path / "rates.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        read_rate_map(file)
    assert str(file) in caught.value.message


def test_a_rate_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    """JSON and TOML; a topic belongs to its first filter."""
    file = tmp_path / "rates.toml"
    file.write_text('[rates_bps]\n"a/+" = 5\n"a/#" = 7.5\n', encoding="utf-8")
    found = read_rate_map(file)
    found.write(tmp_path / "again.json")
    assert read_rate_map(tmp_path / "again.json") == found
    lanes = [found.lane_of(topic) for topic in ("a/b", "a/b/c", "b")]
    assert lanes == ["a/+", "a/#", None]
    assert [is_filter(text) for text in ("a/+/b", "#", "a+/b", "", "#/a")] == [
        *[True, True],
        *[False, False, False],
    ]


def test_a_wrong_bridge_file_names_all_its_mistakes(tmp_path: Path) -> None:
    """Unknown keys get a suggestion; paths are relative to the file."""
    file = tmp_path / "bridge.toml"
    file.write_text('rate = "x.json"\nqos = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'rates'") as caught:
        read_bridge(file)
    assert "qos" in caught.value.message
    file.write_text(
        '[remote]\nhas_tls = true\nca_file = "none.pem"\n', encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"remote\.ca_file .*none\.pem"):
        read_bridge(file)
    file.write_text('stats = "s.json"\n[remote]\nhost = "cloud"\n', encoding="utf-8")
    config = read_bridge(file)
    assert config.stats == str(tmp_path / "s.json")
    assert (config.remote.host, config.local.host) == ("cloud", "127.0.0.1")
