"""Latency, throughput, stages and bytes of a configuration, from its requests.

Latencies that follow each other are not independent: a slow request holds up the next.
So the unit that intervals rest on is a *batch*: the requests of a cell, or half of them
in their order where there are few blocks (batch means: Law and Kelton, Simulation
Modeling and Analysis, section 9.5.3). Shorter batches of a busy machine are as alike as
single requests: two runs of the same thing would differ by more than their intervals
allow. Every cell of a block sends the same images in the same order, so the batch of
the same name pairs two configurations.

Every mean and every percentile is over all judged requests. What a request did not do
took nothing and sent nothing. A request that was not answered took at least the time
it was given (``load.timeout_s``), whatever it failed of and however fast: whoever waits
for its answer waits at least that long.

*Stages* say where a request's time goes, and sum up to its latency.

Every request is cut into the same stages. What it did not do took 0, what nobody claims
is a stage of its own (``rest``, ``cloud_rest``), and a request that was not answered is
one stage as a whole: what its nodes did meanwhile is not known. So the stages of each
request, and their means over any requests, sum up to the latency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from midhaul.stats import mean_statistic, quantile_statistic, ratio_statistic
from midhaul.testbed.measure.metrics import METRICS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.model.estimate import MetricSamples
    from midhaul.stats import Statistic

_EDGE = ("queue", "decode", "preprocess", "encode", "inference")
_CLOUD = ("backhaul", "cloud_queue", "cloud_decode", "cloud_inference")

STAGES = ("late", "network", *_EDGE, "rest", *_CLOUD, "cloud_rest", "unanswered")
"""The stages in the order of a request's way; all of them."""


def column(table: pa.Table, name: str) -> Float64[np.ndarray, " n"]:
    """A column as numbers; NaN where it is null."""
    values = table[name].cast(pa.float64())
    return values.to_numpy().astype(np.float64)


def stages_of(
    table: pa.Table,
    latency_ns: Float64[np.ndarray, " n"],
    is_ok: Bool[np.ndarray, " n"],
) -> dict[str, Float64[np.ndarray, " n"]]:
    """The stages of each request, ns; in every row they sum up to the latency."""

    def told(name: str) -> Float64[np.ndarray, " n"]:
        return np.where(is_ok, np.nan_to_num(column(table, f"{name}_ns")), 0.0)

    found = {name: told(name) for name in ("network", *_EDGE, *_CLOUD)}
    service, forward = told("service"), told("forward")
    own = np.sum([found[name] for name in ("network", *_EDGE)], axis=0)
    away = np.sum([found[name] for name in _CLOUD], axis=0)
    found["late"] = np.where(is_ok, latency_ns - service, 0.0)
    found["rest"] = service - own - forward
    found["cloud_rest"] = forward - away
    found["unanswered"] = np.where(is_ok, 0.0, latency_ns)
    return {name: found[name] for name in STAGES}


_FEWEST_BLOCKS = 6
"""Blocks from which each is one batch: a comparison needs six units."""

_FEW_BLOCKS_PARTS = 2
"""Batches that a cell is cut into where there are fewer, so that three give six."""

_NS = 1e-9
_QUANTILES = {
    "latency_p50_s": 0.5,
    "latency_p90_s": 0.9,
    "latency_p99_s": 0.99,
    "latency_p999_s": 0.999,
}
_BYTES = {
    "access_up_bytes": False,
    "access_down_bytes": False,
    "backhaul_up_bytes": True,
    "backhaul_down_bytes": True,
}
"""Bytes on each link, and whether only an answer tells them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The judged requests of one configuration, as columns.

    Attributes:
        table: rows of the table ``requests``, without warm-up, by block and request.
        is_ok: ``(n,)`` true where the answer is one.
        latency_ns: ``(n,)`` latency of each; at least that where it is not ok.
        service_ns: ``(n,)`` the same from the actual send.
        batch: ``(n,)`` index of the batch of each request.
        batches: names of the batches, ``block`` or, of halves, ``block.half``: only
            what is equally long has the same name in two runs.
    """

    table: pa.Table
    is_ok: Bool[np.ndarray, " n"]
    latency_ns: Float64[np.ndarray, " n"]
    service_ns: Float64[np.ndarray, " n"]
    batch: Int64[np.ndarray, " n"]
    batches: tuple[str, ...]

    @property
    def n_blocks(self) -> int:
        """Blocks that the batches come from; halves of one are alike."""
        return len({name.partition(".")[0] for name in self.batches})


