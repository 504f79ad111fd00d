"""Ledger: every call that may cost money, on disk before it is made.

A reservation is a line that the kernel has taken before :meth:`Ledger.reserve` returns.
So whatever kills the process afterwards, SIGKILL included, the call stands in the file.
What becomes of the call is a second line. A writer that opens the file again finds the
reservations without one and counts them as spent (``assumed``): a call that may have
been made is never free. Against a power cut, ``sync`` says when lines must have reached
the disk.

By *group commit*, many writers of one file share the syncs that bring it to the disk.

The *file* below is locked, mended at its end, and written in whole lines only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from midhaul.errors import ConfigError, StoreError
from midhaul.federation.money.ledger_file import (
    HEADER,
    LedgerEntry,
    item_hash,
    line_of,
    read_ledger,
    usd_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from midhaul.federation.money.ledger_file import Contents, Event


class GroupCommit:
    """Syncs a file in the background, every so often or whenever somebody waits.

    Its owner closes the descriptor after :meth:`close`.
    """

    def __init__(self, descriptor: int, *, every_s: float | None) -> None:
        self._descriptor = descriptor
        self._every_s = every_s
        self._changed = threading.Condition()
        self._written = 0
        self._wanted = 0
        self._synced = 0
        self._failure = ""
        self._is_closing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name="ledger-sync", daemon=True
        )
        self._thread.start()

    def demand_working(self) -> None:
        """Pass as long as the disk has taken everything so far; else StoreError."""
        if self._failure:
            message = f"the ledger cannot be synced to its disk: {self._failure}"
            raise StoreError(message, "no call is made without it")

    def written(self, number: int) -> None:
        """Say that the file now holds entries up to this one."""
        self._written = number

    def wait(self, number: int) -> None:
        """Come back when an entry is on the disk.

        StoreError where the disk does not take it.
        """
        with self._changed:
            if number > self._wanted:
                self._wanted = number
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._synced >= number or self._failure)
            if self._synced < number:
                self.demand_working()

    def close(self) -> None:
        """Sync once more and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._failure:
            is_last = self._rest()
            with self._changed:
                number = self._written
            if number > self._synced:
                self._sync(number)
            if is_last:
                return

    def _rest(self) -> bool:
        """Wait until there is something to do; true when it is the last time."""
        if self._every_s is not None:
            return self._closing.wait(self._every_s)
        with self._changed:
            self._changed.wait_for(
                lambda: self._wanted > self._synced or self._is_closing
            )
            return self._is_closing

    def _sync(self, number: int) -> None:
        failure = ""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            failure = error.strerror or str(error)
        with self._changed:
            self._failure = failure
            if not failure:
                self._synced = number
            self._changed.notify_all()


