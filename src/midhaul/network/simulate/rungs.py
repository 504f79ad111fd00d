"""Simulator auto: the most exact one that fits the time of an experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.network.ladder import choose_rung
from midhaul.network.simulate import tables
from midhaul.network.simulators import AUTO
from midhaul.network.work import packet_hops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.network.ladder import RungChoice
    from midhaul.network.simulate.config import ScenarioConfig
    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run


def on_the_ladder(
    config: ScenarioConfig, cases: Sequence[NetworkCase], run: Run, progress: Progress
) -> list[NetworkCase]:
    """The cases, those of simulator ``auto`` with the one that fits.

    All have the same one, chosen for the case that has most to do. A run that is
    resumed keeps what was chosen before. ConfigError if none fits.
    """
    open_ = [case for case in cases if case.simulator == AUTO]
    if not open_ or config.budget_s is None:
        return list(cases)
    there = run.read(tables.RUNGS).to_pylist()
    taken = next((str(row["simulator"]) for row in there if row["is_taken"]), "")
    if not taken:
        hardest = max(open_, key=lambda case: packet_hops(case.problem).sum())
        choice = choose_rung(
            hardest.problem,
            config.budget_s / len(open_),
            told=hardest.told,
            say=progress.note,
        )
        run.write(tables.RUNGS, _rows(choice), part=0)
        run.note(choice.sentence)
        progress.note(choice.sentence)
        taken = choice.taken.simulator
    return [
        replace(
            case,
            simulator=taken,
            name=taken if case.name == AUTO else case.name,
        )
        if case.simulator == AUTO
        else case
        for case in cases
    ]


def _rows(choice: RungChoice) -> list[dict[str, object]]:
    return [
        {
            "simulator": rung.simulator,
            "stated_error": rung.stated_error,
            "budget_s": choice.budget_s,
            "predicted_s": rung.seconds,
            "refusal": rung.refusal or None,
            "is_taken": rung is choice.taken,
        }
        for rung in choice.looked_at
    ]
