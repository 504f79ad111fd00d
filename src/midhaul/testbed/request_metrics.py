"""Latency, throughput, stages and bytes of a configuration, from its requests.

Latencies that follow each other are not independent: a slow request holds up the next.
So the unit that intervals rest on is a *batch*, a tenth of a cell in the order of its
requests (batch means: Law and Kelton, Simulation Modeling and Analysis, section 9.5.3).
Every cell of a block sends the same images in the same order, so the batch of the same
number pairs two configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from midhaul.model.samples import MetricSamples
from midhaul.stats import (
    mean_statistic,
    quantile_statistic,
    ratio_statistic,
    required_samples,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.stats import Statistic

N_BATCHES = 10
"""Batches that a cell is cut into; fewer when it has fewer requests."""

_NS = 1e-9
_QUANTILES = {
    "latency_p50_s": 0.5,
    "latency_p90_s": 0.9,
    "latency_p99_s": 0.99,
    "latency_p999_s": 0.999,
}
_STAGES = {
    "stage_queue_s": "queue_ns",
    "stage_decode_s": "decode_ns",
    "stage_preprocess_s": "preprocess_ns",
    "stage_encode_s": "encode_ns",
    "stage_inference_s": "inference_ns",
    "stage_forward_s": "forward_ns",
    "stage_cloud_queue_s": "cloud_queue_ns",
    "stage_cloud_decode_s": "cloud_decode_ns",
    "stage_cloud_inference_s": "cloud_inference_ns",
    "stage_network_s": "network_ns",
    "stage_backhaul_s": "backhaul_ns",
}
_BYTES = (
    "access_up_bytes",
    "access_down_bytes",
    "backhaul_up_bytes",
    "backhaul_down_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The judged requests of one configuration, as columns.

    Attributes:
        table: rows of the table ``requests``, without warm-up, by block and request.
        is_ok: ``(n,)`` true where the answer is one.
        batch: ``(n,)`` index of the batch of each request.
        batches: names of the batches, ``block.batch``.
    """

    table: pa.Table
    is_ok: Bool[np.ndarray, " n"]
    batch: Int64[np.ndarray, " n"]
    batches: tuple[str, ...]

    def column(self, name: str) -> Float64[np.ndarray, " n"]:
        """A column as numbers; NaN where it is null."""
        values = self.table[name].cast(pa.float64())
        return values.to_numpy().astype(np.float64)


def requests_of(table: pa.Table, configuration: int) -> Requests:
    """Pick the judged requests of a configuration and cut its cells into batches.

    Args:
        table: the table ``requests`` of a run.
        configuration: number of the configuration.
    """
    is_mine = table["configuration"].to_numpy() == configuration
    is_warmup = table["is_warmup"].to_numpy(zero_copy_only=False)
    chosen = table.filter(pa.array(is_mine & ~is_warmup))
    chosen = chosen.sort_by([("block", "ascending"), ("request", "ascending")])
    blocks = chosen["block"].to_numpy()
    batch = np.zeros(len(blocks), np.int64)
    batches: list[str] = []
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        n_batches = min(N_BATCHES, len(rows))
        batch[rows] = len(batches) + np.arange(len(rows)) * n_batches // len(rows)
        batches += [f"{block}.{number}" for number in range(n_batches)]
    is_ok = np.array([status == "ok" for status in chosen["status"].to_pylist()], bool)
    return Requests(table=chosen, is_ok=is_ok, batch=batch, batches=tuple(batches))


def request_metrics(requests: Requests, configuration: str) -> list[MetricSamples]:
    """All metrics that the requests of one configuration give.

    A percentile is left out when there are too few requests to claim it; failed
    requests count in ``error_rate`` alone.

    Args:
        requests: its requests.
        configuration: its name.
    """
    if not requests.batches:
        return []
    ok = requests.is_ok
    found = [_metric("error_rate", mean_statistic(
        (~ok).astype(np.float64), requests.batch, len(requests.batches)
    ), requests, configuration, "")]  # fmt: skip
    if not ok.any():
        return found
    found += [
        _metric(name, statistic, requests, configuration, "s")
        for name, statistic in _latencies(requests).items()
    ]
    found.append(
        _metric("throughput_hz", _throughput(requests), requests, configuration, "Hz")
    )
    for name, column in _STAGES.items():
        if statistic := _mean(requests, column, _NS):
            found.append(_metric(name, statistic, requests, configuration, "s"))
    for column in _BYTES:
        if statistic := _mean(requests, column, 1.0):
            found.append(_metric(column, statistic, requests, configuration, "B"))
    return found


def median_latency(requests: Requests) -> Statistic:
    """The median latency in seconds as a function of the batches' weights."""
    return _latencies(requests)["latency_p50_s"]


def _latencies(requests: Requests) -> dict[str, Statistic]:
    ok, n = requests.is_ok, len(requests.batches)
    latency_s = requests.column("latency_ns")[ok] * _NS
    service_s = requests.column("service_ns")[ok] * _NS
    batch = requests.batch[ok]
    found = {
        "latency_mean_s": mean_statistic(latency_s, batch, n),
        "service_p50_s": quantile_statistic(service_s, batch, n, q=0.5),
    }
    for name, q in _QUANTILES.items():
        if q == 0.5 or len(latency_s) >= required_samples(q):  # noqa: PLR2004
            found[name] = quantile_statistic(latency_s, batch, n, q=q)
    return found


def _throughput(requests: Requests) -> Statistic:
    """Answers per second: batches in the order of their answers, end to end."""
    n = len(requests.batches)
    answered, seconds = np.zeros(n), np.zeros(n)
    blocks = requests.table["block"].to_numpy()
    done_s = requests.column("done_ns") * _NS
    planned_s = requests.column("planned_ns") * _NS
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        names = np.unique(requests.batch[rows])
        order = rows[np.argsort(done_s[rows], kind="stable")]
        begin = float(planned_s[rows].min())
        for name, part in zip(names, np.array_split(order, len(names)), strict=True):
            end = float(done_s[part].max())
            answered[name] = np.count_nonzero(requests.is_ok[part])
            seconds[name], begin = end - begin, end
    return ratio_statistic(answered, seconds)


def _mean(requests: Requests, column: str, scale: float) -> Statistic | None:
    values = requests.column(column)
    known = requests.is_ok & ~np.isnan(values)
    if not known.any():
        return None
    return mean_statistic(
        values[known] * scale, requests.batch[known], len(requests.batches)
    )


def _metric(
    name: str, statistic: Statistic, requests: Requests, configuration: str, unit: str
) -> MetricSamples:
    return MetricSamples(
        metric=name,
        configuration=configuration,
        units=requests.batches,
        statistic=statistic,
        better="higher" if name == "throughput_hz" else "lower",
        unit=unit,
    )


def goodput(requests: Requests, bound_s: float) -> Statistic:
    """Answers within a latency bound, as a share of all requests.

    Args:
        requests: the requests of one configuration.
        bound_s: latency that is still good.
    """
    good = requests.is_ok & (requests.column("latency_ns") * _NS <= bound_s)
    n = len(requests.batches)
    return mean_statistic(good.astype(np.float64), requests.batch, n)