def lock_file(file: Path) -> int:
    """Open for writing by nobody else; StoreError where another process writes it."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        message = f"the ledger {file} cannot be opened: {error.strerror}"
        raise StoreError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another process writes the ledger {file}"
        hint = "stop it first, or give this one a ledger of its own"
        raise StoreError(message, hint) from error
    return descriptor


def prepare(descriptor: int, file: Path) -> Contents:
    """What the file says, once a last line that was never finished is cut off.

    StoreError where it is damaged, no ledger, or cannot be written.
    """
    if os.fstat(descriptor).st_size == 0:
        write_line(descriptor, HEADER, 0, file)
    contents = read_ledger(file)
    contents.demand_whole()
    os.ftruncate(descriptor, contents.n_whole_bytes)
    if contents.n_whole_bytes == 0:
        write_line(descriptor, HEADER, 0, file)
        contents = replace(contents, n_whole_bytes=len(HEADER))
    return contents


def write_line(descriptor: int, line: bytes, at: int, file: Path) -> None:
    """Write a line at the end, all of it or nothing (StoreError)."""
    reason = "the disk is full"
    try:
        if os.pwrite(descriptor, line, at) == len(line):
            return
    except OSError as error:
        reason = error.strerror or str(error)
    with contextlib.suppress(OSError):  # the next line overwrites what is left
        os.ftruncate(descriptor, at)
    message = f"the ledger {file} cannot be written ({reason}), so no call is made"
    raise StoreError(message, "free some space on its disk")


Sync = Literal["never", "interval", "always"]
"""When lines must be on the disk: when the kernel likes, every so often in the
background, or before the call is made (many calls share one sync)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a writer found when it opened a ledger.

    Attributes:
        n_entries: lines that were there.
        n_assumed: calls without an end, counted as spent.
        assumed_nusd: their price.
        n_torn_bytes: bytes of a last line that was never finished, now cut off. Its
            call was not made: a reservation is only given once its line is whole.
    """

    n_entries: int
    n_assumed: int
    assumed_nusd: int
    n_torn_bytes: int

    @property
    def sentence(self) -> str:
        """What was not as a writer leaves it; empty where all was."""
        parts: list[str] = []
        if self.n_torn_bytes:
            parts.append(
                f"its last line was never finished and was dropped "
                f"({self.n_torn_bytes} bytes)"
            )
        if self.n_assumed:
            parts.append(
                f"{self.n_assumed} calls without an end count as spent "
                f"({usd_of(self.assumed_nusd):.9g} USD)"
            )
        return " and ".join(parts)


class Ledger:
    """The only writer of a ledger file; made by :meth:`open`, closed by ``with``.

    Thread-safe. ``lock`` is held while a line is written; who holds it sees totals
    that nobody changes (it may be taken again by the same thread).
    """

    def __init__(
        self,
        descriptor: int,
        contents: Contents,
        *,
        sync: Sync,
        sync_interval_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.file = contents.file
        self.spending = contents.spending
        self.lock = threading.RLock()
        self._descriptor = descriptor
        self._clock = clock
        self._number = contents.n_entries
        self._check = contents.check
        self._n_bytes = contents.n_whole_bytes
        self._late: list[tuple[Event, int, int]] = []
        self._sync = sync
        self._commit: GroupCommit | None = None
        unfinished = self.spending.open_calls
        for call, entry in unfinished.items():
            self._append("assumed", call, entry.price_nusd)
        self.recovery = Recovery(
            n_entries=contents.n_entries,
            n_assumed=len(unfinished),
            assumed_nusd=sum(entry.price_nusd for entry in unfinished.values()),
            n_torn_bytes=contents.n_torn_bytes,
        )
        if sync != "never":
            every_s = sync_interval_s if sync == "interval" else None
            self._commit = GroupCommit(descriptor, every_s=every_s)

    @classmethod
    def open(
        cls,
        file: Path,
        *,
        sync: Sync = "interval",
        sync_interval_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open a ledger to write, or begin one, and count unfinished calls as spent.

        Args:
            file: of the ledger; its folder must be there.
            sync: when lines must have reached the disk.
            sync_interval_s: of ``interval``.
            clock: seconds since 1970, UTC.

        Raises:
            StoreError: another process writes it, it is damaged, or it cannot be
                written.
        """
        descriptor = lock_file(file)
        try:
            return cls(
                descriptor,
                prepare(descriptor, file),
                sync=sync,
                sync_interval_s=sync_interval_s,
                clock=clock,
            )
        except BaseException:
            os.close(descriptor)
            raise

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Write what is late, sync, and let the file go; twice is harmless."""
        with self.lock:
            if self._descriptor < 0:
                return
            with contextlib.suppress(StoreError):  # the next writer counts them
                self._catch_up()
            if self._commit is not None:
                self._commit.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def now_s(self) -> float:
        """What time it is, UTC, seconds since 1970."""
        return self._clock()

    def reserve(
        self,
        *,
        run: str,
        provider: str,
        item: str,
        price_nusd: int,
        price_list: str,
        time_s: float,
    ) -> LedgerEntry:
        """Write down a call that is about to be made; only then may it be made.

        With ``sync="always"`` it may be made once :meth:`wait_synced` came back.

        Args:
            run: who spends.
            provider: who is asked.
            item: id of the item; only its hash is written.
            price_nusd: the most that the call can cost.
            price_list: version of the price list.
            time_s: now, as :meth:`now_s` says; its day is the day of the call.

        Raises:
            StoreError: the line cannot be written (the disk is full) or was not synced
                before; the file is as it was, and the call must not be made.
            ConfigError: a name holds a tab or a line feed.
        """
        for text in (run, provider, price_list):
            if not text.isprintable():
                message = f"a ledger cannot hold the name {text!r}"
                raise ConfigError(message, "leave out tabs and line feeds")
        with self.lock:
            if self._commit is not None:
                self._commit.demand_working()
            self._catch_up()
            number = self._number + 1
            entry = LedgerEntry(
                number=number,
                time_s=time_s,
                event="reserved",
                call=number,
                run=run,
                provider=provider,
                item=item_hash(item),
                price_nusd=price_nusd,
                price_list=price_list,
            )
            self._put(entry)
            return entry

    def charge(self, call: int, price_nusd: int) -> None:
        """Write down that a reserved call was made, and what it costs.

        Where the line cannot be written, it stays late: the file says ``reserved``,
        which counts as spent, and no call is reserved until it could be written.

        Raises:
            ValueError: the call is not open.
        """
        self._end("charged", call, price_nusd)

    def release(self, call: int) -> None:
        """Write down that a reserved call was not made, or is not billed.

        Raises:
            ValueError: the call is not open.
        """
        self._end("released", call, None)

    def wait_synced(self, number: int) -> None:
        """Wait until an entry is on the disk, where ``sync`` is ``always``.

        Blocks; threads that wait at the same time share one sync.

        Raises:
            StoreError: the disk does not take it.
        """
        if self._sync == "always" and self._commit is not None:
            self._commit.wait(number)

    @property
    def is_synced_always(self) -> bool:
        """True where calls must wait for the disk."""
        return self._sync == "always"

    def _end(self, event: Event, call: int, price_nusd: int | None) -> None:
        with self.lock:
            opened = self.spending.open_call(call)
            if opened is None or any(call == late for _, late, _ in self._late):
                message = f"call {call} is not open: it was settled or released before"
                raise ValueError(message)
            price = opened.price_nusd if price_nusd is None else price_nusd
            self._late.append((event, call, price))
            with contextlib.suppress(StoreError):  # the next reservation says so
                self._catch_up()

    def _catch_up(self) -> None:
        while self._late:
            event, call, price_nusd = self._late[0]
            self._append(event, call, price_nusd)
            self._late.pop(0)

    def _append(self, event: Event, call: int, price_nusd: int) -> None:
        opened = self.spending.open_call(call)
        if opened is None:
            message = f"call {call} is not open"
            raise ValueError(message)
        self._put(
            LedgerEntry(
                number=self._number + 1,
                time_s=self._clock(),
                event=event,
                call=call,
                run=opened.run,
                provider=opened.provider,
                item=opened.item,
                price_nusd=price_nusd,
                price_list=opened.price_list,
            )
        )

    def _put(self, entry: LedgerEntry) -> None:
        if self._descriptor < 0:
            message = f"the ledger {self.file} is closed"
            raise StoreError(message)
        line, check = line_of(entry, self._check)
        write_line(self._descriptor, line, self._n_bytes, self.file)
        self._n_bytes += len(line)
        self._number = entry.number
        self._check = check
        self.spending.add(entry)
        if self._commit is not None:
            self._commit.written(entry.number)
