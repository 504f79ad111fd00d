"""Block test: a coverage test with a stated rate of false alarms, on small sketches.

At the end of a period it asks whether its sessions are like those that the present
model knows, in which cells their samples lie: output bin, and output bin × predicted
mode × entropy (:mod:`midhaul.memory.cells`). What it keeps are counts of
cells session by session (:mod:`midhaul.memory.retraining.group_counts`), what decides
is a permutation of whole sessions (:mod:`midhaul.memory.retraining.permutation`).

*What is known* are chapters: the sessions of the periods since a training, and what it
was trained for. A period belongs to the first chapter, from the last one back, from
which it does not differ, and its sessions are added there. Only a period that differs
from all of them is an alarm. So what comes back does not alarm again.

*The rate.* If the sessions of a period and those of some chapter are exchangeable, that
chapter's test rejects with a probability of at most its level, and so do all of them
together. The level is ``alpha / n_periods`` at every period: over any ``n_periods`` in
a row false alarms have a probability of at most ``alpha`` (the sum of the levels), and
the level never changes, so they come no more often late than early. Nothing is promised
for a stream without end, as nothing can be that still sees a change then. Within a test
outputs and cells are two questions, each has half of the level (Bonferroni).

*Sessions that share a trace* in one period are one block, as they came together.

*After a training* the predictions of an old chapter are another model's. What is left
of it are its outputs; cells are compared with those of periods since.

*Without outputs* it compares what the model says: mode × entropy. Outputs that come
late are missing for slow samples first: offer periods when they are complete.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.cells import N_LEVELS, Cells
from midhaul.memory.retraining.base import RetrainDecision
from midhaul.memory.retraining.group_counts import NO_GROUPS, GroupCounts
from midhaul.memory.retraining.permutation import permutation_test
from midhaul.memory.retraining.schedule import FIRST
from midhaul.memory.selectors.pool import check_state
from midhaul.model.display import counted

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import Arrays, RetrainSituation
    from midhaul.memory.retraining.permutation import Permuted
    from midhaul.memory.samples import Bins, Samples

    Chapter = dict[str, GroupCounts]
    """Sketches of some periods, by what their cells are of."""

_OUTPUTS, _CELLS, _SAID = KINDS = ("outputs", "cells", "said")
_OF_MODEL = (_CELLS, _SAID)
_N_GROWN = 3
_NOTHING_CAME = RetrainDecision(retrain=False, why="nothing came")


class BlockTest:
    """Retrain when a period's sessions are unlike all that is known.

    Args:
        alpha: probability of a false alarm in ``n_periods`` periods, at most.
        n_periods: in a row, for which ``alpha`` is stated.
        n_known: chapters that are remembered.
        most_groups: sessions of a chapter that are remembered, drawn at random.
        most_bytes: that the sketch of a chapter takes; of larger ones fewer sessions
            are remembered.
        n_permutations: of a test; two over the level at least.

    Raises:
        ConfigError: alpha is no probability, a number is below 1, or there are too few
            permutations for the level.
    """

    name = "block-test"

    def __init__(
        self,
        *,
        alpha: float = 0.05,
        n_periods: int = 10,
        n_known: int = 8,
        most_groups: int = 256,
        most_bytes: int = 96_000,
        n_permutations: int = 1199,
    ) -> None:
        least = min(n_periods, n_known, most_groups, most_bytes)
        if not 0 < alpha < 1 or least < 1:
            message = (
                f"expected alpha within 0 to 1, and 1 or more of periods, chapters, "
                f"groups and bytes, found {alpha}, {n_periods}, {n_known}, "
                f"{most_groups} and {most_bytes}"
            )
            raise ConfigError(message)
        if n_permutations + 1 < 2 * n_periods / alpha:
            message = (
                f"n_permutations: expected {int(np.ceil(2 * n_periods / alpha)) - 1:,} "
                f"or more for a level of {alpha / n_periods:g}, found {n_permutations}"
            )
            raise ConfigError(message, "no p could be as small as the level")
        self.level = alpha / n_periods
        self.n_known = n_known
        self.most_groups = most_groups
        self.most_bytes = most_bytes
        self.n_permutations = n_permutations
        self._chapters: list[Chapter] = []
        self._pending: list[Chapter] = []
        self._version = -1
        self._n_forgotten = 0

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """Find the chapter that a period belongs to; there is none in an alarm."""
        found = self._decided(now)
        n_forgotten, self._n_forgotten = self._n_forgotten, 0
        why = found.why
        if n_forgotten:
            why = f"{why}; {counted(n_forgotten, 'session')} forgotten"
        return replace(
            found,
            why=why,
            n_groups=len(np.unique(now.new.cluster)),
            n_forgotten=n_forgotten,
        )

    def _decided(self, now: RetrainSituation) -> RetrainDecision:
        if not len(now.new):
            return FIRST if now.trained is None else _NOTHING_CAME
        version = now.new.model_version
        if now.trained is not None and version[0] != self._version:
            self._forget_model()
        self._version = int(version[0])
        new = sketched(
            now.new, now.bins, is_one_model=bool((version == version[0]).all())
        )
        if not any(new[kind].n for kind in KINDS):
            message = "neither outputs nor predictions are known of this period"
            raise DataError(message, "the block test compares one or the other")
        new = self._joined([new], now.rng)
        if now.trained is None:
            self._wait(new, now)
            return FIRST
        if not self._chapters:
            self._chapters.append(new)
            why = "the first period that is seen is what others are compared with"
            return RetrainDecision(retrain=False, why=why)
        p_value, distance, home = self._belongs(new, now)
        grown = _grown(self._chapters[-1], new, now.bins)
        if home < 0:
            self._wait(new, now)
        else:
            self._chapters[home] = self._joined([self._chapters[home], new], now.rng)
            self._pending = []
        what = "unlike all that is known" if home < 0 else "like what is known"
        why = (
            f"the sessions of this period are {what} (p = {p_value:.4f}, "
            f"alarm at {self.level:g}), {distance:.1%} of their samples lie elsewhere"
        )
        if np.isnan(p_value):
            why = "nothing is known yet that this period can be compared with"
        return RetrainDecision(
            retrain=home < 0,
            why=why,
            value=distance,
            p_value=p_value,
            grown=grown,
        )

    def retrained(self) -> None:
        """What has alarmed is known from now on; predictions will be others."""
        if self._pending:
            self._chapters += self._pending
            gone = self._chapters[: -self.n_known]
            self._n_forgotten += sum(_n_groups(one) for one in gone)
            del self._chapters[: -self.n_known]
        self._pending = []
        self._forget_model()

    def state(self) -> Arrays:
        """The sketches of all chapters, and of what has alarmed since."""
        found = {
            "version": np.array(self._version),
            "n_forgotten": np.array(self._n_forgotten),
            "n_chapters": np.array(len(self._chapters)),
            "n_pending": np.array(len(self._pending)),
        }
        for i, chapter in enumerate(self._chapters + self._pending):
            for kind in KINDS:
                for name, array in chapter[kind].state().items():
                    found[f"{i}/{kind}/{name}"] = np.asarray(array)
        return found

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        head = ("version", "n_forgotten", "n_chapters", "n_pending")
        check_state({k: v for k, v in state.items() if "/" not in k}, self.name, head)
        n_chapters, n_pending = int(state["n_chapters"]), int(state["n_pending"])
        try:
            read = [
                {
                    kind: GroupCounts.from_state(
                        {k: state[f"{i}/{kind}/{k}"] for k in NO_GROUPS.state()}
                    )
                    for kind in KINDS
                }
                for i in range(n_chapters + n_pending)
            ]
        except KeyError as error:
            message = f"the state of {self.name} has no {error}, it was cut short"
            raise DataError(message, "restore a state that is whole") from None
        self._chapters, self._pending = read[:n_chapters], read[n_chapters:]
        self._version = int(state["version"])
        self._n_forgotten = int(state["n_forgotten"])

    def _belongs(self, new: Chapter, now: RetrainSituation) -> tuple[float, float, int]:
        """p, distance and number of the chapter; -1 where it belongs to none.

        Where it belongs to none they are those of the chapter that it is least unlike;
        where none can be compared with it, it belongs to the last one.
        """
        found: list[tuple[float, float]] = []
        for number in range(len(self._chapters) - 1, -1, -1):
            tests = self._tests(self._chapters[number], new, now)
            if not tests:
                continue
            least = min(tests, key=lambda one: one.p_value)
            p_value = min(1.0, len(tests) * least.p_value)
            if p_value > self.level:
                return p_value, least.distance, number
            found.append((p_value, least.distance))
        if not found:
            return np.nan, np.nan, len(self._chapters) - 1
        return (*max(found), -1)

    def _tests(
        self, chapter: Chapter, new: Chapter, now: RetrainSituation
    ) -> list[Permuted]:
        """What can be asked of both: outputs and cells, or what the model says."""
        with_both = [k for k in KINDS if chapter[k].n and new[k].n]
        asked = [k for k in with_both if k != _SAID] or with_both
        return [
            permutation_test(
                chapter[kind],
                new[kind],
                now.rng,
                likes=_likes(kind, now.bins),
                n_permutations=self.n_permutations,
                level=self.level / len(asked),
            )
            for kind in asked
        ]

    def _wait(self, new: Chapter, now: RetrainSituation) -> None:
        """Remember what has alarmed, as one chapter, until a model is trained."""
        self._pending = [self._joined([*self._pending, new], now.rng)]

    def _joined(self, parts: list[Chapter], rng: np.random.Generator) -> Chapter:
        """Parts as one chapter, of no more groups and bytes than are remembered."""
        found = {kind: GroupCounts.joined([p[kind] for p in parts]) for kind in KINDS}
        n, most = _n_groups(found), self.most_groups
        while True:
            found = {kind: one.thinned(most, rng) for kind, one in found.items()}
            n_bytes = sum(one.n_bytes for one in found.values())
            if n_bytes <= self.most_bytes:
                break
            most = int(_n_groups(found) * self.most_bytes / n_bytes)
        self._n_forgotten += n - _n_groups(found)
        return found

    def _forget_model(self) -> None:
        for chapter in (*self._chapters, *self._pending):
            chapter.update(dict.fromkeys(_OF_MODEL, NO_GROUPS))


def _n_groups(chapter: Chapter) -> int:
    return max(one.n for one in chapter.values())


def sketched(samples: Samples, bins: Bins, *, is_one_model: bool = True) -> Chapter:
    """Sketches of a period, its groups joined where they share a cluster."""
    output = bins.of(samples.y)
    has_output = output >= 0
    found: Chapter = dict.fromkeys(KINDS, NO_GROUPS)
    block = samples.cluster
    if has_output.any():
        found[_OUTPUTS] = GroupCounts.of(block[has_output], output[has_output])
    if samples.prediction.shape[1] and is_one_model:
        cells = Cells(bins=bins)
        cell = cells.of(samples)
        found[_SAID] = GroupCounts.of(block, cells.region(cell))
        if has_output.any():
            found[_CELLS] = GroupCounts.of(block[has_output], cell[has_output])
    return found


def _likes(kind: str, bins: Bins) -> np.ndarray:
    """As which the samples of a rare cell are counted: its output, or its mode."""
    if kind == _OUTPUTS:
        return np.zeros(bins.n, np.int64)
    if kind == _SAID:
        return np.arange(bins.n * N_LEVELS) // N_LEVELS
    return np.arange(Cells(bins=bins).n) // (bins.n * N_LEVELS)


def _grown(
    known: Chapter, new: Chapter, bins: Bins
) -> tuple[tuple[int, float, float], ...]:
    """The bins of the output that grew most against the last chapter."""
    shares = [
        np.bincount(part[_OUTPUTS].cell, part[_OUTPUTS].count, bins.n)
        / max(int(part[_OUTPUTS].count.sum()), 1)
        for part in (known, new)
    ]
    growth = shares[1] - shares[0]
    order = np.argsort(-growth, kind="stable")[:_N_GROWN]
    return tuple(
        (int(i), float(shares[0][i]), float(shares[1][i]))
        for i in order
        if growth[i] > 0
    )
