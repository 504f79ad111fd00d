"""Metrics of a live run: intervals over slots, and counts.

They are there slot by slot, so that two runs can be compared.

A slot is the unit: what happens in one follows from the placement at its begin, and
messages within it are far from independent.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.live.tables import (
    CONFIGURATIONS,
    LIVE_PULLS,
    MESSAGES,
    MOVES,
    PERIODS,
)
from midhaul.model.samples import MetricSamples
from midhaul.stats import estimate_row, percentile_samples, ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from jaxtyping import Float64, Int64

    from midhaul.runs.run import Run

    Row = Mapping[str, Any]


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a live run that have independent units.

    Args:
        run: of deploy.live; what it has is what there is.
    """
    names = [str(row["name"]) for row in run.read(CONFIGURATIONS).to_pylist()]
    slots = Slots(run, names[0] if names else "")
    if not slots.units:
        return []
    found = [
        *message_metrics(run.read(MESSAGES).to_pylist(), slots),
        *period_metrics(run.read(PERIODS).to_pylist(), slots),
        *move_metrics(run.read(MOVES).to_pylist(), slots),
        *pull_metrics(run.read(LIVE_PULLS).to_pylist(), slots),
    ]
    return [replace(metric, n_stretches=len(metric.units)) for metric in found]


class Slots:
    """The slots of a run, and the numbers that belong to them.

    Args:
        run: with its config and its periods.
        name: of the configuration.
    """

    def __init__(self, run: Run, name: str) -> None:
        config = run.config_values()
        self.name = name
        self._slot_s = float(config["slot_s"]) / float(config["time_scale"])
        self.deadline_s = float(config["deadline_s"])
        work = config["workload"]
        self.period_s = {
            "images": float(work["image_period_s"]),
            "sounds": float(work["sound_period_s"]),
        }
        keys = {self._key(row, "begins_s") for row in run.read(PERIODS).to_pylist()}
        self._index = {key: i for i, key in enumerate(sorted(keys))}

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the slots."""
        return tuple(f"{repeat}.{slot}" for repeat, slot in self._index)

    def of(self, rows: Sequence[Row], time: str) -> Int64[np.ndarray, " n"]:
        """The slot of each row; the last one for what comes after all."""
        last = len(self._index) - 1
        return np.array(
            [self._index.get(self._key(row, time), last) for row in rows], np.int64
        )

    def ratio(
        self,
        metric: str,
        rows: Sequence[Row],
        time: str,
        above: Float64[np.ndarray, " n"],
        below: Float64[np.ndarray, " n"],
        better: Literal["higher", "lower"],
        unit: str = "",
    ) -> MetricSamples:
        """A sum over another sum, slot by slot."""
        index, n = self.of(rows, time), len(self._index)
        return MetricSamples(
            metric=metric,
            configuration=self.name,
            units=self.units,
            statistic=ratio_statistic(
                np.bincount(index, above, n), np.bincount(index, below, n)
            ),
            better=better,
            unit=unit,
        )

    def _key(self, row: Row, time: str) -> tuple[int, int]:
        # Half a millisecond: a period may begin a little late, never early.
        return row["repeat"], max(0, int((row[time] + 5e-4) / self._slot_s))


def message_metrics(rows: Sequence[Row], slots: Slots) -> list[MetricSamples]:
    """Latency, quality and what is missing.

    A message counts by the weight of its analytic and by the time it stands for. What
    was not granted any rate has quality 0, and so has what is late or missing; one
    metric leaves these out. In the latency what is late or missing counts as at least
    its deadline.
    """
    known = [row for row in rows if row["status"] not in {"late", "missing"}]
    sent = [row for row in rows if row["status"] != "not granted"]
    at = "planned_s"
    is_late = np.array([row["status"] in {"late", "missing"} for row in sent], bool)
    waits_s = np.where(is_late, slots.deadline_s, column(sent, "latency_s"))
    found = [
        percentile_samples(
            waits_s,
            slots.of(sent, at),
            slots.units,
            q=q,
            metric=f"latency_p{round(100 * q)}_s",
            configuration=slots.name,
            known_below=slots.deadline_s if is_late.any() else math.inf,
        )
        for q in (0.5, 0.95)
    ]
    for metric, chosen, name in (
        ("weighted_qos", rows, "quality"),
        ("weighted_qos_in_time", known, "quality"),
        ("planned_qos", rows, "planned_quality"),
    ):
        counts = column(chosen, "weight")
        counts = counts * np.array([slots.period_s[r["workload"]] for r in chosen])
        above = counts * column(chosen, name)
        found.append(slots.ratio(metric, chosen, at, above, counts, "higher"))
    for metric, chosen, status in (
        ("late_share", sent, "late"),
        ("missing_share", sent, "missing"),
        ("not_granted_share", rows, "not granted"),
    ):
        is_so = np.array([row["status"] == status for row in chosen], np.float64)
        ones = np.ones(len(chosen))
        found.append(slots.ratio(metric, chosen, at, is_so, ones, "lower"))
    return found


def period_metrics(rows: Sequence[Row], slots: Slots) -> list[MetricSamples]:
    """The uplink, and who is where."""
    at, lasts_s = "begins_s", column(rows, "lasts_s")
    uplink = lasts_s * column(rows, "uplink_bps")
    found: list[MetricSamples] = [
        slots.ratio(
            "overshoot_share",
            rows,
            at,
            column(rows, "is_overshoot"),
            np.ones(len(rows)),
            "lower",
        )
    ]
    for metric, name in (
        ("uplink_sent_share", "sent_bps"),
        ("uplink_allocated_share", "allocated_bps"),
        ("uplink_reserved_share", "reserved_bps"),
    ):
        above = lasts_s * column(rows, name)
        found.append(slots.ratio(metric, rows, at, above, uplink, "higher"))
    for metric, name, unit in (
        ("mean_on_gateway", "n_gateway", ""),
        ("mean_in_cloud", "n_cloud", ""),
        ("mean_saved_bps", "saved_bps", "bit/s"),
        ("mean_stored_bytes", "stored_bytes", "B"),
    ):
        above = lasts_s * column(rows, name)
        found.append(slots.ratio(metric, rows, at, above, lasts_s, "higher", unit))
    return found


def move_metrics(rows: Sequence[Row], slots: Slots) -> list[MetricSamples]:
    """How much of what was planned came true."""
    planned = column(rows, "planned_saved_bits")
    saved = column(rows, "saved_bits")
    ones = np.ones(len(rows))
    return [
        slots.ratio("realised_saving", rows, "slot_s", saved, planned, "higher"),
        slots.ratio(
            "realised_moves",
            rows,
            "slot_s",
            column(rows, "is_realised"),
            ones,
            "higher",
        ),
    ]


def pull_metrics(rows: Sequence[Row], slots: Slots) -> list[MetricSamples]:
    """How pulls went, by bytes and by time."""
    n_bytes = column(rows, "pulled_bytes")
    wasted = n_bytes * column(rows, "is_wasted")
    ended = [r for r in rows if r["ends_s"] is not None and r["planned_bytes"]]
    real = column(ended, "ends_s") - column(ended, "begins_s")
    planned = column(ended, "planned_ends_s") - column(ended, "planned_begins_s")
    return [
        slots.ratio("wasted_pull_share", rows, "slot_s", wasted, n_bytes, "lower"),
        slots.ratio("pull_time_ratio", ended, "slot_s", real, planned, "lower"),
    ]


def column(rows: Sequence[Row], name: str) -> Float64[np.ndarray, " n"]:
    """A column as numbers; what is null counts as 0."""
    return np.array([row[name] or 0 for row in rows], np.float64)


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
