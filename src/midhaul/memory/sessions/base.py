"""ABR schemes: what chooses the rung of the next chunk, and what it may look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float64, Int64

N_KNOWN = 16
"""How many past chunks a scheme can look at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Players:
    """What ``n`` players know when each is about to ask for its next chunk.

    All of them have had the same number of chunks. The past has ``p`` chunks, the
    oldest first; where there were fewer, the first stands for those before it.

    Attributes:
        n_past: how many chunks each has had.
        buffer_s: ``(n,)`` what is left to play.
        past_bytes: ``(n, p)`` sizes of past chunks.
        past_s: ``(n, p)`` how long they took.
        past_buffer_s: ``(n, p)`` what was left to play behind them.
        last_quality: ``(n,)`` of the last chunk.
        sizes_bytes: ``(n, h, r)`` of the next ``h`` chunks on each rung.
        quality: ``(n, h, r)`` of them.
        chunk_s: how long a chunk plays.
        most_s: what a buffer holds.
    """

    n_past: int
    buffer_s: Float64[np.ndarray, " n"]
    past_bytes: Float64[np.ndarray, "n p"]
    past_s: Float64[np.ndarray, "n p"]
    past_buffer_s: Float64[np.ndarray, "n p"]
    last_quality: Float64[np.ndarray, " n"]
    sizes_bytes: Float64[np.ndarray, "n h r"]
    quality: Float64[np.ndarray, "n h r"]
    chunk_s: float
    most_s: float

    @property
    def n(self) -> int:
        """How many players there are."""
        return len(self.buffer_s)


class Abr(Protocol):
    """Chooses rungs. It remembers nothing: all that it needs is in the players."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def choose(self, now: Players) -> Int64[np.ndarray, " n"]:
        """The rung of the next chunk of each player, from 0.

        It is asked from the second chunk on; the first is of the lowest rung.
        """
        ...
