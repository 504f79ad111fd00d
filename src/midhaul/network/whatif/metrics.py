"""The metrics of network.whatif: slowdowns of a choice over the network as it is.

A choice may change what a flow takes alone: a faster link lowers ideal completion times
too. So that choices can be held against each other, the completion time of a flow is
taken over its ideal one in the present network, the same for all choices. What a flow
takes under two choices shares its size, its start and its neighbours: choices are
paired batch by batch, over all workloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.network.simulate.metrics import SHARED, SINGLE, simulated_flows
from midhaul.network.slowdown import SIZE_CLASSES, WORDS, size_class
from midhaul.runs.metric import Metric, declare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float64, Int64

    from midhaul.model.estimate import MetricSamples
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.run import Run

_OPEN = ("cannot tell", "unknown")

TAILS = (0.5, 0.95, 0.99, 0.999)
"""The percentiles that are said of each choice."""


def metric_name(name: str, q: float) -> str:
    """The metric of a class of size."""
    return f"relative_{name}_p{q * 100:g}".replace(".", "_")


METRICS = declare(
    *SHARED,
    *SINGLE,
    *(
        Metric(
            name=metric_name(name, q),
            doc=f"what {q:.4g} of the flows ({WORDS[name]}) do not exceed: completion "
            "time over the ideal one in the present network",
            better="lower",
            heading=f"p{q * 100:g}" if name == "all" else "",
            over="batches of flows",
            is_model=True,
        )
        for name in ("all", *SIZE_CLASSES)
        for q in TAILS
    ),
    headline="relative_all_p50 relative_all_p99 max_utilisation n_dropped "
    "unfinished_share took_s",
)
"""All metrics of the kind, in the order of the summary."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChoiceFlows:
    """The judged flows of all workloads under one choice.

    Attributes:
        name: of the choice.
        slowdown: ``(n,)`` over the ideal time in the present network.
        is_finished: ``(n,)`` false where the true one is larger.
        is_own: ``(n,)`` false where it is another flow's, as it was not simulated.
        size_class: ``(n,)`` index of the class of size.
        unit: ``(n,)`` index of the batch.
        units: names of the batches.
    """

    name: str
    slowdown: Float64[np.ndarray, " n"]
    is_finished: Bool[np.ndarray, " n"]
    is_own: Bool[np.ndarray, " n"]
    size_class: Int64[np.ndarray, " n"]
    unit: Int64[np.ndarray, " n"]
    units: tuple[str, ...]

    def mask(self, name: str) -> Bool[np.ndarray, " n"]:
        """Which flows are of a class of size, or all."""
        if name == "all":
            return np.ones(len(self.slowdown), np.bool_)
        return self.size_class == SIZE_CLASSES.index(name)

    def n_own(self, name: str) -> int:
        """How many of a class of size were simulated themselves."""
        return int(np.sum(self.mask(name) & self.is_own))

    def percentile(self, name: str, q: float) -> MetricSamples:
        """A percentile of a class of size, batch by batch."""
        chosen = self.mask(name)
        open_ = self.slowdown[chosen & ~self.is_finished]
        return METRICS[metric_name(name, q)].percentile(
            self.name,
            self.units,
            self.slowdown[chosen],
            self.unit[chosen],
            q=q,
            known_below=float(open_.min(initial=np.inf)),
            n_own=self.n_own(name),
        )


def choice_flows(
    found: Sequence[SimulatedFlows], n_choices: int, present: int
) -> list[ChoiceFlows]:
    """The flows of each choice; configurations are workload by workload."""
    workloads = [
        found[begin : begin + n_choices] for begin in range(0, len(found), n_choices)
    ]
    return [
        _pooled([(of[i], of[present]) for of in workloads]) for i in range(n_choices)
    ]


def _pooled(pairs: Sequence[tuple[SimulatedFlows, SimulatedFlows]]) -> ChoiceFlows:
    """One choice, each workload with what it is in the present network."""
    slowdowns: list[np.ndarray] = []
    index: list[np.ndarray] = []
    units: list[str] = []
    for number, (mine, present) in enumerate(pairs):
        judged = mine.judged
        ideal_s = present.ideal_fct_ns[judged.flow] / 1e9
        slowdowns.append(judged.fct_s / np.maximum(ideal_s, 1e-9))
        index.append(len(units) + mine.unit[judged.flow])
        units += [f"workload {number}, {unit}" for unit in mine.units]
    flows = [mine for mine, _ in pairs]
    return ChoiceFlows(
        name=flows[0].name,
        slowdown=np.concatenate(slowdowns),
        is_finished=np.concatenate([one.judged.is_finished for one in flows]),
        is_own=np.concatenate([~one.is_drawn[one.judged.flow] for one in flows]),
        size_class=np.concatenate(
            [size_class(one.size_bytes[one.judged.flow]) for one in flows]
        ),
        unit=np.concatenate(index),
        units=tuple(units),
    )


def choices_of(run: Run, found: Sequence[SimulatedFlows]) -> list[ChoiceFlows]:
    """The flows of each choice of a run that has simulated all of them."""
    values = run.config_values()
    n_choices = prod(len(one) for one in values["vary"].values())
    if len(found) < n_choices * int(values["n_seeds"]):
        return []
    names = [one.name for one in found[:n_choices]]
    name = str(values.get("present") or names[0])
    return choice_flows(found, n_choices, names.index(name))


def samples(run: Run) -> list[MetricSamples]:
    """All percentiles of the choices; their units are batches of flows."""
    return [
        choice.percentile(name, q)
        for choice in choices_of(run, simulated_flows(run))
        for name in ("all", *SIZE_CLASSES)
        if choice.mask(name).any()
        for q in TAILS
    ]


def verdict_sentence(
    percentile: int, size_class: str, rows: Sequence[Mapping[str, Any]]
) -> str:
    """Which choice is best, how surely, and which one to take, for people.

    The rows are those of the table ``choices``, each with its ``name``.
    """
    what = f"p{percentile} of the slowdown"
    if size_class != "all":
        what += f" of flows {WORDS[size_class]}"
    best = next(row for row in rows if row["result"] == "best")
    if best["value"] is None:
        return f"Too few flows carry {what}, so no choice can be called best."
    found = f"{best['name']} has the least {what}"
    if best["best_share"] is not None:
        found += f" (best in {best['best_share']:.0%} of resamples)"
    equal = [str(row["name"]) for row in rows if row["result"] == "equal"]
    open_ = [str(row["name"]) for row in rows if row["result"] in _OPEN]
    if equal:
        found += f"; equal: {', '.join(equal)}"
    if open_:
        found += f"; cannot be told: {', '.join(open_)}"
    advised = next(row for row in rows if row["is_advised"])
    if advised is not best:
        is_cheaper = (advised["cost_usd"] or 0.0) < (best["cost_usd"] or 0.0)
        why = "costs less" if is_cheaper else "is there already"
        found += f"; take {advised['name']}, which is as good and {why}"
    return f"{found}."
