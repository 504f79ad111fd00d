"""RDMA against the completion times that m3's packet simulator recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.rdma_networks import m3_scenarios, outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rdma_networks import Scenario


@pytest.fixture(scope="module")
def scenarios(data_dir: Path) -> list[Scenario]:
    """The recorded path scenarios."""
    folder = data_dir / "m3_demo"
    if not folder.is_dir():
        pytest.skip(f"recorded scenarios not found in {folder}")
    return m3_scenarios(folder)


@pytest.mark.needs_data
@pytest.mark.parametrize("congestion", ["dctcp", "hpcc", "timely"])
def test_flows_end_at_the_recorded_nanosecond(
    scenarios: list[Scenario], congestion: str
) -> None:
    """At least 99 % of the flows are within 2 ns of what was recorded."""
    off = np.concatenate(
        [
            abs(outcome(scenario.problem).fct_ns - scenario.fct_ns)
            for scenario in scenarios
            if scenario.congestion == congestion
        ]
    )
    assert len(off) > 1000
    assert (off <= 2).mean() >= 0.99


def p99_errors(scenario: Scenario, seed: int) -> float:
    """Relative error of the 99th percentile of foreground flows' slowdown."""
    found = outcome(replace(scenario.problem, seed=seed))
    of_path = scenario.is_foreground
    here = found.fct_ns[of_path] / scenario.ideal_fct_ns[of_path]
    there = scenario.fct_ns[of_path] / scenario.ideal_fct_ns[of_path]
    return float(np.quantile(here, 0.99) / np.quantile(there, 0.99) - 1)


@pytest.mark.needs_data
def test_dcqcn_has_the_recorded_tails(scenarios: list[Scenario]) -> None:
    """Marks of DCQCN are drawn: its tails are within 2 %, and not to one side."""
    errors = np.array(
        [
            p99_errors(scenario, seed)
            for seed in range(8)
            for scenario in scenarios
            if scenario.congestion == "dcqcn"
        ]
    )
    assert abs(errors).mean() < 0.02
    assert abs(errors.mean()) < 0.01
