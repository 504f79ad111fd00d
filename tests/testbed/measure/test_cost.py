"""The models of price and energy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.testbed.measure.samples import (
    Energy,
    Prices,
    Usage,
    j_per_request,
    usd_per_request,
)

PRICES = Prices(
    usd_per_node_hour={"edge": 0.036, "cloud": 0.36}, usd_per_gb={"edge->cloud": 0.09}
)
ENERGY = Energy(
    j_per_cpu_s={"edge": 5.0, "cloud": 20.0}, j_per_byte={"edge->cloud": 1e-6}
)
USAGE = Usage(
    n_requests=100,
    duration_s=100.0,
    cpu_s={"edge": 10.0, "cloud": 4.0},
    link_bytes={"edge->cloud": 1e8, "cloud->edge": 1e6},
)


def test_price_by_hand() -> None:
    """100 s of two nodes and 0.1 GB: (0.001 + 0.01 + 0.009) USD over 100 requests."""
    assert usd_per_request(USAGE, PRICES) == pytest.approx(0.02 / 100)


def test_energy_by_hand() -> None:
    """10 s at 5 W, 4 s at 20 W and 1e8 bytes at 1 µJ: 230 J over 100 requests."""
    assert j_per_request(USAGE, ENERGY) == pytest.approx(2.3)


def test_what_has_no_coefficient_costs_nothing() -> None:
    """Without coefficients the models say zero, they do not guess."""
    assert usd_per_request(USAGE, Prices()) == 0
    assert j_per_request(USAGE, Energy()) == 0


@given(factor=st.integers(1, 1000))
def test_more_of_the_same_costs_the_same_per_request(factor: int) -> None:
    """Cost and energy of a request do not depend on how many there were."""
    more = Usage(
        n_requests=USAGE.n_requests * factor,
        duration_s=USAGE.duration_s * factor,
        cpu_s={name: value * factor for name, value in USAGE.cpu_s.items()},
        link_bytes={name: value * factor for name, value in USAGE.link_bytes.items()},
    )
    assert usd_per_request(more, PRICES) == pytest.approx(
        usd_per_request(USAGE, PRICES)
    )
    assert j_per_request(more, ENERGY) == pytest.approx(j_per_request(USAGE, ENERGY))


def test_bad_numbers_are_refused() -> None:
    """Negative coefficients and empty usage are mistakes."""
    with pytest.raises(ValueError, match="price of edge"):
        Prices(usd_per_node_hour={"edge": -1.0})
    with pytest.raises(ValueError, match="energy of a->b"):
        Energy(j_per_byte={"a->b": float("nan")})
    with pytest.raises(ValueError, match="found 0"):
        Usage(n_requests=0, duration_s=1.0)
