"""Back-pressure within a rate period: what to send while messages wait for the link.

A forecast holds for a whole rate period, and a link may fall in its first second. What
waits and what leaves are seen at once, so knobs need not wait for the next period. With
*b* bits that wait, *c* bit/s that leave and a deadline *D*, a message waits ``b / c``.
Beyond ``D / 2`` knobs go down, to the most that lets the excess leave in ``D / 2``::

    d = max(0, c - (b - c D / 2) / (D / 2))

Only a few shares of the grant are used, :data:`RUNGS`, so that an allocator is asked a
few times a period at most. Down goes at once, to the first rung that fits; up goes one
rung at a look, once messages wait for less than ``D / 4``: a short queue says that the
link carries what it is offered, not how much more it would.
"""

from __future__ import annotations

RUNGS = (1.0, 0.75, 0.55, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Shares of what was granted for the period."""

_LONG = 1 / 2  # of the deadline
_SHORT = 1 / 4
_NEW = 0.5  # weight of the last look in the rate at which bits leave


class BackPressure:
    """Which rung holds; a new rate period begins on the first one.

    Args:
        deadline_s: a message that waits longer is late.
    """

    def __init__(self, deadline_s: float) -> None:
        self._long_s, self._short_s = _LONG * deadline_s, _SHORT * deadline_s
        self._leaves_bps: float | None = None
        self.rung = 0
        self.n_steps_down = 0

    @property
    def share(self) -> float:
        """Share of the grant that may be offered now."""
        return RUNGS[self.rung]

    def begin(self) -> None:
        """Begin a rate period: what was granted for it allows for what waits."""
        self.rung = self.n_steps_down = 0

    def look(
        self, *, granted_bps: float, waiting_bits: float, left_bps: float
    ) -> float:
        """Choose a rung from what waits and what left since the last look.

        Args:
            granted_bps: for the whole period.
            waiting_bits: bits that wait for the link.
            left_bps: rate at which bits left since the last look.

        Returns:
            The share of the grant that may be offered from now on.
        """
        before = left_bps if self._leaves_bps is None else self._leaves_bps
        leaves_bps = _NEW * left_bps + (1 - _NEW) * before
        self._leaves_bps = leaves_bps
        if waiting_bits > self._long_s * leaves_bps:
            excess = waiting_bits - self._long_s * leaves_bps
            most_bps = max(0.0, leaves_bps - excess / self._long_s)
            fits = [n for n, s in enumerate(RUNGS) if s * granted_bps <= most_bps]
            rung = min(fits, default=len(RUNGS) - 1)
            if rung > self.rung:
                self.rung = rung
                self.n_steps_down += 1
        elif self.rung and waiting_bits <= self._short_s * leaves_bps:
            self.rung -= 1
        return self.share
