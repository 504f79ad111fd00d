"""One way to write a number, for terminal, report and docs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.model.numbers import NumberForm, digits, form_for


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (61.0, "61"),
        (0.000123, "0.000123"),
        (-0.0004, "-0.0004"),
        (1e-9, "1.00e-09"),
        (math.nan, "–"),
        (math.inf, "inf"),
    ],
)
def test_three_digits_and_no_exponent(value: float, text: str) -> None:
    """What people meet has no exponent, and thousands are parted."""
    assert digits(value) == text


@pytest.mark.parametrize(
    ("form", "value", "low", "high", "text"),
    [
        ("duration", 0.2512, 0.2284, 0.2749, ("251 ms", "228 – 275")),
        ("duration", 0.0623, 0.0421, 0.0822, ("62 ms", "42 – 82")),
        ("duration", 59.9, 58.0, 130.0, ("60 s", "58 – 130")),
        ("size", 20_312.0, 20_174.0, 20_443.0, ("20.31 kB", "20.17 – 20.44")),
        ("share", 0.25, 0.2, 0.31, ("25.0 %", "20.0 – 31.0")),
        ("{:.3f}", 0.36149, 0.33, 0.39, ("0.361", "0.330 – 0.390")),
        ("usd_of_1000", 0.0015, 0.0012, 0.0019, ("1.50 USD", "1.20 – 1.90")),
        ("{:.3g}", 3.934, 3.934, 3.934, ("3.93", "3.93 – 3.93")),
    ],
)
def test_a_number_is_as_exact_as_its_interval(
    form: str, value: float, low: float, high: float, text: tuple[str, str]
) -> None:
    """All three have one unit, and two digits of half the interval's width."""
    assert NumberForm(form).estimate(value, low, high) == text


def test_a_metric_without_a_form_has_that_of_its_unit() -> None:
    """A unit is written once: in the heading, or behind the number."""
    assert form_for("{:.3g}", "s").text(0.02) == "20 ms"
    assert form_for("{:.3g}", "Hz").text(3.93) == "3.93 Hz"
    assert form_for("{:.3g}", "Hz", is_unit_said=True).text(3.93) == "3.93"
    assert form_for("share", "").text(0.5) == "50 %"


@given(st.sampled_from(["duration", "size", "rate", "share", "{:.3g}"]),
       st.floats(-1e15, 1e15))  # fmt: skip
def test_every_number_is_near_what_is_written(form: str, value: float) -> None:
    """Three digits are right to half a percent, whatever the unit."""
    number, _, unit = NumberForm(form).text(value).partition(" ")
    factor = {"h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6, "%": 0.01}
    factor |= {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "": 1}
    factor |= {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}
    found = float(number.replace(",", "")) * factor[unit]
    assert found == pytest.approx(value, rel=6e-3, abs=1e-14)
