"""The fluid uplink: what waits, what is late, what a promise costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.deploy.simulate.worlds import analytic, policy, scenario

from midhaul.deploy.networks import Network
from midhaul.deploy.plan.choices import allocator_named, placer_named
from midhaul.deploy.simulate.ledger import FluidUplink
from midhaul.deploy.simulate.tables import totals_of
from midhaul.deploy.simulate.world import simulate_gateway
from midhaul.traces import Trace


def link(rates_bps: list[float], each_s: float = 1.0) -> Network:
    """A link that follows these rates."""
    trace = Trace(
        name="t",
        times_s=np.arange(len(rates_bps)) * each_s,
        rates_bps=np.array(rates_bps),
        length_s=len(rates_bps) * each_s,
    )
    return Network(name="t", downlink_bps=8.0, uplink_bps=trace.mean_bps, trace=trace)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=40),
    st.booleans(),
    st.floats(0.5, 20),
)
def test_bits_and_messages_are_conserved(
    flows: list[tuple[float, float]],
    has_expiry: bool,  # noqa: FBT001  hypothesis draws it
    deadline_s: float,
) -> None:
    """All that came left in time, left late, or never left; nothing twice."""
    uplink = FluidUplink(deadline_s=deadline_s, has_expiry=has_expiry)
    left_bits = n_late = came_bits = 0.0
    for number, (demand_bps, rate_bps) in enumerate(flows):
        bits, late = uplink.carry(
            period=0,
            at_s=float(number),
            width_s=1.0,
            demand_bps=demand_bps,
            rate_bps=rate_bps,
            n_messages=demand_bps,  # one bit each
            quality=demand_bps,
        )
        assert bits <= rate_bps * (1 + 1e-9)
        came_bits += demand_bps
        left_bits += bits
        n_late += sum(one.n_messages for one in late)
        if not has_expiry:
            waits = uplink.waiting_bits
            assert waits == pytest.approx(came_bits - left_bits, abs=1e-6)
    n_late += sum(one.n_messages for one in uplink.end())
    assert uplink.waiting_bits == 0
    if has_expiry:  # what is late never left
        assert n_late == pytest.approx(came_bits - left_bits, abs=1e-6)
    else:
        assert n_late >= came_bits - left_bits - 1e-6


def test_what_is_beyond_the_deadline_is_late_and_what_is_within_is_not() -> None:
    """10 bits a second on a link of 5: the wait grows by a second every second."""
    uplink = FluidUplink(deadline_s=3.0, has_expiry=False)
    late = [
        sum(
            one.n_messages
            for one in uplink.carry(
                period=0,
                at_s=float(number),
                width_s=1.0,
                demand_bps=10.0,
                rate_bps=5.0,
                n_messages=10.0,
                quality=1.0,
            )[1]
        )
        for number in range(10)
    ]
    assert late == [0, 0, 0, 0, 0, 0, 0, 5, 5, 5]


def test_late_messages_are_no_quality() -> None:
    """A link that falls to a tenth: who counts on the last period sends into the wait.

    The quality that was planned is not what comes, and the policy that lowers knobs
    while messages wait has more of it.
    """
    network = link([2000.0] * 120 + [200.0] * 480)
    one = analytic("one", "c", 0.0, 600.0)
    world = scenario(one, network=network, duration_s=600.0, deadline_s=10.0)
    plain: dict[str, object] = {
        "placer": placer_named("nowhere"),
        "slot_s": 120.0,
        "rate_period_s": 60.0,
        "forecast": "last",
    }
    blind = simulate_gateway(world, policy(**plain, has_back_pressure=False))
    careful = simulate_gateway(world, policy(**plain))
    sums = totals_of(blind)
    assert sums["n_late"] > 0.1 * sums["n_messages"]
    assert sums["qos"] < 0.8 * sums["planned_qos"]
    assert totals_of(careful)["n_late"] < 0.02 * totals_of(careful)["n_messages"]
    assert sum(period.n_steps_down for period in careful.periods) > 0
    assert totals_of(careful)["qos"] <= totals_of(careful)["planned_qos"]


def test_the_loop_keeps_its_promise_on_a_link_never_seen() -> None:
    """5 % of periods are over, within two points; the last period's mean: half."""
    rng = np.random.default_rng(3)
    network = link(np.exp(8 + 0.5 * rng.normal(size=400)).tolist())
    crowd = [analytic(f"x{n}", "c", 0.0, 400.0) for n in range(12)]
    world = scenario(*crowd, network=network, duration_s=400.0)
    plain: dict[str, object] = {
        "placer": placer_named("nowhere"),
        "allocator": allocator_named("hull"),
        "slot_s": 400.0,
        "rate_period_s": 1.0,
    }
    shares = {
        forecast: totals_of(
            simulate_gateway(world, policy(**plain, forecast=forecast))
        )["n_overshoot"]
        / 400
        for forecast in ("conformal", "last", "oracle")
    }
    assert shares["conformal"] <= 0.07
    assert shares["last"] > 0.3
    assert shares["oracle"] == 0


def test_a_link_that_does_not_change_is_known() -> None:
    """Nothing is kept back from it, from the first period on."""
    one = analytic("one", "c", 0.0, 60.0)
    happened = simulate_gateway(scenario(one), policy())
    assert {period.assumed_bps for period in happened.periods} == {2000.0}
    assert totals_of(happened)["n_late"] == 0
