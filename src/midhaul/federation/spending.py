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


class Spending:
    """Totals by run, provider, day and month, kept while entries come in.

    All events of a call count on the day on which it was reserved. Not thread-safe;
    the ledger's lock guards its own.
    """

    def __init__(self) -> None:
        self._open: dict[int, Entry] = {}
        self._counters: dict[tuple[str, ...], _Counter] = {}
        self._places: dict[tuple[str, str, str], tuple[_Counter, ...]] = {}
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
            for counter in self._counters_of(entry):
                counter.n_open += 1
                counter.open_nusd += entry.price_nusd
            return True
        opened = self._open.pop(entry.call, None)
        if opened is None:
            return False
        is_paid = entry.event != "released"
        for counter in self._counters_of(opened):
            counter.n_open -= 1
            counter.open_nusd -= opened.price_nusd
            if is_paid:
                counter.n_calls += 1
                counter.charged_nusd += entry.price_nusd
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
        found = _Counter()
        for (of_run, of_provider, day), (counter, *_) in self._places.items():
            if (
                run in (None, of_run)
                and provider in (None, of_provider)
                and day.startswith(when)
            ):
                found.add(counter)
        return found.total()

    def rows(self) -> list[tuple[str, str, str, Total]]:
        """Day, run, provider and their total, by day."""
        rows = [
            (day, run, provider, counter.total())
            for (run, provider, day), (counter, *_) in self._places.items()
        ]
        return sorted(rows, key=lambda row: row[:3])

    def of_run(self, run: str) -> Total:
        """Total of a run."""
        return self._total("run", run)

    def of_day(self, day: str) -> Total:
        """Total of a day."""
        return self._total("day", day)

    def of_provider_day(self, provider: str, day: str) -> Total:
        """Total of a provider on a day."""
        return self._total("provider", provider, day)

    def of_provider_month(self, provider: str, month: str) -> Total:
        """Total of a provider in a month: what its free quota and tiers count."""
        return self._total("provider", provider, month)

    def day(self, time_s: float) -> str:
        """As :func:`day_of`, quick for times of one day."""
        number = int(time_s // _DAY_S)
        if number != self._last_day[0]:
            self._last_day = (number, day_of(time_s))
        return self._last_day[1]

    def _total(self, *key: str) -> Total:
        counter = self._counters.get(key)
        return Total() if counter is None else counter.total()

    def _counters_of(self, reserved: Entry) -> tuple[_Counter, ...]:
        """All counters that a call counts in; on the day on which it was reserved."""
        day = self.day(reserved.time_s)
        place = (reserved.run, reserved.provider, day)
        found = self._places.get(place)
        if found is None:
            keys = (
                ("run", reserved.run),
                ("day", day),
                ("provider", reserved.provider, day),
                ("provider", reserved.provider, day[:7]),
            )
            shared = [self._counters.setdefault(key, _Counter()) for key in keys]
            found = self._places[place] = (_Counter(), *shared)
        return found


@dataclass(slots=True)
class _Counter:
    """A total that changes."""

    n_calls: int = 0
    n_open: int = 0
    charged_nusd: int = 0
    open_nusd: int = 0

    def add(self, other: _Counter) -> None:
        """Count what another one counted."""
        self.n_calls += other.n_calls
        self.n_open += other.n_open
        self.charged_nusd += other.charged_nusd
        self.open_nusd += other.open_nusd

    def total(self) -> Total:
        """What it says now."""
        return Total(
            n_calls=self.n_calls,
            n_open=self.n_open,
            charged_nusd=self.charged_nusd,
            open_nusd=self.open_nusd,
        )


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
