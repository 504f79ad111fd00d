"""How many calls can be reserved and settled in a second, and what does safety cost?

A call is two lines in the ledger. Its rate is held against writing the same lines
without any accounting, which is the least that a ledger must do, at three sizes;
against a sync for each call where the disk must have the line first; and against the
time to open a ledger of so many calls again.

    python benchmarks/ledger.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from midhaul.federation.money.budget import BudgetGuard, Budgets, Reservation
from midhaul.federation.money.ledger import Ledger
from midhaul.federation.money.ledger_file import read_ledger
from midhaul.federation.money.prices import PriceList, ProviderPrices, Tier

SIZES = (10_000, 30_000, 90_000)
SIZES_QUICK = (2_000, 4_000, 8_000)
N_THREADS = 32
N_SYNCED = 1_500
PRICES = PriceList(
    providers={
        "vendor": ProviderPrices(
            tiers=(Tier(price=0.001, up_to=50_000), Tier(price=0.0008)),
            free_units=1_000,
        )
    }
)
BUDGETS = Budgets(
    run_usd=1e6, day_usd=1e6, item_usd=1.0, provider_day_usd={"vendor": 1e6}
)

Figure = tuple[str, float, str, str, float]


def main() -> int:
    """Print the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="not needed here")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="midhaul-ledger-") as name:
        folder = Path(name)
        figures = rates(folder, SIZES_QUICK if quick else SIZES)
        figures += synced(folder, N_SYNCED)
    print()
    is_short = False
    for figure, value, unit, sense, bar in figures:
        is_ok = value >= bar if sense == ">=" else value <= bar
        is_short |= not is_ok
        said = "ok" if is_ok else "short"
        print(f"figure {figure} {value:.4g} {unit} bar {sense}{bar:g} {said}")
    return int(is_short)


def rates(folder: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Calls a second with all budgets and tiers, at several sizes."""
    print(f"{'calls':>8} {'calls/s':>9} {'lines alone/s':>14} {'opened in s':>12}")
    per_s: list[float] = []
    shares: list[float] = []
    opening: list[float] = []
    for n in sizes:
        file = folder / f"ledger-{n}.tsv"
        with Ledger.open(file) as ledger:
            guard = BudgetGuard(ledger, BUDGETS, run="bench", prices=PRICES)
            begin = time.perf_counter()
            spend(guard, n)
            took_s = time.perf_counter() - begin
        alone_s = lines_alone(file, folder / "copy")
        begin = time.perf_counter()
        contents = read_ledger(file)
        opened_s = time.perf_counter() - begin
        if contents.spending.total().n_calls != n or contents.damage:
            message = f"the ledger has {contents.spending.total()} of {n} calls"
            raise RuntimeError(message)
        per_s.append(n / took_s)
        shares.append(took_s / alone_s)
        opening.append(opened_s / took_s)
        print(f"{n:8d} {n / took_s:9.0f} {n / alone_s:14.0f} {opened_s:12.3f}")
    return [
        ("calls_per_s", min(per_s), "calls/s", ">=", 3_000),
        ("calls_over_lines_alone", max(shares), "times", "<=", 40),
        ("slowdown_at_nine_times_the_size", per_s[0] / per_s[-1], "times", "<=", 1.5),
        ("opening_over_spending", max(opening), "times", "<=", 1.0),
    ]


def spend(guard: BudgetGuard, n: int) -> None:
    """Reserve and settle so many calls of as many items."""
    for i in range(n):
        given = guard.reserve("vendor", f"item-{i}")
        if not isinstance(given, Reservation):
            raise RuntimeError(given.message)  # noqa: TRY004 (no mistake of a type)
        guard.conclude(given, "ok")


def lines_alone(file: Path, copy: Path) -> float:
    """Seconds to write the lines of a ledger one by one, and nothing else."""
    lines = file.read_bytes().splitlines(keepends=True)
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    begin = time.perf_counter()
    at = 0
    for line in lines:
        at += os.pwrite(descriptor, line, at)
    took_s = time.perf_counter() - begin
    os.close(descriptor)
    return took_s


def synced(folder: Path, n: int) -> list[Figure]:
    """Calls a second when each line must be on the disk before its call is made."""
    file = folder / "alone.tsv"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    begin = time.perf_counter()
    for i in range(n):
        os.pwrite(descriptor, b"x" * 100, 100 * i)
        os.fdatasync(descriptor)
    one_by_one = n / (time.perf_counter() - begin)
    os.close(descriptor)
    with Ledger.open(folder / "synced.tsv", sync="always") as ledger:
        guard = BudgetGuard(ledger, BUDGETS, run="bench", prices=PRICES)
        share = n // N_THREADS
        threads = [
            threading.Thread(target=spend, args=(guard, share))
            for _ in range(N_THREADS)
        ]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together = share * N_THREADS / (time.perf_counter() - begin)
    print(f"\nsync always: {together:.0f} calls/s of {N_THREADS} threads,", end=" ")
    print(f"{one_by_one:.0f} syncs/s one by one on this disk")
    return [("synced_calls_over_syncs", together / one_by_one, "times", ">=", 0.5)]


if __name__ == "__main__":
    sys.exit(main())
