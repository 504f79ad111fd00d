"""What arrives is what was published: flags, quality of service, properties, once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from tests.deploy.enforcement.bridge_parts import (
    bridging,
    config_of,
    connected,
    is_balanced,
    listening,
    needs_mosquitto,
    publish,
    retained,
    until,
)

from midhaul.deploy.enforcement.bridge_config import TopicRule
from midhaul.deploy.enforcement.bridge_loops import VIA
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig

pytestmark = needs_mosquitto

_FAST = RateMap(rates_bps={"iot/#": 1e8})
_CLOSED = RateMap(rates_bps={"iot/#": 0.0})


@pytest.fixture
def brokers(tmp_path: Path) -> Generator[tuple[Broker, Broker]]:
    """A local and a remote broker."""
    with Broker(tmp_path / "local") as local, Broker(tmp_path / "remote") as remote:
        yield local, remote


def _speaking(config: BridgeConfig, protocol: str) -> BridgeConfig:
    ends = {
        name: getattr(config, name).model_copy(update={"protocol": protocol})
        for name in ("local", "remote")
    }
    return config.model_copy(update=ends)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_is_retained_follows_live_on_restart_and_when_cleared(
    tmp_path: Path, brokers: tuple[Broker, Broker], protocol: str
) -> None:
    """The remote broker keeps what the local one does, and nothing longer."""
    local, remote = brokers
    config = _speaking(config_of(tmp_path, local, remote, _FAST), protocol)

    async def scene() -> None:
        await publish(local, "iot/door", [b"open"], retain=True)
        async with bridging(config) as bridge:
            await connected(bridge)
            await until(lambda: bridge.stats()["n_out"] == 1)
            assert await retained(remote, "iot/door") == [b"open"]
            await publish(local, "iot/door", [b"live"], retain=False)
            await publish(local, "iot/door", [b"closed"], retain=True)
            await until(lambda: bridge.stats()["n_out"] == 3)
            assert await retained(remote, "iot/door") == [b"closed"]
        await publish(local, "iot/door", [b"ajar"], retain=True)
        async with bridging(config) as bridge:
            await until(lambda: bridge.stats()["n_out"] >= 4)
            await until(lambda: bridge.stats()["n_queued"] == 0)
            assert await retained(remote, "iot/door") == [b"ajar"]
            await publish(local, "iot/door", [b""], retain=True)
            await publish(local, "iot/end", [b"end"])
            await until(lambda: "iot/end" in bridge.stats()["topics"])
            await until(lambda: bridge.stats()["n_queued"] == 0)
            assert await retained(remote, "iot/door") == []
            assert bridge.stats()["local"]["protocol"].startswith(protocol)

    asyncio.run(scene())


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_messages_keep_their_quality_of_service(
    tmp_path: Path, brokers: tuple[Broker, Broker], protocol: str
) -> None:
    """0, 1 and 2; a rule lowers what is above it, and least_qos raises the others."""
    local, remote = brokers
    rules = [TopicRule(topic="iot/low/#", qos=0)]
    config = config_of(tmp_path, local, remote, _FAST, up=rules)

    async def scene(config: BridgeConfig, wanted: list[int]) -> None:
        async with (
            listening(remote, "iot/#") as found,
            bridging(_speaking(config, protocol)) as bridge,
        ):
            await connected(bridge)
            for qos in (0, 1, 2):
                await publish(local, "iot/a", [b"%d" % qos], qos=qos)
                await until(lambda n=qos: len(found) > n)
            await publish(local, "iot/low/a", [b"low"], qos=2)
            await until(lambda: len(found) == 4)
            assert is_balanced(bridge.stats()["total"])
        assert [one.qos for one in found] == wanted

    asyncio.run(scene(config, [0, 1, 2, 0]))
    raised = config.model_copy(update={"least_qos": 1})
    asyncio.run(scene(raised, [1, 1, 2, 1]))


def test_properties_arrive_and_messages_expire(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """What is left of an expiry goes on with a message, and ends it in the queue."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _CLOSED)
    given = Properties(PacketTypes.PUBLISH)
    given.ContentType = "image/jpeg"
    given.PayloadFormatIndicator = 1
    given.ResponseTopic = "iot/answer"
    given.CorrelationData = b"\x00\xff"
    given.UserProperty = [("a", "1"), ("a", "2")]
    given.MessageExpiryInterval = 600
    short = Properties(PacketTypes.PUBLISH)
    short.MessageExpiryInterval = 1

    async def scene() -> None:
        async with listening(remote, "iot/#") as found, bridging(config) as bridge:
            await connected(bridge)
            await publish(local, "iot/a", [b"brief"], properties=short)
            await publish(local, "iot/a", [b"long"], properties=given)
            await until(lambda: bridge.stats()["total"].get("n_expired") == 1)
            _FAST.write(tmp_path / "rates.json")
            await until(lambda: len(found) == 1)
            assert is_balanced(bridge.stats()["total"])
        said = found[0].properties
        assert bytes(found[0].payload) == b"long"
        assert said.ContentType == "image/jpeg"
        assert said.PayloadFormatIndicator == 1
        assert said.ResponseTopic == "iot/answer"
        assert said.CorrelationData == b"\x00\xff"
        assert said.UserProperty[:2] == [("a", "1"), ("a", "2")]
        assert [name for name, _ in said.UserProperty[2:]] == [VIA]
        assert 500 < said.MessageExpiryInterval <= 600

    asyncio.run(scene())


