"""Latency, throughput, stages and bytes from requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midhaul.testbed.request_metrics import goodput, request_metrics, requests_of
from midhaul.testbed.tables import REQUESTS

MS = 1_000_000


def row(request: int, latency_ms: float, **changes: object) -> dict[str, object]:
    """A request of configuration 0, sent every 100 ms in block 0."""
    planned_ns = request * 100 * MS
    done_ns = planned_ns + round(latency_ms * MS)
    return {
        "configuration": 0,
        "block": 0,
        "request": request,
        "is_warmup": False,
        "node": "edge",
        "images": ["a"],
        "status": "ok",
        "planned_ns": planned_ns,
        "sent_ns": planned_ns,
        "done_ns": done_ns,
        "latency_ns": done_ns - planned_ns,
        "service_ns": done_ns - planned_ns,
        "access_up_bytes": 1000,
        **changes,
    }


def values(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Every metric at weights of one."""
    requests = requests_of(REQUESTS.from_rows(rows), 0)
    return {
        metric.metric: float(metric.statistic(np.ones((1, len(metric.units))))[0])
        for metric in request_metrics(requests, "all")
    }


def test_a_request_of_1_7_s_is_1_7_s() -> None:
    """Durations never wrap at a second."""
    found = values([row(0, 1700.0)])
    assert found["latency_mean_s"] == pytest.approx(1.7)
    assert found["latency_p50_s"] == pytest.approx(1.7)


def test_warm_up_other_configurations_and_failures_do_not_count() -> None:
    """Latency is that of the judged answers; failures are a rate of their own."""
    rows = [row(n, 10.0) for n in range(8)]
    rows += [row(8, 500.0, is_warmup=True), row(9, 500.0, configuration=1)]
    rows += [row(10, 500.0, status="timeout")]
    found = values(rows)
    assert found["latency_mean_s"] == pytest.approx(0.01)
    assert found["error_rate"] == pytest.approx(1 / 9)


def test_percentiles_need_their_requests() -> None:
    """Few requests carry no claim about a tail."""
    few = values([row(n, 10.0) for n in range(43)])
    enough = values([row(n, 10.0) for n in range(44)])
    assert "latency_p90_s" not in few
    assert "latency_p90_s" in enough
    assert "latency_p99_s" not in enough


def test_throughput_is_answers_over_time() -> None:
    """Twenty answers, one every 100 ms, the last 50 ms after its send."""
    found = values([row(n, 50.0) for n in range(20)])
    assert found["throughput_hz"] == pytest.approx(20 / 1.95)


def test_batches_follow_the_requests_of_each_block() -> None:
    """Ten batches a block at most, named alike in every run."""
    rows = [row(n, 10.0, block=block) for block in (0, 2) for n in range(25)]
    requests = requests_of(REQUESTS.from_rows(rows), 0)
    assert requests.batches[:2] == ("0.0", "0.1")
    assert requests.batches[-1] == "2.9"
    assert np.bincount(requests.batch).tolist() == [3, 2] * 10


def test_without_a_request_or_an_answer_nothing_is_claimed() -> None:
    """An empty cell has no metrics; one that only failed has its error rate."""
    assert values([]) == {}
    assert values([row(0, 1.0, status="refused")]) == {"error_rate": 1.0}


def test_goodput_counts_answers_within_the_bound() -> None:
    """Late answers and failures are not good."""
    rows = [row(0, 10.0), row(1, 30.0), row(2, 10.0, status="broken"), row(3, 5.0)]
    requests = requests_of(REQUESTS.from_rows(rows), 0)
    share = goodput(requests, 0.02)(np.ones((1, len(requests.batches))))
    assert share[0] == pytest.approx(0.5)
