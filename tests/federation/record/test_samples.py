"""What latencies of recorded calls say, and what they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midhaul.federation.record.samples import metric_samples
from midhaul.stats import estimate_row


def summed(calls: list[dict[str, Any]]) -> dict[str, dict[str, object]]:
    """Rows of the summary by metric, of calls that were given 2 s each."""
    rng = np.random.default_rng(0)
    found = [
        estimate_row(one, rng, n_resamples=200) for one in metric_samples(calls, "a", 2)
    ]
    return {str(row["metric"]): row for row in found}


def call(
    number: int, status: str = "ok", latency_s: float | None = 0.1
) -> dict[str, Any]:
    """A call, one a second."""
    took = {"latency_s": latency_s, "price_usd": 0.001, "charged_usd": 0.001}
    return {"sent_s": float(number), "status": status, **took}


def test_a_dozen_calls_carry_a_median_and_no_tail() -> None:
    """A p99 of 12 calls is their longest and nothing else, so there is none."""
    found = summed([call(n, latency_s=0.1 + n / 100) for n in range(12)])
    assert found["latency_p50_s"]["value"] == pytest.approx(0.15)
    for percentile, needed in ((90, 64), (95, 130), (99, 662)):
        row = found[f"latency_p{percentile}_s"]
        assert row["value"] is None
        assert row["remark"] == f"p{percentile} needs {needed} values, found 12"


def test_calls_without_an_answer_stay_in_the_percentiles() -> None:
    """Whatever they failed of, and however fast, each is at least its time-out."""
    calls = [call(n) for n in range(60)]
    calls += [call(60 + n, "timeout", 2.0) for n in range(10)]
    calls += [call(70 + n, "unavailable", 0.01) for n in range(10)]
    found = summed(calls)
    assert (found["latency_p50_s"]["value"], found["latency_p50_s"]["bound"]) == (
        0.1,
        None,
    )
    assert (found["latency_p90_s"]["value"], found["latency_p90_s"]["bound"]) == (
        2.0,
        ">=",
    )
    mean = found["latency_mean_s"]
    assert mean["value"] == pytest.approx((6 + 40) / 80)
    assert mean["bound"] == ">="


def test_a_call_that_a_kill_cut_off_is_not_judged() -> None:
    """Nobody knows how long it would have taken; it is not answered either."""
    found = summed([*(call(n) for n in range(20)), call(20, "unfinished", None)])
    assert found["latency_p50_s"]["bound"] is None
    assert found["latency_mean_s"]["value"] == pytest.approx(0.1)
    assert found["ok_share"]["value"] == pytest.approx(20 / 21)
