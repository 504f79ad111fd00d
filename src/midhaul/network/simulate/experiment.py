"""network.simulate: what happens when a file of that kind is run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import LinkQueue, Tally, Verdict
from midhaul.network.simulate import tables
from midhaul.network.simulate.execution import CaseWork
from midhaul.network.simulate.inputs import case_of
from midhaul.network.simulate.metrics import (
    class_table_rows,
    metric_samples,
    simulated_flows,
    single_rows,
)
from midhaul.network.simulate.rungs import on_the_ladder
from midhaul.network.slowdown import size_class
from midhaul.network.work import n_packets
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.simulate.config import NetworkSimulateConfig, ScenarioConfig
    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_PERCENT = 100
_MOST_LOSING = 0.01
"""Share of the flows of windows that may lose packets."""

_MOST_LOST = 1e-4
"""Share of the packets that a judge in real time may lose by itself."""

_DROPPED = "SELECT link, n_dropped FROM links WHERE configuration = {}"
_MOST_FAR = 0.01
"""Share of drawn flows that may have the slowdown of another class of size."""


def simulate(config: NetworkSimulateConfig, run: Run, progress: Progress) -> None:
    """Draw or read the flows, simulate them, sum up, judge.

    A simulation that was interrupted goes on from the state that was kept. A
    MidhaulError is a topology, a flow or a file that cannot be, or what a simulator
    lacks.
    """
    (case,) = on_the_ladder(config, [case_of(config)], run, progress)
    write_frame([case], run)
    kept = KeptTables(run, tables.SIMULATIONS)
    simulate_case(config, case, run, kept, progress)
    sum_up(config, [case], run)


def write_frame(cases: Sequence[NetworkCase], run: Run) -> None:
    """Write what is known before anything happened; count what was left out."""
    rows: list[dict[str, object]] = [
        {
            "configuration": case.number,
            "name": case.name,
            "simulator": case.simulator,
            "transports": ", ".join(case.transports),
            "settings": json.dumps(dict(case.settings)),
        }
        for case in cases
    ]
    run.write(tables.CONFIGURATIONS, rows, part=0)
    for case in cases:
        links = tables.topology_rows(case.number, case.problem, case.offered)
        run.write(tables.TOPOLOGY, links, part=case.number)
    run.tally(*dict.fromkeys(tally for case in cases for tally in case.tallies))


def simulate_case(
    config: ScenarioConfig,
    case: NetworkCase,
    run: Run,
    kept: KeptTables,
    progress: Progress,
) -> None:
    """Simulate one configuration, unless that was done before."""
    if case.number in kept.parts(tables.SIMULATIONS):
        return
    work = CaseWork(run, case, keep_every_s=config.keep_every_s, say=progress.note)
    work.prepare()
    with progress.task(f"{case.name}, per cent", total=_PERCENT) as task:
        row = work.perform(lambda share: task.advance(_PERCENT * share))
    kept.write(tables.SIMULATIONS, [row], case.number)


def sum_up(
    config: ScenarioConfig, cases: Sequence[NetworkCase], run: Run
) -> list[SimulatedFlows]:
    """Write classes and summary of each configuration, and judge the run."""
    verdict = Verdict()
    found = simulated_flows(run)
    for case, flows in zip(cases, found, strict=True):
        number = case.number
        rng = np.random.default_rng([config.seed, 52, number])
        rows = summary_rows(metric_samples(flows), number, rng, config.n_resamples)
        run.write(tables.SUMMARY, [*rows, *single_rows(run, number)], part=number)
        run.write(tables.CLASSES, class_table_rows(number, flows), part=number)
        verdict += judge_flows(config, case, flows, run)
    run.verdict = verdict
    return found


def _drawn(case: NetworkCase, flows: SimulatedFlows) -> tuple[Tally, ...]:
    """What was not simulated, and what was given to it."""
    drawn = np.flatnonzero(flows.is_drawn)
    classes = size_class(flows.size_bytes)
    n_far = int(np.sum(classes[drawn] != classes[flows.drawn_from[drawn]]))
    more = "share" if flows.is_hybrid else "n_paths"
    advice = f"Raise {more}, or simulate all of it: simulator packet."
    given = "the slowdown of one of"
    if flows.is_hybrid:
        given = (
            "(intervals know of no window that was not drawn) that of the fluid, times "
            "what packets are over fluid for one of"
        )
    own = ~flows.is_drawn
    n_simulated = int(own.sum())
    anew = ()
    if flows.is_hybrid:
        anew = (
            Tally(
                what=f"simulated flows of {case.name} lost packets, and what is under "
                "way when a window begins has forgotten how it came by its rate",
                n=int(np.sum(flows.n_retransmitted[own] > 0)),
                of=n_simulated,
                max_share=_MOST_LOSING,
                advice="A p99 rests on such flows then: choose packet, or raise share.",
            ),
        )
    return (
        *anew,
        Tally(
            what=f"flows of {case.name} were not simulated and have {given} "
            f"the {n_simulated:,} that were, of their class of size",
            n=len(drawn),
            of=len(flows.flow),
            max_share=1.0,
            advice=advice,
        ),
        Tally(
            what=f"drawn flows of {case.name} have that of another class of size, as "
            "none of their own was simulated",
            n=n_far,
            of=len(drawn),
            max_share=_MOST_FAR,
            advice=advice,
        ),
    )


def _lost_by_machine(case: NetworkCase, run: Run) -> tuple[Tally, ...]:
    """What a judge in real time lost where its network loses nothing."""
    if case.simulator != "kernel":
        return ()
    links = case.problem.topology.links
    dropped = {
        int(row["link"]): int(row["n_dropped"] or 0)
        for row in run.sql(_DROPPED.format(case.number)).to_pylist()
    }
    n_lost = sum(
        n
        for link, n in dropped.items()
        if links[link].queue == LinkQueue() and not links[link].loss_share
    )
    return (
        Tally(
            what=f"packets of {case.name} were lost by this machine, on links that "
            "lose none",
            n=n_lost,
            of=int(n_packets(case.problem).sum()),
            max_share=_MOST_LOST,
            advice="Simulate slower links or fewer flows, or stop what else runs here.",
        ),
    )


def judge_flows(
    config: ScenarioConfig, case: NetworkCase, flows: SimulatedFlows, run: Run
) -> Verdict:
    """What speaks against the numbers of one configuration."""
    judged, n = flows.judged, len(flows.flow)
    n_judged = len(judged.flow)
    tallies = (
        Tally(
            what=f"flows of {case.name} had not ended and count as what their slowdown "
            "exceeds",
            n=judged.n_unfinished,
            of=n_judged,
            max_share=config.max_unfinished_share,
            advice="Raise until_s, or lower the load.",
        ),
        Tally(
            what=f"flows of {case.name} began too late, or not at all, before the end "
            "and are not judged",
            n=judged.n_late + judged.n_never,
            of=n,
            max_share=1.0,
            advice="Raise until_s.",
        ),
    )
    tallies += _lost_by_machine(case, run)
    if flows.is_drawn.any():
        tallies = (*tallies, *_drawn(case, flows))
    found = Verdict.of(*tallies)
    if case.simulator == "estimate":  # whose flows do not tell what it was warned of
        reason = (
            f"All flows of {case.name} have slowdowns that a corrector told, and "
            "neither what it has learnt nor its range is held against them here."
        )
        advice = "Run network.estimate for a verdict, network.validate for its error."
        found += Verdict(reasons=(reason,), advice=(advice,))
    if n and not n_judged:
        reason = f"No flow of {case.name} began early enough to be judged."
        found += Verdict(reasons=(reason,), advice=("Raise until_s.",))
    return found
