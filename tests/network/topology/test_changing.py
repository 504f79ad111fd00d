"""Links that follow a trace: when, how often, and what is said of one that ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.network.topology import Cable, star, with_trace
from midhaul.traces import Trace

STAR = star(2, access=Cable(rate_bps=1e9))


def trace_of(rates: list[float], last_s: float = 1.0) -> Trace:
    """A trace of a second for each rate, but for the last."""
    n = len(rates)
    return Trace(
        name="lte",
        times_s=np.arange(n, dtype=np.float64),
        rates_bps=np.array(rates, np.float64),
        length_s=n - 1 + last_s,
    )


@given(
    st.lists(st.sampled_from([0.0, 1e6, 2e6]), min_size=1, max_size=6).filter(any),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.sampled_from([0.5, 1.0, 3.75, 20.0]),
)
def test_the_rate_at_any_time_is_that_of_the_trace(
    rates: list[float], last_s: float, until_s: float
) -> None:
    """Changes say what the trace says, and only where it changes."""
    trace = trace_of(rates, last_s)
    topology = with_trace(STAR, "host0->switch", trace, until_s=until_s)
    link = next(one for one in topology.links if one.name == "host0->switch")
    times, found = np.array(link.rate_changes).T
    assert (np.diff(times) > 0).all()
    assert (np.diff(found) != 0).all()
    assert times[0] == 0
    for at in np.arange(0, until_s, 0.125):
        i = int(np.searchsorted(times, at, side="right")) - 1
        assert found[i] == trace.rate_at(float(at))
    assert link.rate_bps == trace.mean_bps
    others = [one for one in topology.links if one.name != link.name]
    assert others == [one for one in STAR.links if one.name != link.name]


def test_a_trace_that_ends_says_so() -> None:
    """Without starting again it must be as long as it is needed."""
    trace = trace_of([1e6, 2e6])
    with pytest.raises(
        DataError, match="trace lte ends at 2 s, it is needed until 3 s"
    ):
        with_trace(STAR, "host0->switch", trace, until_s=3, loops=False)
    with_trace(STAR, "host0->switch", trace, until_s=2, loops=False)


def test_what_no_link_can_follow_is_refused() -> None:
    """Unknown links, times and traces that carry nothing."""
    trace = trace_of([1e6, 2e6])
    with pytest.raises(ConfigError, match="did you mean 'host0->switch'"):
        with_trace(STAR, "host0->swich", trace, until_s=3)
    with pytest.raises(ConfigError, match="until_s must be above 0"):
        with_trace(STAR, "host0->switch", trace, until_s=0)
    with pytest.raises(ConfigError, match="more than 10,000,000 changes"):
        with_trace(STAR, "host0->switch", trace, until_s=1e9)
    with pytest.raises(DataError, match="trace lte carries nothing"):
        with_trace(STAR, "host0->switch", trace_of([0.0]), until_s=1)
