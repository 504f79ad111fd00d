"""Percentiles as far as values carry them, held against MLPerf's load generator."""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from midhaul.stats import (
    claimed_quantile,
    estimate_row,
    fewest_values,
    n_beyond,
    percentile_samples,
)

if TYPE_CHECKING:
    from pathlib import Path

QS = st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.97, 0.99, 0.999])


@pytest.mark.parametrize(
    ("q", "expected"), [(0.9, 64), (0.95, 130), (0.97, 219), (0.99, 662), (0.999, 6636)]
)
def test_the_fewest_values_are_those_of_mlperf(q: float, expected: int) -> None:
    """The counts that MLPerf's rules publish; one value less carries nothing."""
    assert fewest_values(q) == expected
    assert n_beyond(expected, q) == 1
    assert n_beyond(expected - 1, q) == 0
    assert math.isnan(claimed_quantile(np.arange(expected - 1.0), q))
    assert claimed_quantile(np.arange(1.0 * expected), q) == expected - 1


@pytest.mark.parametrize(
    ("n", "n_discarded"), [(64, 0), (2048, 172), (2116, 178), (4_776_846, 476_158)]
)
def test_the_rank_is_that_of_published_results(n: int, n_discarded: int) -> None:
    """Results that others published say how many of n queries p90 would discard."""
    assert n_beyond(n, 0.9) - 1 == n_discarded


@given(st.integers(1, 9000), QS)
def test_the_rank_is_the_binomial_one(n: int, q: float) -> None:
    """As another library counts it: t is carried, and t + 1 is not."""
    t = n_beyond(n, q)
    assert (t == 0) or binom.cdf(t, n, 1 - q) <= 0.01 + 1e-12
    assert binom.cdf(max(t + 1, 1), n, 1 - q) > 0.01 - 1e-12


def test_the_estimate_is_rarely_too_low() -> None:
    """Of p90 of 100 exponential values, about 1 % of the claims may be broken."""
    rng = np.random.default_rng(3)
    true = -math.log(0.1)
    claims = [claimed_quantile(rng.exponential(size=100), 0.9) for _ in range(3000)]
    assert np.mean(np.array(claims) < true) <= 0.016


def test_the_estimate_is_that_of_the_load_generator(tmp_path: Path) -> None:
    """Latencies that mlperf_loadgen timed give the estimates that it states."""
    latencies_ns, summary = _timed_by_mlperf(tmp_path, 1000)
    for q in (0.9, 0.99):
        found = re.search(rf"{q * 100:g}\S*th percentile estimate: (\d+)", summary)
        assert found is not None, summary
        assert claimed_quantile(latencies_ns, q) == int(found[1])


def _timed_by_mlperf(folder: Path, n: int) -> tuple[np.ndarray, str]:
    """Latencies of n queries of a system that does nothing, and what was made of them.

    Single stream; the trace has the latency of every query.
    """
    lg: Any = pytest.importorskip("mlperf_loadgen")
    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = n
    settings.min_duration_ms = 0
    log = lg.LogSettings()
    log.enable_trace = True
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    rng = np.random.default_rng(0)

    def issue(queries: list[Any]) -> None:
        time.sleep(float(rng.exponential(2e-4)))
        lg.QuerySamplesComplete(
            [lg.QuerySampleResponse(query.id, 0, 0) for query in queries]
        )

    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(1, 1, lambda _samples: None, lambda _samples: None)
    lg.StartTestWithLogSettings(system, library, settings, log, "none")
    lg.DestroyQSL(library)
    lg.DestroySUT(system)
    lines = (folder / "mlperf_log_trace.json").read_text().splitlines()
    begins = [x for x in lines if '"name":"Sample"' in x and '"ph":"b"' in x]
    found = [json.loads(x.rstrip(","))["args"]["complete_ns"] for x in begins]
    return np.array(found, np.float64), (folder / "mlperf_log_summary.txt").read_text()


def test_values_known_from_below_make_a_bound() -> None:
    """A percentile among them is a bound without an upper end; one before is exact."""
    values = np.concatenate([np.linspace(0.1, 0.4, 80), np.full(20, 0.5)])
    index = np.arange(100) % 10
    units = tuple(map(str, range(10)))
    rows = {}
    for q in (0.5, 0.9, 0.99):
        metric = percentile_samples(
            values,
            index,
            units,
            q=q,
            metric=f"p{q}",
            configuration="a",
            known_below=0.5,
        )
        rows[q] = estimate_row(metric, np.random.default_rng(0))
    assert (rows[0.5]["bound"], rows[0.9]["bound"]) == (None, ">=")
    assert rows[0.9]["value"] == 0.5
    assert rows[0.9]["high"] is None
    assert (rows[0.99]["value"], rows[0.99]["bound"]) == (None, None)
    assert rows[0.99]["remark"] == "p99 needs 662 values, found 100"
