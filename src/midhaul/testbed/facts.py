"""A cell in numbers: what the table ``cells`` says of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.stats import quantile
from midhaul.testbed.scenarios import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model import Verdict
    from midhaul.testbed.load import Load
    from midhaul.testbed.records import RequestRecord
    from midhaul.testbed.scenarios import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """A cell in numbers: columns of the table ``cells``.

    Attributes:
        n_requests: requests judged.
        n_warmup: requests before the cell was steady.
        n_errors: judged requests that were not ok.
        duration_s: from the first planned send to the last answer.
        planned_rate_hz: rate of the sends as planned; none for closed loops.
        achieved_rate_hz: rate of the sends as they were; NaN when there are too few.
        late_p99_s: 99th percentile of actual minus planned send; NaN without any.
    """

    n_requests: int
    n_warmup: int
    n_errors: int
    duration_s: float
    planned_rate_hz: float | None
    achieved_rate_hz: float
    late_p99_s: float

    def row(
        self, verdict: Verdict, *, configuration: int, block: int, position: int
    ) -> dict[str, object]:
        """The cell as a row of the table ``cells``.

        Args:
            verdict: whether the cell may be believed.
            configuration: number of the configuration measured.
            block: number of its block.
            position: its place in the block.
        """
        return {
            "configuration": configuration,
            "block": block,
            "position": position,
            "n_requests": self.n_requests,
            "n_warmup": self.n_warmup,
            "n_errors": self.n_errors,
            "duration_s": self.duration_s,
            "planned_rate_hz": self.planned_rate_hz,
            "achieved_rate_hz": _or_null(self.achieved_rate_hz),
            "late_p99_s": _or_null(self.late_p99_s),
            "is_valid": verdict.is_valid,
            "reasons": list(verdict.reasons),
            "advice": list(verdict.advice),
        }


def cell_facts(load: Load, scenario: Scenario) -> CellFacts:
    """A cell in numbers.

    The rate of an open loop is that of its sends, first to last; the rate planned is
    that of the plan that was drawn, so that the chance of Poisson arrivals is no error.
    Of any other scenario it is requests over the whole duration.

    Args:
        load: what the cell's load came to.
        scenario: how its workload behaved.
    """
    judged = load.judged
    sent = np.array([record.sent_ns for record in judged], np.float64) / 1e9
    late = np.array([record.lateness_ns for record in judged], np.float64) / 1e9
    duration_s = _duration_s(judged)
    is_open = isinstance(scenario, Server)
    planned = sent - late
    return CellFacts(
        n_requests=len(judged),
        n_warmup=len(load.records) - len(judged),
        n_errors=sum(not record.is_ok for record in judged),
        duration_s=duration_s,
        planned_rate_hz=_rate_hz(planned) if is_open and len(judged) > 1 else None,
        achieved_rate_hz=_rate_hz(sent)
        if is_open
        else len(judged) / duration_s
        if duration_s
        else math.nan,
        late_p99_s=quantile(late, 0.99),
    )


def _duration_s(records: Sequence[RequestRecord]) -> float:
    if not records:
        return 0.0
    begin = min(record.planned_ns for record in records)
    return (max(record.done_ns for record in records) - begin) / 1e9


def _rate_hz(times_s: np.ndarray) -> float:
    """Gaps over the time they span; NaN when there are too few."""
    if len(times_s) < 2 or times_s.max() == times_s.min():  # noqa: PLR2004
        return math.nan
    return (len(times_s) - 1) / float(times_s.max() - times_s.min())


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
