"""Tail: what a corrector says of paths becomes what is said of their network.

C. Li et al., "m3: Accurate Flow-Level Performance Estimation using Machine Learning",
SIGCOMM 2024, pools percentiles of paths by classes of size. Here a path counts in a
class by the flows that it has there, classes are joined by their true shares, and both
parts of the error are told apart: what other draws of paths would give (a bootstrap),
and what the corrector may be off by (its conformal intervals, pooled as if all of them
were off to the same side, which is the worst that can be).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import ConfigError
from midhaul.model import Tally
from midhaul.model.display import Display, Shown, counted
from midhaul.model.estimate import Estimate
from midhaul.network.corrector.base import Correction, Corrector, pooled
from midhaul.network.decomposition.pooling import N_PATHS
from midhaul.network.estimate.sampling import draw_paths, look_at
from midhaul.network.estimate.windows import by_windows, windows_of
from midhaul.network.slowdown import SIZE_CLASSES, WORDS, size_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.model import Flows, Topology
    from midhaul.network.estimate.sampling import Apply, LookedAt, SampledPaths
    from midhaul.network.estimate.windows import WindowedFlows
    from midhaul.network.problem import NetworkProblem, Routes
    from midhaul.network.transports import Transport

SHARES = (0.5, 0.95, 0.99, 0.999)
"""Percentiles that are estimated."""

_N_RESAMPLES = 200
_OUTSIDE_SHARE = 0.05
"""Share of draws outside of training from which an estimate is not to be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class NetworkEstimate(Shown):
    """The tail of a network, estimated.

    Attributes:
        shares: percentiles that are told.
        classes: names of the classes of size that there are, ``all`` first.
        n_flows: of each class.
        slowdown: for each class and percentile, with its interval.
        fct_s: the same of completion times.
        sampling: by what factor percentiles of all flows may be off for the paths that
            were drawn, half of the interval; one for each percentile.
        model: the same for the corrector.
        n_paths: different paths that were looked at.
        n_draws: how often paths were drawn.
        outside: what is outside of what the corrector has seen, and for which share of
            the draws; an empty name stands for any of it.
        sampled: the paths.
        correction: what the corrector said of them.
        record: of the corrector.
        windows: what became of all flows by windows of packets, where percentiles are
            by these; None: they are by the corrector.
    """

    shares: tuple[float, ...]
    classes: tuple[str, ...]
    n_flows: dict[str, int]
    slowdown: dict[str, tuple[Estimate, ...]]
    fct_s: dict[str, tuple[Estimate, ...]]
    sampling: tuple[float, ...]
    model: tuple[float, ...]
    n_paths: int
    n_draws: int
    outside: dict[str, float]
    sampled: SampledPaths
    correction: Correction
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    windows: WindowedFlows | None = None

    @property
    def p99(self) -> Estimate:
        """What the slowdowns of 99 % of all flows do not exceed."""
        return self.slowdown["all"][self.shares.index(0.99)]

    @property
    def tally(self) -> Tally:
        """Draws outside of what the corrector has seen, for a verdict."""
        share = self.outside.get("", 0.0)
        named = sorted(self.outside.items(), key=lambda item: -item[1])
        return Tally(
            what="draws are of paths outside of what the corrector has seen in "
            "training, so that neither its estimates nor its intervals are known to "
            "hold",
            n=round(share * self.n_draws),
            of=self.n_draws,
            max_share=_OUTSIDE_SHARE,
            advice="Simulate by packets, or train a corrector on such scenarios with "
            "network.train.",
            places=tuple(f"{what}: {part:.0%}" for what, part in named if what)[:5],
        )

    def _display(self) -> Display:
        """Slowdowns by class, each with its interval."""
        rows: list[tuple[object, ...]] = []
        for name in self.classes:
            told = [_said(one) for one in self.slowdown[name]]
            rows.append((WORDS[name], self.n_flows[name], *told))
        text = f"slowdowns by {counted(self.n_paths, 'path')}"
        if self.windows is not None:
            n = int(self.windows.is_simulated.sum())
            text = f"slowdowns by windows with {counted(n, 'flow')} packet by packet"
        elif share := self.outside.get("", 0.0):
            text += f"; {share:.0%} of the draws are outside of what training has seen"
        heads = [f"p{share * 100:g}" for share in self.shares]
        return Display(text=text, columns=("size", "flows", *heads), rows=rows)


def _said(one: Estimate) -> str:
    return f"{one.value:.3g} ({one.low:.3g} to {one.high:.3g})"


