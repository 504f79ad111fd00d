"""Numbers as people read them."""

from __future__ import annotations

import math

from midhaul.report.numbers import between, duration_text, rate, size_text


def test_numbers_have_fitting_units() -> None:
    """Times, bytes and rates are written in the unit that people would take."""
    assert duration_text(1.7) == "1.7 s"
    assert duration_text(0.0123) == "12.3 ms"
    assert duration_text(5e-5) == "50 µs"
    assert duration_text(600) == "10 min"
    assert size_text(1_234_567) == "1.23 MB"
    assert size_text(999) == "999 B"
    assert rate(20e6).text == "20 Mbit/s"
    assert rate(math.inf).text == "unlimited"
    assert rate(None).text == "–"
    assert between("1 ms", "2 ms") == "1 – 2 ms"
    assert between("900 µs", "1 ms") == "900 µs – 1 ms"
