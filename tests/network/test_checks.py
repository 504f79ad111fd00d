"""The conformance suite accepts what holds and finds what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.network.fake_simulator import FakeSimulation, FakeSimulator

from midhaul.network.checks import SimulatorClaims, check_simulator
from midhaul.network.transports import RdmaTransport

if TYPE_CHECKING:
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays, FlowResults

TRANSPORT = RdmaTransport()


def test_a_simulator_that_keeps_its_promises_passes() -> None:
    """The suite asks for nothing that a simple model could not give."""
    check_simulator(FakeSimulator(), TRANSPORT)


class _Odd(FakeSimulator):
    """Begins simulations of one odd sort."""

    def __init__(self, sort: type[FakeSimulation]) -> None:
        self._sort = sort

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> FakeSimulation:
        """Begin one."""
        return self._sort(problem, state)


class _TooFast(FakeSimulation):
    def results(self) -> FlowResults:
        found = super().results()
        return replace(found, fct_ns=found.fct_ns // 2)


class _LosesBytes(FakeSimulation):
    def results(self) -> FlowResults:
        found = super().results()
        links = replace(found.links, n_bytes=found.links.n_bytes // 2)
        return replace(found, links=links)


class _Forgets(FakeSimulation):
    def state(self) -> Arrays:
        return {**super().state(), "position": np.array(0), "fct": self._fct * 0 - 1}

    def __init__(self, problem: NetworkProblem, state: Arrays | None) -> None:
        super().__init__(problem, state)
        self._is_resumed = state is not None

    def results(self) -> FlowResults:
        found = super().results()
        return replace(found, end_ns=found.end_ns + self._is_resumed)


class _Waits(FakeSimulation):
    def results(self) -> FlowResults:
        found = super().results()
        return replace(found, start_ns=found.start_ns + 1, end_ns=found.end_ns + 1)


class _TakesAnyState(FakeSimulation):
    def __init__(self, problem: NetworkProblem, state: Arrays | None) -> None:
        n = len(problem.flows)
        mark = np.array([problem.flows.size_bytes.sum(), n, problem.seed])
        super().__init__(problem, None if state is None else {**state, "mark": mark})


@pytest.mark.parametrize(
    ("sort", "said"),
    [
        (_TooFast, "are the least"),
        (_LosesBytes, "carried less than they were sent"),
        (_Forgets, "resumed: it stopped at"),
        (_Waits, "started at other times"),
        (_TakesAnyState, "must be a DataError"),
    ],
)
def test_what_a_simulator_gets_wrong_is_said(sort: Any, said: str) -> None:
    """Each fault is named, with the problem that shows it."""
    with pytest.raises(ValueError, match=said):
        check_simulator(_Odd(sort), TRANSPORT)


def test_claims_are_held_to() -> None:
    """Who says that flows cannot wait has to refuse them."""
    with pytest.raises(ValueError, match="must be refused"):
        check_simulator(
            FakeSimulator(), TRANSPORT, claims=SimulatorClaims(has_waiting=False)
        )
