"""The ladder: simulators from the most exact to the cheapest, and which one fits.

Each rung has a stated error: how far its p99 of the slowdown of all flows lies from
that of the packet simulator on average over the workloads of
``benchmarks/decomposition.py``, and for hybrid, which needs many flows, over those of
``benchmarks/whole_network.py``. A rung costs what a probe on this machine says, see
:mod:`midhaul.network.work`. The most exact one whose cost fits is taken.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.errors import ConfigError, DataError
from midhaul.network.simulators import SIMULATORS, simulator_named, warm
from midhaul.network.work import predict, span_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.work import Clock

STATED_ERRORS: dict[str, float] = {
    "packet": 0.0,
    "hybrid": 0.016,
    "paths": 0.118,
    "links": 0.144,
    "fluid": 0.182,
}
"""Mean error of p99 of the slowdown, as a share, by the simulator's name."""

RUNGS = tuple(
    name
    for name in sorted(STATED_ERRORS, key=lambda name: STATED_ERRORS[name])
    if name in SIMULATORS
)
"""The simulators that there is a choice of, the most exact first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A simulator that was looked at.

    Attributes:
        simulator: its name.
        stated_error: its mean error of p99.
        seconds: what it is predicted to take; None where it cannot simulate it.
        refusal: why it cannot; empty where it can.
    """

    simulator: str
    stated_error: float
    seconds: float | None
    refusal: str = ""

    @property
    def words(self) -> str:
        """Its name and what it takes, or that it cannot."""
        if self.seconds is None:
            return f"{self.simulator} cannot ({self.refusal})"
        return f"{self.simulator} about {span_text(self.seconds)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RungChoice:
    """Which simulator was taken.

    Attributes:
        looked_at: the rungs that were looked at, the most exact first; the last one is
            taken.
        budget_s: what it had to fit.
    """

    looked_at: tuple[Rung, ...]
    budget_s: float

    @property
    def taken(self) -> Rung:
        """The rung that fits."""
        return self.looked_at[-1]

    @property
    def sentence(self) -> str:
        """Which one and why, for people."""
        one, budget = self.taken, span_text(self.budget_s)
        found = f"{one.simulator} is the most exact simulator that fits {budget}"
        found += f" (about {span_text(one.seconds or 0.0)}"
        found += f", mean error of p99 {one.stated_error:.0%})"
        missed = [rung.words for rung in self.looked_at[:-1]]
        return f"{found}; {', '.join(missed)}." if missed else f"{found}."


def choose_rung(
    problem: NetworkProblem,
    budget_s: float,
    *,
    told: Mapping[str, float],
    say: Callable[[str], None] = lambda _: None,
    clock: Clock = time.monotonic,
) -> RungChoice:
    """The most exact simulator that fits a time.

    Args:
        problem: what is to be simulated.
        budget_s: what it may take on this machine.
        told: options that a simulator may have.
        say: is told when kernels have to be compiled, which counts for nothing.
        clock: what a probe takes, in seconds.

    Raises:
        ConfigError: none fits; it says what the cheapest one takes.
    """
    looked_at: list[Rung] = []
    for rung in _rungs(problem, told, say, clock):
        looked_at.append(rung)
        if rung.seconds is not None and rung.seconds <= budget_s:
            return RungChoice(looked_at=tuple(looked_at), budget_s=budget_s)
    able = [rung for rung in looked_at if rung.seconds is not None]
    words = ", ".join(rung.words for rung in looked_at)
    if not able:
        message = f"no simulator of the ladder can simulate this: {words}"
        raise ConfigError(message, "name a simulator, such as packet")
    cheapest = min(able, key=lambda rung: rung.seconds or 0.0)
    message = (
        f"no simulator fits budget_s = {budget_s:g}: the cheapest is {cheapest.words} "
        f"(all: {words})"
    )
    hint = f"set budget_s to more than {cheapest.seconds:.3g}, or simulate fewer flows"
    raise ConfigError(message, hint)


def _rungs(
    problem: NetworkProblem,
    told: Mapping[str, float],
    say: Callable[[str], None],
    clock: Clock,
) -> Iterator[Rung]:
    """Each rung with what it takes, the most exact first."""
    for name in RUNGS:
        try:
            warm(name, problem.transports, say=say)
            simulator = simulator_named(name, **told)
            seconds = predict(simulator, problem, clock, is_wanted=True).seconds
        except (ConfigError, DataError) as error:
            yield Rung(
                simulator=name,
                stated_error=STATED_ERRORS[name],
                seconds=None,
                refusal=error.message,
            )
        else:
            yield Rung(
                simulator=name, stated_error=STATED_ERRORS[name], seconds=seconds
            )
