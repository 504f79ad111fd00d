"""What no network problem can have is refused before anything is simulated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midhaul.errors import ConfigError
from midhaul.model import Flows, Link, Topology
from midhaul.network.problem import NetworkProblem, Routes, link_table
from midhaul.network.transports import TcpTransport

LINK = Link(source="a", target="b", rate_bps=1e9, delay_s=1e-5)
BACK = replace(LINK, source="b", target="a")
PROBLEM = NetworkProblem(
    topology=Topology(nodes=("a", "b"), links=(LINK, BACK)),
    flows=Flows(
        source=np.zeros(3, np.int32),
        target=np.ones(3, np.int32),
        size_bytes=np.full(3, 1000),
        start_ns=np.array([0, 10**9, 2 * 10**9]),
    ),
    routes=Routes(offsets=np.arange(4), links=np.zeros(3, np.int32)),
    transports=(TcpTransport(),),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_bps": 0.0}, "rate of 0 bit/s"),
        ({"rate_bps": -1.0}, "rate of -1 bit/s"),
        ({"rate_bps": math.nan}, "rate of nan"),
        ({"delay_s": math.inf}, "at inf s, expected 0 to"),
        ({"delay_s": 1e30}, r"at 1e\+30 s, expected 0 to"),
        ({"delay_s": -1e-6}, "expected 0 to"),
        ({"jitter_s": math.nan}, "expected 0 to"),
        ({"loss_share": 1.0}, "loss_share of 1"),
        ({"loss_share": math.nan}, "loss_share of nan"),
        ({"rate_changes": ((1.0, -5.0),)}, "rate of -5"),
        ({"rate_changes": ((1e12, 5.0),)}, "a change of its rate"),
    ],
)
def test_a_link_that_cannot_be_is_named(change: dict[str, Any], message: str) -> None:
    """By all that make arrays of links, with what it has."""
    topology = Topology(nodes=("a", "b"), links=(replace(LINK, **change), BACK))
    with pytest.raises(ConfigError, match=f"link a->b has .*{message}"):
        link_table(topology)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"until_ns": -1}, "until_s must be from 0 to"),
        ({"until_ns": 10**40}, "until_s must be from 0 to"),
        ({"sample_ns": 10**40}, "sample_s must be from 0 to"),
        ({"seed": 1 << 63}, "a seed has 64 bits"),
        ({"watched": (0, 3)}, "watched names flow 3, and there are 3"),
        ({"watched": (-1,)}, "watched names flow -1"),
        ({"sample_ns": 1}, "queues of 2 links looked at every 1e-09 s over 2 s"),
        ({"sample_ns": 1000, "until_ns": 10**15}, r"every 1e-06 s over 1e\+06 s"),
    ],
)
def test_a_problem_that_cannot_be_is_refused(
    change: dict[str, Any], message: str
) -> None:
    """Times without end, flows that are none, more samples than can be kept."""
    with pytest.raises(ConfigError, match=message):
        replace(PROBLEM, **change)
    assert replace(PROBLEM, watched=(2,), sample_ns=1000, until_ns=10**9)
