"""Latency, throughput, stages and bytes from requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.stats import estimate_row
from midhaul.testbed.measure.request_metrics import (
    STAGES,
    Requests,
    goodput,
    request_metrics,
    requests_of,
    stages_of,
)
from midhaul.testbed.measure.tables import REQUESTS

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


TIMEOUT_S = 0.5


def judged(rows: list[dict[str, Any]]) -> Requests:
    """The judged requests of configuration 0, each given half a second."""
    return requests_of(REQUESTS.from_rows(rows), 0, TIMEOUT_S)


def values(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Every metric that has a number, at weights of one."""
    return {
        metric.metric: float(metric.statistic(np.ones((1, len(metric.units))))[0])
        for metric in request_metrics(judged(rows), "all")
        if not metric.lack
    }


def shown(rows: list[dict[str, Any]], **settings: bool) -> dict[str, tuple[Any, Any]]:
    """Value and bound of every metric, as the summary has them."""
    found = [
        estimate_row(metric, np.random.default_rng(0), n_resamples=200)
        for metric in request_metrics(judged(rows), "all", **settings)
    ]
    return {str(row["metric"]): (row["value"], row["bound"]) for row in found}


def test_a_request_of_1_7_s_is_1_7_s() -> None:
    """Durations never wrap at a second."""
    found = values([row(n, 1700.0) for n in range(11)])
    assert found["latency_mean_s"] == pytest.approx(1.7)
    assert found["latency_p50_s"] == pytest.approx(1.7)


def test_warm_up_and_other_configurations_do_not_count() -> None:
    """Latency is that of the judged requests of one configuration."""
    rows = [row(n, 10.0) for n in range(8)]
    rows += [row(8, 500.0, is_warmup=True), row(9, 500.0, configuration=1)]
    assert values(rows)["latency_mean_s"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("status", "latency_ms"), [("timeout", 500.0), ("refused", 1.0), ("http-503", 20.0)]
)
def test_a_request_without_an_answer_took_at_least_its_time(
    status: str, latency_ms: float
) -> None:
    """A fast failure is no fast answer: it stays in every mean and percentile."""
    rows = [row(n, 10.0) for n in range(60)]
    rows += [row(n, latency_ms, status=status) for n in range(60, 80)]
    found = shown(rows)
    assert found["error_rate"] == (pytest.approx(0.25), None)
    assert found["latency_mean_s"] == (pytest.approx((0.6 + 10.0) / 80), ">=")
    assert found["latency_p50_s"] == (pytest.approx(0.01), None)
    assert found["latency_p90_s"] == (pytest.approx(0.5), ">=")


def test_time_outs_raise_the_median_as_if_they_had_been_waited_for() -> None:
    """With more time-outs than answers the median is a bound, not that of the rest."""
    rows = [row(n, 10.0) for n in range(20)]
    rows += [row(n, 500.0, status="timeout") for n in range(20, 50)]
    assert shown(rows)["latency_p50_s"] == (pytest.approx(0.5), ">=")


def test_a_late_send_counts_for_a_request_without_an_answer() -> None:
    """An open loop plans requests that it sends late; the wait begins at the plan."""
    late = {"status": "broken", "sent_ns": 300 * MS}
    rows = [row(0, 301.0, **late) | {"planned_ns": 0, "service_ns": MS}]
    assert shown(rows)["latency_mean_s"] == (pytest.approx(0.8), ">=")


def test_percentiles_need_their_requests() -> None:
    """Few requests carry no claim about a tail, and the row says so."""
    few = [row(n, 10.0) for n in range(63)]
    assert "latency_p90_s" not in values(few)
    assert "latency_p90_s" in values([*few, row(63, 10.0)])
    lacks = {m.metric: m.lack for m in request_metrics(judged(few), "all")}
    assert lacks["latency_p90_s"] == "p90 needs 64 values, found 63"
    assert lacks["latency_p50_s"] == ""


FORWARDED = {
    "backhaul_up_bytes": 600,
    "backhaul_down_bytes": 60,
    "node_ns": 9 * MS,
    "network_ns": MS,
    "queue_ns": MS,
    "decode_ns": MS,
    "forward_ns": 6 * MS,
    "backhaul_ns": 2 * MS,
    "cloud_queue_ns": MS,
    "cloud_inference_ns": 2 * MS,
}


