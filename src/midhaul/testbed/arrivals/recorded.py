"""Arrivals that somebody recorded, played again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model.display import Shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Recorded(Shown):
    """The sends of a recording, in its own rhythm.

    Attributes:
        times_s: ``(n,)`` seconds, not falling; only differences to the first count,
            so time stamps since any epoch will do.
        loops: start again at the end, one mean gap after the last send; otherwise the
            load ends with the recording.
        speed: how many times as fast as recorded.

    Raises:
        ValueError: there are fewer than two times, they fall, they span no time, one is
            not finite, or the speed is not positive.
    """

    times_s: Float64[np.ndarray, " n"]
    loops: bool = False
    speed: float = 1.0

    def __post_init__(self) -> None:
        """Check that the times can be played."""
        message = _fault(self.times_s, self.speed)
        if message:
            raise ValueError(message)

    @property
    def rate_hz(self) -> float:
        """Gaps over the time they span."""
        span = float(self.times_s[-1] - self.times_s[0])
        return (len(self.times_s) - 1) / span * self.speed

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """The recorded times; nothing is drawn from ``rng``."""
        del rng
        once = (self.times_s - self.times_s[0]) / self.speed
        period = float(once[-1]) + 1 / self.rate_hz
        turn = 0
        while turn == 0 or self.loops:
            yield from (once + turn * period).tolist()
            turn += 1


def _fault(times_s: np.ndarray, speed: float) -> str:
    """What is wrong with a recording; empty when nothing is."""
    if times_s.ndim != 1 or len(times_s) < 2:  # noqa: PLR2004
        return f"a recording needs at least two times, found shape {times_s.shape}"
    if not np.isfinite(times_s).all():
        where = int(np.flatnonzero(~np.isfinite(times_s))[0])
        return f"times must be finite, found {times_s[where]} at place {where}"
    gaps = np.diff(times_s)
    if (gaps < 0).any():
        where = int(np.flatnonzero(gaps < 0)[0]) + 1
        return (
            f"times must not fall, found {times_s[where]} after {times_s[where - 1]} "
            f"at place {where}"
        )
    if times_s[-1] == times_s[0]:
        return f"times must span some time, found {len(times_s)} times {times_s[0]}"
    if not (speed > 0 and np.isfinite(speed)):
        return f"speed must be a positive number, found {speed}"
    return ""
