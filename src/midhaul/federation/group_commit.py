"""Group commit: many writers of one file share the syncs that bring it to the disk."""

from __future__ import annotations

import os
import threading

from midhaul.errors import StoreError


class GroupCommit:
    """Syncs a file in the background, every so often or whenever somebody waits.

    Args:
        descriptor: of the file; closed by its owner after :meth:`close`.
        every_s: sync so often; None to sync as soon as somebody waits.
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
        """Pass as long as the disk has taken everything so far.

        Raises:
            StoreError: a sync failed.
        """
        if self._failure:
            message = f"the ledger cannot be synced to its disk: {self._failure}"
            raise StoreError(message, "no call is made without it")

    def written(self, number: int) -> None:
        """Say that the file now holds entries up to this one."""
        self._written = number

    def wait(self, number: int) -> None:
        """Come back when an entry is on the disk.

        Raises:
            StoreError: the disk does not take it.
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
