"""What a run has to hold, so that a script may go on: validity and bounds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.runs.run import Run

GATE = 4
"""Exit code of a gate, or of ``--strict``, that says no."""

Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 4 when the run is not valid."),
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
