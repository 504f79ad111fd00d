"""A federation over recorded answers while providers fail, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.federation.serving.scenes import Everything, InTurn, everybody

from midhaul.federation.evaluate.tables import (
    FAULT_PHASES,
    FAULT_REQUESTS,
    FAULT_SUMMARY,
    TABLES,
)
from midhaul.federation.money.budget import Budgets
from midhaul.federation.providers.faults import Fault
from midhaul.federation.providers.local import DrawnLatency
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.federation.serving import BreakerSettings, ProviderSettings
from midhaul.federation.serving.replay import (
    Phase,
    ReplaySettings,
    replay_under_faults,
    request_rows,
    run_virtual,
    standard_phases,
    summary_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.serving.replay import FaultReplay

N = 40
STEADY = DrawnLatency(median_s=0.2, spread=0.0)


def recording() -> Recording:
    """Three providers that answer one label each; only the first is always right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, N).astype(np.int32)
    answers = [truth, 1 - truth, rng.integers(0, 2, N).astype(np.int32)]
    starts = np.arange(N + 1)
    whole = [
        Answers(
            starts=starts, labels=labels, scores=np.ones(N, np.float32),
            boxes=np.tile(np.array([[0, 0, 8, 8]], np.float32), (N, 1)),
            is_missing=np.zeros(N, bool), is_ignored=np.zeros(N, bool),
        )
        for labels in (*answers, truth)
    ]  # fmt: skip
    return Recording(
        task="boxes", items=tuple(f"i{i}" for i in range(N)), names=("cat", "dog"),
        providers=("a", "b", "c"), prices_usd=np.array([0.001, 0.002, 0.004]),
        answers=tuple(whole[:3]), truth=whole[3],
        sizes_px=np.full((N, 2), 64, np.float32),
    )  # fmt: skip


def served(
    policy: SubsetPolicy, phases: Sequence[Phase], **settings: object
) -> FaultReplay:
    """A replay at 10 requests per second, all calls in 0.2 s unless said."""
    said = ReplaySettings(**{"latency": STEADY, **settings})  # type: ignore[arg-type]
    whole = recording()
    nothing = np.zeros((N, 0), np.float32)
    return replay_under_faults(policy, whole, nothing, Everything(), phases, said)


def phase(name: str, begin: float, **faults: Fault) -> Phase:
    """A phase of 30 s."""
    return Phase(name=name, begins_s=begin, ends_s=begin + 30.0, faults=faults)


def by_phase(
    replay: FaultReplay, phases: Sequence[Phase]
) -> dict[str, dict[str, object]]:
    """The summary by name of the phase; every answer has quality 1."""
    qualities = np.where([a.is_answered for a in replay.answers], 1.0, np.nan)
    rows = summary_rows(replay, phases, qualities)
    FAULT_SUMMARY.from_rows(rows)
    return {str(row["phase"]): row for row in rows}


def test_a_healthy_replay_takes_as_long_as_was_recorded() -> None:
    """To the digit, as time is virtual; every call is charged."""
    phases = [phase("healthy", 0.0)]
    replay = served(everybody(3), phases)
    (row,) = by_phase(replay, phases).values()
    assert row["n_requests"] == len(replay.answers) > 200
    assert row["latency_p50_s"] == pytest.approx(0.2)
    assert row["latency_p95_s"] == pytest.approx(0.2)
    assert row["latency_p99_s"] is None
    assert row["complete"] == 1.0
    assert row["cost_usd"] == pytest.approx(0.007)
    assert replay.spent_usd == pytest.approx(0.007 * len(replay.answers))
    assert replay.n_calls == 3 * len(replay.answers)


def test_an_outage_is_failed_over_and_then_passed_by() -> None:
    """All requests are answered; once the breaker is open, without a detour."""
    phases = [
        phase("healthy", 0.0),
        phase("outage", 30.0, a=Fault(kind="unavailable")),
        phase("after", 60.0),
    ]
    limits = {"a": ProviderSettings(breaker=BreakerSettings(open_s=5.0))}
    replay = served(InTurn([0, 1, 2]), phases, limits=limits)
    found = by_phase(replay, phases)
    assert all(row["answered"] == 1.0 for row in found.values())
    assert found["healthy"]["complete"] == 1.0
    assert found["outage"]["complete"] == 0.0
    assert found["outage"]["latency_p50_s"] == pytest.approx(0.2)
    assert found["outage"]["failed_calls"] < 0.3
    late = [a for a, t in zip(replay.answers, replay.arrivals_s, strict=True) if t > 80]
    assert {answer.asked for answer in late} == {("a",)}


