"""What was spent, added up from the entries of a ledger."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.federation.ledger_lines import Entry

_DAY_S = 86_400


def day_of(time_s: float) -> str:
    """The day of a time, UTC, as ``2026-11-25``."""
    return dt.datetime.fromtimestamp(time_s, dt.UTC).date().isoformat()


def month_of(time_s: float) -> str:
    """The month of a time, UTC, as ``2026-11``."""
    return day_of(time_s)[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Calls and money of some calls.

    Attributes:
        n_calls: charged or assumed.
        n_open: reserved, and nobody has said yet what became of them.
        charged_nusd: of calls charged or assumed.
        open_nusd: reserved for open calls.
    """

    n_calls: int = 0
    n_open: int = 0
    charged_nusd: int = 0
    open_nusd: int = 0

    @property
    def committed_nusd(self) -> int:
        """What budgets count: charged, and what may still be charged."""
        return self.charged_nusd + self.open_nusd

    def plus(self, other: Total) -> Total:
        """Both together."""
        return Total(
            n_calls=self.n_calls + other.n_calls,
            n_open=self.n_open + other.n_open,
            charged_nusd=self.charged_nusd + other.charged_nusd,
            open_nusd=self.open_nusd + other.open_nusd,
        )


class Spending:
    """Totals by run, provider, day and month, kept while entries come in.

    All events of a call count on the day on which it was reserved. Not thread-safe;
    the ledger's lock guards its own.
    """

    def __init__(self) -> None:
        self._open: dict[int, Entry] = {}
        self._totals: dict[tuple[str, str, str], Total] = {}
        self._sums: dict[tuple[str, str], Total] = {}
        self._last_day: tuple[int, str] = (-1, "")

    @property
    def open_calls(self) -> dict[int, Entry]:
        """Reservations that are neither charged nor released, by their number."""
        return dict(self._open)

    def open_call(self, call: int) -> Entry | None:
        """The reservation of an open call; None where there is no such."""
        return self._open.get(call)

    def add(self, entry: Entry) -> bool:
        """Count one more entry.

        Returns:
            False, and nothing is counted, where the entry makes no sense after the
            ones before it: a call that is not open, or is open already.
        """
        if entry.event == "reserved":
            if entry.call != entry.number or entry.call in self._open:
                return False
            self._open[entry.call] = entry
            self._book(entry, Total(n_open=1, open_nusd=entry.price_nusd))
            return True
        opened = self._open.pop(entry.call, None)
        if opened is None:
            return False
        change = Total(n_open=-1, open_nusd=-opened.price_nusd)
        if entry.event != "released":
            paid = Total(n_calls=1, charged_nusd=entry.price_nusd)
            change = change.plus(paid)
        self._book(opened, change)
        return True

    def total(
        self, *, run: str | None = None, provider: str | None = None, when: str = ""
    ) -> Total:
        """Calls and money, all or some.

        Args:
            run: only of this run.
            provider: only of this provider.
            when: only of a day ``2026-11-25``, a month ``2026-11`` or a year.
        """
        found = Total()
        for (of_run, of_provider, day), total in self._totals.items():
            if (
                run in (None, of_run)
                and provider in (None, of_provider)
                and day.startswith(when)
            ):
                found = found.plus(total)
        return found

    def rows(self) -> list[tuple[str, str, str, Total]]:
        """Day, run, provider and their total, by day."""
        rows = [(day, run, who, sums) for (run, who, day), sums in self._totals.items()]
        return sorted(rows, key=lambda row: row[:3])

    def of_run(self, run: str) -> Total:
        """Total of a run."""
        return self._sums.get(("run", run), Total())

    def of_day(self, day: str) -> Total:
        """Total of a day."""
        return self._sums.get(("day", day), Total())

    def of_provider_day(self, provider: str, day: str) -> Total:
        """Total of a provider on a day."""
        return self._sums.get((day, provider), Total())

    def of_provider_month(self, provider: str, month: str) -> Total:
        """Total of a provider in a month: what its free quota and tiers count."""
        return self._sums.get((month, provider), Total())

    def day(self, time_s: float) -> str:
        """As :func:`day_of`, quick for times of one day."""
        number = int(time_s // _DAY_S)
        if number != self._last_day[0]:
            self._last_day = (number, day_of(time_s))
        return self._last_day[1]

    def _book(self, entry: Entry, change: Total) -> None:
        """Count a change on the day on which the call was reserved."""
        day = self.day(entry.time_s)
        whole = (entry.run, entry.provider, day)
        self._totals[whole] = self._totals.get(whole, Total()).plus(change)
        for key in (
            ("run", entry.run),
            ("day", day),
            (day, entry.provider),
            (day[:7], entry.provider),
        ):
            self._sums[key] = self._sums.get(key, Total()).plus(change)


def item_totals(entries: Iterable[Entry], run: str) -> dict[str, int]:
    """What a run spent or reserved on each item, in nano-dollars by its hash.

    Args:
        entries: of a ledger, in their order.
        run: whose.
    """
    totals: dict[str, int] = {}
    reserved: dict[int, int] = {}
    for entry in entries:
        if entry.run != run:
            continue
        change = entry.price_nusd
        if entry.event == "reserved":
            reserved[entry.call] = change
        else:
            paid = 0 if entry.event == "released" else change
            change = paid - reserved.pop(entry.call, paid)
        totals[entry.item] = totals.get(entry.item, 0) + change
    return totals
