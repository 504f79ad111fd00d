"""Reading packet captures: pcap and pcapng, also gzipped, through scapy's raw reader.

The reader only parts a file into frames; taking frames apart with scapy as well is
about fifty times slower than :mod:`midhaul.federation.latency.frames`.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from midhaul.errors import DataError, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

SUFFIXES = (".pcap", ".pcapng", ".cap", ".dmp", ".pcap.gz", ".pcapng.gz", ".cap.gz")
_LONGEST_BYTES = 1 << 20  # of a frame; a device may be given more than 64 kB at once


class Frame(NamedTuple):
    """One captured frame.

    Attributes:
        time_ns: since 1970, UTC.
        link_type: how it begins.
        data: what was captured.
        wire_bytes: its length on the wire.
    """

    time_ns: int
    link_type: int
    data: bytes
    wire_bytes: int


class Capture:
    """A capture file whose frames are read once, in order.

    Args:
        file: pcap or pcapng.

    Attributes:
        damage: what was wrong with the file, once it was read; empty for nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, up to the end or to the first damage.

        Raises:
            DataError: the file is missing or is no capture.
        """
        scapy = require("scapy.utils", "federation")
        error_type = require("scapy.error", "federation").Scapy_Exception
        warnings: list[str] = []
        with _collected(warnings), contextlib.ExitStack() as stack:
            try:
                opened = stack.enter_context(self.file.open("rb"))
                reader = scapy.RawPcapNgReader(opened)
            except (
                error_type, OSError, EOFError, struct.error, ValueError, zlib.error,
            ) as error:  # fmt: skip
                message = f"{self.file} is no packet capture: {_why(self.file, error)}"
                raise DataError(message, "expected pcap or pcapng") from error
            yield from self._frames(reader, error_type)
        if warnings and not self.damage:
            self.damage = warnings[0]

    def _frames(self, reader: object, error_type: type[Exception]) -> Iterator[Frame]:
        read = reader._read_packet  # type: ignore[attr-defined]  # noqa: SLF001 - the public one cuts frames at 64 kB
        has_header = hasattr(reader, "linktype")
        link_type = int(getattr(reader, "linktype", 0)) & 0xFFFF
        unit_ns = 1 if getattr(reader, "nano", False) else 1000
        while True:
            try:
                data, about = read(size=_LONGEST_BYTES)
            except EOFError:
                return
            except (
                error_type, struct.error, ValueError, OSError, MemoryError, zlib.error,
            ) as bad:  # fmt: skip
                self.damage = f"cannot be read on: {bad}"
                return
            if not has_header:
                if about.tshigh is None or not about.tsresol:
                    self.damage = "has packets without a time, which are left out"
                    continue
                ticks = (about.tshigh << 32) | about.tslow
                time_ns = ticks * 1_000_000_000 // int(about.tsresol)
                yield Frame(time_ns, about.linktype, data, about.wirelen)
                continue
            if len(data) < min(about.caplen, _LONGEST_BYTES):
                self.damage = "ends within a packet"
            time_ns = about.sec * 1_000_000_000 + about.usec * unit_ns
            yield Frame(time_ns, link_type, data, about.wirelen)


def _why(file: Path, error: Exception) -> str:
    if file.is_file() and not file.stat().st_size:
        return "it is empty"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _collected(texts: list[str]) -> Generator[None]:
    """Keep what scapy warns of, instead of having it on the screen."""
    logger = logging.getLogger("scapy.runtime")
    handlers, spreads = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Collector(texts)], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, spreads


class _Collector(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self._texts.append(record.getMessage())


def captures_in(folder: Path) -> list[Path]:
    """All captures below a folder, by name; a file is itself.

    Raises:
        DataError: there is none.
    """
    if folder.is_file():
        return [folder]
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and _is_capture(file.name)
    ]
    if not found:
        message = f"expected captures in {folder}, found none"
        raise DataError(message, f"their names end in {', '.join(SUFFIXES[:4])}")
    return found


def _is_capture(name: str) -> bool:
    """Whether a name ends as captures do, also with the number of a rotated file."""
    return name.rstrip("0123456789").endswith(SUFFIXES)
