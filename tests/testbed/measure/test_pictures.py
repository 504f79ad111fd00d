"""Worked examples for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tiny import four_images

from midhaul.testbed.measure.judging import N_IMAGES, write_examples

if TYPE_CHECKING:
    from pathlib import Path


def test_a_few_small_files_are_written(tmp_path: Path) -> None:
    """The busiest images, each under every configuration given."""
    dataset, answers = four_images()
    folder = tmp_path / "examples"
    write_examples(folder, dataset, {"one · a/b": answers, "two": answers}, 0.5)
    files = sorted(folder.iterdir())
    assert len(files) == 2 * N_IMAGES
    assert files[0].name == "Image_1--_one_·_a-b.jpg"
    assert all(file.stat().st_size < 50_000 for file in files)