def pool_paths(
    problem: NetworkProblem,
    sampled: SampledPaths,
    looked: Sequence[LookedAt],
    correction: Correction,
    corrector: Corrector,
    rng: np.random.Generator,
) -> NetworkEstimate:
    """What is said of paths, pooled to what is said of the network.

    Args:
        problem: the network.
        sampled: the paths that were drawn.
        looked: what is known of each.
        correction: what the corrector said of them.
        corrector: whose record goes with the answer.
        rng: draws paths again, to see what other draws would give.

    Returns:
        Percentiles with intervals, and what to be warned of.
    """
    weights = class_weights(problem, sampled, correction)
    again = [
        class_weights(problem, drawn_again(sampled, rng), correction)
        for _ in range(_N_RESAMPLES)
    ]
    sizes = problem.flows.size_bytes
    n_of = np.bincount(size_class(sizes), minlength=len(SIZE_CLASSES))
    n_flows = {
        name: len(sizes) if name == "all" else int(n_of[SIZE_CLASSES.index(name)])
        for name in weights
    }
    slowdown: dict[str, tuple[Estimate, ...]] = {}
    sampling, model = np.zeros(len(SHARES)), np.zeros(len(SHARES))
    for name, weight in weights.items():
        others = [one[name] for one in again if name in one]
        slowdown[name], of_draws, of_model = _slowdowns(
            correction, weight, others, n_flows[name]
        )
        if name == "all":
            sampling, model = of_draws, of_model
    return NetworkEstimate(
        shares=SHARES,
        classes=tuple(weights),
        n_flows=n_flows,
        slowdown=slowdown,
        fct_s={
            name: _fct(looked, correction, weight, slowdown[name])
            for name, weight in weights.items()
        },
        sampling=tuple(np.expm1(sampling).tolist()),
        model=tuple(np.expm1(model).tolist()),
        n_paths=len(sampled.paths),
        n_draws=int(sampled.draws.sum() + sampled.of_class.sum()),
        outside=_outside(correction, sampled),
        sampled=sampled,
        correction=correction,
        record=dict(getattr(corrector, "record", {})),
    )


def with_windows(found: NetworkEstimate, windows: WindowedFlows) -> NetworkEstimate:
    """The same estimate with percentiles by windows of packets.

    Args:
        found: by paths and a corrector.
        windows: what :func:`~midhaul.network.estimate.windows.windows_of` gave of the
            same network.

    Returns:
        The estimate, with intervals of what other windows might say.
    """
    slowdown, fct_s = by_windows(windows, found.classes, found.shares)
    half = windows.half(windows.members("all"), found.shares)
    return replace(
        found,
        slowdown=slowdown,
        fct_s=fct_s,
        sampling=tuple(np.expm1(half).tolist()),
        model=(0.0,) * len(found.shares),
        windows=windows,
    )


def class_weights(
    problem: NetworkProblem, sampled: SampledPaths, correction: Correction
) -> dict[str, Float64[np.ndarray, "k b"]]:
    """What each path and class stands for: among all flows, and among each class.

    Classes of which no path was drawn are left out.
    """
    n_of = np.bincount(
        size_class(problem.flows.size_bytes), minlength=len(SIZE_CLASSES)
    )
    weight = sampled.weight(correction.counts)
    total = weight.sum(axis=0)
    joined = weight / np.maximum(total, 1e-12) * n_of
    found = {"all": joined}
    for b, name in enumerate(SIZE_CLASSES):
        if n_of[b] and total[b] > 0:
            only = np.zeros_like(joined)
            only[:, b] = joined[:, b]
            found[name] = only
    return found


def drawn_again(sampled: SampledPaths, rng: np.random.Generator) -> SampledPaths:
    """The same paths drawn again as often (a bootstrap over draws)."""
    draws = rng.multinomial(sampled.draws.sum(), sampled.draws / sampled.draws.sum())
    of_class = np.zeros_like(sampled.of_class)
    for b in range(of_class.shape[1]):
        if total := int(sampled.of_class[:, b].sum()):
            of_class[:, b] = rng.multinomial(total, sampled.of_class[:, b] / total)
    return replace(sampled, draws=draws, of_class=of_class)


def percentiles(
    slowdown: Float64[np.ndarray, "k b q"],
    weight: Float64[np.ndarray, "k b"],
    shares: Sequence[float] = SHARES,
) -> Float64[np.ndarray, " s"]:
    """Percentiles of the pool of all paths and classes, by weight."""
    there = weight.ravel() > 0
    flat = slowdown.reshape(-1, slowdown.shape[2])[there]
    return pooled(flat, weight.ravel()[there], np.array(shares))


def _slowdowns(
    correction: Correction,
    weight: Float64[np.ndarray, "k b"],
    others: Sequence[Float64[np.ndarray, "k b"]],
    n: int,
) -> tuple[tuple[Estimate, ...], np.ndarray, np.ndarray]:
    """Percentiles with intervals; halves of those by draws and by the corrector."""
    value = np.log(percentiles(correction.slowdown, weight))
    low = np.log(percentiles(correction.low, weight))
    high = np.log(percentiles(correction.high, weight))
    draws = np.log([percentiles(correction.slowdown, one) for one in others])
    ends = np.quantile(draws, [0.05, 0.95], axis=0)
    below = np.hypot(value - low, np.maximum(value - ends[0], 0.0))
    above = np.hypot(high - value, np.maximum(ends[1] - value, 0.0))
    told = tuple(
        Estimate(
            value=float(np.exp(v)),
            low=float(np.exp(max(v - a, 0.0))),
            high=float(np.exp(v + b)),
            n=n,
        )
        for v, a, b in zip(value, below, above, strict=True)
    )
    return told, (ends[1] - ends[0]) / 2, (high - low) / 2


