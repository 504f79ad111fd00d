"""Our percentiles are those of MLPerf's load generator, driving the same node."""

from __future__ import annotations

import io

import pytest
from benchmarks.loadgen_driver import PERCENTILES, compare
from PIL import Image

ATTEMPTS = 3


@pytest.mark.slow
def test_percentiles_agree_with_mlperf_loadgen() -> None:
    """p50, p90 and p99 as MLPerf's generator states them lie in our intervals.

    The two run one after the other, so a neighbour on the machine may slow only one of
    them; some attempts are allowed, each with both.
    """
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(file, "JPEG")
    for _ in range(ATTEMPTS):
        compared, load = compare(
            rate_hz=20, count=160, data=file.getvalue(), service_s=0.02
        )
        assert len(load.judged) == 160
        assert [one.percentile for one in compared] == list(PERCENTILES)
        if all(one.is_inside for one in compared):
            return
    pytest.fail(f"percentiles differ: {compared}")
