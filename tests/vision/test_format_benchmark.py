"""One model by every runtime and precision."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from midhaul.cli.app import app
from midhaul.errors import ConfigError, DataError
from midhaul.vision.data.builtin_data import builtin_dataset
from midhaul.vision.evaluation import evaluate
from midhaul.vision.format_benchmark import benchmark_formats, formats_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A detector of midhaul as somebody's file with a card."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for end in ("onnx", "toml"):
        source = resources.files("midhaul.vision") / "weights" / f"street-n.{end}"
        with resources.as_file(source) as file:
            shutil.copy(file, tmp_path / f"own.{end}")
    return tmp_path / "own.onnx"


def test_every_format_has_its_accuracy_time_and_size(model: Path) -> None:
    """AP is that of evaluate; what cannot be run says why, and nothing is left out."""
    dataset = builtin_dataset(2)
    results, _ = benchmark_formats(formats_of(str(model), None), dataset)
    by = {(one.runtime, one.precision): one for one in results}
    whole, dynamic = by["onnx", "fp32"], by["onnx", "int8-dynamic"]
    assert whole.ap == pytest.approx(evaluate(f"onnx:{model}", dataset).coco().ap)
    for one in (whole, dynamic):
        assert one.low_ms is not None
        assert one.median_ms is not None
        assert one.high_ms is not None
        assert 0 < one.low_ms <= one.median_ms <= one.high_ms
    assert whole.size_bytes == model.stat().st_size
    assert dynamic.size_bytes != whole.size_bytes
    assert "calibrate" in by["onnx", "int8"].why_not
    assert all((one.ap is None) == bool(one.why_not) for one in results)


def test_the_command_prints_a_row_for_each_format(model: Path) -> None:
    """Also for one whose library is missing."""
    words = ["models", "benchmark", str(model), "--n-images", "1", "--json"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    rows = json.loads(said.stdout)["formats"]
    assert [(one["runtime"], one["precision"]) for one in rows] == [
        ("onnx", "fp32"), ("onnx", "int8-dynamic"), ("onnx", "int8"),
        ("openvino", "fp32"),
    ]  # fmt: skip
    text = CliRunner().invoke(app, words[:-1]).stdout
    assert "int8-dynamic" in text


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    """So is one that runs in no format, with the reason of each."""
    with pytest.raises(ConfigError, match="no file of a model"):
        formats_of("builtin:street-n", None)
    with pytest.raises(DataError, match="does not exist"):
        formats_of(str(tmp_path / "a.onnx"), None)
    broken = tmp_path / "a.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"runs in no format: onnx: .*not a model"):
        benchmark_formats(formats_of(str(broken), None), builtin_dataset(1))
