"""What goes to stdout (results) and to stderr (messages), and how a run ends there."""

from __future__ import annotations

import io
import json
import math
import sys
from typing import TYPE_CHECKING, Any, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from midhaul.model.display import number
from midhaul.runs.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.model import Verdict
    from midhaul.runs.run import Run
    from midhaul.runs.summary import Summary

__all__ = [
    "number",
    "print_json",
    "print_line",
    "print_table",
    "say",
    "shown",
    "stderr",
]

_WIDE = 10_000


def print_json(value: object) -> None:
    """Print a value as JSON; a number that JSON has not is null."""
    text = json.dumps(_finite(value), indent=2, default=str, ensure_ascii=False)
    sys.stdout.write(text + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Iterable[object]], title: str = ""
) -> None:
    """Print a table; numbers are set to the right, and None is a dash."""
    cells = [list(row) for row in rows]
    table = Table(
        title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for index, column in enumerate(columns):
        known = [row[index] for row in cells if row[index] is not None]
        is_number = bool(known) and all(isinstance(c, int | float) for c in known)
        table.add_column(column, justify="right" if is_number else "left")
    for row in cells:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _print_rich(table)


def print_line(text: str = "") -> None:
    """Print a line of the result, as it is."""
    sys.stdout.write(text + "\n")


def shown(value: object) -> str:
    """A value as a table shows it: four significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    return str(value)


def stderr() -> Console:
    """The console of stderr."""
    return Console(stderr=True)


def _print_rich(table: Table) -> None:
    """Print for a terminal as wide as it is, for a file or a pipe as wide as needed."""
    if sys.stdout.isatty():
        Console().print(table)
        return
    console = Console(width=_WIDE, file=io.StringIO())
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    print_line("\n".join(lines).strip("\n"))


def _finite(value: object) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in cast("Mapping[Any, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in cast("Sequence[object]", value)]
    return value


def print_result(run: Run, *, as_json: bool, with_report: bool, open_it: bool) -> None:
    """Print what a run found, and write its report."""
    from midhaul.errors import MidhaulError

    summary = run.summary
    if not as_json:
        print_summary(summary)
        print_verdict(run.verdict, run.manifest.notes)
    file = None
    problem = None
    if with_report:
        try:
            file = run.report()
        except MidhaulError as error:
            problem = error
    if as_json:
        plain = {**run.manifest.plain(), "dir": str(run.dir)}
        report = str(file) if file is not None else None
        print_json({"run": plain, "summary": summary.rows, "report": report})
    else:
        print_line(f"run     {run.dir}")
        if file is not None:
            print_line(f"report  {file}")
    if problem is not None:
        say(f"midhaul: no report was written: {problem.message}")
        say(f"hint: {problem.hint}; then: midhaul report {run.dir}")
    if open_it and file is not None:
        file.open()


def print_summary(summary: Summary) -> None:
    """Print one line per configuration and one column per metric."""
    heads, lines = summary.lines()
    if not lines:
        return
    names = summary.configurations
    print_table(heads, lines, title=names[0] if len(names) == 1 else "")
    for text in summary.remarks(summary.shown_metrics):
        print_line(text)


def print_verdict(verdict: Verdict | None, notes: Sequence[str] = ()) -> None:
    """Print whether a run may be believed, what to change, and what was counted."""
    if verdict is not None:
        print_line("valid" if verdict.is_valid else "not valid:")
        for reason, advice in zip(verdict.reasons, verdict.advice, strict=True):
            print_line(f"  {reason}")
            print_line(f"    {advice}")
    remarks = verdict.remarks if verdict is not None else ()
    for text in (*remarks, *notes):
        print_line(f"note    {text}")
