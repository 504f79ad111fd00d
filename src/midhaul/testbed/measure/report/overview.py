"""The first chapters: what to take away, all configurations, and may it be believed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from midhaul.report import Cell, DataTable, Headline, Notice, PageSection
from midhaul.report.numbers import duration, duration_text, percent, rate
from midhaul.report.ties import best_and_ties, recommendation
from midhaul.report.view import gather, nothing_yet, summary_cell
from midhaul.testbed.measure import tables
from midhaul.testbed.measure.metrics import METRICS
from midhaul.testbed.measure.report.accuracy import first_front

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


def overview(view: GridView) -> PageSection:
    """The best of each kind and the table of all configurations."""
    items: list[Item | str] = []
    if not view.configurations:
        text = "This run has written no configuration yet, so there is nothing to show."
        return nothing_yet(text)
    items += [_recommendation(view), first_front(view)]
    if numbers := _numbers(view):
        items.append(Headline(numbers=tuple(numbers)))
    items.append(_table(view))
    return PageSection(title="Overview", items=gather(items))


_PRICES = (
    ("fastest", "latency_p50_s"),
    ("smallest on the wire", "prepared_bytes"),
    ("cheapest", "usd_per_1000"),
)


def _recommendation(view: GridView) -> Notice | str:
    """What to take, and what to try next; nothing where one was measured."""
    rows = _by_name(view, "f1")
    if len(rows) < 2:  # noqa: PLR2004  nothing to choose from
        return ""
    tied = best_and_ties([(row, name) for name, row in rows.items()], "higher")
    prices = [
        (word, METRICS[name], _by_name(view, name))
        for word, name in _PRICES
        if view.knows(name)
    ]
    text = recommendation(METRICS["f1"], tied, prices)
    verdict = view.run.verdict
    tries: list[str] = []
    if verdict is not None and not verdict.is_valid:
        tries.append(verdict.advice[0])
    if len(tied) > 1 and (n := tied[0][0]["n"]):
        tries.append(
            f"Four times the {n:,} images halve the intervals, and tell more of them "
            "apart."
        )
    if len(tied) == len(rows) and view.knows("prepared_bytes"):
        tries.append("Nothing lost accuracy yet: vary `encode` and `resize` further.")
    if tries:
        text += "\n\n**To try next.** " + " ".join(dict.fromkeys(tries))
    return Notice(text=text)


def _by_name(view: GridView, metric: str) -> dict[str, Any]:
    found = ((c.name, view.metric(c, metric)) for c in view.configurations)
    return {name: row for name, row in found if row is not None}


def _numbers(view: GridView) -> list[tuple[str, str, str]]:
    wanted = (
        ("Highest F1", "f1", ""),
        ("Lowest median latency", "latency_p50_s", ""),
        ("Highest F1 per second", "f1_per_s", ""),
        ("Fewest bytes per image", "prepared_bytes", ""),
        ("Lowest cost of 1000 requests", "usd_per_1000", " USD"),
        ("Lowest energy per request", "joule_per_request", " J"),
    )
    numbers: list[tuple[str, str, str]] = []
    for title, name, unit in wanted:
        metric = METRICS[name]
        found = [(m, c) for c in view.configurations if (m := view.metric(c, name))]
        if found:
            tied = best_and_ties([(m, c.name) for m, c in found], metric.better)
            m, best = tied[0]
            kind = " (model)" if m["is_model"] else ""
            who = best if len(tied) == 1 else f"{len(tied)} equal within intervals"
            if cell := summary_cell(m, metric, unit):
                remark = "; ".join(filter(None, (cell.note, who)))
                numbers.append((title + kind, cell.text, remark))
    return numbers + _counts(view)


def _counts(view: GridView) -> list[tuple[str, str, str]]:
    n = len(view.configurations)
    cells = view.run.read(tables.CELLS).to_pylist()
    if not cells:
        return [("Configurations", str(n), "")]
    n_valid = sum(bool(cell["is_valid"]) for cell in cells)
    n_requests = sum(cell["n_requests"] or 0 for cell in cells)
    n_errors = sum(cell["n_errors"] or 0 for cell in cells)
    measured_s = sum(cell["duration_s"] or 0.0 for cell in cells)
    n_blocks = len({cell["block"] for cell in cells})
    load = f"{n_errors:,} failed; {duration_text(measured_s)} of load"
    grid = f"{_counted(n, 'configuration')}, {_counted(n_blocks, 'block')}"
    return [
        ("Requests judged", f"{n_requests:,}", load),
        ("Cells valid", f"{n_valid} of {len(cells)}", grid),
    ]


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _table(view: GridView) -> DataTable | str:
    known = [m for m in METRICS.values() if m.heading and view.knows(m.name)]
    if not known:
        return "The table of configurations: no number was computed yet."
    return DataTable(
        title="All configurations",
        columns=(
            "detector",
            "preprocessing",
            *(m.heading + _model(view, m.name) for m in known),
        ),
        rows=tuple(
            (
                c.series,
                c.preprocessing,
                *(summary_cell(view.metric(c, m.name), m) for m in known),
            )
            for c in view.configurations
        ),
        caption="Below each number its 95 % interval. Every mean is over all judged "
        "requests; ≥ stands where the number lies among requests that were not "
        "answered, which took at least the time they were given. Click a heading to "
        "sort.",
    )


def _model(view: GridView, metric: str) -> str:
    found = (view.metric(c, metric) for c in view.configurations)
    return " (model)" if any(m and m["is_model"] for m in found) else ""
