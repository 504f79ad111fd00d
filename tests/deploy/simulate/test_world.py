"""A simulated gateway: pulls, departures, slots, rates."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.simulate.worlds import IMAGES, analytic, policy, scenario

from midhaul.deploy.control import Startup
from midhaul.deploy.networks import Network
from midhaul.deploy.plan.choices import EVICTIONS, PLACERS, eviction_named, placer_named
from midhaul.deploy.problem import Gateway
from midhaul.deploy.simulate.baselines import RaaAsCoded
from midhaul.deploy.simulate.tables import totals_of
from midhaul.deploy.simulate.world import simulate_gateway
from midhaul.errors import DataError
from midhaul.traces import Trace

if TYPE_CHECKING:
    from midhaul.deploy.simulate.scenario import History, Scenario


def test_a_move_takes_its_pull_and_its_start() -> None:
    """15 bytes at one a second and 3 s to start: it saves from second 18 on."""
    one = analytic("one", "a", 0.0, 40.0)
    startup = Startup(fixed_s=3.0)
    happened = simulate_gateway(scenario(one, startup=startup), policy(startup=startup))
    (move,), (pull,) = happened.moves, happened.pulls
    assert (move.planned_starts_s, move.starts_s, move.outcome) == (18, 18, "started")
    assert (pull.begins_s, pull.ends_s, pull.pulled_bytes) == (0, 15, 15)
    assert move.saved_bits == move.planned_saved_bits == 990 * 22
    assert totals_of(happened)["saved_bits"] == pytest.approx(990 * 22)
    assert not pull.is_wasted


def test_who_leaves_during_its_pull_has_wasted_it() -> None:
    """A blind placer pulls for somebody who leaves before the end."""
    happened = simulate_gateway(
        scenario(analytic("one", "a", 0.0, 12.0)), policy(sees_lifetimes=False)
    )
    (move,), (pull,) = happened.moves, happened.pulls
    assert (move.outcome, move.is_realised) == ("left before the pull ended", False)
    assert (pull.outcome, pull.is_wasted, pull.pulled_bytes) == ("done", True, 15)
    assert move.planned_saved_bits == 990 * 15
    assert move.saved_bits == 0


def test_who_leaves_while_starting_is_told_apart() -> None:
    """The pull had ended, the analytic was not there yet."""
    happened = simulate_gateway(
        scenario(analytic("one", "a", 0.0, 16.0), startup=Startup(fixed_s=3.0)),
        policy(),
    )
    assert happened.moves[0].outcome == "left while starting"


def test_a_pull_that_nobody_wants_any_more_does_not_begin() -> None:
    """The second image is for somebody who left during the first pull."""
    happened = simulate_gateway(
        scenario(analytic("one", "a", 0.0, 60.0), analytic("two", "b", 0.0, 12.0)),
        policy(),
    )
    outcomes = {pull.image: (pull.outcome, pull.begins_s) for pull in happened.pulls}
    assert outcomes == {"a": ("done", 0.0), "b": ("skipped", None)}


def test_shared_layers_come_once() -> None:
    """The second image pulls what the first did not bring."""
    happened = simulate_gateway(
        scenario(analytic("one", "a", 0.0, 60.0), analytic("two", "b", 0.0, 60.0)),
        policy(),
    )
    assert [pull.pulled_bytes for pull in happened.pulls] == [15, 7]
    assert [move.starts_s for move in happened.moves] == [15, 22]


def test_two_analytics_of_one_image_start_together() -> None:
    """One pull serves both, and a third one later needs none."""
    happened = simulate_gateway(
        scenario(
            analytic("one", "a", 0.0, 60.0),
            analytic("two", "a", 0.0, 60.0),
            analytic("late", "a", 20.0, 60.0),
        ),
        policy(),
    )
    assert [move.starts_s for move in happened.moves] == [15, 15, 30]
    assert [pull.pulled_bytes for pull in happened.pulls] == [15, 0]


def test_the_end_of_a_slot_cuts_a_pull() -> None:
    """Whole layers stay for the next slot; the one that was coming is lost."""
    images = {
        "big": IMAGES["a"].__class__(
            name="big", layers=(*IMAGES["a"].layers, *IMAGES["c"].layers)
        )
    }
    happened = simulate_gateway(
        scenario(analytic("one", "big", 0.0, 90.0), images=images, duration_s=90.0),
        policy(),
    )
    first, second, third = happened.pulls
    assert (first.outcome, first.pulled_bytes) == ("cut", 30)
    assert first.is_wasted
    assert (second.outcome, second.pulled_bytes) == ("cut", 30)
    assert third.outcome == "open"
    assert [move.outcome for move in happened.moves] == ["cut", "cut", "open"]
    assert happened.moves[-1].is_realised is None


def test_a_policy_that_believes_in_more_than_there_is_fails_its_plans() -> None:
    """Half the downlink carries layers, so what was to take 15 s takes 30."""
    one = analytic("one", "a", 0.0, 20.0)
    happened = simulate_gateway(scenario(one, goodput=0.5), policy())
    (move,) = happened.moves
    assert (move.planned_starts_s, move.starts_s) == (15, None)


def test_rates_follow_who_runs_where() -> None:
    """In the cloud the exact optimum of 2 kbit/s; on the gateway 10 bit/s."""
    happened = simulate_gateway(scenario(analytic("one", "a", 0.0, 40.0)), policy())
    by_time = {rate.begins_s: (rate.place, rate.rate_bps) for rate in happened.rates}
    assert by_time[0.0] == ("cloud", 1000.0)
    assert by_time[20.0] == ("gateway", 10.0)
    assert [p.planned_qos for p in happened.periods] == pytest.approx(
        [0.9, 0.9, 0.8, 0.8, None, None]
    )
    assert [p.n_gateway for p in happened.periods] == [0, 0, 1, 1, 0, 0]
    assert happened.periods[1].received_bps == pytest.approx(4.0)
    assert happened.periods[0].saved_bps == 0
    assert happened.periods[1].saved_bps == pytest.approx(990 * 0.5)


def test_disk_and_water_marks_are_kept() -> None:
    """A disk for one image: the idle one goes when the other comes."""
    happened = simulate_gateway(
        scenario(
            analytic("one", "a", 0.0, 20.0),
            analytic("two", "b", 30.0, 60.0),
            gateway=Gateway(name="gw", disk_bytes=40),
        ),
        policy(),
    )
    assert [eviction.digest for eviction in happened.evictions] == ["a"]
    assert [move.outcome for move in happened.moves] == ["started", "started"]
    assert max(period.stored_bytes for period in happened.periods) <= 40


def test_an_uplink_of_zero_gives_no_quality_and_no_error() -> None:
    """Everybody is there, nobody sends."""
    network = Network(name="cut off", downlink_bps=8.0, uplink_bps=0.0)
    happened = simulate_gateway(
        scenario(analytic("one", "a", 0.0, 60.0), network=network), policy()
    )
    assert {period.planned_qos for period in happened.periods} == {0.0}
    assert sum(period.sent_bps for period in happened.periods) == 0


def test_what_a_changing_uplink_does_not_carry_waits() -> None:
    """Who counts on the last period has bytes that queue when the link drops."""
    trace = Trace(
        name="t",
        times_s=np.array([0.0, 30.0]),
        rates_bps=np.array([1000.0, 400.0]),
        length_s=60.0,
    )
    network = Network(name="t", downlink_bps=8.0, uplink_bps=700.0, trace=trace)
    happened = simulate_gateway(
        scenario(analytic("one", "c", 0.0, 60.0), network=network),
        policy(forecast="last", has_back_pressure=False),
    )
    over = [period.begins_s for period in happened.periods if period.is_overshoot]
    assert over == [30.0]
    assert happened.periods[3].late_bytes == pytest.approx(600 * 10 / 8)
    assert happened.periods[3].sent_bps == pytest.approx(400)
    assert happened.periods[4].assumed_bps == 400


def test_the_seeds_greedy_exceeds_its_uplink_and_ours_does_not() -> None:
    """Starts that are not charged make up the excess."""
    crowd = [analytic(f"x{n}", "c", 0.0, 60.0) for n in range(3)]
    over = simulate_gateway(scenario(*crowd), policy(allocator=RaaAsCoded()))
    ours = simulate_gateway(scenario(*crowd), policy())
    assert totals_of(over)["n_overshoot"] > 0
    assert totals_of(over)["max_overshoot"] > 0
    assert totals_of(ours)["n_overshoot"] == 0


@st.composite
def crowds(draw: st.DrawFn) -> Scenario:
    """A few analytics that come and go, on a small disk.

    They leave between whole seconds, at which pulls end: a plan counts a pull that ends
    when its analytic leaves as in time, and it saves nothing.
    """
    analytics = [
        analytic(
            f"n{number}",
            draw(st.sampled_from(sorted(IMAGES))),
            float(draw(st.integers(0, 50))),
            draw(st.integers(0, 60)) + 0.5,
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    gateway = Gateway(name="gw", disk_bytes=draw(st.sampled_from([0, 35, 60, 150])))
    return scenario(*analytics, gateway=gateway)


def _check(happened: History, world: Scenario) -> None:
    stored = [period.stored_bytes for period in happened.periods]
    assert max(stored, default=0) <= world.gateway.disk_bytes
    assert not any(period.is_overshoot for period in happened.periods)
    for before, after in itertools.pairwise(happened.periods):
        assert after.begins_s == pytest.approx(before.begins_s + before.lasts_s)
    known = [p for p in happened.periods if p.bound_qos is not None]
    assert all((p.planned_qos or 0) <= (p.bound_qos or 0) + 1e-9 for p in known)
    totals = totals_of(happened)
    pulled = sum(p.received_bps * p.lasts_s for p in happened.periods) / 8
    finished = [p for p in happened.pulls if p.outcome != "open"]
    assert sum(p.pulled_bytes for p in finished) <= pulled + len(happened.pulls)
    assert totals["realised_bps"] <= totals["planned_bps"]
    assert all(m.saved_bits <= m.planned_saved_bits + 1e-6 for m in happened.moves)


@settings(max_examples=40, deadline=None)
@given(
    crowds(),
    st.sampled_from(["marginal-greedy", "additive-greedy", "additive-dp", "nowhere"]),
    st.sampled_from(sorted(EVICTIONS)),
)
def test_limits_hold_whoever_decides(world: Scenario, placer: str, rule: str) -> None:
    """Disk and uplink are kept, time has no gaps, no more is realised than planned."""
    chosen = policy(placer=placer_named(placer), eviction=eviction_named(rule))
    _check(simulate_gateway(world, chosen), world)


@settings(max_examples=15, deadline=None)
@given(crowds(), st.sampled_from(sorted(PLACERS)))
def test_plans_that_know_everything_come_true(world: Scenario, placer: str) -> None:
    """With lifetimes, starts and rates known, every planned move happens."""
    happened = simulate_gateway(world, policy(placer=placer_named(placer)))
    totals = totals_of(happened)
    assert totals["n_realised"] == totals["n_planned"]
    assert totals["realised_saved_bits"] == pytest.approx(totals["planned_saved_bits"])
    assert totals["wasted_bytes"] == 0


def test_the_same_world_has_the_same_history() -> None:
    """Nothing but the measured times differs between two runs."""
    crowd = [analytic(f"x{n}", "abc"[n % 3], 5.0 * n, 30.0) for n in range(6)]
    first, second = (simulate_gateway(scenario(*crowd), policy()) for _ in range(2))
    assert first.periods == second.periods
    assert first.moves == second.moves


def test_worlds_that_cannot_be_are_refused() -> None:
    """An unknown image, no duration, a goodput of 0, slots that do not fit."""
    one = analytic("one", "z", 0.0, 1.0)
    with pytest.raises(DataError, match="container image z"):
        scenario(one)
    with pytest.raises(DataError, match="duration above 0"):
        scenario(duration_s=0.0)
    with pytest.raises(DataError, match="goodput"):
        scenario(goodput=0.0)
    twice = analytic("one", "a", 0.0, 1.0)
    with pytest.raises(DataError, match="each analytic once"):
        scenario(twice, twice)
    with pytest.raises(DataError, match="whole number of rate periods"):
        simulate_gateway(scenario(), policy(slot_s=25.0))
