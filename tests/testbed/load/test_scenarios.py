"""What a scenario may be, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.testbed.load.scenarios import (
    Bursts,
    MultiStream,
    Offline,
    SingleStream,
    Stop,
    cycle_length,
    node_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@given(in_a_row=st.integers(1, 20), n_nodes=st.integers(1, 9))
def test_a_cycle_gives_every_node_its_burst(in_a_row: int, n_nodes: int) -> None:
    """Over one cycle each node is asked the same number of times, in a row."""
    scenario = Bursts(requests=in_a_row)
    length = cycle_length(scenario, n_nodes)
    turns = [node_of(scenario, request, n_nodes) for request in range(length)]
    assert Counter(turns) == dict.fromkeys(range(n_nodes), in_a_row)
    assert turns == sorted(turns)


def test_nodes_take_turns() -> None:
    """Without bursts the node changes with every request."""
    turns = [node_of(SingleStream(), request, 3) for request in range(5)]
    assert turns == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: MultiStream(images_per_request=0), "images_per_request"),
        (lambda: Offline(in_flight=0), "in_flight"),
        (lambda: Bursts(requests=0), "requests"),
        (lambda: Bursts(images_per_request=0), "images_per_request"),
        (Stop, "count or a duration_s"),
        (lambda: Stop(count=0), "count"),
        (lambda: Stop(duration_s=0.0), "duration_s"),
    ],
)
def test_nothing_to_send_is_refused(make: Callable[[], object], fault: str) -> None:
    """A scenario or a stop without requests is a mistake."""
    with pytest.raises(ValueError, match=fault):
        make()
