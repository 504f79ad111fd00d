"""Simulators and transports by name, and the Python door."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.network.fake_simulator import FakeSimulator

import midhaul
from midhaul.errors import ConfigError, DataError
from midhaul.model import Flows, Link, Topology
from midhaul.network.simulators import (
    TRANSPORTS,
    simulator_named,
    transport_named,
)
from midhaul.network.transports import RdmaTransport, TcpTransport

TOPOLOGY = Topology(
    nodes=("a", "s", "b"),
    links=tuple(
        Link(source=one, target=other, rate_bps=1e9, delay_s=1e-5)
        for one, other in (("a", "s"), ("s", "a"), ("s", "b"), ("b", "s"))
    ),
    hosts=("a", "b"),
)
FLOWS = Flows(
    source=np.zeros(100, np.int32),
    target=np.full(100, 2, np.int32),
    size_bytes=np.arange(1, 101) * 1000,
    start_ns=np.arange(100) * 1000,
)


def test_simulating_takes_five_lines() -> None:
    """Results are frames with names, and show themselves in a cell."""
    found = midhaul.network.simulate(
        TOPOLOGY, FLOWS, "dctcp", with_=FakeSimulator(), watched=(3,), sample_s=1e-4
    )
    flows, links = found.df(), found.links_df()
    assert set(flows["source"]) == {"a"}
    assert set(flows["busiest_link"]) == {"a->s"}
    assert list(links["link"]) == ["a->s", "s->a", "s->b", "b->s"]
    assert (flows["slowdown"] >= 1).all()
    assert set(found.timeline_df()["flow"]) == {3}
    assert repr(found).startswith("FlowResults(100 flows in ")
    assert "slowdown p50" in found._repr_html_()
    assert "<img" in found.figure()._repr_html_()


def test_the_door_has_it_too() -> None:
    """``midhaul.simulate`` is that function, whatever was imported before."""
    import midhaul.network.simulate.config  # noqa: PLC0415

    found = [
        door(TOPOLOGY, FLOWS, with_=FakeSimulator())
        for door in (midhaul.simulate, midhaul.network.simulate)
    ]
    assert np.array_equal(found[0].fct_ns, found[1].fct_ns)


def test_what_was_not_watched_has_no_timeline() -> None:
    """The hint says how to get one."""
    found = midhaul.simulate(TOPOLOGY, FLOWS, with_=FakeSimulator())
    with pytest.raises(DataError, match="no flow was watched"):
        found.timeline_df()


def test_transports_have_one_name_each() -> None:
    """DCTCP of RDMA cards and that of TCP are told apart."""
    assert isinstance(transport_named("dctcp"), RdmaTransport)
    assert isinstance(transport_named("tcp-dctcp"), TcpTransport)
    assert len(set(TRANSPORTS.values())) == len(TRANSPORTS)


@pytest.mark.parametrize(
    ("name", "near"), [("cubik", "cubic"), ("hppc", "hpcc"), ("tcp-dtcp", "tcp-dctcp")]
)
def test_a_transport_that_there_is_not_is_named(name: str, near: str) -> None:
    """With the one that was probably meant."""
    with pytest.raises(ConfigError) as caught:
        transport_named(name)
    assert near in caught.value.hint


@pytest.mark.parametrize("name", ["until_s", "sample_s"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_time_that_is_none_is_named(name: str, value: float) -> None:
    """Before anything is simulated."""
    with pytest.raises(ConfigError, match=f"{name} must be a number of seconds"):
        midhaul.simulate(TOPOLOGY, FLOWS, with_=FakeSimulator(), **{name: value})


def test_a_simulator_that_there_is_not_is_named() -> None:
    """With the one that was probably meant."""
    with pytest.raises(ConfigError, match="did you mean 'packet'"):
        simulator_named("packets")
