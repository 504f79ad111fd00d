"""Tests of judging a detector in one call."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest

import midhaul

if TYPE_CHECKING:
    from pathlib import Path


def test_it_finds_what_the_experiment_finds(tmp_path: Path) -> None:
    """In one call or as ``testbed.accuracy``: the same scores of the same images."""
    dataset = midhaul.open_dataset("builtin", n_images=10, seed=3)
    seen: list[None] = []
    found = midhaul.evaluate(
        "builtin:street-n", dataset, advance=lambda: seen.append(None)
    )
    assert len(seen) == len(dataset)
    config = midhaul.AccuracyConfig(
        kind="testbed.accuracy",
        seed=3,
        data={"kind": "builtin", "n_scenes": 10, "n_images": 0},  # type: ignore[arg-type]
        detectors=["builtin:street-n"],  # type: ignore[arg-type]
        jobs=1,
    )
    run = midhaul.run(config, out=tmp_path, quiet=True)
    scores = found.coco()
    for metric in ("ap", "ap50", "ap75"):
        value = run.summary.estimate(metric).value
        assert value == pytest.approx(getattr(scores, metric))
    assert run.verdict is not None
    assert found.verdict == run.verdict
    for text in found.verdict.remarks:
        assert html.escape(text) in found._repr_html_()


def test_a_data_set_of_many_images_shows_itself_in_a_line() -> None:
    """Neither the line nor the table grows with the images and their boxes."""
    few = midhaul.open_dataset("builtin", n_images=2)
    text = repr(few)
    assert text == 'Dataset("scenes-0-evaluation", 2 images, 10 labels)'
    many = midhaul.Dataset(
        name="many",
        names=few.names,
        image_ids=tuple(f"{i}" for i in range(5000)),
        truth={f"{i}": few.truth[few.image_ids[0]] for i in range(5000)},
        sizes={f"{i}": (640, 480) for i in range(5000)},
        source=few.source,
    )
    assert repr(many) == 'Dataset("many", 5,000 images, 10 labels)'
    assert "and 4,990 more" in many._repr_html_()
    assert len(many._repr_html_()) < 2 * len(
        many.subset(many.image_ids[:10])._repr_html_()
    )
