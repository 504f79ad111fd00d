"""Back-pressure within a rate period: what to send while messages wait for the link.

A forecast holds for a whole rate period, and a link may fall in its first second. What
waits and what leaves are seen at once, so knobs need not wait for the next period. With
*b* bits that wait, *c* bit/s that leave and a deadline *D*, a message waits ``b / c``.
Beyond ``D / 2`` knobs go down, to the most that lets the excess leave in ``D / 2``, and
below ``D / 4`` up again, at most to twice what leaves::

    d = max(0, c - (b - c D / 2) / (D / 2)) = max(0, 2 c - 2 b / D)

A queue that is empty because its messages left says that the link carries what it is
offered; one that is empty because they were dropped says nothing. On a link that
carries nothing, little is offered from time to time, to see whether it is back. Only a
few shares of the grant are used, :data:`RUNGS`, so that an allocator is asked a few
times a period at most.
"""

from __future__ import annotations

RUNGS = (1.0, 0.75, 0.55, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Shares of what was granted for the period."""

_LONG = 1 / 2  # of the deadline
_SHORT = 1 / 4
_NEW = 0.15  # weight of the last look in the rate at which bits leave
_N_DEAD = 5  # looks at a link that carries nothing until it is tried again


class BackPressure:
    """Which rung holds; a new rate period begins on the first one.

    Args:
        deadline_s: a message that waits longer is late.
    """

    def __init__(self, deadline_s: float) -> None:
        self._long_s, self._short_s = _LONG * deadline_s, _SHORT * deadline_s
        self._leaves_bps = 0.0
        self._has_waited = False
        self._n_dead = 0
        self.rung = 0
        self.n_steps_down = 0

    @property
    def share(self) -> float:
        """Share of the grant that may be offered now."""
        return RUNGS[self.rung]

    def begin(self) -> None:
        """Begin a rate period: what was granted for it allows for what waits.

        On a link that carries nothing, nothing goes on to be offered.
        """
        self.n_steps_down = 0
        if self.share:
            self.rung = 0

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
        was_clear = not self._has_waited
        before_bps = max(left_bps, granted_bps) if was_clear else self._leaves_bps
        leaves_bps = _NEW * left_bps + (1 - _NEW) * before_bps
        self._leaves_bps = leaves_bps
        self._has_waited = waiting_bits > 0 or not (was_clear or left_bps > 0)
        most_bps = max(0.0, 2 * leaves_bps - waiting_bits / self._long_s)
        fits = [n for n, s in enumerate(RUNGS) if s * granted_bps <= most_bps]
        rung = min(fits, default=len(RUNGS) - 1)
        self._n_dead = self._n_dead + 1 if left_bps <= 0 and not self.share else 0
        if waiting_bits > self._long_s * leaves_bps:
            if rung > self.rung:
                self.rung = rung
                self.n_steps_down += 1
        elif self._n_dead >= _N_DEAD:
            self.rung, self._n_dead, self._leaves_bps = len(RUNGS) - 2, 0, 0.0
        elif (
            self.rung
            and waiting_bits <= self._short_s * leaves_bps
            and (left_bps > 0 or was_clear)
        ):
            self.rung = min(self.rung - 1, rung)
        return self.share

    def claim_bps(self, waiting_bits: float, period_s: float) -> float:
        """What of the next period's forecast belongs to messages that wait too long.

        Args:
            waiting_bits: bits that wait for the link.
            period_s: length of the period.
        """
        excess = max(0.0, waiting_bits - self._short_s * self._leaves_bps)
        return excess / max(period_s, self._long_s)
