"""What a pacer does with knobs while messages wait."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midhaul.deploy.uplink_control import RUNGS, BackPressure


def test_a_short_queue_changes_nothing() -> None:
    """What leaves long before its deadline is no reason to send less."""
    pressure = BackPressure(10.0)
    for _ in range(5):
        pressure.look(granted_bps=1e6, waiting_bits=4e6, left_bps=1e6)
    assert (pressure.share, pressure.n_steps_down) == (1.0, 0)


def test_a_long_queue_lowers_knobs_to_what_lets_it_leave() -> None:
    """6 s of messages wait: one second's worth has to leave within five."""
    pressure = BackPressure(10.0)
    share = pressure.look(granted_bps=1e6, waiting_bits=6e6, left_bps=1e6)
    assert share == max(rung for rung in RUNGS if rung <= 0.8)
    assert pressure.n_steps_down == 1


def test_a_dead_link_is_offered_nothing_and_taken_up_step_by_step() -> None:
    """Down to nothing long before the deadline, up one rung at a look."""
    pressure = BackPressure(10.0)
    waiting_bits, n_looks = 0.0, 0
    while pressure.share:
        waiting_bits += pressure.share * 1e6
        n_looks += 1
        pressure.look(granted_bps=1e6, waiting_bits=waiting_bits, left_bps=0.0)
    assert n_looks <= 9
    # Dropped messages leave an empty queue too, and that says nothing of the link.
    dropped = [
        pressure.look(granted_bps=1e6, waiting_bits=0.0, left_bps=0.0) for _ in range(4)
    ]
    assert set(dropped) == {0.0}
    found = [
        pressure.look(granted_bps=1e6, waiting_bits=0.0, left_bps=5e5)
        for _ in range(20)
    ]
    assert found == sorted(found)
    assert 0 < found[0] < 0.5
    assert found[-1] >= 0.75


def test_a_dead_link_is_tried_with_little_from_time_to_time() -> None:
    """Nobody says when it is back, so now and then a tenth of the grant is sent."""
    pressure = BackPressure(10.0)
    for n_waiting in (4, 8, 12, 16):
        pressure.look(granted_bps=1e6, waiting_bits=n_waiting * 1e6, left_bps=0.0)
    shares: list[float] = []
    for _ in range(30):
        waiting_bits = 1e5 if shares and shares[-1] else 0.0
        shares.append(
            pressure.look(granted_bps=1e6, waiting_bits=waiting_bits, left_bps=0.0)
        )
    assert set(shares) == {0.0, RUNGS[-2]}
    assert shares.count(RUNGS[-2]) <= 6


def test_a_new_period_begins_on_its_own_grant() -> None:
    """What was granted for it was granted in the light of what waits."""
    pressure = BackPressure(10.0)
    pressure.look(granted_bps=1e6, waiting_bits=8e6, left_bps=0.0)
    assert (pressure.share, pressure.n_steps_down) == (0.1, 1)
    pressure.begin()
    assert (pressure.share, pressure.n_steps_down) == (1.0, 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 1e7)), min_size=1, max_size=30),
    st.floats(0, 1e7),
)
def test_shares_are_rungs_whatever_happens(
    looks: list[tuple[float, float]], granted_bps: float
) -> None:
    """Never above the grant, never below nothing, and up only where nothing waits."""
    pressure = BackPressure(10.0)
    before = 0
    for waiting_bits, left_bps in looks:
        share = pressure.look(
            granted_bps=granted_bps, waiting_bits=waiting_bits, left_bps=left_bps
        )
        assert share == RUNGS[pressure.rung]
        assert pressure.rung >= before or share * granted_bps <= 2.0001e7
        before = pressure.rung