def test_what_a_request_did_not_do_counts_as_nothing() -> None:
    """One of four is forwarded: a quarter of its bytes and of its time in the cloud."""
    rows = [row(n, 4.0) for n in range(3)] + [row(3, 10.0, **FORWARDED)]
    found = values(rows)
    assert found["backhaul_up_bytes"] == pytest.approx(150)
    assert found["stage_cloud_inference_s"] == pytest.approx(0.0005)
    assert found["stage_forward_s"] == pytest.approx(0.0015)
    assert found["stage_cloud_rest_s"] == pytest.approx(0.00025)
    nothing = values(rows[:3])
    assert nothing["backhaul_up_bytes"] == 0
    assert nothing["stage_cloud_inference_s"] == 0
    assert nothing.keys() == found.keys()


TIMES = st.integers(0, 40).map(lambda ms: ms * MS)
TOLD = st.none() | TIMES


@st.composite
def any_row(draw: st.DrawFn, number: int) -> dict[str, object]:
    """A request of which stages are told or not, answered or not, late or not."""
    told = {f"{name}_ns": draw(TOLD) for name in ("network", "queue", "decode")}
    told |= {f"{name}_ns": draw(TOLD) for name in ("forward", "backhaul", "inference")}
    made = row(number, draw(st.integers(1, 900)), **told)
    late_ns = draw(st.integers(0, 1)) * MS
    status = draw(st.sampled_from(["ok", "timeout", "refused"]))
    service = made["latency_ns"] - late_ns  # type: ignore[operator]
    sent = made["planned_ns"] + late_ns  # type: ignore[operator]
    return made | {"status": status, "sent_ns": sent, "service_ns": service}


@given(st.data(), st.integers(1, 6))
def test_stages_sum_up_to_the_latency(data: st.DataObject, n: int) -> None:
    """Of every request, and in the means, whatever was told and whatever failed."""
    requests = judged([data.draw(any_row(number)) for number in range(n)])
    parts = stages_of(requests.table, requests.latency_ns, requests.is_ok)
    np.testing.assert_allclose(sum(parts.values()), requests.latency_ns)
    found = {
        m.metric: float(m.statistic(np.ones((1, len(m.units))))[0])
        for m in request_metrics(requests, "all")
    }
    total = sum(found[f"stage_{name}_s"] for name in STAGES)
    assert total == pytest.approx(found["latency_mean_s"])


def test_bytes_of_requests_without_an_answer_are_a_bound_where_any_are_sent() -> None:
    """What an edge forwarded of them nobody told; one that forwards nothing sent 0."""
    rows = [row(0, 10.0, **FORWARDED), row(1, 500.0, status="timeout")]
    assert shown(rows)["backhaul_up_bytes"] == (300, ">=")
    assert shown(rows[1:], may_forward=False)["backhaul_up_bytes"] == (0, None)
    assert shown(rows)["access_up_bytes"] == (1000, None)


def test_throughput_is_answers_over_time() -> None:
    """Twenty answers, one every 100 ms, the last 50 ms after its send."""
    found = values([row(n, 50.0) for n in range(20)])
    assert found["throughput_hz"] == pytest.approx(20 / 1.95)


def test_few_blocks_are_cut_into_halves() -> None:
    """Three blocks give the six units that a comparison needs, named alike."""
    rows = [row(n, 10.0, block=block) for block in (0, 2, 3) for n in range(25)]
    requests = judged(rows)
    assert requests.batches == ("0.0", "0.1", "2.0", "2.1", "3.0", "3.1")
    assert np.bincount(requests.batch).tolist() == [13, 12] * 3
    assert judged([row(0, 10.0)]).batches == ("0.0",)


def test_from_six_blocks_on_the_unit_is_the_block() -> None:
    """Its name is no half's: runs of three and of six blocks share no unit."""
    rows = [row(n, 10.0, block=block) for block in range(6) for n in range(4)]
    requests = judged(rows)
    assert requests.batches == ("0", "1", "2", "3", "4", "5")
    assert np.bincount(requests.batch).tolist() == [4] * 6
    few = judged([one for one in rows if one["block"] != 0])
    assert not set(few.batches) & set(requests.batches)


def test_without_a_request_or_an_answer_nothing_is_claimed() -> None:
    """An empty cell has no metrics; one that only failed has nothing but bounds."""
    assert values([]) == {}
    found = shown([row(n, 1.0, status="refused") for n in range(12)])
    assert found["error_rate"] == (1.0, None)
    assert found["throughput_hz"] == (0.0, None)
    assert found["latency_p50_s"] == (pytest.approx(0.5), ">=")


def test_goodput_counts_answers_within_the_bound() -> None:
    """Late answers and failures are not good."""
    rows = [row(0, 10.0), row(1, 30.0), row(2, 10.0, status="broken"), row(3, 5.0)]
    requests = judged(rows)
    share = goodput(requests, 0.02)(np.ones((1, len(requests.batches))))
    assert share[0] == pytest.approx(0.5)
