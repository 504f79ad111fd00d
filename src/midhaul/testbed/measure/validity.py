"""Validity of a cell: every demand, what was found, and what to change.

Its *facts* are what the table ``cells`` says of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Verdict
from midhaul.stats import fewest_values, known, quantile
from midhaul.testbed.load.scenarios import Offline, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midhaul.testbed.load.generator import Load
    from midhaul.testbed.load.records import RequestRecord
    from midhaul.testbed.load.scenarios import Scenario

    _Finding = tuple[str, str]


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
        """The cell as a row of the table ``cells``."""
        return {
            "configuration": configuration,
            "block": block,
            "position": position,
            "n_requests": self.n_requests,
            "n_warmup": self.n_warmup,
            "n_errors": self.n_errors,
            "duration_s": self.duration_s,
            "planned_rate_hz": self.planned_rate_hz,
            "achieved_rate_hz": known(self.achieved_rate_hz),
            "late_p99_s": known(self.late_p99_s),
            "is_valid": verdict.is_valid,
            "reasons": list(verdict.reasons),
            "advice": list(verdict.advice),
        }


def cell_facts(load: Load, scenario: Scenario) -> CellFacts:
    """A cell in numbers.

    The rate of an open loop is that of its sends, first to last; the rate planned is
    that of the plan that was drawn, so that the chance of Poisson arrivals is no error.
    Of any other scenario it is requests over the whole duration.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLimits:
    """What is demanded of a cell.

    Attributes:
        percentile: highest percentile of the latency to be claimed for the cell, as a
            share in (0, 1); none when nothing is claimed for a single cell.
        confidence: of that claim.
        max_error_rate: share of failed requests.
        max_late_s: 99th percentile of actual minus planned send.
        max_rate_error: relative error of the achieved rate, open loop.
        max_link_error: relative error of rate or delay of a link.
        max_throttled: share of the time in which a CPU limit holds a node back.
        max_steal: share of the machine's CPU time that its host takes.
        max_foreign_cpu: share of the machine's CPU time that others use.
    """

    percentile: float | None = 0.9
    confidence: float = 0.99
    max_error_rate: float = 0.0
    max_late_s: float = 0.01
    max_rate_error: float = 0.01
    max_link_error: float = 0.05
    max_throttled: float = 0.05
    max_steal: float = 0.05
    max_foreign_cpu: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what conditions a cell was measured.

    Attributes:
        link_errors: largest relative error of each shaped link, by its name.
        throttled: share of the time in which its CPU limit held a node back, by node.
        steal: share of the machine's CPU time that its host took.
        foreign_cpu: share of the machine's CPU time that others used.
        dead_nodes: how a node ended, by node, of those that did.
    """

    link_errors: Mapping[str, float] = field(default_factory=dict[str, float])
    throttled: Mapping[str, float] = field(default_factory=dict[str, float])
    steal: float = 0.0
    foreign_cpu: float = 0.0
    dead_nodes: Mapping[str, str] = field(default_factory=dict[str, str])


def judge_cell(
    load: Load,
    scenario: Scenario,
    *,
    limits: CellLimits | None = None,
    conditions: Conditions | None = None,
) -> Verdict:
    """Hold a cell to its limits."""
    limits = limits or CellLimits()
    facts = cell_facts(load, scenario)
    findings = [
        *_ending(load),
        *_steadiness(load),
        *_errors(load, facts, limits),
        *_generator(facts, scenario, limits),
        *_conditions(conditions or Conditions(), limits),
    ]
    verdict = Verdict(
        reasons=tuple(reason for reason, _ in findings),
        advice=tuple(advice for _, advice in findings),
    )
    if limits.percentile is None or not scenario.is_latency_meaningful:
        return verdict
    return verdict + judge_percentile(
        facts.n_requests, limits.percentile, confidence=limits.confidence
    )


def judge_percentile(n: int, percentile: float, *, confidence: float = 0.99) -> Verdict:
    """Whether a number of requests can carry a claim about a percentile.

    Args:
        n: requests judged.
        percentile: as a share in (0, 1), 0.99 for p99.
        confidence: of the claim.
    """
    needed = fewest_values(percentile, confidence=confidence)
    if n >= needed:
        return Verdict()
    reason = (
        f"p{percentile * 100:g} at {confidence:.0%} confidence demands {needed} "
        f"requests, found {n}."
    )
    advice = "Raise load.n_requests or load.duration_s, or lower load.percentile."
    return Verdict(reasons=(reason,), advice=(advice,))


def _ending(load: Load) -> Iterator[_Finding]:
    n = len(load.records)
    match load.ending:
        case "complete":
            return
        case "arrivals over":
            yield (
                f"The arrivals were to last for the whole load, but they ended after "
                f"{n} requests.",
                "Give a longer load.file, or lower load.n_requests or load.duration_s.",
            )
        case "too many outstanding":
            yield (
                f"Answers were to keep up with requests, but after {n} requests too "
                "many were outstanding, and the load was ended.",
                "Lower load.rate_hz, or give the nodes less to do.",
            )
        case "nobody answers":
            yield (
                f"Nodes were to answer, but the last ones of {n} requests all failed "
                f"({_last_error(load.records)}), and the load was ended.",
                "Look at the logs of the nodes in the run's folder.",
            )


def _steadiness(load: Load) -> Iterator[_Finding]:
    if not load.is_steady:
        n = len(load.records) - len(load.judged)
        yield (
            "Two warm-up windows in a row were to agree in their median latency, but "
            f"none did in {n} requests.",
            "Lower load.rate_hz if the nodes cannot keep up; else raise "
            "load.max_warmup or load.warmup_window.",
        )


def _errors(load: Load, facts: CellFacts, limits: CellLimits) -> Iterator[_Finding]:
    if facts.n_requests == 0:
        yield (
            "A cell needs judged requests, found none.",
            "Raise load.n_requests or load.duration_s.",
        )
        return
    rate = facts.n_errors / facts.n_requests
    if rate > limits.max_error_rate:
        yield (
            f"At most {limits.max_error_rate:.1%} of the requests may fail, found "
            f"{rate:.1%} ({facts.n_errors} of {facts.n_requests}; "
            f"{_last_error(load.judged)}).",
            "Look at the column error of the table requests and at the nodes' logs; "
            "raise load.timeout_s if these are time-outs, or load.max_error_rate.",
        )


def _generator(
    facts: CellFacts, scenario: Scenario, limits: CellLimits
) -> Iterator[_Finding]:
    if not isinstance(scenario, Offline) and facts.late_p99_s > limits.max_late_s:
        yield (
            f"The generator may be at most {limits.max_late_s * 1e3:g} ms late at p99, "
            f"found {facts.late_p99_s * 1e3:.3g} ms.",
            "Lower load.rate_hz, or leave a CPU core to the workload.",
        )
    if facts.planned_rate_hz is None:
        return
    error = abs(facts.achieved_rate_hz / facts.planned_rate_hz - 1)
    if error > limits.max_rate_error:
        yield (
            f"The achieved rate may be {limits.max_rate_error:.1%} off, found "
            f"{error:.1%}: {facts.achieved_rate_hz:.4g} instead of "
            f"{facts.planned_rate_hz:.4g} requests per second.",
            "Lower load.rate_hz, or leave a CPU core to the workload.",
        )


def _conditions(conditions: Conditions, limits: CellLimits) -> Iterator[_Finding]:
    for node, end in conditions.dead_nodes.items():
        yield (
            f"Node {node} was to live through the cell, but it ended: {end}.",
            "Look at its log in the run's folder; raise nodes.memory_limit_bytes if "
            "it ran out of memory.",
        )
    for link, error in conditions.link_errors.items():
        # Not "error > limit": a link that could not be measured is NaN.
        if not error <= limits.max_link_error:
            yield (
                f"Link {link} may be {limits.max_link_error:.0%} off, found "
                f"{error:.1%}.",
                "Lower links.rate_bps or raise links.delay_s to what this machine "
                "can shape, or leave it more CPU time.",
            )
    for node, share in conditions.throttled.items():
        if share > limits.max_throttled:
            yield (
                f"The CPU limit may hold node {node} back for "
                f"{limits.max_throttled:.0%} of the time, found {share:.0%}.",
                "Raise nodes.cpu_limit, or lower load.rate_hz.",
            )
    if conditions.steal > limits.max_steal:
        yield (
            f"The host may take {limits.max_steal:.0%} of the machine's CPU time, "
            f"found {conditions.steal:.1%}.",
            "Run on a machine that is not shared, or at another time.",
        )
    if conditions.foreign_cpu > limits.max_foreign_cpu:
        yield (
            f"Other programs may use {limits.max_foreign_cpu:.0%} of the machine's CPU "
            f"time, found {conditions.foreign_cpu:.1%}.",
            "Stop what else runs on this machine.",
        )


def _last_error(records: Sequence[RequestRecord]) -> str:
    failed = [record for record in records if not record.is_ok]
    last = failed[-1]
    return f"last: {last.status}, {last.error or 'no text'}"
