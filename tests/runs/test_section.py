"""Tests of sections that are made from the dataclasses they fill."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - sections look types up
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import Field, ValidationError

from midhaul.deploy.exports.plan import ExportSite
from midhaul.deploy.plan.config import SiteConfig
from midhaul.errors import ConfigError
from midhaul.federation.serving.config import BreakerConfig, CacheConfig, RetryConfig
from midhaul.federation.serving.settings import (
    BreakerSettings,
    CacheSettings,
    RetrySettings,
)
from midhaul.runs.config import Section
from midhaul.runs.schema import keys
from midhaul.runs.section import attributes_of, key, section, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pump:
    """A pump.

    Attributes:
        power_w: what it takes, e.g. at night. It takes less by day,
            but never nothing.
        mode: how it runs; see there.
        ports: number of each port.
        clock: no key.

    Raises:
        ConfigError: never.
    """

    power_w: Annotated[float, Gt(0), Le(9)]
    mode: Literal["slow", "fast"] = "slow"
    ports: Mapping[str, Annotated[int, Ge(1)]] = field(default_factory=dict[str, int])
    clock: object = None


class WellConfig(Section):
    """A section of its own with a key of a pump in its midst."""

    depth_m: float = Field(description="How deep it is.")
    power_w: float = key(Pump, "power_w")
    name: str = Field(default="", description="Its name.")


class PumpConfig(section(Pump, without=("clock",))):
    """A pump in a file."""


def test_a_section_has_the_keys_of_its_dataclass() -> None:
    """Types, bounds, defaults and the first sentence of each are said once."""
    found = [(k.name, k.type, k.description) for k in keys(PumpConfig)]
    assert found == [
        ("power_w", "number, more than 0, at most 9", "What it takes, e.g. at night."),
        ("mode", '"slow" | "fast"', "How it runs; see there."),
        (
            "ports",
            "names, each with a whole number, at least 1",
            "Number of each port.",
        ),
    ]
    assert attributes_of(Pump)["power_w"].endswith("by day, but never nothing.")


def test_a_section_is_as_strict_as_any() -> None:
    """It is frozen, converts nothing, knows its keys and tells all mistakes."""
    with pytest.raises(ConfigError, match="3 mistakes") as told:
        PumpConfig(power_w="3", mod="fast", ports={"a": 0})
    assert "did you mean 'mode'" in str(told.value)
    made = PumpConfig(power_w=9.0)
    assert issubclass(PumpConfig, Section)
    with pytest.raises(ValidationError, match="frozen"):
        made.power_w = 1.0


def test_a_key_among_others_is_the_dataclass_s() -> None:
    """Its place is the section's, all else is said once."""
    own, theirs = list(keys(WellConfig)), list(keys(PumpConfig))
    assert [one.name for one in own] == ["depth_m", "power_w", "name"]
    assert own[1] == theirs[0]
    with pytest.raises(ConfigError, match="less than or equal to 9"):
        WellConfig(depth_m=2.0, power_w=9.1)


def test_a_dataclass_is_filled_by_its_section() -> None:
    """What is no key is given beside it."""
    made = PumpConfig(power_w=9.0, ports={"a": 1})
    pump = value_of(Pump, made, clock="here")
    assert pump == Pump(power_w=9.0, ports={"a": 1}, clock="here")


@pytest.mark.parametrize(
    ("config", "value"),
    [
        (RetryConfig, RetrySettings),
        (BreakerConfig, BreakerSettings),
        (CacheConfig, CacheSettings),
        (SiteConfig, ExportSite),
    ],
)
def test_defaults_in_a_file_are_those_in_python(
    config: type[Section], value: type[object]
) -> None:
    """An empty table means the dataclass without arguments."""
    assert value_of(value, config()) == value()