def test_filters_that_overlap_send_once(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """One inside another, and two that share a part; equal messages are no copies."""
    local, remote = brokers
    names = ["iot/cam/#", "iot/+/clip", "iot/cam/+/x", "iot/mic/clip", "+/cam/clip"]
    rates = RateMap(rates_bps=dict.fromkeys(names, 1e8))
    config = config_of(tmp_path, local, remote, rates)

    async def scene() -> None:
        await publish(local, "iot/cam/clip", [b"kept"], retain=True)
        async with listening(remote, "iot/#") as found, bridging(config) as bridge:
            await connected(bridge)
            await until(lambda: len(found) == 1)
            for qos in (0, 1, 2):
                await publish(local, "iot/cam/clip", [b"same", b"same"], qos=qos)
            await publish(local, "iot/mic/clip", [b"mic"])
            await publish(local, "iot/cam/a/x", [b"deep"])
            await until(lambda: len(found) >= 9)
            await until(lambda: bridge.stats()["n_queued"] == 0)
            more = RateMap(rates_bps={"iot/#": 1e8, **rates.rates_bps})
            more.write(tmp_path / "rates.json")
            await until(lambda: bridge.stats()["n_maps"] == 2)
            await publish(local, "iot/new", [b"new"])
            await until(lambda: b"new" in [one.payload for one in found])
            await publish(local, "iot/cam/clip", [b"last"])
            await publish(local, "iot/end", [b"end"])
            await until(lambda: b"end" in [one.payload for one in found])
            said = bridge.stats()
        payloads = [bytes(one.payload) for one in found if not one.retain]
        assert sorted(payloads) == sorted(
            [b"same"] * 6 + [b"mic", b"deep", b"new", b"last", b"end"]
        )
        assert said["local"]["n_copies"] > 0
        assert said["n_in"] == said["n_out"]

    asyncio.run(scene())


def test_everything_is_forwarded_but_what_bridges_say_themselves(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """The filter # of two bridges: counters and states stay where they are."""
    local, remote = brokers
    rates = RateMap(rates_bps={"#": 1e8})
    configs = [
        config_of(
            tmp_path / name, local, remote, rates, name=name, state_topic="state/b"
        )
        for name in ("one", "two")
    ]

    async def scene() -> None:
        async with (
            listening(remote, "#") as far,
            listening(local, "midhaul/#") as near,
            bridging(configs[0]) as first,
            bridging(configs[1]) as second,
        ):
            await connected(first, second)
            await until(lambda: len(near) >= 4)
            await publish(local, "iot/a", [b"x"])
            await until(lambda: len([m for m in far if m.topic.value == "iot/a"]) == 2)
            assert {str(one.topic) for one in near} == {"midhaul/bridge/stats"}
            assert set(first.stats()["topics"]) == {"iot/a"}
        assert {str(one.topic) for one in far} == {"iot/a", "state/b"}

    asyncio.run(scene())


def test_the_state_of_the_connection_is_told_at_both_brokers(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """1 while it is up, and 0 after a stop and after the remote broker has gone."""
    local, remote = brokers
    config = config_of(tmp_path, local, remote, _FAST, state_topic="bridges/gw")

    async def scene() -> None:
        async with listening(local, "bridges/gw") as near:
            async with bridging(config) as bridge:
                await connected(bridge)
                await until(lambda: [bytes(one.payload) for one in near][-1:] == [b"1"])
                assert await retained(remote, "bridges/gw") == [b"1"]
                await asyncio.to_thread(remote.stop)
                await until(lambda: [bytes(one.payload) for one in near][-1:] == [b"0"])
                await asyncio.to_thread(remote.start)
                await until(lambda: [bytes(one.payload) for one in near][-1:] == [b"1"])
            await until(lambda: [bytes(one.payload) for one in near][-1:] == [b"0"])
            assert await retained(remote, "bridges/gw") == [b"0"]

    asyncio.run(scene())


def test_rules_rename_and_carry_down(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """Each topic by its first rule, others by the bridge's prefixes, both ways."""
    local, remote = brokers
    config = config_of(
        tmp_path,
        local,
        remote,
        _FAST,
        local_prefix="iot/",
        remote_prefix="site7/",
        up=[TopicRule(topic="iot/alarm/#", remote_prefix="alarms/")],
        down=[TopicRule(topic="site7/cmd/#"), TopicRule(topic="all", remote_prefix="")],
    )

    async def scene() -> None:
        async with (
            listening(remote, "#") as far,
            listening(local, "#") as near,
            bridging(config) as bridge,
        ):
            await connected(bridge)
            await publish(local, "iot/a", [b"1"])
            await publish(local, "iot/alarm/fire", [b"2"])
            await publish(remote, "site7/cmd/a", [b"3"], retain=True)
            await publish(remote, "all", [b"4"], qos=2)
            await until(lambda: bridge.stats()["down"]["total"]["n_out"] == 2)
            await until(lambda: bridge.stats()["n_out"] == 2)
            assert await retained(local, "iot/cmd/a") == [b"3"]
        assert {"site7/a", "alarms/alarm/fire"} <= {str(one.topic) for one in far}
        ours = {str(one.topic): one.qos for one in near}
        assert (ours["iot/cmd/a"], ours["iot/all"]) == (1, 2)

    asyncio.run(scene())


def test_an_old_broker_is_spoken_to_and_what_it_cannot_is_said(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    """It knows plain 3.1.1 only: messages pass, and what is missing is listed."""
    local, remote = brokers

    async def scene() -> None:
        async with await asyncio.start_server(_old(local), "127.0.0.1", 0) as server:
            old = Broker(tmp_path / "old", port=server.sockets[0].getsockname()[1])
            config = config_of(tmp_path, old, remote, _FAST)
            async with listening(remote, "iot/#") as found, bridging(config) as bridge:
                await connected(bridge)
                await publish(local, "iot/a", [b"x"], qos=2)
                await until(lambda: len(found) == 1)
                said = bridge.stats()
        assert (said["local"]["protocol"], found[0].qos) == ("3.1.1", 2)
        told = json.dumps(said["local"]["cannot"])
        assert "retained" in told
        assert "properties" in told
        assert said["remote"]["protocol"] == "5"
        assert said["remote"]["cannot"] == []

    asyncio.run(scene())


def _old(broker: Broker) -> Any:
    """A relay to a broker that refuses every version but plain MQTT 3.1.1."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(9)
        if head[8] != 4:  # protocol level, after the length and the name
            writer.write(b"\x20\x02\x00\x01")
            writer.close()
            return
        there, back = await asyncio.open_connection(broker.host, broker.port)
        back.write(head)

        async def copy(one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
            while data := await one.read(65536):
                other.write(data)
            other.close()

        await asyncio.gather(copy(reader, back), copy(there, writer))

    return relay