def _fct(
    looked: Sequence[LookedAt],
    correction: Correction,
    weight: Float64[np.ndarray, "k b"],
    slowdown: Sequence[Estimate],
) -> tuple[Estimate, ...]:
    """Completion times: slowdowns of a path and class times ideal ones of its flows.

    Within a path and class the two are taken as independent of each other. Intervals
    are those of the slowdowns, in proportion.
    """
    rows: list[np.ndarray] = []
    masses: list[float] = []
    for k, b in np.argwhere(weight > 0).tolist():
        ideal_ns = looked[k].ideal_ns[b]
        rows += [correction.slowdown[k, b] * one for one in ideal_ns.tolist()]
        masses += [float(weight[k, b]) / len(ideal_ns)] * len(ideal_ns)
    values = pooled(np.stack(rows), np.array(masses), np.array(SHARES)) / 1e9
    return tuple(
        Estimate(
            value=float(v),
            low=float(v * one.low / one.value),
            high=float(v * one.high / one.value),
            n=one.n,
            unit="s",
        )
        for v, one in zip(values, slowdown, strict=True)
    )


def _outside(correction: Correction, sampled: SampledPaths) -> dict[str, float]:
    """Share of the draws for each warning, and for any of them by an empty name."""
    draws: Int64[np.ndarray, " k"] = sampled.draws + sampled.of_class.sum(axis=1)
    total = float(draws.sum())
    found: dict[str, float] = {}
    for warnings, times in zip(correction.outside, draws.tolist(), strict=True):
        named = {*warnings, ""} if warnings else set[str]()
        for what in sorted(named):
            found[what] = found.get(what, 0.0) + times / total
    return found


def estimate(  # noqa: PLR0913  most of it has a default
    topology: Topology,
    flows: Flows,
    transport: str | Transport | Sequence[str | Transport] = "dctcp",
    *,
    routes: Routes | None = None,
    seed: int = 0,
    n_paths: int = N_PATHS,
    corrector: Corrector | None = None,
    prefix: float = 0.0,
    windows: float = 0.0,
    within: float = 0.1,
    switch_buffer_bytes: int = 0,
    apply: Apply = map,
) -> NetworkEstimate:
    """Estimate the slowdowns and completion times of a network's flows.

    Args:
        topology: the nodes and links.
        flows: what is sent; none of them waits for others.
        transport: how senders decide, by a key of
            :data:`~midhaul.network.simulators.TRANSPORTS` or as a value; of several,
            those that ``Flows.transport`` counts through.
        routes: the way of each flow; ECMP over the fewest links by default.
        seed: of the paths that are drawn, and of routes.
        n_paths: how many paths are drawn.
        corrector: tells what packets would say; the one that is shipped by default.
        prefix: share of the flows of a path that are simulated packet by packet to tell
            the corrector; 0: none.
        windows: share of all flows that may start in windows of time which are
            simulated packet by packet; percentiles are by these then. 0: by the
            corrector.
        within: how far the ends of the interval of the p99 may lie from it, as a share,
            so that no more windows are simulated.
        switch_buffer_bytes: memory of each switch, as in a network problem.
        apply: does a function on each of several chunks of paths; in other processes,
            say.

    Returns:
        Percentiles by class of size with intervals, and what to be warned of.

    Raises:
        ConfigError: there is no transport of that name, a flow has no way, or flows
            wait for others.
        DataError: the shipped corrector cannot be read.
        PrerequisiteError: a library is missing, or no corrector is shipped.
    """
    from midhaul.network.simulators import problem_of  # noqa: PLC0415  a circle

    problem = problem_of(topology, flows, transport, routes=routes, seed=seed)
    problem = replace(problem, switch_buffer_bytes=switch_buffer_bytes)
    return estimate_problem(
        problem,
        n_paths=n_paths,
        corrector=corrector,
        prefix=prefix,
        windows=windows,
        within=within,
        apply=apply,
    )


def estimate_problem(
    problem: NetworkProblem,
    *,
    n_paths: int = N_PATHS,
    corrector: Corrector | None = None,
    prefix: float = 0.0,
    windows: float = 0.0,
    within: float = 0.1,
    apply: Apply = map,
) -> NetworkEstimate:
    """The same of a network problem; its seed draws the paths."""
    if not len(problem.flows):
        message = "there is no flow to estimate anything of"
        raise ConfigError(message)
    if corrector is None:
        from midhaul.network.corrector.fitted import load_corrector  # noqa: PLC0415

        corrector = load_corrector()
    rng = np.random.default_rng([problem.seed, 71])
    sampled = draw_paths(problem.routes, problem.flows.size_bytes, n_paths, rng)
    looked = look_at(problem, sampled.paths, prefix=prefix, apply=apply)
    correction = corrector.predict([one.features for one in looked])
    found = pool_paths(problem, sampled, looked, correction, corrector, rng)
    if not windows:
        return found
    return with_windows(found, windows_of(problem, windows, within=within))
