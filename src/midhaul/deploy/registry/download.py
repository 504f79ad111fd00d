"""One layer on its way to the disk: the file, its hash, and the pace it is read at."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from typing import IO, TYPE_CHECKING

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from midhaul.deploy.registry.manifests import Descriptor

_PIECE_BYTES = 1 << 20
_PACED_S = 0.01
_MIN_PIECE_BYTES = 1 << 12


class Download:
    """A partial file that grows, and the hash of all that is in it.

    Args:
        path: of the partial file; what an earlier pull left is kept.
        layer: what it is to become.
        what: the layer and its image, for messages.

    Attributes:
        n_bytes: how far the file is.
        furthest: how far it has ever been.
        pulled_bytes: what came over the network.
        resumed_bytes: what of it an earlier pull had left.
        progress: called with the digest and the bytes that just came.
    """

    def __init__(self, path: Path, layer: Descriptor, what: str) -> None:
        self.n_bytes = self.furthest = 0
        self.pulled_bytes = 0
        self.resumed_bytes = 0
        self.progress: Callable[[str, int], None] | None = None
        self._path = path
        self._layer = layer
        self._what = what
        self._algorithm = layer.digest.partition(":")[0]
        self._hash = hashlib.new(self._algorithm)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._path.open("a+b", buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, and keep it."""
        self._open().close()

    def read_back(self) -> None:
        """Hash what an earlier pull has left; too much of it is thrown away."""
        file = self._open()
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            self._hash.update(piece)
            self.n_bytes += len(piece)
        if self.n_bytes > self._layer.n_bytes:
            self.restart()
        self.resumed_bytes = self.furthest = self.n_bytes

    def add(self, piece: bytes) -> None:
        """Append what just came.

        Raises:
            DataError: the layer would be larger than its manifest says; the file is
                deleted.
            OSError: the disk is full.
        """
        self.pulled_bytes += len(piece)
        if self.n_bytes + len(piece) > self._layer.n_bytes:
            self._path.unlink(missing_ok=True)
            message = f"{self._what}: expected {self._layer.n_bytes} bytes, found more"
            raise DataError(message, "the registry is broken, or something before it")
        view = memoryview(piece)
        while view:
            n_written = self._open().write(view)
            self._hash.update(view[:n_written])
            self.n_bytes += n_written
            self.furthest = max(self.furthest, self.n_bytes)
            view = view[n_written:]
        if self.progress is not None:
            self.progress(self._layer.digest, len(piece))

    def restart(self) -> None:
        """Throw away what is there."""
        self._open().truncate(0)
        self._hash = hashlib.new(self._algorithm)
        self.n_bytes = self.resumed_bytes = 0

    def verify(self) -> None:
        """Hold the content against the digest.

        Raises:
            DataError: it is another content; the file is deleted.
        """
        found = f"{self._algorithm}:{self._hash.hexdigest()}"
        if found != self._layer.digest:
            self._path.unlink(missing_ok=True)
            message = f"{self._what}: expected digest {self._layer.digest}, found "
            hint = "it was refused and deleted; the registry is broken, or something "
            raise DataError(message + found, hint + "between it and here changes bytes")

    def _open(self) -> IO[bytes]:
        if self._file is None:
            message = "Download is a context manager: enter it first"
            raise RuntimeError(message)
        return self._file


class Pace:
    """Holds readers back so that all together read at a rate.

    A link that is shaped by the kernel needs none; this is for those that are not. What
    the buffers of a connection hold comes at once, so the first seconds are faster.

    Args:
        rate_bps: bit/s; infinite for no limit.
        clock: seconds.
    """

    def __init__(
        self, rate_bps: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not rate_bps > 0:
            message = f"expected a rate above 0 bit/s for pulls, found {rate_bps}"
            raise DataError(message)
        self._rate_bps = rate_bps
        self._clock = clock
        self._free_s = -math.inf

    @property
    def piece_bytes(self) -> int:
        """The largest piece to read at once: 10 ms of the rate."""
        if math.isinf(self._rate_bps):
            return _PIECE_BYTES
        piece = int(self._rate_bps * _PACED_S / 8)
        return min(_PIECE_BYTES, max(_MIN_PIECE_BYTES, piece))

    async def wait(
        self,
        n_bytes: int,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wait until what was read has had its time."""
        if math.isinf(self._rate_bps):
            return
        now_s = self._clock()
        self._free_s = max(self._free_s, now_s) + 8 * n_bytes / self._rate_bps
        await sleep(self._free_s - now_s)
