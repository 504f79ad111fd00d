"""What waits for the uplink in a live run, as the bridge counts it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, and what left since the last look.

    Attributes:
        waiting_bits: in the bridge's lanes, and sent but not acknowledged.
        left_bps: rate at which messages were acknowledged since the last look.
    """

    waiting_bits: float
    left_bps: float


class BacklogMeter:
    """Reads the bridge's counters.

    Args:
        file: where the bridge writes them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._up_s = self._bytes_out = 0.0

    def read(self) -> Backlog | None:
        """What waits now; None where the counters cannot be read or are old."""
        try:
            stats = json.loads(self._file.read_text(encoding="utf-8"))
            up_s, bytes_out = float(stats["up_s"]), float(stats["total"]["bytes_out"])
            n_bytes = stats["bytes_waiting"] + stats["bytes_in_flight"]
        except (OSError, ValueError, KeyError):
            return None
        passed_s, before = up_s - self._up_s, self._bytes_out
        if passed_s == 0:
            return None
        self._up_s, self._bytes_out = up_s, bytes_out
        left_bps = 8 * (bytes_out - before) / passed_s if passed_s > 0 else 0.0
        return Backlog(waiting_bits=8.0 * n_bytes, left_bps=max(0.0, left_bps))
