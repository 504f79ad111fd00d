"""The conformance suite finds what is wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.deploy.rates import (
    Demands,
    HullGreedy,
    RateAllocation,
    check_allocator,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """A good allocator with an answer that something was done to."""

    spoil: Callable[[RateAllocation], dict[str, object]]
    name: str = "spoilt"

    def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
        """The spoilt answer."""
        answer = HullGreedy().allocate(demands, uplink_bps)
        return dataclasses.replace(answer, **self.spoil(answer))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: {"rates_bps": a.rates_bps * 2 + 1}, "are granted"),
        (lambda a: {"rates_bps": a.rates_bps - 1}, "negative"),
        (lambda a: {"rates_bps": a.rates_bps / 2}, "costs more"),
        (lambda a: {"value": a.value + 1}, "the value is"),
        (lambda a: {"bound": a.value - 1, "status": "feasible"}, "below the value"),
        (lambda a: {"qualities": a.qualities + 0.1}, "not those of the steps"),
        (lambda a: {"steps": a.steps + 100}, "not among those"),
        (lambda _: {"steps": np.zeros(0, np.int64)}, "expected"),
        (lambda a: {"status": "optimal", "bound": a.value + 1}, "optimal with"),
    ],
)
def test_finds(
    spoil: Callable[[RateAllocation], dict[str, object]], message: str
) -> None:
    """Each way to spoil an answer is found and named."""
    with pytest.raises(ValueError, match=message):
        check_allocator(Spoilt(spoil=spoil))


def test_chance_is_found() -> None:
    """Rates that differ from call to call are found."""
    rng = np.random.default_rng(0)
    spoilt = Spoilt(
        spoil=lambda a: {"rates_bps": a.rates_bps * (1 + 1e-7 * rng.random())}
    )
    with pytest.raises(ValueError, match="equal rates"):
        check_allocator(spoilt)


def test_falling_value_is_found() -> None:
    """An allocator that is called optimal must not lose value with more uplink."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Shy:
        name: str = "shy"

        def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
            scared = float(np.sum(demands.rates_bps)) * 0.5
            return HullGreedy().allocate(
                demands, 0.0 if uplink_bps > scared else uplink_bps
            )

    with pytest.raises(ValueError, match="more uplink"):
        check_allocator(Shy(), is_optimal=True)


def test_silence_is_found() -> None:
    """An allocator that takes a negative uplink is found."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Mild:
        name: str = "mild"

        def allocate(self, demands: Demands, uplink_bps: float) -> RateAllocation:
            try:
                return HullGreedy().allocate(demands, uplink_bps)
            except DataError:
                return HullGreedy().allocate(demands, 0.0)

    with pytest.raises(ValueError, match="expected DataError"):
        check_allocator(Mild())
