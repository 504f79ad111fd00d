"""``midhaul compare``: does the second run differ from the first?"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midhaul.cli.options import RUNS, Json, Out, RunName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.api import Comparison
    from midhaul.model import Estimate
    from midhaul.runs.listing import ConfigDifference
    from midhaul.runs.run import Run
    from midhaul.stats.compare import MetricComparison

GATE = 4
"""Exit code of a gate, or of ``--strict``, that says no."""

Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 4 when the run is not valid.")
]
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="METRIC<=X",
        help="Exit with 4 when a metric is above X (>=X: below), of any configuration "
        "or of one (NAME:METRIC<=X), when that cannot be told, or when the run is not "
        "valid; may be repeated.",
    ),
]
_BOUND = re.compile(
    r"((?P<name>.+):\s*)?(?P<metric>\w+)\s*(?P<sign><=|>=)\s*(?P<limit>[^<>=\s]+)"
)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a metric of a run may be.

    Attributes:
        name: of the configuration; None for each of them.
        metric: its name.
        sign: ``<=`` or ``>=``.
        limit: in the metric's unit.
    """

    name: str | None
    metric: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Bound:
        """Read ``latency_p99_s<=0.2`` or ``street-n:ap>=0.3``.

        ConfigError if it is written otherwise.
        """
        from midhaul.errors import ConfigError

        found = _BOUND.fullmatch(text.strip())
        limit = math.nan
        if found is not None:
            try:
                limit = float(found["limit"])
            except ValueError:
                found = None
        if found is None or not math.isfinite(limit):
            message = f"--gate expects METRIC<=X or METRIC>=X, found {text!r}"
            raise ConfigError(message, "for example --gate 'latency_p99_s<=0.2'")
        return cls(found["name"], found["metric"], found["sign"], limit)

    def judge(self, row: Mapping[str, Any]) -> str | None:
        """Why a row of the summary does not pass; None when it does."""
        from midhaul.runs.summary import estimate_text, name_of

        place = f"{self.metric} of {name_of(row)}"
        value, bound = row["value"], row.get("bound")
        if value is None:
            return f"{place} cannot be judged: {row.get('remark') or 'it has no value'}"
        is_kept = value <= self.limit if self.sign == "<=" else value >= self.limit
        # A bound of the other direction proves what it shows, one of the same nothing.
        if is_kept and bound is not None and bound != self.sign:
            return f"{place} cannot be judged: it is {estimate_text(row)}"
        if is_kept:
            return None
        return f"{place} is {estimate_text(row)}, demanded is {self}"

    def __str__(self) -> str:
        """The bound as it is written."""
        return f"{self.sign} {self.limit:g}"


def failures_of(run: Run, bounds: Sequence[Bound]) -> list[str]:
    """Why the bounds do not hold, one sentence each.

    ConfigError if a bound names a metric or a configuration that the run has not.
    """
    from midhaul.errors import ConfigError, suggestion
    from midhaul.runs.summary import name_of

    rows = run.summary.rows
    texts = list(run.doubts)
    for bound in bounds:
        named = [row for row in rows if bound.name in {None, name_of(row)}]
        mine = [row for row in named if row["metric"] == bound.metric]
        if not mine:
            known = sorted({str(row["metric"]) for row in named})
            near = suggestion(bound.metric, known)
            of = f" of {bound.name!r}" if bound.name is not None else ""
            message = f"--gate: run {run.id} has no metric {bound.metric!r}{of}{near}"
            raise ConfigError(message, f"it has: {', '.join(known) or 'none'}")
        texts += [text for row in mine if (text := bound.judge(row)) is not None]
    return texts


Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="METRIC=±X%",
        help="Exit with 4 when a metric got worse by more than X %, when that cannot "
        "be told, or when a run is not valid; +X% allows it to rise by no more than "
        "that, -X% to fall; may be repeated.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the resampling.")]
_GATE = re.compile(r"(?P<metric>[^=]+)=(?P<sign>\+-|±|\+|-)?(?P<size>\d+(\.\d+)?)%")


