"""Specs of detectors and the discovery that every runtime keeps the protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.tiny_onnx import write_boxes_model

from midhaul.errors import ConfigError, DataError, PrerequisiteError
from midhaul.vision.detectors.builtin import builtin_names
from midhaul.vision.detectors.checks import check_detector
from midhaul.vision.detectors.detector import (
    DetectorSpec,
    caveat,
    load_detector,
    parse_spec,
    short_name,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_spec_is_taken_apart() -> None:
    """Kind, location and options, whatever signs the path holds."""
    spec = parse_spec("recorded:a+b%20/c:d.parquet?provider=x y&cv=0.2")
    assert spec == DetectorSpec(
        kind="recorded",
        location="a+b%20/c:d.parquet",
        options={"provider": "x y", "cv": "0.2"},
    )
    assert parse_spec("null") == DetectorSpec(kind="null")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("onx:a.onnx", "choose one of: builtin, onnx"),
        ("", "choose one of"),
        ("onnx:", "onnx:model.onnx"),
        ("null:x", "for example null"),
        ("onnx:a.onnx?crd=b", "did you mean card?"),
        ("onnx:a.onnx?card", ""),
        ("onnx:a.onnx?card=a&card=b", ""),
        ("onnx:a.onnx?", "choose one of: card"),
        ("builtin:street-n?card=a", "max_detections"),
        ("null?service_s=soon", "service_s=0.05"),
        ("null?service_s=-1", "service_s=0.05"),
        ("null?service_s=inf", "service_s=0.05"),
        ("builtin:stret-n", "did you mean street-n?"),
        ("onnx:model.tflite", "did you mean tflite:model.tflite?"),
        ("tflite:model.onnx", "did you mean onnx:model.onnx?"),
        ("onnx:model.pt", ""),
    ],
)
def test_mistakes_in_specs_say_what_was_meant(spec: str, hint: str) -> None:
    """Each wrong spec ends in one error with a hint."""
    if spec.startswith("tflite"):
        pytest.importorskip("ai_edge_litert")
    with pytest.raises(ConfigError) as error:
        load_detector(spec)
    assert hint in error.value.hint
    assert error.value.message


def test_threads_must_be_there() -> None:
    """Inference needs one thread at least."""
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        load_detector("null", threads=0)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("null", "null"),
        ("builtin:street-n", "street-n"),
        ("onnx:models/FastestDet.onnx", "FastestDet"),
        ("recorded:a.parquet?provider=yolo", "yolo"),
        ("recorded:a/b.parquet", "b"),
        ("torchvision:ssd300_vgg16", "ssd300_vgg16"),
        ("torchvision:ssd300_vgg16?weights=none", "ssd300_vgg16 (random weights)"),
        ("torchvision:ssd300_vgg16?weights=a/b.pth", "ssd300_vgg16 (b)"),
    ],
)
def test_short_names_read_no_file(spec: str, name: str) -> None:
    """The name in charts follows from the spec alone."""
    assert short_name(spec) == name


def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without ONNX Runtime there is one line that says how to install it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "midhaul.vision.detectors.onnx", raising=False)
    with pytest.raises(PrerequisiteError, match="onnxruntime") as error:
        load_detector("onnx:model.onnx")
    assert error.value.hint == "pip install 'midhaul[detect]'"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two providers' detections on two images, with the sizes of the images."""
    rows = {
        "image_id": [7, 7, 8], "provider": ["a", "a", "b"],
        "label": ["car", "dog", "car"], "score": [0.5, 0.9, 0.4],
        "x1": [1.0, 2.0, 3.0], "y1": [1.0, 2.0, 3.0],
        "x2": [9.0, 90.0, 30.0], "y2": [9.0, 20.0, 30.0],
        "width": [80, 80, 60], "height": [60, 60, 60],
    }  # fmt: skip
    file = tmp_path / "recorded.parquet"
    pq.write_table(pa.table(rows), file)
    return file


def test_null_keeps_the_protocol() -> None:
    """It finds nothing, properly."""
    check_detector(lambda: load_detector("null"))


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_detectors_keep_the_protocol(name: str) -> None:
    """Each shipped detector loads and answers as the protocol says."""
    check_detector(lambda: load_detector(f"builtin:{name}"))


def test_onnx_keeps_the_protocol(tmp_path: Path) -> None:
    """A model from a file with its card beside it."""
    file = write_boxes_model(tmp_path)
    check_detector(lambda: load_detector(f"onnx:{file}"))


def test_recorded_keeps_the_protocol(recording: Path) -> None:
    """A recording with sizes follows every resize of its image."""
    check_detector(
        lambda: load_detector(f"recorded:{recording}?provider=a"),
        image_id="7",
        sizes=((60, 80), (30, 40), (1, 1), (121, 161)),
    )


@pytest.mark.needs_data
@pytest.mark.parametrize(
    "file", ["FastestDet", "yolo-fastestv2", "nanodet_m_320", "yolox_nano"]
)
def test_real_onnx_models_keep_the_protocol(data_dir: Path, file: str) -> None:
    """One real model of each decoder, fed by the card that ships."""
    check_detector(lambda: load_detector(f"onnx:{data_dir}/models/{file}.onnx"))


@pytest.mark.needs_data
def test_tflite_keeps_the_protocol(data_dir: Path) -> None:
    """The real TensorFlow Lite model, fed by the card that ships."""
    pytest.importorskip("ai_edge_litert")
    spec = f"tflite:{data_dir}/models/ssd_mobilenet_v1_quant.tflite"
    check_detector(lambda: load_detector(spec))


def test_the_checks_find_a_detector_that_breaks_the_protocol(recording: Path) -> None:
    """A recording asked for an image it does not know fails the suite."""
    spec = f"recorded:{recording}?provider=a"
    with pytest.raises(DataError, match="'9'"):
        check_detector(lambda: load_detector(spec), image_id="9")


def test_caveats_reach_the_reports(recording: Path) -> None:
    """Recorded answers say that they are; most detectors need no caveat."""
    assert caveat(load_detector("null")) == ""
    spec = f"recorded:{recording}?provider=a"
    assert "no service time" in caveat(load_detector(spec))
    assert "drawn" in caveat(load_detector(f"{spec}&service_s=0.1"))
