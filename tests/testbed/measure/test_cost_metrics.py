"""Price and energy of a configuration, from what its cells used."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.testbed.measure.config import CostConfig, NodeConfig
from midhaul.testbed.measure.samples import cost_metrics
from midhaul.testbed.measure.tables import CELLS, REQUESTS, USAGE

NODES = (
    NodeConfig(name="cloud", role="cloud"),
    NodeConfig(name="edge1", role="edge", cloud="cloud", forward="image"),
)
COST = CostConfig(
    edge_usd_per_hour=0.5,
    cloud_usd_per_hour=1.0,
    usd_per_gb=0.1,
    joule_per_cpu_s=10.0,
    joule_per_byte=1e-6,
)
MARKS = {"configuration": 0, "block": 0}


def request(*, is_warmup: bool) -> dict[str, object]:
    """A request with a megabyte to the cloud and 1,000 bytes back."""
    return {
        **MARKS,
        "is_warmup": is_warmup,
        "access_up_bytes": 1_000_000,
        "access_down_bytes": 1_000,
        "backhaul_up_bytes": 1_000_000,
        "backhaul_down_bytes": 1_000,
    }


def test_prices_and_energy_are_sums_of_coefficients() -> None:
    """Ten judged requests in 36 s, ten more of warm-up that cost nothing."""
    tables = {
        "requests": REQUESTS.from_rows(
            [request(is_warmup=warm) for warm in (True, False) for _ in range(10)]
        ),
        "usage": USAGE.from_rows([{**MARKS, "node": "edge1", "cpu_s": 4.0}]),
        "cells": CELLS.from_rows(
            [{**MARKS, "n_requests": 10, "n_warmup": 10, "duration_s": 36.0}]
        ),
    }
    found = {
        metric.metric: float(metric.statistic(np.ones((1, 1)))[0])
        for metric in cost_metrics(tables, 0, "all", NODES, COST)
    }
    # 0.01 h of 1.5 USD an hour and 10.01 MB of 0.1 USD a GB, over ten requests.
    usd = (0.015 + 0.001001) / 10
    assert found["usd_per_1000"] == pytest.approx(1000 * usd)
    # Half of 4 CPU seconds, and 20.02 MB.
    assert found["joule_per_request"] == pytest.approx((20 + 20.02) / 10)


def test_a_cell_without_requests_costs_nothing_that_can_be_shared() -> None:
    """There is nobody to share it."""
    cells = [{**MARKS, "n_requests": 0, "n_warmup": 0, "duration_s": 1.0}]
    tables = {
        "requests": REQUESTS.from_rows([]),
        "usage": USAGE.from_rows([]),
        "cells": CELLS.from_rows(cells),
    }
    assert cost_metrics(tables, 0, "all", NODES, COST) == []
