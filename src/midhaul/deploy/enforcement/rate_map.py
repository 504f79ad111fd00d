"""The rate map: which MQTT topics get how much of the uplink, as a file.

JSON or TOML, by the file's suffix::

    uplink_bps = 5000000
    [rates_bps]
    "iot/audio/+/clip" = 688570
    "iot/camera/#" = 57970

Each filter is a lane; a topic belongs to the first filter that it matches. Rates
include what transports add.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from midhaul import documents
from midhaul.deploy.enforcement.topics import check_filter, matches
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KEYS = ("uplink_bps", "rates_bps")
_HINT = 'like {"uplink_bps": 5e6, "rates_bps": {"iot/camera/#": 57970}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class RateMap:
    """Rates by topic filter.

    Attributes:
        rates_bps: bit/s of each filter, in the order in which they are tried.
        uplink_bps: what all together may send; infinite for no cap.

    Raises:
        DataError: a filter is none of MQTT's or shared, or a rate is negative,
            infinite or NaN.
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
    """Read a rate map.

    Raises:
        DataError: the file cannot be read, is no JSON or TOML, or is no rate map.
    """
    try:
        text = documents.read_text(file)
        is_toml = file.suffix == ".toml"
        parse = documents.parse_toml if is_toml else documents.parse_json
        found: object = parse(text)
    except (OSError, ValueError) as error:
        message = f"rate map {file} cannot be read: {error}"
        raise DataError(message, _HINT) from error
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
    numbers = {
        "uplink_bps": plain.get("uplink_bps", math.inf),
        **given,
    }
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
