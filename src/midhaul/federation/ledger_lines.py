"""The lines of a ledger file: one event each, chained by checksums.

A ledger is a table with tabs between its columns, so that DuckDB, pandas or ``less``
read it as it is. The last column is the CRC-32 of the line before it, continued from
the checksum of the line above. A line that was cut off, changed, moved or removed
breaks the chain.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import Literal, cast, get_args

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
class Entry:
    """One event of a ledger.

    Attributes:
        number: 1, 2, 3 … in the file.
        time_s: of the event, UTC, seconds since 1970.
        event: what happened.
        call: number of the entry that reserved the call; its own where this is it.
        run: who spends.
        provider: who is asked.
        item: hash of the item's id, in hex.
        price_nusd: reserved or charged, in nano-dollars; what is given back where
            the call was released.
        price_list: version of the price list.
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


def line_of(entry: Entry, check: int) -> tuple[bytes, int]:
    """The line of an entry, and its checksum.

    Args:
        entry: to write.
        check: checksum of the line above.
    """
    body = (
        f"{entry.number}\t{entry.time_s:.6f}\t{entry.event}\t{entry.call}\t{entry.run}"
        f"\t{entry.provider}\t{entry.item}\t{entry.price_nusd}\t{entry.price_list}\t"
    ).encode()
    check = zlib.crc32(body, check)
    return b"%b%08x\n" % (body, check), check


def entry_of(line: bytes, check: int) -> tuple[Entry, int] | None:
    """The entry of a line with its checksum; None where the line does not hold.

    Args:
        line: with the line feed at its end.
        check: checksum of the line above.
    """
    body, _, found = line.rpartition(b"\t")
    own = zlib.crc32(body + b"\t", check)
    if found != b"%08x\n" % own:
        return None
    entry = parse(line)
    return None if entry is None else (entry, own)


def parse(line: bytes) -> Entry | None:
    """The entry of a line, whatever its checksum; None where it is none."""
    try:
        fields = line.decode().rstrip("\n").split("\t")
        number, time_s, event, call, run, provider, item, price, prices, _ = fields
        entry = Entry(
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
