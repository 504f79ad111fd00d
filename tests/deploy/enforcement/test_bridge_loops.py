"""Messages that would go round in circles: found, and refused in words."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from tests.deploy.enforcement.bridge_parts import (
    bridging,
    config_of,
    connected,
    gives_up,
    listening,
    needs_mosquitto,
    publish,
    until,
)

from midhaul.deploy.enforcement.bridge_config import TopicRule
from midhaul.deploy.enforcement.bridge_loops import LoopError, Neighbours, Reach
from midhaul.deploy.enforcement.lab import Broker
from midhaul.deploy.enforcement.rate_map import RateMap

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = needs_mosquitto

_SITE = RateMap(rates_bps={"site/#": 1e8})


@pytest.fixture
def brokers(tmp_path: Path) -> Generator[list[Broker]]:
    """Three brokers."""
    with contextlib.ExitStack() as stack:
        names = ("a", "b", "c")
        yield [stack.enter_context(Broker(tmp_path / name)) for name in names]


def test_topics_go_both_ways_without_circulation(
    tmp_path: Path, brokers: list[Broker]
) -> None:
    """One bridge with the same filter up and down: one copy at each broker."""
    here, there, _ = brokers
    config = config_of(tmp_path, here, there, _SITE, down=[TopicRule(topic="site/#")])

    async def scene() -> None:
        async with (
            listening(here, "site/#") as near,
            listening(there, "site/#") as far,
            bridging(config) as bridge,
        ):
            await connected(bridge)
            await publish(here, "site/a", [b"up"])
            await publish(there, "site/b", [b"down"])
            await until(lambda: len(near) >= 2 and len(far) >= 2)
            # What circulated would be there before what is published now.
            await publish(here, "site/end", [b"end"])
            await publish(there, "site/end", [b"end"])
            await until(lambda: len(near) >= 4 and len(far) >= 4)
            said = bridge.stats()
        for found in (near, far):
            assert sorted(bytes(one.payload) for one in found) == [
                *[b"down", b"end"],
                *[b"end", b"up"],
            ]
        assert (said["n_out"], said["down"]["total"]["n_out"]) == (2, 2)

    asyncio.run(scene())


@pytest.mark.parametrize("has_hello", [True, False])
def test_two_bridges_with_one_filter_both_ways_are_a_loop(
    tmp_path: Path, brokers: list[Broker], *, has_hello: bool
) -> None:
    """The younger one gives up; where it cannot know, no message passes twice."""
    here, there, _ = brokers
    more = {"is_loop_checked": True}
    up = config_of(tmp_path / "up", here, there, _SITE, name="up", **more)
    down = config_of(tmp_path / "down", there, here, _SITE, name="down", **more)

    async def refused() -> None:
        async with bridging(up) as first, listening(there, "site/#") as found:
            await connected(first)
            with pytest.raises(LoopError, match="the bridge 'up' joins the same") as e:
                await gives_up(down)
            assert "[[down]]" in e.value.hint
            await publish(here, "site/a", [b"one"])
            await until(lambda: len(found) == 1)

    async def marked(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Neighbours, "hear", lambda *_: False)
        async with (
            bridging(up) as first,
            bridging(down) as second,
            listening(here, "site/#") as found,
        ):
            await connected(first, second)
            await publish(here, "site/a", [b"one"])
            await until(lambda: first.stats()["topics"]["site/a"].get("n_looped") == 1)
            await publish(here, "site/end", [b"end"])
            await until(lambda: first.stats()["total"].get("n_looped") == 2)
        assert [bytes(one.payload) for one in found].count(b"one") == 2

    if has_hello:
        asyncio.run(refused())
    else:
        with pytest.MonkeyPatch.context() as monkeypatch:
            asyncio.run(marked(monkeypatch))


def test_a_circle_over_three_brokers_ends_where_it_began(
    tmp_path: Path, brokers: list[Broker]
) -> None:
    """No two bridges see it; the marks of messages do."""
    ring = list(zip(brokers, [*brokers[1:], brokers[0]], strict=True))
    configs = [
        config_of(tmp_path / f"r{n}", here, there, _SITE, name=f"r{n}")
        for n, (here, there) in enumerate(ring)
    ]

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as stack:
            bridges = [
                await stack.enter_async_context(bridging(one)) for one in configs
            ]
            found = await stack.enter_async_context(listening(brokers[1], "site/#"))
            await connected(*bridges)
            await publish(brokers[0], "site/a", [b"one"])
            await until(lambda: bridges[0].stats()["total"].get("n_looped") == 1)
            await publish(brokers[0], "site/end", [b"end"])
            await until(lambda: bridges[0].stats()["total"].get("n_looped") == 2)
            assert [bytes(one.payload) for one in found] == [b"one", b"end"]

    asyncio.run(scene())


def test_one_broker_under_two_names_is_found_when_it_connects(tmp_path: Path) -> None:
    """Its hello comes back at the other end; topics with new names may pass."""
    with Broker(tmp_path / "broker", host="0.0.0.0") as one:  # noqa: S104 - a test
        other = Broker(tmp_path / "alias", host="127.0.0.2", port=one.port)
        one.host = "127.0.0.1"
        config = config_of(tmp_path, one, other, _SITE)

        async def refused() -> None:
            with pytest.raises(LoopError, match="both ends are one broker"):
                await gives_up(config)

        asyncio.run(refused())
        away = config.model_copy(
            update={"local_prefix": "site/", "remote_prefix": "copy/"}
        )

        async def allowed() -> None:
            async with bridging(away) as bridge, listening(one, "copy/#") as found:
                await connected(bridge)
                await publish(one, "site/a", [b"one"])
                await until(lambda: len(found) == 1)
            assert str(found[0].topic) == "copy/a"

        asyncio.run(allowed())


def test_one_address_at_both_ends_is_refused_before_it_connects(
    tmp_path: Path, brokers: list[Broker]
) -> None:
    """Also when a later rate map would close the loop: the map before holds."""
    here = brokers[0]
    there = Broker(tmp_path / "same", host="localhost", port=here.port)
    config = config_of(tmp_path, here, there, _SITE)

    async def scene() -> None:
        with pytest.raises(LoopError, match=r"site/# would be taken again by site/#"):
            async with bridging(config):
                pass
        _SITE.write(tmp_path / "rates.json")
        away = {"local_prefix": "site/", "remote_prefix": "copy/"}
        async with bridging(config.model_copy(update=away)) as bridge:
            wider = RateMap(rates_bps={"site/#": 1e8, "copy/#": 1e8})
            wider.write(tmp_path / "rates.json")
            await until(lambda: "a loop" in bridge.stats()["map_error"])
            assert set(bridge.stats()["lanes"]) == {"site/#"}

    asyncio.run(scene())


def test_a_hello_that_is_none_is_not_heard() -> None:
    """Anybody may publish there, and neither error nor answer follows."""
    here = Neighbours("me", "me", 0.0)
    here.reaches.update(
        local=Reach(takes=("a",), gives=()), remote=Reach(takes=(), gives=("a",))
    )
    for payload in (b"", b"[]", b"\xff", b"{}", b'{"id": 5}', b"[" * 100_000):
        assert not here.hear("local", payload)
    said = json.loads(here.hello("local", is_answer=False))
    assert not here.hear("remote", json.dumps({**said, "takes": 5}).encode())
    with pytest.raises(LoopError):
        here.hear("remote", json.dumps(said).encode())
