"""``midhaul check``: what it takes, what it prints, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.tiny_coco import write_coco
from typer.testing import CliRunner

from midhaul.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path


def test_a_clean_data_set(tmp_path: Path) -> None:
    """A data set without a mistake ends with 0, by its file and by its folder."""
    coco = write_coco(tmp_path / "data")
    for target in (coco.annotations, tmp_path / "data"):
        result = CliRunner().invoke(app, ["check", str(target)])
        assert result.exit_code == 0, result.output
        assert "4 images, 4 boxes, 1 classes: clean" in result.output


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    """Mistakes end with 2 and stand in the JSON with what mends them."""
    coco = write_coco(tmp_path / "data")
    document = json.loads(coco.annotations.read_text())
    for row in document["annotations"][:2]:
        row["category_id"] = 5
    coco.annotations.write_text(json.dumps(document))
    coco.images[3].write_bytes(coco.images[3].read_bytes()[:200])
    result = CliRunner().invoke(app, ["check", str(coco.annotations), "--json"])
    assert result.exit_code == 2
    (checked,) = json.loads(result.stdout)
    assert len(checked["faults"]) == 3
    assert all(fault["hint"] for fault in checked["faults"])


def test_experiments_and_detectors(tmp_path: Path) -> None:
    """An experiment is checked with its data and detectors, several targets at once."""
    coco = write_coco(tmp_path / "data")
    coco.images[0].unlink()
    file = tmp_path / "run.toml"
    file.write_text(
        f'kind = "testbed.accuracy"\ndetectors = ["builtin:street-n"]\n[data]\n'
        f'kind = "coco"\nimages = "{coco.images[0].parent}"\n'
        f'annotations = "{coco.annotations}"\n'
    )
    result = CliRunner().invoke(app, ["check", str(file), "builtin:street-s"])
    assert result.exit_code == 2
    assert "000000000001.jpg not found" in result.output
    assert "street-s, 10 classes: clean" in result.output
    file.write_text('kind = "testbed.accuracy"\ndetector = ["null"]\n')
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 2
    assert "detector" in result.output
