"""May the numbers be believed: cells, failures, generator and links."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from midhaul.report import Cell, DataTable, Notice, PageSection
from midhaul.report.common_chapters import gather
from midhaul.report.numbers import duration, percent, rate
from midhaul.testbed.measure import tables

if TYPE_CHECKING:
    from midhaul.report import Item
    from midhaul.testbed.measure.report.view import GridView

_MOST_ROWS = 400


def validity(view: GridView) -> PageSection | None:
    """Verdicts per cell, failures and measured links; None where nothing ran."""
    cells = view.run.read(tables.CELLS).to_pylist()
    links = view.run.read(tables.LINKS).to_pylist()
    if not cells and not links and "requests" not in view.has:
        return None
    items: list[Item | str] = [
        _count(cells),
        _reasons(cells),
        _failures(view),
        _links(links),
        _cells(view, cells),
    ]
    text = (
        "A cell is one configuration in one block. It is valid when nothing speaks "
        "against it: requests went out on time, enough of them were answered for the "
        "percentile that is claimed, and links and CPUs gave what was asked for."
    )
    return PageSection(title="Validity", text=text, items=gather(items))


def _count(cells: list[dict[str, Any]]) -> Item | str:
    if not cells:
        return "Cells: none was completed."
    n_bad = sum(not cell["is_valid"] for cell in cells)
    if n_bad:
        text = f"**Not valid: {n_bad} of {len(cells)} cells.** The reasons follow."
        return Notice(text=text, tone="warning")
    return Notice(text=f"No cell is in doubt; there are {len(cells)}.")


def _reasons(cells: list[dict[str, Any]]) -> Item | str:
    found: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        reasons = cell["reasons"] or []
        advice = [*(cell["advice"] or []), *[""] * len(reasons)]
        found.update(zip(reasons, advice, strict=False))
    if not found:
        return ""
    return DataTable(
        title="Reasons against cells",
        columns=("cells", "reason", "what to change"),
        rows=tuple((n, reason, advice) for (reason, advice), n in found.most_common()),
    )


def _failures(view: GridView) -> Item | str:
    if "requests" not in view.has:
        return "Failed requests: the run kept no requests."
    query = (
        "select status, count(*) as n, any_value(error) as error, node "
        "from requests where status <> 'ok' and not is_warmup "
        "group by status, node order by n desc limit 50"
    )
    rows = view.run.sql(query).to_pylist()
    if not rows:
        return Notice(text="No request failed.")
    return DataTable(
        title="Failed requests",
        columns=("status", "node", "requests", "for example"),
        rows=tuple((r["status"], r["node"], r["n"], r["error"] or "") for r in rows),
    )


def _links(links: list[dict[str, Any]]) -> Item | str:
    if not links:
        return "Measured links: no link was shaped."
    return DataTable(
        title="Links, each measured by itself before a block",
        columns=(
            "block",
            "link",
            "rate asked for",
            "rate found",
            "delay asked for",
            "delay found",
            "largest error",
        ),
        rows=tuple(
            (
                row["block"],
                row["link"],
                rate(row["rate_bps"]),
                rate(row["measured_rate_bps"]),
                duration(row["delay_s"]),
                duration(row["measured_delay_s"]),
                _error(row["error"]),
            )
            for row in links[:_MOST_ROWS]
        ),
    )


def _error(error: float | None) -> Cell | None:
    if error is None:
        return None
    bound = 0.05
    return Cell(percent(error).text, error, tone="bad" if error > bound else "good")


def _cells(view: GridView, cells: list[dict[str, Any]]) -> Item | str:
    if not cells:
        return "The table of cells: none was completed."
    names = {c.index: c.name for c in view.configurations}
    bad_first = sorted(cells, key=lambda c: (c["is_valid"], c["block"], c["position"]))
    shown = bad_first[:_MOST_ROWS]
    more = len(cells) - len(shown)
    return DataTable(
        title=f"All cells ({len(cells)})" if not more else f"{len(shown)} cells",
        columns=(
            "configuration",
            "block",
            "place",
            "valid",
            "requests",
            "warm-up",
            "failed",
            "duration",
            "rate asked for",
            "rate sent",
            "lateness, 99 %",
        ),
        rows=tuple(
            (
                names.get(cell["configuration"], str(cell["configuration"])),
                cell["block"],
                cell["position"],
                Cell("yes", tone="good") if cell["is_valid"] else _no(cell),
                cell["n_requests"],
                cell["n_warmup"],
                cell["n_errors"],
                duration(cell["duration_s"]),
                rate(cell["planned_rate_hz"], "/s"),
                rate(cell["achieved_rate_hz"], "/s"),
                duration(cell["late_p99_s"]),
            )
            for cell in shown
        ),
        caption=f"{more} more valid cells are in the table `cells`." if more else "",
        is_folded=True,
    )


def _no(cell: dict[str, Any]) -> Cell:
    return Cell("no", tone="bad", note="; ".join(cell["reasons"] or []))
