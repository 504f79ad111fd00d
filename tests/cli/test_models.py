"""``midhaul models inspect``: what is found, assumed and asked for, and a picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.support.family_models import HEIGHT, WIDTH
from tests.support.family_table import MODELS, NAMES_TEXT
from typer.testing import CliRunner

from midhaul.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {model.name: model for model in MODELS}


def test_a_model_is_inspected_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found and assumed, the boxes of one picture, and how to measure it."""
    monkeypatch.chdir(tmp_path)
    BY_NAME["yolov8"].write(tmp_path)
    said = CliRunner().invoke(app, ["models", "inspect", "yolov8.onnx"])
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0] == "onnx:yolov8.onnx: yolo"
    assert "  labels = [car, bus, person] (its metadata)" in lines
    assert lines.index("found") < lines.index("assumed")
    assert "2 boxes, 2 of at least 0.25: yolov8-boxes.jpg" in lines
    assert 'detectors=["onnx:yolov8.onnx"]' in lines[-1]
    with Image.open(tmp_path / "yolov8-boxes.jpg") as picture:
        assert min(picture.size) > 100


def test_what_has_to_be_said_ends_with_2(tmp_path: Path) -> None:
    """The keys are listed, no picture is drawn, and a word in the spec mends it."""
    file = BY_NAME["tensorrt-nms"].write(tmp_path)
    said = CliRunner().invoke(app, ["models", "inspect", str(file), "--json"])
    assert said.exit_code == 2
    found = json.loads(said.stdout)
    assert set(found["asked"]) == {"labels"}
    assert found["card"] is found["picture"] is None
    names, shown = tmp_path / "names", tmp_path / "shown.png"
    names.write_text(NAMES_TEXT)
    Image.new("RGB", (WIDTH, HEIGHT)).save(shown)
    out = tmp_path / "out.jpg"
    words = [f"{file}?labels={names}", "--image", str(shown), "--out", str(out)]
    said = CliRunner().invoke(app, ["models", "inspect", *words, "--json"])
    assert said.exit_code == 0
    found = json.loads(said.stdout)
    assert found["n_detections"] == 2
    assert found["card"]["labels"] == ["car", "bus", "person"]
    assert found["stated"] == ["labels = [car, bus, person]"]
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.onnx"], "does not exist"),
        (["model.pkl"], "no model that a card belongs to"),
        (["null"], "no model that a card belongs to"),
    ],
)
def test_what_is_no_model_is_refused(words: list[str], told: str) -> None:
    """One error that says what is expected."""
    said = CliRunner().invoke(app, ["models", "inspect", *words])
    assert told in str(said.exception) + said.output
    assert said.exit_code != 0
