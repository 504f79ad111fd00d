"""Colours and marks that people can tell apart, on every page the same."""

from __future__ import annotations

import itertools

import pytest
import vl_convert

from midhaul.report.theme import (
    LANGUAGE_VERSION,
    PALETTE,
    SECOND_PALETTE,
    colour_scale,
    shape_scale,
)


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [PALETTE, SECOND_PALETTE])
def test_colours_stand_out_from_white(palette: tuple[str, ...]) -> None:
    """No colour is too faint, and no two are alike."""
    assert all(1.05 / (luminance(c) + 0.05) > 2.1 for c in palette)
    for a, b in itertools.combinations(palette, 2):
        apart = [abs(int(a[i : i + 2], 16) - int(b[i : i + 2], 16)) for i in (1, 3, 5)]
        assert sum(apart) > 40, (a, b)


def test_many_names_reuse_colours_with_other_marks() -> None:
    """Names that share a colour differ in their mark."""
    names = [f"detector {i}" for i in range(2 * len(PALETTE))]
    colours = colour_scale(names).to_dict()["range"]
    marks = shape_scale(names).to_dict()["range"]
    looks = set(zip(colours, marks, strict=True))
    assert len(looks) == len(names)


def test_library_speaks_the_language_of_the_charts() -> None:
    """The drawing library that is written into pages has the version of Altair."""
    assert LANGUAGE_VERSION in vl_convert.get_vegalite_versions()
