"""A ledger against what the providers counted, call by call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from federation_budget_service import BILLED, NAMES, TIMEOUT_S

from midhaul.federation.money.ledger_file import entries_of, item_hash, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

    Calls = Counter[tuple[str, str]]
    """How many, of a provider about an item."""


def compare(file: Path, counts: dict[str, Any]) -> dict[str, float]:
    """The ledger against what the providers counted."""
    contents = read_ledger(file)
    contents.demand_whole()
    reserved, excused, ends = _tally(file)
    arrived: Calls = Counter()
    for text, n in counts["items"].items():
        number, _, item = text.partition(" ")
        arrived[NAMES[int(number)], item_hash(item)] += n
    missing = sum((arrived - reserved).values())
    never = reserved - arrived
    unexplained = sum((never - excused).values())
    by_status: Counter[str] = Counter()
    for text, n in counts["calls"].items():
        by_status[text.partition(" ")[2]] += n
    billed = sum(by_status[status] for status in BILLED)
    total = contents.spending.of_run("service")
    by_provider = ", ".join(
        f"{NAMES[int(key[0])]}{key[1:]} {n}"
        for key, n in sorted(counts["calls"].items())
    )
    print(f"providers saw: {by_provider}")
    n_arrived = sum(counts["calls"].values())
    print(
        f"ledger: {ends['reserved']} calls reserved, {ends['charged']} charged, "
        f"{ends['released']} released, {ends['assumed']} assumed after SIGKILL, "
        f"{sum(never.values())} of all never arrived, "
        f"{total.charged_nusd / 1e9:.6f} USD; providers: {n_arrived} calls, "
        f"{billed} billed, {counts['spent_usd']:.6f} USD"
    )
    return {
        "missing": missing,
        "unpaid": max(0, billed - total.n_calls)
        + max(0, ends["released"] - by_status["throttled"]),
        "unexplained": unexplained,
        "open": total.n_open,
        "charged_nusd": total.charged_nusd,
    }


def _tally(file: Path) -> tuple[Calls, Calls, Counter[str]]:
    """Calls reserved, those of them that need not have arrived, and all events."""
    reserved: Calls = Counter()
    excused: Calls = Counter()
    ends: Counter[str] = Counter()
    begun_s: dict[int, float] = {}
    for entry in entries_of(file):
        key = (entry.provider, entry.item)
        ends[entry.event] += 1
        if entry.event == "reserved":
            reserved[key] += 1
            begun_s[entry.call] = entry.time_s
        elif entry.event == "assumed":
            excused[key] += 1
        elif entry.event == "charged":
            excused[key] += entry.time_s - begun_s[entry.call] > 0.99 * TIMEOUT_S
    return reserved, excused, ends
