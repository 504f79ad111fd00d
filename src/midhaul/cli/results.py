"""How a run ends on the screen: summary, verdict, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.model import Verdict
    from midhaul.runs.run import Run
    from midhaul.runs.summary import Summary


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
        output.print_json({"run": plain, "summary": summary.rows, "report": report})
    else:
        output.print_line(f"run     {run.dir}")
        if file is not None:
            output.print_line(f"report  {file}")
    if problem is not None:
        output.say(f"midhaul: no report was written: {problem.message}")
        output.say(f"hint: {problem.hint}; then: midhaul report {run.dir}")
    if open_it and file is not None:
        file.open()


def print_summary(summary: Summary) -> None:
    """Print one line per configuration and one column per metric."""
    heads, lines = summary.lines()
    if not lines:
        return
    names = summary.configurations
    output.print_table(heads, lines, title=names[0] if len(names) == 1 else "")
    for text in summary.remarks(summary.shown_metrics):
        output.print_line(text)


def print_verdict(verdict: Verdict | None, notes: Sequence[str] = ()) -> None:
    """Print whether a run may be believed, what to change, and what was counted."""
    if verdict is not None:
        output.print_line("valid" if verdict.is_valid else "not valid:")
        for reason, advice in zip(verdict.reasons, verdict.advice, strict=True):
            output.print_line(f"  {reason}")
            output.print_line(f"    {advice}")
    remarks = verdict.remarks if verdict is not None else ()
    for text in (*remarks, *notes):
        output.print_line(f"note    {text}")
