"""network.compare: what happens when a file of that kind is run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import ConfigError
from midhaul.network.compare.metrics import (
    METRICS,
    agreement_rows,
    error_samples,
    reference_of,
)
from midhaul.network.compare.tables import AGREEMENT, COMPARISONS
from midhaul.network.simulate import tables
from midhaul.network.simulate.execution import CaseWork
from midhaul.network.simulate.experiment import simulate_case, sum_up, write_frame
from midhaul.network.simulate.inputs import case_of, flows_of, topology_of
from midhaul.network.simulate.metrics import metric_samples
from midhaul.network.simulate.rungs import on_the_ladder
from midhaul.runs.kept import KeptTables
from midhaul.runs.metric import summary_rows
from midhaul.runs.perform import n_jobs, parallel
from midhaul.runs.run import Run
from midhaul.runs.summary import SUMMARY
from midhaul.stats import known
from midhaul.stats.compare import compare as compare_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from midhaul.model.estimate import MetricSamples
    from midhaul.network.compare.config import NetworkCompareConfig, SeveralConfig
    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.runs.progress import Progress

    Again = Callable[[Any, int], NetworkCase]
    """Makes a case of a config by its number."""
    Task = tuple[Again, SeveralConfig, Path, int, str]


def compare(config: NetworkCompareConfig, run: Run, progress: Progress) -> None:
    """Simulate the same flows under each configuration, and say what differs.

    Configurations that a resumed run has finished are kept, and the one that was
    interrupted goes on from its state. A MidhaulError is a topology, a flow or a file
    that cannot be, or what a simulator lacks.
    """
    cases = on_the_ladder(config, cases_of(config), run, progress)
    write_frame(cases, run)
    simulate_all(config, cases, run, progress, _case)
    found = sum_up(config, cases, run)
    _hold_against(config, run, found)


def cases_of(config: NetworkCompareConfig) -> list[NetworkCase]:
    """The configurations of the grid; ConfigError if their flows cannot be paired."""
    drawn = flows_of(config, topology_of(config))
    cases = [
        case_of(config, name, number, dict(point), drawn)
        for number, (name, point) in enumerate(config.points())
    ]
    if len(cases) > tables.MOST_CONFIGURATIONS:
        message = f"the grid has {len(cases):,} configurations"
        raise ConfigError(message, f"at most {tables.MOST_CONFIGURATIONS:,}")
    return cases


def _case(config: NetworkCompareConfig, number: int) -> NetworkCase:
    """A configuration by its number, in a process of its own."""
    name, point = list(config.points())[number]
    return case_of(config, name, number, dict(point))


def simulate_all(
    config: SeveralConfig,
    cases: Sequence[NetworkCase],
    run: Run,
    progress: Progress,
    again: Again,
) -> None:
    """Simulate all cases that are not done, one by one or ``config.jobs`` at once.

    ``again`` makes a case by its number where another process has to.
    """
    kept = KeptTables(run, tables.SIMULATIONS)
    jobs = n_jobs(config.jobs)
    if jobs <= 1:
        for case in cases:
            simulate_case(config, case, run, kept, progress)
        return
    missing = [
        c.number for c in cases if c.number not in kept.parts(tables.SIMULATIONS)
    ]
    tasks: list[Task] = [
        (again, config, run.dir, number, cases[number].simulator) for number in missing
    ]
    with progress.task("configurations", total=len(tasks)) as task:
        for place, row in parallel(_one_apart, tasks, jobs=jobs):
            kept.write(tables.SIMULATIONS, [row], missing[place])
            task.advance()


def _one_apart(task: Task) -> dict[str, object]:
    """Simulate one configuration in a process of its own."""
    again, config, folder, number, simulator = task
    case = replace(again(config, number), simulator=simulator)
    work = CaseWork(
        Run.open(folder),
        case,
        keep_every_s=config.keep_every_s,
        say=lambda _: None,
    )
    work.prepare()
    return work.perform(lambda _: None)


def _hold_against(
    config: NetworkCompareConfig, run: Run, found: Sequence[SimulatedFlows]
) -> None:
    """Write how each configuration differs from the reference."""
    reference = reference_of(run, found)
    took_s = {
        int(row["configuration"]): float(row["took_s"])
        for row in run.read(tables.SIMULATIONS).to_pylist()
    }
    at = [one.name for one in found].index(reference.name)
    base = _renamed(metric_samples(reference))
    for number, flows in enumerate(found):
        if number == at:
            continue
        run.write(AGREEMENT, agreement_rows(number, flows, reference), part=number)
        rng = np.random.default_rng([config.seed, 53, number])
        errors = error_samples(flows, reference)
        speedup = took_s[at] / max(took_s[number], 1e-9)
        rows = [
            *summary_rows(errors, number, rng, config.n_resamples),
            METRICS["speedup"].row(number, speedup),
        ]
        run.write(SUMMARY, rows, part=len(found) + number)
        mine = _renamed(metric_samples(flows))
        run.write(COMPARISONS, _comparisons(number, base, mine, rng), part=number)


def _renamed(samples: Sequence[MetricSamples]) -> list[MetricSamples]:
    """Of a configuration of the same name, so that two of a run can be compared."""
    return [replace(one, configuration="") for one in samples]


def _comparisons(
    number: int,
    base: Sequence[MetricSamples],
    mine: Sequence[MetricSamples],
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    return [
        {
            "configuration": number,
            "metric": one.metric,
            "reference": known(one.first),
            "value": known(one.second),
            "ratio": known(one.ratio.value),
            "ratio_low": known(one.ratio.low),
            "ratio_high": known(one.ratio.high),
            "p_value": known(one.p_value),
            "n": one.n[0],
            "result": one.result,
            "reason": one.reason or None,
        }
        for one in compare_samples(base, mine, rng)
    ]
