"""Robust MPC: plans with the least throughput that past errors let one expect.

X. Yin, A. Jindal, V. Sekar, B. Sinopoli, "A control-theoretic approach for dynamic
adaptive video streaming over HTTP", SIGCOMM 2015, sections 4 and 5: the throughput is
the harmonic mean of that of the last five chunks, divided by one plus the largest
relative error that this prediction had for them.

Differences from the paper:

1. The plan is found by value iteration over steps of the buffer, not by a table or an
   optimiser; see :mod:`midhaul.memory.sessions.planning`.
2. An error is known of chunks that had one before them; before, it counts as none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.sessions.planning import Weighing, best_rungs

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.sessions.base import Players

_N_MEANT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustMpc:
    """Plans for one throughput, which is a cautious one where ``is_robust``."""

    weighing: Weighing = field(default_factory=Weighing)
    is_robust: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return "robust_mpc" if self.is_robust else "mpc"

    def choose(self, now: Players) -> Int64[np.ndarray, " n"]:
        """The next rung of the best plan if the throughput is as expected."""
        expected = expected_throughput(now, is_robust=self.is_robust)
        times_s = (now.sizes_bytes / expected[:, None, None])[..., None]
        return best_rungs(now, times_s, np.ones_like(times_s), self.weighing)


def expected_throughput(
    now: Players, *, is_robust: bool = True
) -> Float64[np.ndarray, " n"]:
    """Bytes per second that each player may expect."""
    n = min(now.n_past, now.past_s.shape[1])
    # Times per byte: the harmonic mean of throughputs is one over their mean.
    slowness = (now.past_s / now.past_bytes)[:, -n:]
    predicted = slowness[:, -_N_MEANT:].mean(axis=1)
    if is_robust and n > 1:
        worst = np.zeros(now.n)
        for at in range(max(n - _N_MEANT, 1), n):
            before = slowness[:, max(at - _N_MEANT, 0) : at].mean(axis=1)
            # Of throughputs: |1/before - 1/it| over 1/it.
            worst = np.maximum(worst, np.abs(slowness[:, at] / before - 1))
        predicted = predicted * (1 + worst)
    return 1 / predicted