def test_a_price_change_is_charged_from_its_phase_on() -> None:
    """And the old price comes back with the next phase."""
    phases = [
        phase("before", 0.0),
        Phase(name="dearer", begins_s=30, ends_s=60, prices_usd={"a": 0.01}),
        phase("after", 60.0),
    ]
    found = by_phase(served(everybody(1), phases), phases)
    assert found["before"]["cost_usd"] == pytest.approx(0.001)
    assert found["dearer"]["cost_usd"] == pytest.approx(0.01)
    assert found["after"]["cost_usd"] == pytest.approx(0.001)


def test_silent_degradation_changes_answers_and_nothing_else() -> None:
    """No call fails, nothing takes longer, but labels are wrong."""
    worse = Fault(kind="degraded", drop=0.0, swap=1.0, jitter=0.0)
    phases = [phase("healthy", 0.0), phase("worse", 30.0, a=worse)]
    replay = served(everybody(1), phases)
    found = by_phase(replay, phases)
    assert found["worse"]["failed_calls"] == 0
    assert found["worse"]["latency_p95_s"] == pytest.approx(0.2)
    truth = recording().truth
    assert truth is not None
    right = [
        answer.answer is not None and answer.answer.labels[0] == truth.labels[item]
        for answer, item in zip(replay.answers, replay.items.tolist(), strict=True)
    ]
    is_before = replay.arrivals_s < 30
    assert np.mean(np.array(right)[is_before]) == 1.0
    assert np.mean(np.array(right)[~is_before]) == 0.0


def test_a_budget_is_kept_in_a_replay() -> None:
    """Requests after its end are told so."""
    phases = [phase("healthy", 0.0)]
    replay = served(everybody(1), phases, budgets=Budgets(run_usd=0.1))
    assert replay.spent_usd == pytest.approx(0.1)
    assert sum(a.status == "no_budget" for a in replay.answers) == (
        len(replay.answers) - 100
    )


def test_the_same_seed_replays_to_the_digit() -> None:
    """Arrivals, faults and waits; another seed gives another run."""
    phases = standard_phases("a", phase_s=5.0, price_usd=0.01)
    drawn = DrawnLatency(median_s=0.3)
    runs = [
        served(InTurn([0, 1, 2]), phases, latency=drawn, seed=seed)
        for seed in (1, 1, 2)
    ]
    told = [
        [(a.latency_s, a.cost_usd, a.status, a.asked) for a in run.answers]
        for run in runs
    ]
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_the_standard_phases_fill_their_tables() -> None:
    """Each phase has a row in the summary; rows fit the declared tables."""
    phases = standard_phases("a", phase_s=10.0, price_usd=0.01)
    replay = served(InTurn([0, 1, 2]), phases)
    assert set(by_phase(replay, phases)) == {one.name for one in phases}
    qualities = np.full(len(replay.answers), np.nan)
    rows = request_rows(replay, recording(), phases, qualities)
    assert FAULT_REQUESTS.from_rows(rows).num_rows == len(replay.answers)
    plan = [row for one in phases for row in one.rows()]
    assert FAULT_PHASES.from_rows(plan).num_rows == len(phases)
    for table in TABLES:
        assert all(column.doc.endswith(".") for column in table.columns)


def test_virtual_time_jumps_over_waits() -> None:
    """In order, to the digit, and timers that meet are served together."""

    async def main(clock: Callable[[], float]) -> list[float]:
        seen: list[float] = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(clock())

        await asyncio.gather(*(wait(s) for s in (3600.0, 0.5, 86_400.0, 0.5)))
        return seen

    assert run_virtual(main) == pytest.approx([0.5, 0.5, 3600.0, 86_400.0])


def test_virtual_time_refuses_what_it_cannot_jump_over() -> None:
    """Threads, and waits that nobody will end."""

    async def in_thread(clock: Callable[[], float]) -> None:
        await asyncio.to_thread(clock)

    async def for_ever(clock: Callable[[], float]) -> None:
        del clock
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="only coroutines may run"):
        run_virtual(in_thread)
    with pytest.raises(RuntimeError, match="nothing is left to do"):
        run_virtual(for_ever)
