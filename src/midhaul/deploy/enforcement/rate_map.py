"""The rate map: which MQTT topics get how much of the uplink, as a file.

JSON or TOML, by the file's suffix::

    uplink_bps = 5000000
    [rates_bps]
    "iot/audio/+/clip" = 688570
    "iot/camera/#" = 57970

Each filter is a lane; a topic belongs to the first filter that it matches. Rates
include what transports add.

Which topics a filter matches, covers and has in common with another is as of MQTT 5.0
(OASIS, 2019), section 4.7. A filter whose first level is a wildcard matches no topic
that begins with ``$``.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LONGEST_TOPIC = 65_535
"""Bytes of UTF-8 in a topic or a filter, at most."""

_SHARED = "$share/"


def is_filter(text: str) -> bool:
    """Whether a text is a topic filter."""
    if not text or "\0" in text or len(text.encode()) > LONGEST_TOPIC:
        return False
    levels = text.split("/")
    return "#" not in "".join(levels[:-1]) and all(
        level in {"+", "#"} or not {"+", "#"} & set(level) for level in levels
    )


def check_filter(text: str) -> None:
    """Refuse what cannot be forwarded, with a DataError: no filter, or a shared one."""
    if not is_filter(text):
        message = f"expected a topic filter of MQTT, found {text!r}"
        hint = "+ stands for one whole level, # for all that follow, at the end"
        raise DataError(message, hint)
    if text.startswith(_SHARED) or text == _SHARED.rstrip("/"):
        message = (
            f"{text}: a shared subscription gives a bridge only a part of the "
            "messages, no retained ones, and no protection from its own"
        )
        plain = text.removeprefix(_SHARED).partition("/")[2] or "iot/#"
        raise DataError(message, f"name the filter itself: {plain!r}")


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic belongs to a filter."""
    return covers(pattern, topic)


def covers(wide: str, narrow: str) -> bool:
    """Whether a filter matches all topics that another one does."""
    ours, theirs = wide.split("/"), narrow.split("/")
    if ours[0] in {"+", "#"} and theirs[0].startswith("$"):
        return False
    for index, level in enumerate(ours):
        if level == "#":
            return True
        if index == len(theirs) or theirs[index] == "#":
            return False
        if level not in {"+", theirs[index]}:
            return False
    return len(ours) == len(theirs)


def overlap(one: str, other: str) -> bool:
    """Whether some topic belongs to both filters."""
    ours, theirs = one.split("/"), other.split("/")
    wild, named = {"+", "#"}, (ours[0], theirs[0])
    if wild & set(named) and any(level.startswith("$") for level in named):
        return False
    for left, right in zip(ours, theirs, strict=False):
        if "#" in {left, right}:
            return True
        if left != right and "+" not in {left, right}:
            return False
    rest = ours[len(theirs) :] or theirs[len(ours) :]
    return rest in ([], ["#"])


def overlap_any(some: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """The first pair of two sets of filters that has a topic in common."""
    listed = list(others)
    return next(((a, b) for a in some for b in listed if overlap(a, b)), None)


def needed(filters: Iterable[str]) -> list[str]:
    """Filters that match the same without those that others cover."""
    listed = list(dict.fromkeys(filters))
    return [
        one
        for one in listed
        if not any(other != one and covers(other, one) for other in listed)
    ]


def renamed(topic: str, begin: str, instead: str) -> str:
    """A topic whose begin is replaced; any other one as it is.

    Of ``a/`` and ``b/``, the topic ``a`` becomes ``b``: ``a/#`` matches it too.
    """
    if topic.startswith(begin):
        return instead + topic.removeprefix(begin)
    return instead.removesuffix("/") if topic + "/" == begin else topic


def renamed_filter(name: str, begin: str, instead: str) -> str:
    """A filter that has all topics of another one after they were renamed."""
    if name.startswith(begin):
        rest = name.removeprefix(begin)
        if rest[:1] in {"+", "#"} and instead and not instead.endswith("/"):
            return instead.rpartition("/")[0] + "/#" if "/" in instead else "#"
        return instead + rest
    levels = name.split("/")
    is_partly = {"+", "#"} & set(levels) and overlap(name, begin.rstrip("/") + "/#")
    return "#" if is_partly else renamed(name, begin, instead)


_KEYS = ("uplink_bps", "rates_bps")
_HINT = 'like {"uplink_bps": 5e6, "rates_bps": {"iot/camera/#": 57970}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class RateMap:
    """Rates by topic filter, bit/s, in the order in which they are tried.

    ``uplink_bps`` is what all together may send; infinite for no cap. A DataError where
    a filter is none of MQTT's or shared, or a rate is negative, infinite or NaN.
    """

    rates_bps: Mapping[str, float]
    uplink_bps: float = math.inf

    def __post_init__(self) -> None:
        """Check filters and rates."""
        if math.isnan(self.uplink_bps) or self.uplink_bps < 0:
            message = f"expected an uplink of at least 0 bit/s, found {self.uplink_bps}"
            raise DataError(message)
        for name, rate_bps in self.rates_bps.items():
            check_filter(name)
            if not 0 <= rate_bps < math.inf:
                message = f"{name}: expected at least 0 bit/s, found {rate_bps}"
                raise DataError(message)

    def lane_of(self, topic: str) -> str | None:
        """The first filter that a topic matches; None where there is none."""
        return next((name for name in self.rates_bps if matches(name, topic)), None)

    def text(self) -> str:
        """As JSON; an infinite uplink is left out."""
        plain: dict[str, Any] = {"rates_bps": dict(self.rates_bps)}
        if math.isfinite(self.uplink_bps):
            plain = {"uplink_bps": self.uplink_bps, **plain}
        return json.dumps(plain, indent=2) + "\n"

    def write(self, file: Path) -> None:
        """Write it as JSON, in one step: a reader sees the old or the new map."""
        replace_text(file, self.text())


def read_rate_map(file: Path) -> RateMap:
    """Read a rate map, JSON or TOML; a DataError where it is none."""
    with documents.expected(f"rate map {file} cannot be read:", _HINT):
        text = documents.read_text(file)
        is_toml = file.suffix == ".toml"
        parse = documents.parse_toml if is_toml else documents.parse_json
        found: object = parse(text)
    if not isinstance(found, dict):
        message = f"rate map {file}: expected a table, found {type(found).__name__}"
        raise DataError(message, _HINT)
    plain = cast("dict[str, Any]", found)
    if unknown := sorted(set(plain) - set(_KEYS)):
        message = f"rate map {file}: unknown key {unknown[0]}, known are {_KEYS}"
        raise DataError(message, _HINT)
    rates = plain.get("rates_bps")
    if not isinstance(rates, dict):
        message = f"rate map {file}: expected rates_bps as a table, found {rates!r}"
        raise DataError(message, _HINT)
    given = cast("dict[str, Any]", rates)
    numbers = {"uplink_bps": plain.get("uplink_bps", math.inf), **given}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"rate map {file}: expected {name} in bit/s, found {value!r}"
            raise DataError(message, _HINT)
    uplink_bps = float(plain.get("uplink_bps", math.inf))
    rates_bps = {name: float(rate) for name, rate in given.items()}
    try:
        return RateMap(rates_bps=rates_bps, uplink_bps=uplink_bps)
    except DataError as error:
        message = f"rate map {file}: {error.message}"
        raise DataError(message, error.hint) from error


def replace_text(file: Path, text: str) -> None:
    """Write a file in one step: nobody ever reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
