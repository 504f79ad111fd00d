"""From rows to a corrector: nets, intervals, ranges, an error card and a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network.corrector.base import LEVELS
from midhaul.network.corrector.compact import NetWeights
from midhaul.network.corrector.features import N_CLASSES, TRANSPORT_NAMES
from midhaul.network.corrector.fitted import FORMAT, FittedCorrector
from midhaul.network.corrector.ranges import seen_ranges
from midhaul.network.corrector.scenarios import GROUPS, LAW_VERSION, NAMES
from midhaul.network.slowdown import SIZE_CLASSES
from midhaul.network.train.fitting import arrays_of, fit_net, scaling_of
from midhaul.network.train.judging import (
    ALL,
    FEWEST,
    ErrorCard,
    Told,
    card,
    conformal_ratios,
    level,
    told_of,
    wasserstein,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float64

    from midhaul.network.train.dataset import TrainingRows

PERCENTILES = (0.5, 0.95, 0.99)
"""Percentiles that are judged."""

CORRECTOR, FLUID, CONSTANT, FIRST = "corrector", "fluid", "constant", "first flows"
WINDOWS = "windows"
WHAT = {
    CORRECTOR: "Nets on features of the path; what was trained.",
    FLUID: "Max-min fair sharing, without any correction.",
    CONSTANT: "The fluid times a constant for each transport, class and percentile.",
    FIRST: "The packet simulation of the first tenth of the flows, taken for all.",
    WINDOWS: "Windows of time packet by packet, which tell of the other flows.",
}
"""What is judged, and what stands beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How nets are fitted; see ``FittingConfig``."""

    n_nets: int = 3
    n_epochs: int = 30
    width: int = 256
    hop_width: int = 64
    rate: float = 2e-3


def split_scenarios(
    scenarios: np.ndarray, share: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Which rows are for intervals; all rows of a scenario are on one side."""
    known = np.unique(scenarios)
    rng = np.random.default_rng([seed, 5])
    chosen = rng.permutation(known)[: max(1, round(share * len(known)))]
    return np.isin(scenarios, chosen)


def fit_corrector(
    rows: TrainingRows,
    *,
    share: float,
    fitting: Fitting,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
) -> FittedCorrector:
    """A corrector that learns from rows, with intervals of a share of the scenarios.

    Args:
        rows: of scenarios.
        share: of the scenarios that intervals are made of.
        fitting: of its nets.
        seed: of all chance.
        say: is told how it goes.

    Returns:
        The corrector, whose record says how it was trained.

    Raises:
        PrerequisiteError: torch is not installed.
    """
    apart = split_scenarios(rows.scenario, share, seed)
    learnt = rows.take(np.flatnonzero(~apart))
    scaling = scaling_of(learnt)
    nets = [
        _rounded(
            fit_net(
                learnt,
                scaling,
                seed=1000 * seed + i,
                n_epochs=fitting.n_epochs,
                width=fitting.width,
                hop_width=fitting.hop_width,
                rate=fitting.rate,
                say=lambda text, i=i: say(f"net {i + 1}: {text}"),
            )
        )
        for i in range(fitting.n_nets)
    ]
    n = len(TRANSPORT_NAMES)
    corrector = FittedCorrector(
        nets=tuple(nets),
        scaling=scaling,
        ratios=np.zeros((n, N_CLASSES + 1, len(LEVELS), 2), np.float32),
        ranges=seen_ranges(rows.path, rows.hops),
        record={
            "format": FORMAT,
            "law": LAW_VERSION,
            "seed": seed,
            "n_scenarios": len(np.unique(learnt.scenario)),
            "n_calibration": len(np.unique(rows.scenario[apart])),
            "n_rows": int((learnt.counts > 0).sum()),
            "n_nets": fitting.n_nets,
            "n_epochs": fitting.n_epochs,
            "width": fitting.width,
            "hop_width": fitting.hop_width,
        },
    )
    whole = rows.take(np.flatnonzero(apart & (rows.n_few == 0)))
    return with_intervals(corrector, whole)


def with_intervals(corrector: FittedCorrector, rows: TrainingRows) -> FittedCorrector:
    """The same with intervals of rows that it has not learnt from."""
    told = tell(corrector, rows)
    ratios = conformal_ratios(rows, told, len(TRANSPORT_NAMES))
    return FittedCorrector(
        nets=corrector.nets,
        scaling=corrector.scaling,
        ratios=ratios,
        ranges=corrector.ranges,
        record=corrector.record,
    )


def with_record(corrector: FittedCorrector, **more: Any) -> FittedCorrector:
    """The same with more in its record."""
    return FittedCorrector(
        nets=corrector.nets,
        scaling=corrector.scaling,
        ratios=corrector.ratios,
        ranges=corrector.ranges,
        record={**corrector.record, **more},
    )


def _rounded(net: NetWeights) -> NetWeights:
    """As its file will have it."""
    return NetWeights(
        layers={
            name: (weight.astype(np.float16).astype(np.float32), offset)
            for name, (weight, offset) in net.layers.items()
        }
    )


