"""``midhaul compare``: does the second run differ from the first?"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from midhaul.cli.options import RUNS, Json, Out, RunName, Wide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.api import Comparison
    from midhaul.runs.listing import ConfigDifference
    from midhaul.runs.metric import Metrics
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
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Only this metric; may be repeated."),
    ] = None,
    configuration: Annotated[
        list[str] | None,
        typer.Option(
            "--configuration",
            metavar="NAME",
            help="Only configurations whose names begin so; may be repeated.",
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Print ties and what cannot be told, too.")
    ] = False,
    seed: Seed = 0,
    wide: Wide = False,
    out: Out = RUNS,
    json: Json = False,
) -> None:
    """Compare two runs metric by metric: better, worse, a tie, or cannot tell.

    What changed comes first. What is asked for by --metric and --configuration is all
    that the p values are corrected for.
    """
    from midhaul import api
    from midhaul.cli import output
    from midhaul.cli.progress import shown_progress

    gates = [Gate.parse(text) for text in gate or ()]
    runs = [api.open_run(name, out=out) for name in (first, second)]
    with shown_progress() as progress:
        found = api.compare(
            *runs,
            seed=seed,
            metrics=metric or (),
            configurations=configuration or (),
            progress=progress if output.stderr().is_terminal else None,
        )
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
        for place, one in zip(("first", "second"), runs, strict=True):
            output.print_text(f"{place:6}  {one.id}  {one.manifest.name}".rstrip())
        _print_differences(found.differences, wide=wide)
        _print_comparisons(found, runs[0], show_all=all_, wide=wide)
        for text in found.doubts:
            output.print_text(text)
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


def _print_differences(unlike: Sequence[ConfigDifference], *, wide: bool) -> None:
    from midhaul.cli import output

    if not unlike:
        output.print_line("same code, config, libraries and machine")
        return
    rows = [[one.about, one.key, one.first, one.second] for one in unlike]
    heads = ["differs", "key", "first", "second"]
    output.print_table(heads, rows, fold=set(heads[1:]), wide=wide)


_CHANGED = ("worse", "better")


def _print_comparisons(
    found: Comparison, of: Run, *, show_all: bool, wide: bool
) -> None:
    """What changed first, the rest on demand; how many of each there are."""
    from midhaul.cli import output
    from midhaul.model.display import counted

    if not found.metrics:
        output.print_line("the runs share no metric of the same configuration")
        return
    order = {"worse": 0, "better": 1, "cannot tell": 2, "unknown": 3, "tie": 4}
    ranked = sorted(found.metrics, key=lambda one: order[one.result])
    shown = [one for one in ranked if show_all or one.result in _CHANGED]
    if shown:
        output.print_line()
        declared = {} if of.presenter is None else of.presenter.load_metrics()
        _print_table(shown, declared, wide=wide)
    counts = {
        word: sum(one.result == word for one in ranked)
        for word in order
        if any(one.result == word for one in ranked)
    }
    words = ", ".join(f"{n} {word}" for word, n in counts.items())
    told = f"{counted(len(ranked), 'comparison')}: {words}"
    left = len(ranked) - len(shown)
    output.print_text(told + (f"; --all prints the other {left}" if left else ""))
    for text in found.reasons():
        output.print_text(text)
    if any(not one.is_paired for one in found.metrics):
        output.print_text("some metrics share no units: compared without pairing")


def _print_table(
    shown: Sequence[MetricComparison], declared: Metrics, *, wide: bool
) -> None:
    from midhaul.cli import output
    from midhaul.model.numbers import bounded, form_for

    rows: list[list[object]] = []
    for one in shown:
        known = declared.get(one.metric)
        form = known.number_form if known else form_for("{:.3g}", one.difference.unit)
        rows.append(
            [
                one.configuration,
                one.metric,
                bounded(form.text(one.first), one.bounds[0]),
                bounded(form.text(one.second), one.bounds[1]),
                _change(one),
                _p_text(one.p_value),
                one.result,
            ]
        )
    heads = [
        "configuration",
        "metric",
        "first",
        "second",
        "change",
        "p (Holm)",
        "result",
    ]
    output.print_table(heads, rows, fold={"configuration", "metric"}, wide=wide)


def _change(one: MetricComparison) -> str:
    """The ratio as a change with its interval; the difference where there is none."""
    from midhaul.model.numbers import digits

    if math.isfinite(one.ratio.value):
        value, low, high = (
            (end - 1) * 100 for end in (one.ratio.value, one.ratio.low, one.ratio.high)
        )
        ends = f" ({digits(low, 2, '+')} to {digits(high, 2, '+')})"
        return f"{digits(value, 2, '+')} %" + (ends if math.isfinite(low) else "")
    if math.isnan(one.difference.value):
        return "-"
    return digits(one.difference.value, 2, "+")


def _p_text(p_value: float) -> str:
    least = 0.001
    if math.isnan(p_value):
        return "-"
    return f"< {least}" if p_value < least else f"{p_value:.3f}"
