"""Ledger files: read by anybody, also while they are written, and how they are checked.

A *line* is one event; lines are chained by checksums.

A ledger is a table with tabs between its columns, so that DuckDB, pandas or ``less``
read it as it is. The last column is the CRC-32 of the line before it, continued from
the checksum of the line above. A line that was cut off, changed, moved or removed
breaks the chain.

*Spending* is added up from the entries of a ledger. Money is in whole nano-dollars, so
that sums are exact and budgets cannot drift. A nano-dollar (nUSD) is 10⁻⁹ USD: fine
enough for a local model at 0.001 USD per 10,000 calls, and 2⁶³ of them are nine billion
dollars.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import zlib
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Literal, cast, get_args

from midhaul.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader
    from pathlib import Path

Event = Literal["reserved", "charged", "released", "assumed"]
"""What a line says of a call.

``reserved``: it may now be made; ``charged``: it was made and costs this; ``released``:
it was not made, or is not billed; ``assumed``: the process ended before it said what
became of the call, so it counts as made.
"""

COLUMNS = (
    "number",
    "time_s",
    "event",
    "call",
    "run",
    "provider",
    "item",
    "price_nusd",
    "price_list",
    "check",
)
HEADER = "\t".join(COLUMNS).encode() + b"\n"
FIRST_CHECK = zlib.crc32(HEADER)

_EVENTS = get_args(Event)
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One event of a ledger.

    Attributes:
        number: 1, 2, 3 … in the file.
        time_s: of the event, UTC, seconds since 1970.
        call: number of the entry that reserved the call; its own where this is it.
        item: hash of the item's id, in hex.
        price_nusd: reserved or charged, in nano-dollars; what is given back where
            the call was released.
    """

    number: int
    time_s: float
    event: Event
    call: int
    run: str
    provider: str
    item: str
    price_nusd: int
    price_list: str


def item_hash(item: str) -> str:
    """The hash that stands for an item's id in a ledger."""
    return hashlib.blake2b(item.encode(), digest_size=_HASH_BYTES).hexdigest()


def line_of(entry: LedgerEntry, check: int) -> tuple[bytes, int]:
    """The line of an entry, and its checksum, which follows from that above."""
    body = (
        f"{entry.number}\t{entry.time_s:.6f}\t{entry.event}\t{entry.call}\t{entry.run}"
        f"\t{entry.provider}\t{entry.item}\t{entry.price_nusd}\t{entry.price_list}\t"
    ).encode()
    check = zlib.crc32(body, check)
    return b"%b%08x\n" % (body, check), check


def entry_of(line: bytes, check: int) -> tuple[LedgerEntry, int] | None:
    """The entry of a line with its checksum.

    None where the line does not hold. It has the line feed at its end.
    """
    body, _, found = line.rpartition(b"\t")
    own = zlib.crc32(body + b"\t", check)
    if found != b"%08x\n" % own:
        return None
    entry = parse(line)
    return None if entry is None else (entry, own)