def tell(corrector: FittedCorrector, rows: TrainingRows) -> Told:
    """What a corrector says of rows."""
    logs, spread = corrector.log_slowdown(arrays_of(rows))
    return told_of(logs, spread, rows.counts)


def ends(
    corrector: FittedCorrector, told: Told, rows: TrainingRows
) -> tuple[Float64[np.ndarray, "n b1 q"], Float64[np.ndarray, "n b1 q"]]:
    """The ends of the intervals, as logarithms."""
    ratios = corrector.ratios[rows.transport]
    low = np.maximum(told.logs + ratios[..., 0] * told.scale, 0.0)
    return low, np.maximum(told.logs + ratios[..., 1] * told.scale, told.logs)


def constants(rows: TrainingRows) -> Float64[np.ndarray, "t b1 q"]:
    """By what the fluid is to be multiplied, as logarithms: medians over scenarios."""
    away = np.where(np.isnan(rows.exact), np.nan, rows.exact - rows.fluid)
    found = np.zeros((len(NAMES), *away.shape[1:]))
    for t in range(len(NAMES)):
        mine = away[(rows.transport == t) & (rows.n_few == 0)]
        for b in range(mine.shape[1] if len(mine) else 0):
            there = mine[:, b][~np.isnan(mine[:, b, 0])]
            if len(there):
                found[t, b] = np.median(there, axis=0)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """What several ways told of the same rows, as logarithms of percentiles.

    Attributes:
        rows: of the test.
        told: by the name of the way.
        low, high: ends of the intervals, where there are some.
    """

    rows: TrainingRows
    told: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]

    def groups(self) -> dict[str, Bool[np.ndarray, " n"]]:
        """Which rows each group has."""
        rows = self.rows
        found: dict[str, np.ndarray] = {"all": np.ones(len(rows), np.bool_)}
        found["none"] = np.logical_not(rows.groups.any(axis=1))
        return found | {name: rows.groups[:, i] for i, name in enumerate(GROUPS)}

    def card(
        self, way: str, mask: Bool[np.ndarray, " n"], place: int, share: float
    ) -> ErrorCard:
        """Errors of a way in a class of some rows; of too few flows none."""
        q = level(share)
        counts = self.rows.counts
        there = counts.sum(axis=1) if place == ALL else counts[:, place]
        kept = mask & (there >= FEWEST)
        low, high = self.low.get(way), self.high.get(way)
        return card(
            self.rows.exact[kept, place, q].astype(np.float64),
            self.told[way][kept, place, q].astype(np.float64),
            None if low is None else low[kept, place, q],
            None if high is None else high[kept, place, q],
        )

    def cards(self) -> Iterator[tuple[str, str, str, str, float, ErrorCard]]:
        """Way, group, transport, class, percentile and the errors of each."""
        transports = {"all": np.ones(len(self.rows), np.bool_)}
        transports |= {name: self.rows.transport == i for i, name in enumerate(NAMES)}
        places = {"all": ALL, **{name: b for b, name in enumerate(SIZE_CLASSES)}}
        for way in self.told:
            for group, mask in self.groups().items():
                for transport, mine in transports.items():
                    if group != "all" and transport != "all":
                        continue
                    for name, place in places.items():
                        for share in PERCENTILES:
                            found = self.card(way, mask & mine, place, share)
                            if found.n:
                                yield way, group, transport, name, share, found

    def distance(self, way: str) -> Float64[np.ndarray, " n"]:
        """Distances of whole distributions, of all flows of a scenario."""
        return wasserstein(
            self.rows.exact[:, ALL].astype(np.float64),
            self.told[way][:, ALL].astype(np.float64),
        )


def judge(
    corrector: FittedCorrector, rows: TrainingRows, learnt: TrainingRows
) -> Verdicts:
    """What the corrector, and what stands beside it, say of a test.

    Args:
        corrector: that is judged.
        rows: of scenarios that it has not learnt from; those with all flows count.
        learnt: what constants are taken from.

    Returns:
        All that was told.
    """
    whole = rows.take(np.flatnonzero(rows.n_few == 0))
    told = tell(corrector, whole)
    low, high = ends(corrector, told, whole)
    constant = np.maximum(whole.fluid + constants(learnt)[whole.transport], 0.0)
    return Verdicts(
        rows=whole,
        told={
            CORRECTOR: told.logs,
            FLUID: whole.fluid,
            CONSTANT: constant,
            FIRST: whole.short,
            WINDOWS: whole.windows,
        },
        low={CORRECTOR: low},
        high={CORRECTOR: high},
    )


def error_card_of(verdicts: Verdicts) -> list[dict[str, Any]]:
    """The error card that a corrector carries: by transport and class, of the p99."""
    return [
        {
            "transport": transport,
            "size_class": name,
            "n": one.n,
            "mean": round(one.mean, 4),
            "p90": round(one.p90, 4),
            "bias": round(one.bias, 4),
            "coverage": round(one.coverage, 3),
        }
        for way, group, transport, name, share, one in verdicts.cards()
        if way == CORRECTOR and group == "all" and share == 0.99  # noqa: PLR2004
    ]
