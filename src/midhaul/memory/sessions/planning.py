"""Model-predictive control of video: the plan that is best over what may come.

F. Y. Yan et al., "Learning in situ", NSDI 2020, section 4.4; X. Yin et al., "A
control-theoretic approach for dynamic adaptive video streaming over HTTP", SIGCOMM
2015, equation 5 for the value of a chunk:

    quality - switching * |change of quality| - stalling * seconds stalled

Value iteration from the last chunk of the horizon to the next one (Yan, equation 3).
The value of a rung is its expectation over the distribution of how long it takes. The
buffer is cut into steps and rounded to the nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit  # pyright: ignore[reportUnknownVariableType]

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float, Int64

    from midhaul.memory.sessions.base import Players


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What a plan is worth.

    Attributes:
        switching: what a change of quality by one costs.
        stalling: what a second without a picture costs, in units of quality.
        step_s: of the buffer.

    Raises:
        ConfigError: one is below 0, or the step is 0.
    """

    switching: float = 1.0
    stalling: float = 100.0
    step_s: float = 0.25

    def __post_init__(self) -> None:
        """Check that nothing is rewarded that should cost."""
        if min(self.switching, self.stalling) < 0 or not self.step_s > 0:
            message = f"expected costs of at least 0 and a step above 0, found {self}"
            raise ConfigError(message, "switching=1, stalling=100, step_s=0.25")


def best_rungs(
    now: Players,
    times_s: Float[np.ndarray, "n h r k"],
    shares: Float[np.ndarray, "n h r k"],
    weighing: Weighing,
) -> Int64[np.ndarray, " n"]:
    """The next rung of the best plan of each player.

    Args:
        now: the players.
        times_s: how long each of the next ``h`` chunks may take on each rung.
        shares: how probable that is; along the last axis they sum to one.
        weighing: what is good.
    """
    return _plan(
        now.buffer_s,
        now.last_quality,
        now.quality,
        times_s,
        shares,
        now.chunk_s,
        now.most_s,
        weighing.switching,
        weighing.stalling,
        weighing.step_s,
    )


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _expected(
    have_s: float,
    times_s: np.ndarray,
    shares: np.ndarray,
    later: np.ndarray,
    chunk_s: float,
    most_s: float,
    stalling: float,
    step_s: float,
) -> float:
    """What stalls cost, and what comes later is worth, over how long a chunk takes."""
    found = 0.0
    for k in range(len(shares)):
        if shares[k] > 0.0:
            left_s = max(have_s - times_s[k], 0.0) + chunk_s
            at = int(min(left_s, most_s) / step_s + 0.5)
            stalled_s = max(times_s[k] - have_s, 0.0)
            found += shares[k] * (later[at] - stalling * stalled_s)
    return found


@njit(cache=True)  # pyright: ignore[reportUntypedFunctionDecorator]
def _plan(  # noqa: PLR0913, PLR0917  a kernel has arrays
    buffer_s: np.ndarray,
    last_quality: np.ndarray,
    quality: np.ndarray,
    times_s: np.ndarray,
    shares: np.ndarray,
    chunk_s: float,
    most_s: float,
    switching: float,
    stalling: float,
    step_s: float,
) -> np.ndarray:
    n, n_ahead, n_rungs = shares.shape[:3]
    n_steps = int(most_s / step_s + 0.5) + 1
    chosen = np.empty(n, np.int64)
    # What the chunks from the next stage on are worth, by last rung and buffer.
    later = np.zeros((n_rungs, n_steps))
    value = np.zeros((n_rungs, n_steps))
    own = np.empty(n_rungs)
    for player in range(n):
        later[:] = 0.0
        for stage in range(n_ahead - 1, -1, -1):
            for step in range(n_steps if stage else 1):
                have_s = step * step_s if stage else buffer_s[player]
                for rung in range(n_rungs):
                    own[rung] = quality[player, stage, rung] + _expected(
                        have_s,
                        times_s[player, stage, rung],
                        shares[player, stage, rung],
                        later[rung],
                        chunk_s,
                        most_s,
                        stalling,
                        step_s,
                    )
                n_last = n_rungs if stage else 1
                for last in range(n_last):
                    before = last_quality[player]
                    if stage:
                        before = quality[player, stage - 1, last]
                    best, best_rung = -np.inf, 0
                    for rung in range(n_rungs):
                        change = abs(quality[player, stage, rung] - before)
                        worth = own[rung] - switching * change
                        if worth > best:
                            best, best_rung = worth, rung
                    value[last, step] = best
                    if stage == 0:
                        chosen[player] = best_rung
            later, value = value, later
    return chosen


def worth_plainly(
    buffer_s: float,
    last_quality: float,
    quality: np.ndarray,
    times_s: np.ndarray,
    shares: np.ndarray,
    chunk_s: float,
    most_s: float,
    weighing: Weighing,
) -> list[float]:
    """What each next rung is worth, by recursion: what the kernel is held against.

    Arrays are those of one player. It takes time that grows exponentially.
    """
    found: list[float] = []
    step_s = weighing.step_s
    for rung in range(quality.shape[1]):
        worth = quality[0, rung]
        worth -= weighing.switching * abs(quality[0, rung] - last_quality)
        for took_s, share in zip(times_s[0, rung], shares[0, rung], strict=True):
            stalled_s = max(took_s - buffer_s, 0.0)
            then = 0.0
            if len(quality) > 1:
                left_s = min(max(buffer_s - took_s, 0.0) + chunk_s, most_s)
                then = max(
                    worth_plainly(
                        int(left_s / step_s + 0.5) * step_s,
                        float(quality[0, rung]),
                        quality[1:],
                        times_s[1:],
                        shares[1:],
                        chunk_s,
                        most_s,
                        weighing,
                    )
                )
            worth += share * (then - weighing.stalling * stalled_s)
        found.append(float(worth))
    return found
