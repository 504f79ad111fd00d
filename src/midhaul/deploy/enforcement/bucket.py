"""A leaky bucket whose rate may change: when the next message may leave.

The generic cell rate algorithm (ITU-T I.371, annex A) in its continuous form: sending
*n* bits fills the bucket by *n*, it drains at its rate, and the next message may leave
when it is empty. Over every window of *W* seconds therefore::

    bits <= rate * (W + slack_s) + one message

Differences from the standard:

1. The level is kept in bits, not in time, so that the rate can change at any moment and
   the bound holds for its integral.
2. Messages have sizes of their own; a cell is one size.
"""

from __future__ import annotations

import math

NEVER = math.inf
"""A time that does not come."""

_TOLERANCE_BITS = 0.5  # clocks are floats: it is empty a hair before it is


class Bucket:
    """A leaky bucket.

    Args:
        rate_bps: at which it drains; infinite for one that is always empty.
        now_s: the time; it does not run backwards.
        slack_s: by how much a timer may be late without loss of rate; zero is exact.

    Attributes:
        rate_bps: the present rate.
    """

    __slots__ = ("_at_s", "_level_bits", "_slack_s", "rate_bps")

    def __init__(self, rate_bps: float, now_s: float, slack_s: float) -> None:
        self.rate_bps = rate_bps
        self._level_bits = 0.0
        self._at_s = now_s
        self._slack_s = slack_s

    def _drain(self, now_s: float) -> None:
        if math.isinf(self.rate_bps):
            return
        passed_s = max(0.0, now_s - self._at_s)
        floor = min(self._level_bits, -self.rate_bps * self._slack_s)
        self._level_bits = max(floor, self._level_bits - self.rate_bps * passed_s)
        self._at_s = max(self._at_s, now_s)

    def set_rate(self, rate_bps: float, now_s: float) -> None:
        """Change the rate from now on."""
        if math.isinf(self.rate_bps):
            self._level_bits, self._at_s = 0.0, now_s
        self._drain(now_s)
        self.rate_bps = rate_bps
        if math.isfinite(rate_bps):
            self._level_bits = max(self._level_bits, -rate_bps * self._slack_s)

    def fill(self, n_bits: float, now_s: float) -> None:
        """Something left."""
        self._drain(now_s)
        if math.isfinite(self.rate_bps):
            self._level_bits += n_bits

    def free_s(self) -> float:
        """When it is empty; never at a rate of zero."""
        if self.rate_bps <= 0:
            return NEVER
        if math.isinf(self.rate_bps):
            return -NEVER
        rest = self._level_bits - _TOLERANCE_BITS
        return self._at_s + rest / self.rate_bps
