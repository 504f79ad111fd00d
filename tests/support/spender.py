"""A process that spends: it makes calls within a budget until it is killed.

``python spender.py LEDGER URL BUDGET_USD N_THREADS`` asks a counting server; each call
says its number in the ledger.
"""

from __future__ import annotations

import http.client
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from midhaul.federation.money.budget import BudgetGuard, Budgets, Refusal
from midhaul.federation.money.ledger import Ledger

PRICE_USD = 0.001


def spend(guard: BudgetGuard, url: str) -> None:
    """Call until the budget is gone."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    while True:
        given = guard.reserve("counting", "item", PRICE_USD)
        if isinstance(given, Refusal):
            return
        connection.request("POST", f"/{given.call}")
        connection.getresponse().read()
        guard.settle(given)


def main() -> None:
    """Open the ledger, say so, and spend."""
    file, url, budget, n_threads = sys.argv[1:]
    with Ledger.open(Path(file)) as ledger:
        guard = BudgetGuard(ledger, Budgets(run_usd=float(budget)), run="killed")
        print("ready", flush=True)  # noqa: T201
        threads = [
            threading.Thread(target=spend, args=(guard, url))
            for _ in range(int(n_threads))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