def parse(line: bytes) -> LedgerEntry | None:
    """The entry of a line, whatever its checksum; None where it is none."""
    try:
        fields = line.decode().rstrip("\n").split("\t")
        number, time_s, event, call, run, provider, item, price, prices, _ = fields
        entry = LedgerEntry(
            number=int(number),
            time_s=float(time_s),
            event=cast("Event", event),
            call=int(call),
            run=run,
            provider=provider,
            item=item,
            price_nusd=int(price),
            price_list=prices,
        )
    except ValueError:
        return None
    is_whole = event in _EVENTS and entry.price_nusd >= 0
    return entry if is_whole and math.isfinite(entry.time_s) else None


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
        self._open: dict[int, LedgerEntry] = {}
        self._counters: dict[tuple[str, ...], _Counter] = {}
        self._places: dict[tuple[str, str, str], tuple[_Counter, ...]] = {}
        self._last_day: tuple[int, str] = (-1, "")

    @property
    def open_calls(self) -> dict[int, LedgerEntry]:
        """Reservations that are neither charged nor released, by their number."""
        return dict(self._open)

    def open_call(self, call: int) -> LedgerEntry | None:
        """The reservation of an open call; None where there is no such."""
        return self._open.get(call)

    def add(self, entry: LedgerEntry) -> bool:
        """Count one more entry.

        False, and nothing is counted, where the entry makes no sense after the ones
        before it: a call that is not open, or is open already.
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
        """Calls and money by run, provider and day ``2026-11-25`` or month."""
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

    def _counters_of(self, reserved: LedgerEntry) -> tuple[_Counter, ...]:
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


def item_totals(entries: Iterable[LedgerEntry], run: str) -> dict[str, int]:
    """What a run spent or reserved on each item, in nano-dollars by its hash."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A ledger that was read to its end.

    Attributes:
        n_entries: entries before the first that does not hold.
        n_whole_bytes: bytes of the header and of these entries.
        check: checksum of the last of them.
        n_torn_bytes: bytes of an unfinished last line behind them.
        damage: what is wrong and in which line; empty where nothing is. A last line
            without its line feed is no damage: a writer may be in the middle of it.
    """

    file: Path
    spending: Spending
    n_entries: int
    n_whole_bytes: int
    check: int
    n_torn_bytes: int = 0
    damage: str = ""

    def demand_whole(self) -> None:
        """Pass on nothing but a ledger that holds; else StoreError."""
        if self.damage:
            message = f"the ledger {self.file} is damaged: {self.damage}"
            hint = (
                "restore it from a copy, or move it away and begin another: what it "
                "says up to there holds, what was spent behind that nobody knows"
            )
            raise StoreError(message, hint)


def read_ledger(file: Path) -> Contents:
    """Read a ledger, add it up and check it.

    Raises:
        StoreError: the file is missing, cannot be read, or is no ledger.
    """
    spending = Spending()
    n_entries, n_bytes, check = 0, 0, FIRST_CHECK
    rest = b""
    damage = ""
    with _opened(file) as stream:
        header = stream.readline(len(HEADER))
        if header != HEADER:
            if HEADER.startswith(header):  # cut off while it was begun
                return Contents(
                    file=file, spending=spending, n_entries=0, n_whole_bytes=0,
                    check=check, n_torn_bytes=len(header),
                )  # fmt: skip
            message = f"{file} is no ledger"
            raise StoreError(message, "its first line names the columns")
        n_bytes = len(HEADER)
        for line in stream:
            found = entry_of(line, check)
            if found is None:
                rest = line + stream.read()
                break
            entry, own = found
            if entry.number != n_entries + 1 or not spending.add(entry):
                damage = f"line {n_entries + 2} does not follow from those above"
                break
            n_entries, n_bytes, check = entry.number, n_bytes + len(line), own
    # A writer ends each line with its line feed: one that has it was whole once.
    if b"\n" in rest:
        is_last = rest.count(b"\n") == 1 and rest.endswith(b"\n")
        damage = f"line {n_entries + 2}, the last one, was changed"
        if not is_last:
            damage = f"line {n_entries + 2} was changed, or others before it are gone"
    return Contents(
        file=file,
        spending=spending,
        n_entries=n_entries,
        n_whole_bytes=n_bytes,
        check=check,
        n_torn_bytes=0 if damage else len(rest),
        damage=damage,
    )


def entries_of(file: Path) -> Iterator[LedgerEntry]:
    """The entries of a ledger up to the first line that does not hold."""
    with _opened(file) as stream:
        if stream.readline(len(HEADER)) != HEADER:
            message = f"{file} is no ledger"
            raise StoreError(message, "its first line names the columns")
        check = FIRST_CHECK
        for line in stream:
            found = entry_of(line, check)
            if found is None:
                return
            entry, check = found
            yield entry


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except (OSError, ValueError) as error:
        message = f"the ledger {file} cannot be read: {error}"
        raise StoreError(message) from error


NUSD_PER_USD = 1_000_000_000

_FLOAT_DIGITS = Decimal(1).scaleb(-6)
"""Parts of a nano-dollar that are taken for the noise of floating point."""
_EXACT = Context(prec=400)
"""With digits for the largest float, which a client may give as its budget."""


def price_nusd(usd: float) -> int:
    """A price in nano-dollars, rounded up: what is reserved is never too little."""
    return _whole(usd, ROUND_CEILING)


def budget_nusd(usd: float) -> int:
    """A budget in nano-dollars, rounded down."""
    return _whole(usd, ROUND_FLOOR)


def usd_of(nusd: int) -> float:
    """Nano-dollars as USD, for tables and people."""
    return nusd / NUSD_PER_USD


def _whole(usd: float, rounding: str) -> int:
    if not math.isfinite(usd) or usd < 0:
        message = f"an amount of money is finite and not negative, found {usd} USD"
        raise ConfigError(message)
    nusd = _EXACT.multiply(Decimal(usd), NUSD_PER_USD).quantize(
        _FLOAT_DIGITS, context=_EXACT
    )
    return int(nusd.to_integral_value(rounding))