def requests_of(table: pa.Table, configuration: int, timeout_s: float) -> Requests:
    """Pick the judged requests of a configuration and cut its cells into batches."""
    is_mine = table["configuration"].to_numpy() == configuration
    is_warmup = table["is_warmup"].to_numpy(zero_copy_only=False)
    chosen = table.filter(pa.array(is_mine & ~is_warmup))
    chosen = chosen.sort_by([("block", "ascending"), ("request", "ascending")])
    blocks = chosen["block"].to_numpy()
    batch = np.zeros(len(blocks), np.int64)
    batches: list[str] = []
    visited = np.unique(blocks)
    for block in visited:
        rows = np.flatnonzero(blocks == block)
        if len(visited) >= _FEWEST_BLOCKS:
            batch[rows] = len(batches)
            batches.append(f"{block}")
            continue
        n_parts = min(_FEW_BLOCKS_PARTS, len(rows))
        batch[rows] = len(batches) + np.arange(len(rows)) * n_parts // len(rows)
        batches += [f"{block}.{part}" for part in range(n_parts)]
    is_ok = chosen["status"].to_numpy() == "ok"
    service_ns, latency_ns = _times(chosen, is_ok, timeout_s / _NS)
    return Requests(
        table=chosen,
        is_ok=is_ok,
        latency_ns=latency_ns,
        service_ns=service_ns,
        batch=batch,
        batches=tuple(batches),
    )


def _times(
    table: pa.Table, is_ok: Bool[np.ndarray, " n"], timeout_ns: float
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Service time and latency, at least so long where there is no answer."""
    planned, sent = column(table, "planned_ns"), column(table, "sent_ns")
    served, waited = column(table, "service_ns"), column(table, "latency_ns")
    least = np.fmax(served, timeout_ns)
    late = np.nan_to_num(sent - planned)
    return np.where(is_ok, served, least), np.where(
        is_ok, waited, np.fmax(waited, late + least)
    )


def request_metrics(
    requests: Requests, configuration: str, *, may_forward: bool = True
) -> list[MetricSamples]:
    """All metrics that the requests of one configuration give.

    Times and bytes of requests that were not answered are known from below only, and so
    is every number that rests on them. ``may_forward`` says whether an edge sends
    anything to its cloud.
    """
    if not requests.batches:
        return []
    failed = (~requests.is_ok).astype(np.float64)
    found = [
        _mean("error_rate", failed, requests, configuration),
        *_latencies(requests, configuration),
    ]
    throughput = METRICS["throughput_hz"]
    found.append(
        throughput.samples(configuration, requests.batches, _throughput(requests))
    )
    for name, values in _stage_times(requests).items():
        found.append(
            _mean(
                f"stage_{name}_s",
                values * _NS,
                requests,
                configuration,
                is_open=name == "unanswered",
            )
        )
    found = [replace(metric, n_stretches=requests.n_blocks) for metric in found]
    for name, is_open in _BYTES.items():
        values = np.nan_to_num(column(requests.table, name))
        found.append(
            _mean(
                name, values, requests, configuration, is_open=is_open and may_forward
            )
        )
    return found


def median_latency(requests: Requests) -> Statistic:
    """The median latency in seconds as a function of the batches' weights."""
    return quantile_statistic(
        requests.latency_ns * _NS, requests.batch, len(requests.batches), q=0.5
    )


def _stage_times(requests: Requests) -> dict[str, Float64[np.ndarray, " n"]]:
    """Stages of each request, ns, and the wait for the cloud as a whole."""
    found = stages_of(requests.table, requests.latency_ns, requests.is_ok)
    away = [name for name in STAGES if name == "backhaul" or name.startswith("cloud")]
    return found | {"forward": np.sum([found[name] for name in away], axis=0)}


def _latencies(requests: Requests, configuration: str) -> list[MetricSamples]:
    def percentile(
        metric: str, values_ns: Float64[np.ndarray, " n"], q: float
    ) -> MetricSamples:
        unknown = values_ns[~requests.is_ok] * _NS
        return METRICS[metric].percentile(
            configuration,
            requests.batches,
            values_ns * _NS,
            requests.batch,
            q=q,
            known_below=float(unknown.min()) if len(unknown) else math.inf,
        )

    latency_s = requests.latency_ns * _NS
    return [
        _mean("latency_mean_s", latency_s, requests, configuration, is_open=True),
        percentile("service_p50_s", requests.service_ns, 0.5),
        *(percentile(name, requests.latency_ns, q) for name, q in _QUANTILES.items()),
    ]


def _throughput(requests: Requests) -> Statistic:
    """Answers per second: batches in the order of their answers, end to end."""
    n = len(requests.batches)
    answered, seconds = np.zeros(n), np.zeros(n)
    blocks = requests.table["block"].to_numpy()
    done_s = column(requests.table, "done_ns") * _NS
    planned_s = column(requests.table, "planned_ns") * _NS
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


def _mean(
    name: str,
    values: Float64[np.ndarray, " n"],
    requests: Requests,
    configuration: str,
    *,
    is_open: bool = False,
) -> MetricSamples:
    """Mean over judged requests; a bound where some lack answers, if ``is_open``."""
    statistic = mean_statistic(values, requests.batch, len(requests.batches))
    is_bound = is_open and not requests.is_ok.all()
    return METRICS[name].samples(
        configuration,
        requests.batches,
        statistic,
        known_below=-math.inf if is_bound else math.inf,
    )


def goodput(requests: Requests, bound_s: float) -> Statistic:
    """Answers within a latency bound, as a share of all requests."""
    good = requests.is_ok & (requests.latency_ns * _NS <= bound_s)
    n = len(requests.batches)
    return mean_statistic(good.astype(np.float64), requests.batch, n)
