"""What a corrector learns from: features of scenarios, and what packets said of them.

Of each scenario there are several rows: with all of its foreground, and with few flows
of it, since most paths of a fabric have few. What is to be told is the distribution of
the slowdowns of just these flows. So that a row has the same size however many there
are, at most :data:`N_TARGETS` values stand for them, each with the share that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.crossing import crossing_of
from midhaul.network.corrector.features import N_CLASSES, features_of, stacked
from midhaul.network.corrector.scenarios import GROUPS, MAX_HOPS, NAMES, draw_scenario
from midhaul.network.slowdown import size_class
from midhaul.network.train.truth import read_part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64, Int64

    from midhaul.network.corrector.features import PathFeatures
    from midhaul.network.corrector.scenarios import PathScenario
    from midhaul.network.train.truth import ScenarioTruth

_BINS = np.array(
    [
        *np.linspace(0, 0.88, 45),
        *(0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.984),
        *(0.987, 0.99, 0.9925, 0.995, 0.997, 0.999, 1.0),
    ]
)
"""Shares between which one value stands for many, narrow at the end."""

N_TARGETS = len(_BINS) - 1
_SEEDS = 1 << 32
FEW = (1, 4, 15)
"""Flows of the foreground that the rows with few of them have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRows:
    """Rows to learn from, or to be judged by.

    Attributes:
        scenario: ``(n,)`` what tells scenarios apart, whatever seed they are of.
        number: ``(n,)`` the number of each in its seed.
        transport: ``(n,)`` its transport, of :data:`NAMES`.
        n_few: ``(n,)`` flows of its foreground if they are few; 0: all of them.
        groups: ``(n, g)`` whether it is of each of :data:`GROUPS`.
        path, hops, hop_classes, own, prefix, counts: as in
            :class:`~midhaul.network.corrector.features.PathFeatures`, stacked.
        values: ``(n, b, t)`` logarithms of true slowdowns, rising.
        shares: ``(n, b, t)`` what each stands for; 0 where it stands for none.
        exact: ``(n, b + 1, q)`` percentiles of them at the levels of correctors, class
            by class and then of all; NaN where there is no flow.
        fluid: ``(n, b + 1, q)`` the same of the fluid's slowdowns.
        short: ``(n, b + 1, q)`` the same of the simulation of the first flows alone.
        windows: ``(n, b + 1, q)`` the same where windows of time were simulated.
    """

    scenario: Int64[np.ndarray, " n"]
    number: Int64[np.ndarray, " n"]
    transport: Int64[np.ndarray, " n"]
    n_few: Int64[np.ndarray, " n"]
    groups: np.ndarray
    path: Float32[np.ndarray, "n p"]
    hops: Float32[np.ndarray, "n h k"]
    hop_classes: Float32[np.ndarray, "n h b c"]
    own: Float32[np.ndarray, "n b o"]
    prefix: Float32[np.ndarray, "n b s"]
    counts: Int64[np.ndarray, "n b"]
    values: Float32[np.ndarray, "n b t"]
    shares: Float32[np.ndarray, "n b t"]
    exact: Float32[np.ndarray, "n b1 q"]
    fluid: Float32[np.ndarray, "n b1 q"]
    short: Float32[np.ndarray, "n b1 q"]
    windows: Float32[np.ndarray, "n b1 q"]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.number)

    def take(self, which: np.ndarray) -> TrainingRows:
        """Some of them."""
        return TrainingRows(
            **{name: getattr(self, name)[which] for name in TrainingRows.__slots__}
        )

    @classmethod
    def joined(cls, parts: Sequence[TrainingRows]) -> TrainingRows:
        """Rows of several parts as one."""
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__slots__
            }
        )


