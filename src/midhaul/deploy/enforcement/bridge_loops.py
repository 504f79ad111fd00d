"""How a bridge finds that messages would go round in circles.

Three ways, since none of them finds all:

1. *Before anything is sent*: both ends at one address, and names that meet again.
2. *When it connects*: it says hello at both brokers under :data:`HELLO_TOPIC`, and all
   other bridges answer there. Its own hello at its other end means that both are one
   broker. Another bridge that is heard at both ends and carries the same topics the
   other way closes a circle; the younger of the two gives up.
3. *With each message* (MQTT 5): a user property lists the bridges that it has passed.
   One that has been here is dropped. This also finds circles over further brokers.

What a broker's own bridge adds to a circle is found by the third way alone, and only
where it speaks MQTT 5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul.deploy.enforcement.mqtt.packets import Prop
from midhaul.deploy.enforcement.rate_map import overlap_any
from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.deploy.enforcement.bridge_config import BridgeConfig, Endpoint
    from midhaul.deploy.enforcement.mqtt.packets import Properties, Value

HELLO_TOPIC = "$midhaul/hello"
"""Where bridges hear of each other; no wildcard matches it."""

OWN_TOPICS = ("midhaul/bridge/", "$midhaul/")
"""Topics of bridges themselves begin like this; no bridge forwards them."""

VIA = "midhaul-via"
"""Name of the user property that lists the bridges which a message has passed."""

MOST_HOPS = 16
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "ip6-localhost"}
_FORWARDED = {
    Prop.PAYLOAD_FORMAT,
    Prop.CONTENT_TYPE,
    Prop.RESPONSE_TOPIC,
    Prop.CORRELATION_DATA,
    Prop.USER,
}
_HINT = "one bridge can carry topics both ways: name those of the other way in [[down]]"


class LoopError(ConfigError):
    """Messages would go round in circles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a bridge does at one broker: filters that it takes, and of what it gives."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]


def hops(properties: Properties) -> list[str]:
    """The bridges that a message has passed."""
    return [
        one
        for key, value in properties
        if key == Prop.USER and isinstance(value, tuple) and value[0] == VIA
        for one in value[1].split(",")
    ]


def passed_on(
    properties: Properties, identity: str, *, is_marked: bool
) -> list[tuple[int, Value]]:
    """The properties with which a message goes on, marked by this bridge or not."""
    kept = [
        (key, value)
        for key, value in properties
        if key in _FORWARDED and not (isinstance(value, tuple) and value[0] == VIA)
    ]
    if is_marked:
        kept.append((int(Prop.USER), (VIA, ",".join([*hops(properties), identity]))))
    return kept


def is_one_address(config: BridgeConfig) -> bool:
    """Whether both ends have an address in common."""
    return bool(_addresses(config.local) & _addresses(config.remote))


def _addresses(endpoint: Endpoint) -> set[tuple[str, int]]:
    return {
        ("loopback" if host.lower() in _LOOPBACK else host.lower(), port)
        for host, port in endpoint.addresses()
    }


def check_one_broker(local: Reach, remote: Reach) -> None:
    """Refuse what would go round where both ends are one broker, with a LoopError."""
    taken = (*local.takes, *remote.takes)
    if (pair := overlap_any((*local.gives, *remote.gives), taken)) is not None:
        message = (
            "both ends are one broker, and what is published there as "
            f"{pair[0]} would be taken again by {pair[1]}: a loop"
        )
        hint = "name two brokers, or give topics new names that no filter matches"
        raise LoopError(message, hint)


def check_without_no_local(name: str, reach: Reach) -> None:
    """Refuse both ways over a broker that returns what is published: a LoopError."""
    if (pair := overlap_any(reach.gives, reach.takes)) is not None:
        message = (
            f"the {name} broker speaks plain MQTT 3.1.1 and would return what is "
            f"published as {pair[0]} to {pair[1]}: a loop"
        )
        raise LoopError(message, "use a broker with MQTT 5, or topics that differ")


class Neighbours:
    """Other bridges at the two brokers, as far as they are heard.

    ``began`` is when this bridge was started, seconds since 1970; the younger one gives
    up. ``reaches`` has what it does at ``local`` and ``remote``, and is to be filled
    in.
    """

    def __init__(self, identity: str, name: str, began: float) -> None:
        self._identity, self._name, self._began = identity, name, began
        self.reaches: dict[str, Reach] = {}
        self._heard: dict[str, dict[str, dict[str, Any]]] = {}

    def hello(self, end: str, *, is_answer: bool) -> bytes:
        """What this bridge says at one of its brokers."""
        reach = self.reaches[end]
        said = {
            "id": self._identity,
            "name": self._name,
            "began": self._began,
            "end": end,
            "takes": reach.takes,
            "gives": reach.gives,
            "is_answer": is_answer,
        }
        return json.dumps(said).encode()

    def hear(self, end: str, payload: bytes) -> bool:
        """Another bridge, or this one, has said hello: whether that has to be answered.

        A LoopError where messages would go round in a circle.
        """
        said = _read(payload)
        if said is None:
            return False
        if said["id"] == self._identity:
            if said["end"] != end:
                check_one_broker(self.reaches["local"], self.reaches["remote"])
            return False
        if len(self._heard) < MOST_HOPS * MOST_HOPS or said["id"] in self._heard:
            self._heard.setdefault(said["id"], {})[end] = said
        self._check(self._heard.get(said["id"], {}))
        return not said["is_answer"]

    def _check(self, heard: dict[str, dict[str, Any]]) -> None:
        reaches = self.reaches
        if len(heard) < len(reaches):
            return
        here, there = heard["local"], heard["remote"]
        if (here["end"] == there["end"]) or self._is_older(here):
            return
        onward = overlap_any(reaches["remote"].gives, there["takes"])
        back = overlap_any(here["gives"], reaches["local"].takes)
        onward_down = overlap_any(reaches["local"].gives, here["takes"])
        back_down = overlap_any(there["gives"], reaches["remote"].takes)
        pair = (onward and back) or (onward_down and back_down)
        if pair is not None:
            message = (
                f"the bridge {here['name']!r} joins the same two brokers and carries "
                f"{pair[0]} back, which {pair[1]} takes again: a loop"
            )
            raise LoopError(message, _HINT)

    def _is_older(self, other: dict[str, Any]) -> bool:
        return (self._began, self._identity) < (other["began"], other["id"])


def _read(payload: bytes) -> dict[str, Any] | None:
    """A hello; None where it is none, since anybody may publish there."""
    try:
        said: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    found = cast("dict[str, Any]", said)
    texts = all(isinstance(found.get(key), str) for key in ("id", "name"))
    is_whole = (
        texts
        and found.get("end") in ("local", "remote")
        and isinstance(found.get("began"), int | float)
        and isinstance(found.get("is_answer"), bool)
        and all(_is_texts(found.get(key)) for key in ("takes", "gives"))
    )
    return found if is_whole else None


def _is_texts(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(one, str) for one in cast("Iterable[object]", value))
