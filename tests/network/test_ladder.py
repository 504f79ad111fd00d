"""The most exact simulator that fits a time is taken, and it says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.network.fake_simulator import FakeSimulation

from midhaul.errors import ConfigError
from midhaul.network.checks import check_problems
from midhaul.network.ladder import RUNGS, STATED_ERRORS, choose_rung
from midhaul.network.simulators import SIMULATORS
from midhaul.network.transports import RdmaTransport
from midhaul.registry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.network.problem import NetworkProblem

PROBLEMS: dict[str, NetworkProblem] = dict(check_problems(RdmaTransport()))


class Clock:
    """Seconds that pass only when a simulator works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def _costly(clock: Clock, of_flow_s: float) -> Callable[..., object]:
    """A simulator whose flows take a time each."""

    class Costly(FakeSimulation):
        def advance(self, n_events: int) -> bool:
            before = self._position
            is_done = super().advance(n_events)
            clock.now_s += of_flow_s * (self._position - before)
            return is_done

    class Simulator:
        name = "costly"

        def begin(self, problem: NetworkProblem, state: None = None) -> Costly:
            if of_flow_s < 0:
                message = "flows wait"
                raise ConfigError(message)
            return Costly(problem, state)

    return Simulator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The rungs take 10 s, cannot, 1, 0.5 and 0.1 s a flow; there are 24."""
    found = Clock()
    monkeypatch.setattr("midhaul.network.simulators._KERNELS", {})
    for name, of_flow_s in zip(RUNGS, (10.0, -1.0, 1.0, 0.5, 0.1), strict=True):
        make = _costly(found, of_flow_s)
        monkeypatch.setitem(SIMULATORS._entries, name, Entry(place=make))
    return found


def test_the_ladder_falls_from_the_most_exact() -> None:
    """Packets are the truth, and errors grow from rung to rung."""
    errors = [STATED_ERRORS[name] for name in RUNGS]
    assert RUNGS[0] == "packet"
    assert errors == sorted(errors)


@pytest.mark.parametrize(("budget_s", "place"), [(300, 0), (200, 2), (24, 2), (3, 4)])
def test_the_most_exact_that_fits_is_taken(
    clock: Clock, budget_s: float, place: int
) -> None:
    """Cheaper ones are not looked at; one that cannot is passed over."""
    found = choose_rung(PROBLEMS["many flows"], budget_s, told={}, clock=clock)
    assert found.taken.simulator == RUNGS[place]
    assert len(found.looked_at) == place + 1
    assert found.taken.seconds == pytest.approx((240, 0, 24, 12, 2.4)[place], rel=0.01)
    assert ("cannot (flows wait)" in found.sentence) == (place > 1)


def test_a_time_that_nothing_fits_says_what_the_cheapest_takes(clock: Clock) -> None:
    """The hint is a number that would do."""
    with pytest.raises(ConfigError, match=r"cheapest is fluid about 2\.4 s") as caught:
        choose_rung(PROBLEMS["many flows"], 1.0, told={}, clock=clock)
    assert "budget_s to more than 2.4" in caught.value.hint
