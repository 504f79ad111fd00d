"""The TCP simulator against completion times that ns-3.37 gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.ns3_truth import Truth, read_truths
from tests.support.tcp_scenarios import begin_tcp

FILE = Path(__file__).with_name("ns3_truth.npz")
TRUTHS = {truth.name: truth for truth in read_truths(FILE)}


@pytest.mark.parametrize("name", list(TRUTHS))
def test_every_flow_takes_what_ns3_says(name: str) -> None:
    """Each completion time is within 2 ns or 1e-5, each link drops as many packets."""
    truth: Truth = TRUTHS[name]
    simulation = begin_tcp(truth.problem)
    while not simulation.advance(1_000_000):
        pass
    results = simulation.results()
    allowed = np.maximum(2, 1e-5 * truth.fct_ns)
    assert (np.abs(results.fct_ns - truth.fct_ns) <= allowed).all()
    assert np.array_equal(results.links.n_dropped, truth.n_dropped)
