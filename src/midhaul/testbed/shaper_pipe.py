"""One direction of a link as a clock: when do these bytes leave, when do they arrive?

A link with rate r and delay d is a server that works through bytes in the order in
which they come. A piece of n bytes that is there at time t begins at
``max(t, end of the piece before)``, has left after ``8 n / r`` and arrives d later. All
connections share the clock, so they share the rate; bytes are admitted in pieces of a
few milliseconds, so they share it fairly and nothing is sent in large bursts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_PIECE_S = 0.004
_LEAST_BYTES = 1500
_MOST_BYTES = 64 << 10


@dataclass(slots=True)
class Pipe:
    """The clock of one direction.

    Attributes:
        rate_bps: bits per second; infinite where nothing is slowed down.
        delay_s: of propagation.
        early_s: how much earlier pieces are let go, to make up for the time that the
            shaper itself takes; found by calibration.
    """

    rate_bps: float = math.inf
    delay_s: float = 0.0
    early_s: float = 0.0
    _free_at_s: float = 0.0

    @property
    def piece_bytes(self) -> int:
        """Most bytes that may be admitted at once."""
        if math.isinf(self.rate_bps):
            return _MOST_BYTES
        fair = int(self.rate_bps * _PIECE_S / 8)
        return min(max(fair, _LEAST_BYTES), _MOST_BYTES)

    def admit(self, n_bytes: int, there_s: float) -> tuple[float, float]:
        """Put a piece on the link.

        Args:
            n_bytes: its size.
            there_s: the time from which on it was there to be sent.

        Returns:
            When its last bit leaves, and when it is to be let go.
        """
        left_s = max(there_s, self._free_at_s) + 8 * n_bytes / self.rate_bps
        self._free_at_s = left_s
        return left_s, left_s + self.delay_s - self.early_s
