"""LARS, loss-aware reservoir sampling: whose place a sample takes depends on its loss.

Buzzega et al., "Rethinking experience replay: a bag of tricks for continual learning",
ICPR 2020, section III: a reservoir decides whether a sample comes in; one goes whose
class is large and whose loss is small. With ``c`` for the number of samples in memory
of a sample's class and ``l`` for its loss, it goes with a probability in proportion to

    s - (smallest s),    s = c - v l

where ``v`` brings both to one scale: ``1 / (mean l * mean c)`` as the authors' program
and the seed have it (with a memory of thousands the loss then hardly matters), or
``mean c / mean l`` as the text has it. Differences:

1. Losses are those of the present model, once an offer, as in the seed.
2. The seed and the authors look at the whole memory for each sample that comes in.
   Here a class is drawn first, by the sum of its s, then a sample of it, by rejection
   against the largest that one can have: O(classes) for each.
3. The largest loss of a class is looked for again only when it has gone, which is as
   rare as its class is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numba
import numpy as np

from midhaul.errors import ConfigError
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.pool import check_state, choice_of, output_bins
from midhaul.memory.selectors.score import losses

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.memory.samples import Bins, Samples
    from midhaul.memory.selectors.base import Arrays, SelectorChoice


class Lars:
    """A reservoir that gives up samples of large classes and of small loss.

    Args:
        capacity: samples at most.
        bins: of outputs and predictions; a bin is a class.
        scale: of losses, as the authors' ``"program"`` or their ``"text"`` has it.

    Raises:
        ConfigError: there is no such scale.
    """

    n_marks = 0
    weighs_training = False
    name = "lars"

    def __init__(
        self,
        *,
        capacity: int,
        bins: Bins,
        scale: Literal["program", "text"] = "program",
    ) -> None:
        if scale not in ("program", "text"):
            message = f"scale: expected program or text, found {scale!r}"
            raise ConfigError(message)
        self.capacity = capacity
        self.bins = bins
        self.scale = scale
        self._n_seen = 0

    def choose(
        self, kept: Samples, marks: np.ndarray, new: Samples, rng: np.random.Generator
    ) -> SelectorChoice:
        """Let samples in as a reservoir does, each in the place of another."""
        del marks
        n, m = len(kept), len(new)
        room = min(self.capacity - n, m)
        numbers = self._n_seen + 1 + np.arange(room, m)
        is_in = rng.random(m - room) * numbers < self.capacity
        self._n_seen += m
        comes = room + np.flatnonzero(is_in)
        parts = [part for part in (kept, new) if len(part)]
        who = f"selector {self.name}"
        loss = np.concatenate(
            [np.zeros(0), *(losses(p, self.bins, who) for p in parts)]
        )
        output = np.concatenate(
            [np.zeros(0, np.int64), *(output_bins(p, self.bins, who) for p in parts)]
        )
        slots = np.arange(n + room)
        if len(comes):
            is_text = self.scale == "text"
            replace_by_loss(slots, n + comes, loss, output, self.bins.n, is_text, rng)
        stays = np.zeros(n + m, np.bool_)
        stays[slots] = True
        return choice_of(stays, np.zeros((m, 0)), Reason.DRAWN, room=room)

    def weights(self, kept: Samples, marks: np.ndarray) -> None:
        """None: the chance is not known."""
        del kept, marks

    def state(self) -> Arrays:
        """How many were seen."""
        return {"n_seen": np.array(self._n_seen)}

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        check_state(state, self.name, ("n_seen",))
        self._n_seen = int(state["n_seen"])


def going_shares(
    loss: Float64[np.ndarray, " n"], output: Int64[np.ndarray, " n"], *, is_text: bool
) -> Float64[np.ndarray, " n"]:
    """The probability of each in memory to go next, in so many words: O(n)."""
    count = np.bincount(output)[output].astype(np.float64)
    scale = float(_scale(float(loss.mean()), float(count.mean()), is_text))
    score = count - scale * loss
    share = score - score.min()
    total = share.sum()
    return share / total if total > 0 else np.full(len(loss), 1 / len(loss))


@numba.njit(cache=True, nogil=True)
def _scale(mean_loss: float, mean_count: float, is_text: bool) -> float:  # noqa: FBT001
    if mean_loss <= 0:
        return 0.0
    return mean_count / mean_loss if is_text else 1 / (mean_loss * mean_count)


@numba.njit(cache=True, nogil=True)
def replace_by_loss(
    slots: Int64[np.ndarray, " c"],
    comes: Int64[np.ndarray, " m"],
    loss: Float64[np.ndarray, " p"],
    output: Int64[np.ndarray, " p"],
    k: int,
    is_text: bool,  # noqa: FBT001
    rng: np.random.Generator,
) -> None:
    """Let each that comes take the slot of one that goes, by :func:`going_shares`.

    ``slots`` and ``comes`` are numbers into ``loss`` and ``output``.
    """
    n = len(slots)
    members = np.empty((k, n + len(comes)), np.int32)
    counts = np.zeros(k, np.int64)
    sums, most = np.zeros(k), np.zeros(k)
    total_loss = 0.0
    for slot in range(n):
        b, one = output[slots[slot]], loss[slots[slot]]
        members[b, counts[b]] = slot
        counts[b] += 1
        sums[b] += one
        most[b] = max(most[b], one)
        total_loss += one
    weight = np.empty(k)
    for new in comes:
        squares = 0.0
        for b in range(k):
            squares += float(counts[b]) ** 2
        scale = _scale(float(max(total_loss, 0.0)) / n, squares / n, is_text)
        least = np.inf
        for b in range(k):
            if counts[b]:
                least = min(least, counts[b] - scale * most[b])
        for b in range(k):
            full = counts[b] * (counts[b] - least) - scale * sums[b]
            weight[b] = max(full, 0.0) if counts[b] else 0.0
        b, place = _drawn(weight, counts, members, slots, loss, scale, least, rng)
        slot = members[b, place]
        gone = loss[slots[slot]]
        counts[b] -= 1
        members[b, place] = members[b, counts[b]]
        sums[b] -= gone
        total_loss += loss[new] - gone
        if gone >= most[b]:
            most[b] = 0.0
            for i in range(counts[b]):
                most[b] = max(most[b], loss[slots[members[b, i]]])
        slots[slot] = new
        b = output[new]
        members[b, counts[b]] = slot
        counts[b] += 1
        sums[b] += loss[new]
        most[b] = max(most[b], loss[new])


@numba.njit(cache=True, nogil=True)
def _drawn(
    weight: Float64[np.ndarray, " k"],
    counts: Int64[np.ndarray, " k"],
    members: np.ndarray,
    slots: Int64[np.ndarray, " c"],
    loss: Float64[np.ndarray, " p"],
    scale: float,
    least: float,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """A class by its weight and the place of a member of it; any where none has one."""
    n = len(slots)
    total = weight.sum()
    if total <= _NOTHING * n:
        at = int(rng.random() * n)
        for b in range(len(counts)):
            if at < counts[b]:
                return b, at
            at -= counts[b]
    left = rng.random() * total
    b = 0
    last = 0
    for b in range(len(weight)):
        if weight[b] > 0:
            last = b
            left -= weight[b]
            if left < 0:
                break
    bound = counts[last] - least
    place = 0
    for _ in range(_TRIES):
        place = int(rng.random() * counts[last])
        share = bound - scale * loss[slots[members[last, place]]]
        if rng.random() * bound < share:
            break
    return last, place


_NOTHING = 1e-9
"""Of a sample's share: rounding, where all have the same score."""
_TRIES = 100_000
"""Rounding can leave a class a weight and none of its members one."""
