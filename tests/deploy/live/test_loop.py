"""What a live loop counts on of its uplink, what it takes back, what is judged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.deploy.control import Policy
from midhaul.deploy.enforcement.bridge_queue import has_room
from midhaul.deploy.live.config import LiveConfig
from midhaul.deploy.live.experiment import judge_run
from midhaul.deploy.live.loop import BacklogMeter, LiveUplink, PendingPlacement
from midhaul.deploy.live.tables import MESSAGES, MOVES, PERIODS, REPEATS
from midhaul.deploy.networks import Network
from midhaul.deploy.placement.base import Placement
from midhaul.deploy.plan.choices import allocator_named, eviction_named, placer_named
from midhaul.runs.run import Run
from midhaul.traces import Trace

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.model import Verdict


def link(*rates_bps: float) -> Network:
    """A link that follows these rates, a second each."""
    trace = Trace(
        name="t",
        times_s=np.arange(len(rates_bps)) * 1.0,
        rates_bps=np.array(rates_bps),
        length_s=float(len(rates_bps)),
    )
    return Network(name="t", downlink_bps=1e8, uplink_bps=trace.mean_bps, trace=trace)


def uplink(network: Network, stats: Path, **changes: Any) -> LiveUplink:
    """What a loop with rate periods of one second knows of it."""
    policy = Policy(
        name="p",
        placer=placer_named("nowhere"),
        allocator=allocator_named("hull"),
        eviction=eviction_named("lru"),
        slot_s=1.0,
        rate_period_s=1.0,
        **changes,
    )
    return LiveUplink(
        network, policy, duration_s=600.0, deadline_s=10.0, stats_file=stats
    )


def counters(file: Path, up_s: float, n_out: int, n_waiting: int) -> None:
    """The counters of a bridge, as far as they are read here."""
    stats = {
        "up_s": up_s,
        "total": {"bytes_out": n_out},
        "bytes_waiting": n_waiting,
        "bytes_in_flight": 0,
    }
    file.write_text(json.dumps(stats))


def test_the_loop_does_not_know_the_second_that_comes(tmp_path: Path) -> None:
    """The present rate falls to nothing, and still the last period's is counted on."""
    known = uplink(link(5e6, 5e6, 0.0, 0.0, 5e6), tmp_path / "none", forecast="last")
    found: list[float] = []
    for number in range(5):
        if number:
            known.ended(number - 1.0, float(number))
        known.begin()
        known.reserve(0.0)
        found.append(known.assumed_bps)
    assert found == [5e6, 5e6, 5e6, 0.0, 0.0]


def test_a_promise_holds_in_the_live_loop(tmp_path: Path) -> None:
    """Its forecast is the conformal one: 5 % of periods, within two points."""
    rng = np.random.default_rng(5)
    rates = np.exp(15 + 0.6 * rng.normal(size=500))
    known, over = uplink(link(*rates), tmp_path / "none"), 0
    for number, rate in enumerate(rates):
        if number:
            known.ended(number - 1.0, float(number))
        known.begin()
        known.reserve(0.0)
        over += known.free_bps > rate
    assert abs(over / len(rates) - 0.05) <= 0.02


def test_what_waits_too_long_lowers_knobs_and_takes_of_the_next_grant(
    tmp_path: Path,
) -> None:
    """The bridge's counters say so; a queue that leaves in time changes nothing."""
    file = tmp_path / "stats.json"
    known = uplink(link(1e6, 1e6), file, forecast="last")
    known.begin()
    known.reserve(0.0)
    assert known.look(1e6) is None  # no counters yet
    counters(file, 1.0, 125_000, 125_000)
    assert known.look(1e6) is None
    counters(file, 2.0, 125_000, 2_000_000)
    share = known.look(1e6)
    assert share is not None
    assert share < 1
    assert known.n_steps_down == 1
    known.ended(0.0, 1.0)
    known.begin()
    known.reserve(0.0)
    assert known.free_bps < 1e6


def test_what_waits_leaves_as_fast_as_the_link_carries_it(tmp_path: Path) -> None:
    """After a fall little is promised, and still a free link takes what waits."""
    network = link(*[7e5] * 20, 2e5, 2e5)
    for has_pressure in (True, False):
        known = uplink(network, tmp_path / "none", has_back_pressure=has_pressure)
        for number in range(1, 22):
            known.ended(number - 1.0, float(number))
        known.begin()
        known.reserve(0.0)
        assert known.free_bps < 1.5e5
        expected_bps = 2e5 if has_pressure else known.free_bps
        assert known.drained_bps == pytest.approx(expected_bps)
        known.reserve(1e6)
        assert known.drained_bps <= max(known.free_bps, 2e5 - known.reserved_bps)


def test_a_link_that_carried_nothing_is_not_shut(tmp_path: Path) -> None:
    """Nobody says when it is back: some of what waits is on its way by then."""
    known = uplink(link(*[8e5] * 20, 0.0, 0.0), tmp_path / "none")
    for number in range(1, 22):
        known.ended(number - 1.0, float(number))
    known.begin()
    known.reserve(0.0)
    assert known.free_bps == 0
    assert 0 < known.drained_bps < 2e5


