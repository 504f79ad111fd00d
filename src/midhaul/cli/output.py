"""What goes to stdout (results) and to stderr (messages), and how a run ends there."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from midhaul.cli import layout
from midhaul.cli.layout import shown
from midhaul.runs.progress import say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from midhaul.model import Verdict
    from midhaul.runs.run import Run
    from midhaul.runs.summary import Summary

__all__ = ["print_json", "print_line", "print_table", "say", "shown", "stderr"]

_PAPER = 80
"""Characters in a line of what is no terminal."""

_MOST_BLOCKS = 8
"""Configurations that have a block each; more are lines of a table."""


def width() -> int:
    """Characters in a line of the terminal."""
    return shutil.get_terminal_size((_PAPER, 24)).columns if is_seen() else _PAPER


def is_seen() -> bool:
    """Whether a terminal shows what is printed."""
    return sys.stdout.isatty()


def print_text(text: str, indent: int = 0) -> None:
    """Print a sentence, folded at words on a terminal."""
    begin = " " * indent
    room = max(_PAPER // 2, width()) if is_seen() else sys.maxsize
    print_line(
        textwrap.fill(
            text,
            room,
            initial_indent=begin,
            subsequent_indent=begin,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def print_facts(facts: Mapping[str, object]) -> None:
    """Print a line for each fact, folded at words on a terminal."""
    key = max(map(len, facts), default=0)
    for name, value in facts.items():
        lines = [str(value)]
        if is_seen():
            room = max(_PAPER // 2, width() - key - layout.GAP)
            lines = textwrap.wrap(
                str(value), room, break_long_words=False, break_on_hyphens=False
            )
        for begin, line in zip([name, *[""] * len(lines)], lines or [""], strict=False):
            print_line(f"{begin:{key}}  {line}".rstrip())


def print_json(value: object) -> None:
    """Print a value as JSON; a number that JSON has not is null."""
    text = json.dumps(_finite(value), indent=2, default=str, ensure_ascii=False)
    sys.stdout.write(text + "\n")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Iterable[object]],
    *,
    fold: Collection[str] = (),
    wide: bool = False,
) -> None:
    """Print a table as the terminal has room for it, or as TSV where there is none.

    Columns in ``fold`` may be folded at words. A ``wide`` one has a line for each row,
    however long, on a terminal and off it.
    """
    cells = [list(row) for row in rows]
    if wide:
        lines = layout.table(columns, cells)
    elif is_seen():
        lines = layout.table(columns, cells, width(), fold)
    else:
        lines = layout.tsv(columns, cells)
    print_line("\n".join(lines))


def print_line(text: str = "") -> None:
    """Print a line of the result, as it is."""
    sys.stdout.write(text + "\n")


def stderr() -> Console:
    """The console of stderr."""
    return Console(stderr=True)


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


def print_summary(
    summary: Summary, *, wide: bool = False, columns: Sequence[str] = ()
) -> None:
    """Print the metrics of each configuration: of the headline, or those named.

    A few configurations have a block each, many a line each.
    """
    metrics = _chosen(summary, columns)
    blocks = summary.blocks(metrics)
    if not any(blocks.values()):
        return
    if wide:
        print_line("\n".join(layout.table(*summary.lines(metrics))))
    elif len(blocks) <= _MOST_BLOCKS:
        print_line("\n".join(_blocks(blocks)))
    else:
        _print_lines(summary, metrics)
    for text in summary.remarks(metrics):
        print_text(text)


def _chosen(summary: Summary, columns: Sequence[str]) -> list[str]:
    """The metrics that columns name, by their names or their labels."""
    from midhaul.errors import ConfigError, suggestion

    known = {label: m for m in summary.metrics for label in (summary.label(m), m)}
    if not columns:
        return summary.shown_metrics
    if list(columns) == ["all"]:
        return list(summary.metrics)
    for name in columns:
        if name not in known:
            message = f"--columns: there is no metric {name!r}{suggestion(name, known)}"
            hint = f"there are: all, {', '.join(summary.metrics) or 'none'}"
            raise ConfigError(message, hint)
    return [known[name] for name in columns]


def _blocks(blocks: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    rows = [row for block in blocks.values() for row in block]
    told = iter(layout.aligned(rows, width() - 2))
    lines: list[str] = []
    for name, block in blocks.items():
        lines += ["", name] if lines else [name]
        lines += [f"  {line}" for _ in block for line in next(told)]
    return lines


def _print_lines(summary: Summary, metrics: Sequence[str]) -> None:
    heads, lines = summary.lines(metrics)
    n = layout.that_fit(heads, lines, width())
    rows = [line[:n] for line in lines]
    fold = {heads[0]}
    print_line("\n".join(layout.table(heads[:n], rows, width(), fold)))
    if n < len(heads):
        left = ", ".join(metrics[n - 1 :])
        print_text(f"not shown: {left}; --wide, or --columns {','.join(metrics[:2])}")


def print_verdict(verdict: Verdict | None, notes: Sequence[str] = ()) -> None:
    """Print whether a run may be believed, what to change, and what was counted."""
    if verdict is not None:
        print_line("valid" if verdict.is_valid else "not valid:")
        for reason, advice in zip(verdict.reasons, verdict.advice, strict=True):
            print_text(reason, 2)
            print_text(advice, 4)
    remarks = verdict.remarks if verdict is not None else ()
    for text in (*remarks, *notes):
        print_text(f"note    {text}")
