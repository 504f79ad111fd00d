"""The metrics of deploy.live, slot by slot, and its counts.

All of it measured. The unit of an interval is a slot, as what happens in one follows
from the placement at its begin, and messages within it are far from independent.
Messages count by the weight of their analytic and the time that they stand for. Nothing
that is missing is made up.
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
from midhaul.runs.metric import declare, metric_table, summary_rows
from midhaul.stats import ratio_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.model.estimate import MetricSamples
    from midhaul.runs.run import Run

    Row = Mapping[str, Any]


_ALL = metric_table(
    """
    weighted_qos, higher, over slots, "weighted quality, measured, late and missing as
        0" as {:.3f}: mean quality of all messages; 0 for those that came late, are
        missing, or whose analytic was granted nothing
    weighted_qos_in_time, higher, over slots, "weighted quality of what came in time" as
        {:.3f}: the same without the late and the missing
    planned_qos, higher, over slots, "weighted quality, as the curves promised" as
        {:.3f}: what the QoS curves promised for all of them
    late_share, lower, over slots, "messages late" as share: messages that were scored
        after their deadline, of those that were sent
    missing_share, lower, over slots, "messages missing" as share: messages that were
        not scored at all, of those that were sent
    not_granted_share, lower, over slots, "messages without any rate" as share: planned
        messages of analytics that were granted no rate
    latency_p50_s [s], lower, over slots, "message latency, median" as duration: median
        of planned send until scored, of all messages that were sent; what is late or
        missing took the deadline at least, so the number may be `>=`
    latency_p95_s [s], lower, over slots, "message latency, 95 %" as duration: 95th
        percentile of the same
    overshoot_share, lower, over slots, "rate periods over the uplink" as share: rate
        periods in which allocated and reserved, or sent, was more than the uplink
        carried
    n_overshoot, lower: rate periods with an overshoot
    uplink_allocated_share, higher, over slots, "uplink granted" as share: granted rates
        over what the uplink carries
    uplink_sent_share, higher, over slots, "uplink in use, at the device" as share: bits
        that left the gateway's device over what the uplink carries
    uplink_reserved_share, higher, over slots, "uplink kept for acknowledgements" as
        share: what was kept free for the acknowledgements of pulls
    realised_saving, higher, over slots, "planned saving realised" as share: upload
        saved over upload that the planned moves promised
    realised_moves, higher, over slots, "planned moves realised" as share: moves that
        happened over moves that were planned
    n_moves_planned, "moves planned" as {:,.4g}: moves that were planned
    n_moves: those that happened
    planned_saved_bits [bit]: upload that the moves promised to save
    saved_bits [bit], higher, "upload saved" as bits: what they saved of it
    mean_saved_bps [bit/s], higher, over slots, "upload saved, mean" as rate: upload
        rate that those on the gateway save
    mean_on_gateway, higher, over slots, "analytics on the gateway, mean" as {:,.4g}:
        analytics on the gateway, mean over time
    mean_in_cloud, higher, over slots, "analytics in the cloud, mean" as {:,.4g}:
        analytics in the cloud
    pulled_bytes [B], lower, "pulled" as size: bytes that came over the downlink for
        pulls
    wasted_pull_share, lower, over slots, "pulled in vain" as share: bytes of pulls that
        no analytic could use, over all pulled
    pull_time_ratio, lower, over slots, "pull time over planned" as {:,.4g}: time that
        pulls took over the time planned for them
    mean_stored_bytes [B], higher, over slots, "layers on the disk, mean" as size:
        layers on the disk, uncompressed
    n_messages, "messages" as {:,.4g}: messages that were to be sent
    n_dropped_packets, lower, "packets dropped before the uplink" as {:,.4g}: packets
        dropped before the uplink
    """
)
METRICS = declare(
    *_ALL,
    headline="weighted_qos late_share missing_share latency_p50_s "
    "latency_p95_s overshoot_share realised_saving wasted_pull_share",
)
"""What a live run finds, in the order of its report."""


def samples(run: Run) -> list[MetricSamples]:
    """All metrics of a live run that have independent units."""
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
    """The slots of a run, and the numbers that belong to them."""

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
    ) -> MetricSamples:
        """A sum over another sum, slot by slot."""
        index, n = self.of(rows, time), len(self._index)
        statistic = ratio_statistic(
            np.bincount(index, above, n), np.bincount(index, below, n)
        )
        return METRICS[metric].samples(self.name, self.units, statistic)

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
        METRICS[f"latency_p{round(100 * q)}_s"].percentile(
            slots.name,
            slots.units,
            waits_s,
            slots.of(sent, at),
            q=q,
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
        found.append(slots.ratio(metric, chosen, at, above, counts))
    for metric, chosen, status in (
        ("late_share", sent, "late"),
        ("missing_share", sent, "missing"),
        ("not_granted_share", rows, "not granted"),
    ):
        is_so = np.array([row["status"] == status for row in chosen], np.float64)
        ones = np.ones(len(chosen))
        found.append(slots.ratio(metric, chosen, at, is_so, ones))
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
        )
    ]
    for metric, name in (
        ("uplink_sent_share", "sent_bps"),
        ("uplink_allocated_share", "allocated_bps"),
        ("uplink_reserved_share", "reserved_bps"),
    ):
        above = lasts_s * column(rows, name)
        found.append(slots.ratio(metric, rows, at, above, uplink))
    for metric, name in (
        ("mean_on_gateway", "n_gateway"),
        ("mean_in_cloud", "n_cloud"),
        ("mean_saved_bps", "saved_bps"),
        ("mean_stored_bytes", "stored_bytes"),
    ):
        above = lasts_s * column(rows, name)
        found.append(slots.ratio(metric, rows, at, above, lasts_s))
    return found


def move_metrics(rows: Sequence[Row], slots: Slots) -> list[MetricSamples]:
    """How much of what was planned came true."""
    planned = column(rows, "planned_saved_bits")
    saved = column(rows, "saved_bits")
    ones = np.ones(len(rows))
    return [
        slots.ratio("realised_saving", rows, "slot_s", saved, planned),
        slots.ratio(
            "realised_moves", rows, "slot_s", column(rows, "is_realised"), ones
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
        slots.ratio("wasted_pull_share", rows, "slot_s", wasted, n_bytes),
        slots.ratio("pull_time_ratio", ended, "slot_s", real, planned),
    ]


def column(rows: Sequence[Row], name: str) -> Float64[np.ndarray, " n"]:
    """A column as numbers; what is null counts as 0."""
    return np.array([row[name] or 0 for row in rows], np.float64)


def summary_of(run: Run, seed: int) -> list[dict[str, object]]:
    """Rows of the table ``summary``; none while there is nothing to sum up."""
    rng = np.random.default_rng([seed, 4])
    rows = summary_rows(samples(run), 0, rng)
    return rows + _counts(run) if rows else []


def _counts(run: Run) -> list[dict[str, object]]:
    """Totals, which have no interval."""
    messages = run.read(MESSAGES).to_pylist()
    periods = run.read(PERIODS).to_pylist()
    moves = run.read(MOVES).to_pylist()
    pulls = run.read(LIVE_PULLS).to_pylist()
    n_sent = sum(row["status"] != "not granted" for row in messages)
    found = {
        "n_messages": (n_sent, messages),
        "n_overshoot": (_sum(periods, "is_overshoot"), periods),
        "n_moves_planned": (len(moves), moves),
        "n_moves": (_sum(moves, "is_realised"), moves),
        "planned_saved_bits": (_sum(moves, "planned_saved_bits"), moves),
        "saved_bits": (_sum(moves, "saved_bits"), moves),
        "pulled_bytes": (_sum(pulls, "pulled_bytes"), pulls),
        "n_dropped_packets": (_sum(periods, "n_dropped"), periods),
    }
    return [
        METRICS[metric].row(0, value, len(rows))
        for metric, (value, rows) in found.items()
    ]


def _sum(rows: Sequence[Row], name: str) -> float:
    return float(column(rows, name).sum())
