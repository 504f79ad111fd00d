"""network.validate: what happens when a file of that kind is run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Verdict
from midhaul.network.compare.experiment import simulate_all
from midhaul.network.compare.metrics import error_samples
from midhaul.network.simulate import tables
from midhaul.network.simulate.experiment import judge_flows, write_frame
from midhaul.network.simulate.inputs import case_of
from midhaul.network.simulate.metrics import simulated_flows, single_rows
from midhaul.network.validate.metrics import (
    METRICS,
    found_errors,
    part_rows,
    verdict_sentence,
    where_checked,
)
from midhaul.network.validate.parts import checked_paths, checked_window
from midhaul.network.validate.tables import CHECKED, ERRORS, PART_ERRORS
from midhaul.runs.metric import summary_rows
from midhaul.runs.summary import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.network.simulate.metrics import SimulatedFlows
    from midhaul.network.validate.config import NetworkValidateConfig
    from midhaul.network.validate.parts import CheckedParts
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run


def validate(config: NetworkValidateConfig, run: Run, progress: Progress) -> None:
    """Simulate parts of a network by a judge and by others, and say how far they lie.

    What a resumed run has finished is kept, as in network.compare. A MidhaulError is
    what cannot be checked, or what the judge or a simulator lacks.
    """
    parts, cases = _checked(config)
    write_frame(cases, run)
    run.write(CHECKED, _checked_rows(parts), part=0)
    simulate_all(config, cases, run, progress, _case)
    found = simulated_flows(run)
    verdict = Verdict()
    for case, flows in zip(cases, found, strict=True):
        verdict += judge_flows(config, case, flows, run)
        rows = single_rows(run, case.number)
        if case.number:
            rows += _hold_against(config, run, case.number, found, parts)
        run.write(SUMMARY, rows, part=case.number)
    run.verdict = verdict


def _checked(
    config: NetworkValidateConfig,
) -> tuple[CheckedParts, list[NetworkCase]]:
    """What is checked, and a case of it for the judge and for each simulator."""
    whole = case_of(config)
    if config.check == "paths":
        parts = checked_paths(whole.problem, config.n_checked, config.seed)
    else:
        problem = whole.problem
        parts = checked_window(problem, config.begins_s, config.lasts_s)
    cases = [
        replace(
            whole,
            number=number,
            name=name,
            simulator=name,
            problem=parts.problem,
            offered=None,
        )
        for number, name in enumerate(config.simulators)
    ]
    return parts, cases


def _case(config: NetworkValidateConfig, number: int) -> NetworkCase:
    """A case by its number, in a process of its own."""
    return _checked(config)[1][number]


def _checked_rows(parts: CheckedParts) -> list[dict[str, object]]:
    n = len(parts.names)
    judged = np.bincount(parts.part[parts.is_judged], minlength=n)
    beside = np.bincount(parts.part[~parts.is_judged], minlength=n)
    return [
        {
            "part": part,
            "name": name,
            "n_judged": int(judged[part]),
            "n_beside": int(beside[part]),
        }
        for part, name in enumerate(parts.names)
    ]


def _hold_against(
    config: NetworkValidateConfig,
    run: Run,
    number: int,
    found: Sequence[SimulatedFlows],
    parts: CheckedParts,
) -> list[dict[str, object]]:
    """Write how far a simulator lies from the judge; its rows of the summary."""
    judge, flows = found[0], found[number]
    rng = np.random.default_rng([config.seed, 55, number])
    errors = list(found_errors(flows, judge, parts, rng, config.n_resamples))
    rows = [{"configuration": number, **one.row} for one in errors]
    run.write(ERRORS, rows, part=number)
    by_part = part_rows(flows, judge, parts)
    run.write(
        PART_ERRORS, [{"configuration": number, **row} for row in by_part], part=number
    )
    where = where_checked(config.check, len(parts.names))
    run.note(verdict_sentence(flows.name, rows, config.max_error, where))
    took_s = {
        int(row["configuration"]): float(row["took_s"])
        for row in run.read(tables.SIMULATIONS).to_pylist()
    }
    speedup = took_s[0] / max(took_s[number], 1e-9)
    summed: list[dict[str, object]] = [METRICS["speedup"].row(number, speedup)]
    for one in errors:
        if one.size_class == "all":
            name = one.what if one.what == "bias" else f"error_{one.what}"
            summed.append(METRICS[name].estimate_row(number, one.error))
    samples = error_samples(flows, judge)
    return summed + summary_rows(samples, number, rng, config.n_resamples)