@dataclass(frozen=True, slots=True)
class Gate:
    """How much a metric may change.

    Attributes:
        metric: its name.
        sign: ``+`` bounds its rise, ``-`` its fall, ``±`` its getting worse.
        tolerance: largest relative change.
    """

    metric: str
    sign: str
    tolerance: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read ``latency_p50_s=±5%``; ConfigError if it is written otherwise."""
        from midhaul.errors import ConfigError

        found = _GATE.fullmatch(text.strip())
        if found is None:
            message = f"--gate expects METRIC=±X%, found {text!r}"
            raise ConfigError(message, "for example --gate latency_p50_s=±5%")
        sign = found["sign"] or "±"
        sign = "±" if sign == "+-" else sign
        return cls(found["metric"].strip(), sign, float(found["size"]) / 100)

    def judge(self, found: MetricComparison) -> str | None:
        """Why a comparison does not pass; None when it does."""
        place = f"{found.metric} of {found.configuration}"
        if found.result == "cannot tell":
            return f"{place} cannot be judged: {found.reason}"
        if math.isnan(found.first) and math.isnan(found.second):
            return None  # neither run has the metric
        if found.result == "unknown":
            return f"{place} cannot be judged: one run has no value"
        if found.result == "tie":
            return None
        rose = found.difference.value > 0
        is_bad = (
            found.result == "worse" if self.sign == "±" else rose == (self.sign == "+")
        )
        change = found.ratio.value - 1
        is_open = found.bounds[1] is not None
        if not is_bad or (abs(change) <= self.tolerance and not is_open):
            return None
        least = "at least " if is_open else ""
        return f"{place} changed by {least}{change:+.1%}, allowed is {self}"

    def __str__(self) -> str:
        """The tolerance as it is written."""
        return f"{self.sign}{self.tolerance * 100:g} %"


def compare(
    first: RunName,
    second: RunName,
    *,
    gate: Gates = None,
    seed: Seed = 0,
    out: Out = RUNS,
    json: Json = False,
) -> None:
    """Compare two runs metric by metric: better, worse, a tie, or cannot tell."""
    from midhaul import api
    from midhaul.cli import output

    gates = [Gate.parse(text) for text in gate or ()]
    found = api.compare(first, second, seed=seed, out=out)
    failures = [*(found.doubts if gates else ()), *judge(gates, found.metrics)]
    if json:
        output.print_json(
            {
                "runs": [found.first, found.second],
                "doubts": list(found.doubts),
                "differences": [asdict(one) for one in found.differences],
                "comparisons": [asdict(one) for one in found.metrics],
                "failures": failures,
            }
        )
    else:
        _print_differences(found.differences)
        _print_comparisons(found)
        for text in found.doubts:
            output.print_line(text)
    for text in failures:
        output.say(f"gate: {text}")
    if failures:
        raise typer.Exit(GATE)


def judge(gates: Sequence[Gate], found: Sequence[MetricComparison]) -> list[str]:
    """Why the gates do not hold, one sentence per comparison.

    Raises:
        ConfigError: a gate names a metric that the runs do not share.
    """
    from midhaul.errors import ConfigError, suggestion

    known = list(dict.fromkeys(one.metric for one in found))
    for gate in gates:
        if gate.metric not in known:
            near = suggestion(gate.metric, known)
            message = f"--gate: both runs have no metric {gate.metric!r}{near}"
            raise ConfigError(message, f"they share: {', '.join(known) or 'none'}")
    texts = [g.judge(one) for g in gates for one in found if one.metric == g.metric]
    return [text for text in texts if text is not None]


def _print_differences(unlike: Sequence[ConfigDifference]) -> None:
    from midhaul.cli import output

    if not unlike:
        output.print_line("same code, config, libraries and machine")
        return
    rows = [[one.about, one.key, one.first, one.second] for one in unlike]
    output.print_table(["differs", "key", "first", "second"], rows)


def _print_comparisons(found: Comparison) -> None:
    from midhaul.cli import output

    if not found.metrics:
        output.print_line("the runs share no metric of the same configuration")
        return
    rows = [
        [
            one.configuration,
            one.metric,
            _bounded(one.first, one.bounds[0]),
            _bounded(one.second, one.bounds[1]),
            one.difference.unit,
            _interval(one.difference),
            _interval(one.ratio),
            one.p_value,
            one.result,
        ]
        for one in found.metrics
    ]
    columns = ["configuration", "metric", "first", "second", "unit", "second - first"]
    output.print_table([*columns, "second / first", "p (Holm)", "result"], rows)
    for text in found.reasons():
        output.print_line(text)
    if any(not one.is_paired for one in found.metrics):
        output.print_line("some metrics share no units: compared without pairing")


def _bounded(value: float, bound: str | None) -> object:
    from midhaul.model.display import number
    from midhaul.model.estimate import SIGNS

    return f"{SIGNS[bound]} {number(value)}" if bound else value


def _interval(estimate: Estimate) -> str:
    from midhaul.model.display import number

    ends = f"[{number(estimate.low)}, {number(estimate.high)}]"
    return f"{number(estimate.value)} {ends}"
