"""Scenarios, what their flows meet, and the features of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.correctors import TINY, scenario, scenario_of

from midhaul.errors import ConfigError
from midhaul.model import Link
from midhaul.network.corrector import features as names
from midhaul.network.corrector.crossing import BURST, WHOLE, crossing_of
from midhaul.network.corrector.features import features_of, stacked
from midhaul.network.corrector.scenarios import (
    GROUPS,
    NAMES,
    ScenarioAmount,
    draw_scenario,
)
from midhaul.network.decomposition.crossed import HERE, CrossedPath
from midhaul.network.fluid import FluidSimulator
from midhaul.network.transports import RdmaTransport, TcpTransport


def test_a_number_is_the_same_scenario_wherever_it_is_drawn() -> None:
    """And other flows on the same path where it is drawn again."""
    one, same = draw_scenario(3, 5, TINY), draw_scenario(3, 5, TINY)
    other = draw_scenario(3, 5, TINY, again=1)
    assert one.path.start_ns.tolist() == same.path.start_ns.tolist()
    assert one.path.links == other.path.links
    assert one.path.transports == other.path.transports
    assert one.path.size_bytes.tolist() != other.path.size_bytes.tolist()


def test_all_transports_and_groups_are_drawn() -> None:
    """Among a few hundred there is each of them."""
    drawn = [scenario(i) for i in range(120)]
    assert {one.name for one in drawn} == set(NAMES)
    assert set().union(*(one.groups for one in drawn)) == set(GROUPS)


@pytest.mark.parametrize("group", ["hops", "none"])
def test_a_group_can_be_asked_for(group: str) -> None:
    """Alone, or none of them."""
    amount = ScenarioAmount(
        fewest=60, most=80, rdma_hops=1e4, tcp_hops=1e4, group=group
    )
    found = [draw_scenario(1, i, amount) for i in range(10)]
    for one in found:
        assert (group in one.groups) if group != "none" else not one.groups


@pytest.mark.parametrize("number", range(12))
def test_fluid_of_a_path_is_that_of_its_network(number: int) -> None:
    """Ends are capped there and simulated here, which for foreground is nearly one."""
    path = scenario(number).path
    met = crossing_of(path)
    simulation = FluidSimulator().begin(path.problem())
    while not simulation.advance(1_000_000):
        pass
    found = simulation.results()
    own = path.is_foreground
    assert met.ideal_ns[own] == pytest.approx(found.ideal_fct_ns[own], rel=1e-9)
    off = np.abs(met.fluid[own] / found.slowdown[own] - 1)
    assert np.median(off) < 0.01


def one_link(sizes: list[int], starts: list[int], **transport: int) -> CrossedPath:
    """Flows of a host over one link of 8 Gbit/s, a byte a nanosecond."""
    n = len(sizes)
    link = Link(source="a", target="b", rate_bps=8e9, delay_s=1e-6)
    here = np.full(n, HERE, np.int64)
    return CrossedPath(
        links=(link,),
        back=(replace(link, source="b", target="a"),),
        flow=np.arange(n),
        size_bytes=np.array(sizes),
        start_ns=np.array(starts),
        transport=np.zeros(n, np.int64),
        enters=np.zeros(n, np.int64),
        leaves=np.ones(n, np.int64),
        sender=here,
        receiver=here,
        sender_bps=np.zeros(0),
        sender_ns=np.zeros(0, np.int64),
        receiver_ns=np.zeros(0, np.int64),
        transports=(RdmaTransport(mtu_bytes=1000, **transport),),
    )


def test_what_waits_is_worked_off_at_the_rate_of_the_link() -> None:
    """The second of two flows waits for what is left of the first."""
    met = crossing_of(one_link([10_000, 1000], [0, 4000]))
    wire = 10_480
    assert met.waits_ns[WHOLE].tolist() == [0, wire - 4000]
    assert met.waits_ns[BURST].tolist() == [0, wire - 4000]
    assert met.most_active.tolist() == [0, 1]


def test_a_window_bounds_what_comes_at_once() -> None:
    """Of the first flow two packets come at once; alone it stops for round trips."""
    met = crossing_of(one_link([10_000, 1000], [0, 500], window_bytes=2000))
    assert met.waits_ns[BURST, 1] == pytest.approx(2096 - 500)
    assert met.waits_ns[WHOLE, 1] == pytest.approx(10_480 - 500)
    assert met.lone[0] > 1
    assert met.lone[1] == 1


def test_slow_start_costs_more_the_longer_the_round_trip() -> None:
    """And nothing once the window holds the pipe."""
    path = one_link([1_000_000], [0])
    tcp = replace(path, transports=(TcpTransport(congestion="cubic"),))
    far = replace(tcp.links[0], delay_s=1e-3)
    back = replace(far, source="b", target="a")
    near_lone = crossing_of(tcp).lone[0]
    far_lone = crossing_of(replace(tcp, links=(far,), back=(back,))).lone[0]
    assert 1 == near_lone < far_lone


@pytest.mark.parametrize("name", NAMES)
def test_features_have_their_columns_and_are_numbers(name: str) -> None:
    """For each transport."""
    path = scenario_of(name).path
    found = features_of(path, simulated=np.full(20, 1.5))
    assert found.path.shape == (len(names.PATH_NAMES),)
    assert found.hops.shape == (len(path.links), len(names.HOP_NAMES))
    assert found.own.shape == (names.N_CLASSES, len(names.OWN_NAMES))
    assert found.prefix.shape == (names.N_CLASSES, len(names.PREFIX_NAMES))
    for values in (found.path, found.hops, found.hop_classes, found.own, found.prefix):
        assert np.isfinite(values).all()
    assert found.counts.sum() == path.is_foreground.sum()
    assert found.transport == name
    assert found.odd == ()


def test_what_is_scaled_alike_looks_alike() -> None:
    """Ten times the rate, a tenth of the times: only absolute columns differ."""
    path = scenario_of("dctcp").path
    one = features_of(path)
    links = tuple(
        replace(x, rate_bps=10 * x.rate_bps, delay_s=x.delay_s / 10) for x in path.links
    )
    (transport,) = path.transports
    assert isinstance(transport, RdmaTransport)
    faster = replace(
        path,
        links=links,
        back=tuple(replace(x, source=x.target, target=x.source) for x in links),
        start_ns=path.start_ns // 10,
        sender_bps=10 * path.sender_bps,
        sender_ns=path.sender_ns // 10,
        receiver_ns=path.receiver_ns // 10,
        transports=(
            replace(
                transport,
                max_rate_bps=10 * transport.max_rate_bps,
                min_rate_bps=10 * transport.min_rate_bps,
                ecn_rate_bps=10 * transport.ecn_rate_bps,
                timeout_s=(transport.timeout_s or 0) / 10,
            ),
        ),
    )
    other = features_of(faster)
    scales = {"slowest link", "round trip"}
    kept = [i for i, name in enumerate(names.PATH_NAMES) if name not in scales]
    assert other.path[kept] == pytest.approx(one.path[kept], abs=0.05)
    assert other.own == pytest.approx(one.own, abs=0.05)


def test_odd_paths_say_so() -> None:
    """Losses by chance are in no scenario."""
    path = scenario_of("dctcp").path
    lossy = replace(path.links[0], loss_share=0.01)
    found = features_of(replace(path, links=(lossy, *path.links[1:])))
    assert found.odd == ("losses or jitter by chance",)


def test_links_that_are_not_there_are_nan() -> None:
    """Paths of several lengths are one array."""
    found = [features_of(scenario(i).path) for i in range(6)]
    arrays = stacked(found, most=7)
    for i, one in enumerate(found):
        is_there = ~np.isnan(arrays["hops"][i, :, 0])
        assert is_there.sum() == len(one.hops)


def test_a_link_that_changes_is_refused() -> None:
    """Nothing is learnt of such networks."""
    path = scenario_of("dctcp").path
    changing = replace(path.links[0], rate_changes=((1.0, 1e9),))
    with pytest.raises(ConfigError, match="at all times"):
        crossing_of(replace(path, links=(changing, *path.links[1:])))
