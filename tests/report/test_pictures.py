"""Charts as pictures."""

from __future__ import annotations

import struct

import altair as alt

from midhaul.report import Figure, figure_png


def test_picture_is_a_png_of_the_scale_asked_for() -> None:
    """Twice the scale gives twice the pixels."""
    data = alt.InlineData(values=[{"a": 1}])
    chart = alt.Chart(data).mark_bar().encode(x="a:Q").properties(width=100)
    figure = Figure(title="t", chart=chart)
    sizes = []
    for scale in (1.0, 2.0):
        picture = figure_png(figure, scale=scale)
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        sizes.append(struct.unpack(">II", picture[16:24]))
    (width, height), larger = sizes
    assert abs(larger[0] - 2 * width) <= 2
    assert abs(larger[1] - 2 * height) <= 2