def targets(
    slowdown: Float64[np.ndarray, " n"],
) -> tuple[Float32[np.ndarray, " t"], Float32[np.ndarray, " t"]]:
    """Logarithms of slowdowns that stand for all, and the share of each."""
    values, shares = np.zeros(N_TARGETS, np.float32), np.zeros(N_TARGETS, np.float32)
    n = len(slowdown)
    ordered = np.log(np.sort(slowdown))
    if n <= N_TARGETS:
        values[:n] = ordered
        shares[:n] = 1 / max(n, 1)
        return values, shares
    middles = (_BINS[1:] + _BINS[:-1]) / 2
    values[:] = ordered[np.minimum((middles * n).astype(np.int64), n - 1)]
    shares[:] = np.diff(_BINS)
    return values, shares


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRow:
    """One row, before rows are stacked; see :class:`TrainingRows`."""

    scenario: PathScenario
    features: PathFeatures
    n_few: int
    values: Float32[np.ndarray, "b t"]
    shares: Float32[np.ndarray, "b t"]
    exact: Float32[np.ndarray, "b1 q"]
    fluid: Float32[np.ndarray, "b1 q"]
    short: Float32[np.ndarray, "b1 q"]
    windows: Float32[np.ndarray, "b1 q"]


def rows_of_part(file: Path) -> TrainingRows | None:
    """The rows of a part of truth; None where it has none."""
    found: list[TrainingRow] = []
    for seed, amount, truth in read_part(file):
        if not truth.is_given_up:
            found += rows_of(draw_scenario(seed, truth.number, amount), truth)
    return stacked_rows(found) if found else None


def stacked_rows(found: Sequence[TrainingRow]) -> TrainingRows:
    """Rows as arrays; links that are not there are NaN."""
    features = stacked([row.features for row in found], most=MAX_HOPS)
    names = ("values", "shares", "exact", "fluid", "short", "windows")
    return TrainingRows(
        scenario=np.array(
            [_SEEDS * row.scenario.seed + row.scenario.number for row in found]
        ),
        number=np.array([row.scenario.number for row in found]),
        transport=np.array([NAMES.index(row.scenario.name) for row in found]),
        n_few=np.array([row.n_few for row in found]),
        groups=np.array([[g in row.scenario.groups for g in GROUPS] for row in found]),
        **{name: np.stack([getattr(row, name) for row in found]) for name in names},
        **features,
    )


def rows_of(scenario: PathScenario, truth: ScenarioTruth) -> list[TrainingRow]:
    """The rows of a scenario: with all of its foreground, then with few of it."""
    path = scenario.path
    met = crossing_of(path)
    own = np.flatnonzero(path.is_foreground)
    classes = size_class(path.size_bytes)
    first = np.argsort(path.start_ns, kind="stable")[: len(truth.first)]
    short = truth.first.astype(np.float64)
    rng = np.random.default_rng([scenario.seed, scenario.number, 1])
    rows: list[TrainingRow] = []
    for n_few in (0, *FEW):
        if n_few >= len(own):
            continue
        which = np.arange(len(own))
        if n_few:
            which = np.sort(rng.permutation(len(own))[:n_few])
        chosen = np.zeros(len(path), np.bool_)
        chosen[own[which]] = True
        slowdown, kinds = truth.own[which].astype(np.float64), classes[own[which]]
        pairs = [targets(slowdown[kinds == b]) for b in range(N_CLASSES)]
        is_short = chosen[first] & ~np.isnan(short)
        rows.append(
            TrainingRow(
                scenario=scenario,
                features=features_of(
                    path, crossing=met, chosen=chosen, simulated=short
                ),
                n_few=n_few,
                values=np.stack([pair[0] for pair in pairs]),
                shares=np.stack([pair[1] for pair in pairs]),
                exact=by_class(slowdown, kinds),
                fluid=by_class(met.fluid[own[which]], kinds),
                short=by_class(short[is_short], classes[first[is_short]]),
                windows=by_class(truth.windows[which].astype(np.float64), kinds),
            )
        )
    return rows


def by_class(
    slowdown: Float64[np.ndarray, " n"], classes: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, "b1 q"]:
    """Logarithms of percentiles of each class and of all; NaN for none."""
    found = np.full((N_CLASSES + 1, len(LEVELS)), np.nan, np.float32)
    for b in range(N_CLASSES + 1):
        mine = slowdown if b == N_CLASSES else slowdown[classes == b]
        if len(mine):
            at = np.minimum((LEVELS * len(mine)).astype(np.int64), len(mine) - 1)
            found[b] = np.log(np.sort(mine)[at])
    return found