def test_acknowledgements_of_pulls_are_kept_free_and_bound_pulls(
    tmp_path: Path,
) -> None:
    """At most half the forecast is reserved; a link of nothing pulls nothing."""
    known = uplink(link(1e6, 0.0, 0.0), tmp_path / "none", forecast="last")
    known.begin()
    known.reserve(2.2e6)
    assert (known.reserved_bps, known.free_bps) == (5e5, 5e5)
    assert known.pullable_bps(1e8, 0.02) == pytest.approx(5e5 / 0.02)
    assert known.pullable_bps(1e6, 0.02) == 1e6
    known.ended(1.0, 2.0)
    known.begin()
    known.reserve(2.2e6)
    assert known.pullable_bps(1e8, 0.02) == 1.0


def test_counters_that_are_broken_or_old_say_nothing(tmp_path: Path) -> None:
    """Half a file, another program's, the same counters twice."""
    file = tmp_path / "stats.json"
    meter = BacklogMeter(file)
    assert meter.read() is None
    file.write_text('{"up_s": 1.0, "tot')
    assert meter.read() is None
    counters(file, 1.0, 1000, 0)
    assert meter.read() is not None
    assert meter.read() is None


@given(st.integers(0, 10**8), st.floats(0, 1e9), st.floats(0.01, 10))
def test_a_window_holds_a_time_of_the_rate(
    n_bytes: int, uplink_bps: float, window_s: float
) -> None:
    """One message may always leave; more only within the window."""
    assert has_room(0, uplink_bps, window_s)
    assert has_room(n_bytes, uplink_bps, None)
    assert has_room(n_bytes, float("inf"), window_s)
    is_in = n_bytes == 0 or 8 * n_bytes < uplink_bps * window_s
    assert has_room(n_bytes, uplink_bps, window_s) == is_in


def judged(folder: Path, n_over: int, n_late: int, saved: float) -> Verdict:
    """The verdict of a run of 100 periods and 100 messages."""
    run = Run.create(folder, "deploy.live", LiveConfig())
    repeat = {"repeat": 0, "busy": 0.1, "late_p99_s": 0.01, "ack_share": 0.02}
    run.write(REPEATS, [{**repeat, "pull_bps": 1e8, "n_restarts": 0}])
    run.write(
        PERIODS,
        [
            {
                "repeat": 0,
                "begins_s": float(n),
                "late_s": 0.0,
                "is_overshoot": n < n_over,
            }
            for n in range(100)
        ],
    )
    status = ["late"] * n_late + ["scored"] * (100 - n_late) + ["not granted"] * 20
    run.write(
        MESSAGES,
        [
            {
                "repeat": 0,
                "number": n,
                "status": one,
                "scored_s": 1.0,
                "received_s": 1.0,
            }
            for n, one in enumerate(status)
        ],
    )
    move = {"repeat": 0, "planned_saved_bits": 8e6, "saved_bits": 8e6 * saved}
    run.write(MOVES, [move])
    return judge_run(LiveConfig(), run)


def test_promises_that_were_kept_are_said_and_do_not_speak_against_a_run(
    tmp_path: Path,
) -> None:
    """Within the share of periods, of late messages and of the saving."""
    verdict = judged(tmp_path, 6, 2, 0.95)
    assert verdict.is_valid
    assert len(verdict.remarks) == 3
    assert "2 of 100 messages that were sent came late" in " ".join(verdict.remarks)


@pytest.mark.parametrize(
    ("n_over", "n_late", "saved", "words"),
    [
        (18, 0, 1.0, "rate periods were granted or sent more"),
        (0, 3, 1.0, "came late or not at all"),
        (0, 0, 0.67, "of the saving that moves promised did not come"),
    ],
)
def test_promises_that_were_broken_make_a_run_not_valid(
    tmp_path: Path, n_over: int, n_late: int, saved: float, words: str
) -> None:
    """Each by itself; 18 % of seconds over and 67 % of the saving were once valid."""
    verdict = judged(tmp_path, n_over, n_late, saved)
    assert len(verdict.reasons) == 1
    assert words in verdict.reasons[0]


NOTHING = Placement(status="optimal", value=0.0, bound=0.0, gateway_of={})


def test_the_loop_goes_on_while_a_placement_is_planned() -> None:
    """What is there late is taken once, for the slot that asked for it."""

    async def body() -> None:
        ready, pending = asyncio.Event(), PendingPlacement(0.01)
        n_asked = 0

        async def plan() -> Placement:
            nonlocal n_asked
            n_asked += 1
            await ready.wait()
            return NOTHING

        for slot_s in (15.0, 30.0):
            await pending.ask(slot_s, plan)
            assert pending.take() is None
        ready.set()
        await pending.ask(45.0, plan)
        await asyncio.sleep(0)  # the plan ends
        await asyncio.sleep(0)
        assert pending.take() == (NOTHING, 15.0)
        assert (pending.take(), n_asked) == (None, 1)

    asyncio.run(body())
