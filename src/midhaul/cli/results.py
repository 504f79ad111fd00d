"""How a run ends on the screen: summary, verdict, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.kinds import Kind
    from midhaul.model import Verdict
    from midhaul.runs.run import Run

REPORT = "report/index.html"


def print_result(
    kind: Kind, run: Run, *, as_json: bool, with_report: bool, open_it: bool
) -> None:
    """Print what a run found, and write its report."""
    from midhaul.errors import MidhaulError

    rows = summary(run)
    if not as_json:
        print_summary(kind.headline, rows)
        print_verdict(run.verdict, run.manifest.notes)
    file = None
    problem = None
    if with_report:
        try:
            file = write_report(kind, run)
        except MidhaulError as error:
            problem = error
    if as_json:
        plain = {**run.manifest.plain(), "dir": str(run.dir)}
        report = str(file) if file is not None else None
        output.print_json({"run": plain, "summary": rows, "report": report})
    else:
        output.print_line(f"run     {run.dir}")
        if file is not None:
            output.print_line(f"report  {file}")
    if problem is not None:
        output.say(f"midhaul: no report was written: {problem.message}")
        output.say(f"hint: {problem.hint}; then: midhaul report {run.dir}")
    if open_it and file is not None:
        open_file(file)


def write_report(kind: Kind, run: Run) -> Path:
    """Write the report of a run into its folder.

    Raises:
        PrerequisiteError: a library of the extra ``report`` is missing.
        StoreError: it cannot be written.
    """
    from midhaul.errors import PrerequisiteError
    from midhaul.runs.store import store_errors

    try:
        from midhaul.report import write
    except ModuleNotFoundError as error:
        message = f"a report needs {error.name}, which is not installed"
        raise PrerequisiteError(message, "pip install 'midhaul[report]'") from error

    file = run.dir / REPORT
    page = kind.build_page(run)
    with store_errors(file):
        write(page, file)
    return file


def summary(run: Run) -> list[dict[str, Any]]:
    """The rows of the run's table ``summary``, each with its configuration's name."""
    names = set(run.tables())
    if "summary" not in names:
        return []
    joined = "summary"
    if "configurations" in names:
        joined = (
            "(SELECT c.name, s.* FROM summary s JOIN configurations c "
            "USING (configuration))"
        )
    return run.sql(f"SELECT * FROM {joined} ORDER BY configuration").to_pylist()  # noqa: S608  fixed words


def print_summary(headline: Sequence[str], rows: list[dict[str, Any]]) -> None:
    """Print one line per configuration and one column per metric."""
    if not rows:
        return
    known = list(dict.fromkeys(row["metric"] for row in rows))
    metrics = [m for m in headline if m in known] or known
    units = {row["metric"]: row["unit"] for row in rows}
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = str(row.get("name") or row["configuration"])
        cells.setdefault(name, {})[row["metric"]] = estimate(row)
    if len(cells) == 1:
        ((name, found),) = cells.items()
        lines = [[metric, found.get(metric, "-"), units[metric]] for metric in metrics]
        output.print_table(["metric", "value", "unit"], lines, title=name)
        _print_remarks(rows, metrics)
        return
    heads = [f"{m} [{units[m]}]" if units[m] else m for m in metrics]
    lines = [[name, *(f.get(m, "-") for m in metrics)] for name, f in cells.items()]
    output.print_table(["configuration", *heads], lines)
    _print_remarks(rows, metrics)


def _print_remarks(rows: list[dict[str, Any]], metrics: Sequence[str]) -> None:
    """Print what the numbers shown lack, once for all configurations alike."""
    said = [(row["metric"], row.get("remark")) for row in rows]
    for metric, remark in dict.fromkeys(said):
        if remark and metric in metrics:
            output.print_line(f"{metric}: {remark}")


def open_file(file: Path) -> None:
    """Show a file in the browser."""
    import webbrowser

    webbrowser.open(file.resolve().as_uri())


def estimate(row: Mapping[str, Any]) -> str:
    """A row of a summary in words: the value and half its interval, or its bound."""
    value = row["value"]
    if value is None:
        return "-"
    if bound := row.get("bound"):  # runs of before have no such column
        from midhaul.model.estimate import SIGNS

        return f"{SIGNS[bound]} {output.number(value)}"
    if row["low"] is None or row["high"] is None:
        return output.number(value)
    half = (row["high"] - row["low"]) / 2
    return f"{output.number(value)} ± {half:.1g}"


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
