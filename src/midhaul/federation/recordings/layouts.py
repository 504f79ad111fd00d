"""Layouts of recorded answers by name: who reads each, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.federation.recordings.problem import Recording

_HERE = "midhaul.federation.recordings"
_PRICED = ("prices_usd", "tally")

LAYOUTS: Registry[Callable[..., Recording]] = Registry(
    "layout of recorded answers",
    {
        "parquet": Entry(
            place=f"{_HERE}.parquet:read_parquet",
            options=("task", "truth_file", "price_usd", *_PRICED),
        ),
        "armol": Entry(
            place=f"{_HERE}.armol:read_armol",
            options=("split", "labels", "price_usd", *_PRICED),
        ),
        "frugalml": Entry(place=f"{_HERE}.frugal:read_frugalml", options=_PRICED),
        "frugalmct": Entry(place=f"{_HERE}.frugal:read_frugalmct", options=_PRICED),
        "coco": Entry(
            place=f"{_HERE}.coco_results:read_coco_results",
            options=("truth_file", "price_usd", *_PRICED),
        ),
    },
)
"""Who reads each layout."""

if TYPE_CHECKING:
    Layout = RecordingKind = str
else:  # a Literal in a config, so that its mistakes and its reference list the names
    Layout = Literal[LAYOUTS.names]
    RecordingKind = Literal["builtin", *LAYOUTS.names]
