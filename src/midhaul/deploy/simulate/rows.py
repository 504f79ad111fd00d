"""What deploy.simulate writes: histories as rows of its tables."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from midhaul.deploy.simulate import tables
from midhaul.deploy.simulate.totals import totals_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.deploy.problem import Analytic
    from midhaul.deploy.simulate.config import SimulateConfig
    from midhaul.deploy.simulate.records import History, Move
    from midhaul.deploy.simulate.scenario import Scenario
    from midhaul.runs.run import Run


def write_frame(config: SimulateConfig, scenarios: list[Scenario], run: Run) -> None:
    """Write what is known before anything happened.

    Args:
        config: the experiment.
        scenarios: one for each repetition.
        run: where to.
    """
    run.write(
        tables.CONFIGURATIONS,
        [
            {
                "configuration": number,
                "name": policy.label,
                "placer": policy.placer,
                "allocator": policy.allocator,
                "eviction": policy.eviction,
                "settings": policy.model_dump_json(),
            }
            for number, policy in enumerate(config.policies)
        ],
        part=0,
    )
    for repeat, scenario in enumerate(scenarios):
        rows = [_request_row(analytic, repeat) for analytic in scenario.analytics]
        run.write(tables.REQUESTS, rows, part=repeat)


def _request_row(analytic: Analytic, repeat: int) -> dict[str, object]:
    return {
        "repeat": repeat,
        "analytic": analytic.name,
        "image": analytic.image,
        "arrival_s": analytic.arrival_s,
        "lifetime_s": analytic.lifetime_s,
        "weight": analytic.weight,
        "saved_bps": analytic.saved_bps,
    }


def write_history(
    run: Run,
    history: History,
    configuration: int,
    repeat: int,
    *,
    n_requests: int,
    part: int,
) -> None:
    """Write all that happened in one repetition; ``repeats`` comes last.

    Args:
        run: where to.
        history: what happened.
        configuration: number of the policy.
        repeat: number of the repetition.
        n_requests: how many analytics came.
        part: number of the part in each table.
    """
    common = {"configuration": configuration, "repeat": repeat}

    def rows(records: Sequence[Any]) -> list[dict[str, object]]:
        return [{**common, **asdict(record)} for record in records]

    pulls = [
        {k: v for k, v in row.items() if k != "movers"} for row in rows(history.pulls)
    ]
    decisions = [
        {**row, "bound": known(row["bound"])} for row in rows(history.decisions)
    ]
    run.write(tables.PERIODS, rows(history.periods), part=part)
    run.write(tables.RATES, rows(history.rates), part=part)
    run.write(tables.PULLS, pulls, part=part)
    run.write(
        tables.MOVES, [common | _move_row(move) for move in history.moves], part=part
    )
    run.write(tables.EVICTIONS, rows(history.evictions), part=part)
    run.write(tables.DECISIONS, decisions, part=part)
    totals = common | {"n_requests": n_requests} | totals_of(history)
    run.write(tables.REPEATS, [totals], part=part)


def _move_row(move: Move) -> dict[str, object]:
    return {
        "analytic": move.analytic.name,
        "image": move.analytic.image,
        "slot_s": move.slot_s,
        "planned_starts_s": move.planned_starts_s,
        "starts_s": move.starts_s,
        "leaves_s": move.leaves_s,
        "saved_bps": move.analytic.saved_bps,
        "planned_saved_bits": move.planned_saved_bits,
        "saved_bits": move.saved_bits,
        "is_realised": move.is_realised,
        "outcome": move.outcome,
    }


def known(value: object) -> float | None:
    """A number that a table can hold; null for NaN and infinity."""
    return value if isinstance(value, float) and math.isfinite(value) else None
