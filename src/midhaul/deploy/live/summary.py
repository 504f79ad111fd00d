"""The summary of a live run: its metrics with intervals over slots, and its counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.live.samples import column, samples
from midhaul.deploy.live.tables import LIVE_PULLS, MESSAGES, MOVES, PERIODS
from midhaul.stats import estimate_row

if TYPE_CHECKING:
    from midhaul.runs.run import Run


def summary_of(run: Run, seed: int) -> list[dict[str, object]]:
    """Rows of the table ``summary``; none while there is nothing to sum up."""
    rng = np.random.default_rng([seed, 4])
    rows: list[dict[str, object]] = [
        {"configuration": 0, **estimate_row(metric, rng), "is_model": False}
        for metric in samples(run)
    ]
    return rows + _counts(run) if rows else []


def _counts(run: Run) -> list[dict[str, object]]:
    """Totals, which have no interval."""
    messages = run.read(MESSAGES).to_pylist()
    periods = run.read(PERIODS).to_pylist()
    moves = run.read(MOVES).to_pylist()
    pulls = run.read(LIVE_PULLS).to_pylist()
    n_sent = sum(row["status"] != "not granted" for row in messages)
    return [
        _row("n_messages", n_sent, "", len(messages)),
        _row("n_overshoot", column(periods, "is_overshoot").sum(), "", len(periods)),
        _row("n_moves_planned", len(moves), "", len(moves)),
        _row("n_moves", column(moves, "is_realised").sum(), "", len(moves)),
        _row(
            "planned_saved_bits", _sum(moves, "planned_saved_bits"), "bit", len(moves)
        ),
        _row("saved_bits", _sum(moves, "saved_bits"), "bit", len(moves)),
        _row("pulled_bytes", _sum(pulls, "pulled_bytes"), "B", len(pulls)),
        _row("n_dropped_packets", _sum(periods, "n_dropped"), "", len(periods)),
    ]


def _sum(rows: list[dict[str, object]], name: str) -> float:
    return float(column(rows, name).sum())


def _row(metric: str, value: float, unit: str, n: int) -> dict[str, object]:
    return {
        "configuration": 0,
        "metric": metric,
        "value": _known(float(value)),
        "low": None,
        "high": None,
        "n": n,
        "unit": unit,
        "is_model": False,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
