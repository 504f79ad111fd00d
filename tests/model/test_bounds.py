"""Values hold to the bounds of their fields, wherever they are made."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from midhaul.errors import ConfigError
from midhaul.model import LinkQueue
from midhaul.network.transports import RdmaTransport, TcpTransport

BOUNDED = (LinkQueue, TcpTransport, RdmaTransport)
NUMBERS = [
    (kind, one.name, value)
    for kind in BOUNDED
    for one in fields(kind)
    if isinstance(one.default, int | float | None) and not isinstance(one.default, bool)
    for value in (
        (-1, 10**300)
        if "[int" in str(one.type)
        else (math.nan, -1.0, -math.inf, math.inf, 1e300)
    )
]


@pytest.mark.parametrize(("kind", "name", "value"), NUMBERS)
def test_no_number_is_beyond_its_bounds(kind: Any, name: str, value: float) -> None:
    """What is no number, negative or endless is refused by name, field by field."""
    if name == "max_rate_bps" and value > 0:
        assert kind(**{name: value})
        return
    with pytest.raises(ConfigError, match=f"{name} of {kind.__name__} must be "):
        kind(**{name: value})


@pytest.mark.parametrize(
    "name", ["segment_bytes", "initial_window", "acks_every", "min_timeout_s"]
)
def test_some_may_not_be_nothing(name: str) -> None:
    """A time-out of 0 is always over, a segment of 0 bytes carries nothing."""
    with pytest.raises(ConfigError, match=f"{name} of TcpTransport must be "):
        TcpTransport(**{name: 0})


@pytest.mark.parametrize(
    ("congestion", "more"),
    [
        ("dctcp", {"max_rate_bps": 1e6}),
        ("dcqcn", {"ecn_min_bytes": 20_000}),
        ("timely", {"low_s": 1.0}),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(
    congestion: Any, more: dict[str, Any]
) -> None:
    """What is least is no more than what is most."""
    with pytest.raises(ConfigError, match="must be at least") as caught:
        RdmaTransport(congestion=congestion, **more)
    assert caught.value.hint
