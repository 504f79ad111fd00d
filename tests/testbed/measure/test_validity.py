"""Verdicts: every demand alone, with its numbers and its advice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.testbed.load.generator import Load
from midhaul.testbed.load.records import RequestRecord
from midhaul.testbed.load.scenarios import Offline, Poisson, Server, SingleStream
from midhaul.testbed.measure.tables import CELLS
from midhaul.testbed.measure.validity import (
    CellLimits,
    Conditions,
    cell_facts,
    judge_cell,
    judge_percentile,
)

if TYPE_CHECKING:
    from midhaul.testbed.load.generator import Ending

SERVER = Server(arrivals=Poisson(rate_hz=10))


def load(
    n: int = 100,
    *,
    n_warmup: int = 10,
    n_failed: int = 0,
    late_s: float = 0.0,
    stretch: float = 1.0,
    ending: Ending = "complete",
    is_steady: bool = True,
) -> Load:
    """A load of 10 requests per second, each answered after 20 ms."""
    records = []
    for request in range(n_warmup + n):
        planned_s = request / 10
        sent_ns = round((planned_s * stretch + late_s) * 1e9)
        is_ok = request < n_warmup + n - n_failed
        records.append(
            RequestRecord(
                request=request,
                is_warmup=request < n_warmup,
                node="edge",
                images=("a",),
                planned_ns=round(planned_s * 1e9),
                sent_ns=sent_ns,
                done_ns=sent_ns + 20_000_000,
                status="ok" if is_ok else "timeout",
                error=None if is_ok else "no answer within 5 s",
                sent_bytes=1,
                received_bytes=1,
                meta={},
            )
        )
    return Load(records=tuple(records), ending=ending, is_steady=is_steady)


def test_a_good_cell_is_valid() -> None:
    """Nothing speaks against a cell that meets every demand."""
    assert judge_cell(load(), SERVER).is_valid


@pytest.mark.parametrize(
    ("bad", "reason", "advice"),
    [
        (load(30), "demands 64 requests, found 30", "load.n_requests"),
        (load(late_s=0.02), "at most 10 ms late at p99, found 20 ms", "load.rate_hz"),
        (load(n_failed=3), "found 3.0% (3 of 100; last: timeout", "load.timeout_s"),
        (load(is_steady=False), "none did in 10 requests", "load.max_warmup"),
        (load(ending="arrivals over"), "ended after 110 requests", "load.file"),
        (load(ending="too many outstanding"), "outstanding", "load.rate_hz"),
    ],
)
def test_each_demand_has_its_reason(bad: Load, reason: str, advice: str) -> None:
    """A cell that misses one demand has that one reason, with numbers and advice."""
    verdict = judge_cell(bad, SERVER)
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]
    assert advice in verdict.advice[0]


def test_a_rate_more_than_a_percent_off_is_invalid() -> None:
    """A generator that falls behind by 2 % is told apart from one by 0.5 %."""
    limits = CellLimits(max_late_s=10)
    assert judge_cell(load(stretch=1.005), SERVER, limits=limits).is_valid
    verdict = judge_cell(load(stretch=1.02), SERVER, limits=limits)
    assert "found 2.0%: 9.804 instead of 10 requests" in verdict.reasons[0]


def test_the_chance_of_arrivals_is_no_rate_error() -> None:
    """What counts is the plan that was drawn, not the mean it was drawn from."""
    assert judge_cell(load(), Server(arrivals=Poisson(rate_hz=12))).is_valid


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (Conditions(link_errors={"a->b": 0.06}), "Link a->b may be 5% off, found 6.0%"),
        (Conditions(link_errors={"a->b": np.nan}), "Link a->b"),
        (Conditions(throttled={"edge": 0.4}), "hold node edge back for 5%"),
        (Conditions(steal=0.2), "take 5% of the machine's CPU time, found 20.0%"),
        (Conditions(foreign_cpu=0.3), "Other programs may use 10%"),
        (Conditions(dead_nodes={"edge": "signal 9"}), "Node edge was to live"),
    ],
)
def test_bad_conditions_are_reasons(conditions: Conditions, reason: str) -> None:
    """Links, limits, neighbours and dead nodes each make a cell invalid."""
    verdict = judge_cell(load(), SERVER, conditions=conditions)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(reason) or reason in verdict.reasons[0]


def test_conditions_within_limits_are_no_reasons() -> None:
    """Small deviations are borne."""
    conditions = Conditions(
        link_errors={"a->b": 0.05},
        throttled={"edge": 0.01},
        steal=0.01,
        foreign_cpu=0.05,
    )
    assert judge_cell(load(), SERVER, conditions=conditions).is_valid


def test_nobody_answers() -> None:
    """A dead system says what its last failure was."""
    dead = load(100, n_failed=100, ending="nobody answers")
    verdict = judge_cell(dead, SERVER)
    assert "last: timeout, no answer within 5 s" in verdict.reasons[0]
    assert len(verdict.reasons) == 2


def test_nothing_judged_is_invalid() -> None:
    """A cell that died in its warm-up has no facts, and its row has nulls."""
    none = load(0, n_warmup=5, ending="arrivals over", is_steady=False)
    verdict = judge_cell(none, SERVER)
    assert "A cell needs judged requests, found none." in verdict.reasons
    facts = cell_facts(none, SERVER)
    row = facts.row(verdict, configuration=1, block=2, position=3)
    assert row["late_p99_s"] is None
    assert row["achieved_rate_hz"] is None
    assert CELLS.from_rows([row]).num_rows == 1


def test_offline_claims_no_latency() -> None:
    """A pile is late and slow by design; only its throughput is a fact."""
    pile = load(20, late_s=1.0)
    assert judge_cell(pile, Offline()).is_valid
    assert cell_facts(pile, Offline()).planned_rate_hz is None


def test_facts_by_hand() -> None:
    """100 judged requests from second 1.0 to 10.9, the last answered at 10.92."""
    facts = cell_facts(load(n_failed=2), SERVER)
    assert (facts.n_requests, facts.n_warmup, facts.n_errors) == (100, 10, 2)
    assert facts.duration_s == pytest.approx(9.92)
    assert facts.planned_rate_hz == pytest.approx(10)
    assert facts.achieved_rate_hz == pytest.approx(10)
    closed = cell_facts(load(), SingleStream())
    assert closed.planned_rate_hz is None
    assert closed.achieved_rate_hz == pytest.approx(100 / 9.92)


def test_a_percentile_needs_its_samples() -> None:
    """MLPerf's numbers: 662 requests carry p99 at 99 %, 661 do not."""
    assert judge_percentile(662, 0.99).is_valid
    verdict = judge_percentile(661, 0.99)
    assert "p99 at 99% confidence demands 662 requests, found 661" in verdict.reasons[0]


def test_no_claim_needs_no_samples() -> None:
    """A single cell may claim nothing when all blocks are judged together."""
    assert judge_cell(load(3), SERVER, limits=CellLimits(percentile=None)).is_valid
