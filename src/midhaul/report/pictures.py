"""Charts as pictures, for documents and notebooks that cannot hold the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import vl_convert

from midhaul.report.theme import LANGUAGE_VERSION, specification

if TYPE_CHECKING:
    from midhaul.report.page import Figure


def figure_png(figure: Figure, *, scale: float = 2.0) -> bytes:
    """A figure as a PNG file, as it looks on the page.

    Args:
        figure: what to draw.
        scale: pixels per point of the chart; 2 suits high-resolution screens.
    """
    return vl_convert.vegalite_to_png(
        specification(figure), vl_version=LANGUAGE_VERSION, scale=scale
    )


def figure_svg(figure: Figure) -> str:
    """A figure as an SVG image, as it looks on the page."""
    return vl_convert.vegalite_to_svg(
        specification(figure), vl_version=LANGUAGE_VERSION
    )
