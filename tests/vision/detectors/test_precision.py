"""ONNX Runtime's providers and precisions, and OpenVINO: as asked, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.support.family_models import HEIGHT, NAMES, WIDTH
from tests.support.family_table import MODELS, NAMES_TEXT

from midhaul.errors import ConfigError, DataError, PrerequisiteError
from midhaul.vision.detectors.checks import check_detector
from midhaul.vision.detectors.detector import load_detector, short_name

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {model.name: model for model in MODELS}
RNG = np.random.default_rng(4)
PICTURE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A convolution with the head of FastestDet, and the options that it needs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    n = 5 + len(NAMES)
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.2, (n, 3, 16, 16)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["c"], strides=[16, 16]),
            helper.make_node("Sigmoid", ["c"], ["out"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH]
            )
        ],
        [
            helper.make_tensor_value_info(
                "out", TensorProto.FLOAT, [1, n, HEIGHT // 16, WIDTH // 16]
            )
        ],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    file = tmp_path / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
    (tmp_path / "names").write_text(NAMES_TEXT)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    return f"onnx:{file}?labels={tmp_path / 'names'}&score_threshold=0"


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8"])
def test_eight_bits_answer_nearly_the_same(
    network: str, tmp_path: Path, precision: str
) -> None:
    """Quantised once, kept, and close to single precision; the name says so."""
    spec = f"{network}&precision={precision}"
    if precision == "int8":
        spec += f"&calibration={tmp_path / 'pictures'}"
    whole = load_detector(network).detect(PICTURE)
    detector = load_detector(spec)
    found = detector.detect(PICTURE)
    assert detector.name == f"conv ({precision})"
    assert precision in short_name(spec)
    assert not np.array_equal(found.scores, whole.scores)
    assert found.scores == pytest.approx(whole.scores, abs=0.1)
    (kept,) = (tmp_path / "cache/midhaul/quantised").glob("*.onnx")
    kinds = {one.op_type for one in onnx.load(kept).graph.node}
    assert kinds & {"ConvInteger", "QuantizeLinear"}
    made = kept.stat().st_mtime_ns
    assert np.array_equal(load_detector(spec).detect(PICTURE).scores, found.scores)
    assert kept.stat().st_mtime_ns == made


def test_old_operator_sets_have_a_scale_for_each_channel_too(
    network: str, tmp_path: Path
) -> None:
    """The model is converted to a set that can say them."""
    file = tmp_path / "conv.onnx"
    model = onnx.load(file)
    model.opset_import[0].version = 11
    onnx.save(model, file)
    load_detector(f"{network}&precision=int8&calibration={tmp_path / 'pictures'}")
    (kept,) = (tmp_path / "cache/midhaul/quantised").glob("*.onnx")
    sizes = {
        numpy_helper.to_array(one).size
        for one in onnx.load(kept).graph.initializer
        if "w_scale" in one.name
    }
    assert sizes == {5 + len(NAMES)}


def test_static_quantisation_needs_pictures(network: str, tmp_path: Path) -> None:
    """They are asked for by their option, and no others take them."""
    with pytest.raises(ConfigError, match="needs a folder") as error:
        load_detector(f"{network}&precision=int8")
    assert "calibration=DIR" in error.value.hint
    with pytest.raises(ConfigError, match="needs a folder"):
        load_detector(f"{network}&calibration={tmp_path}")
    with pytest.raises(ConfigError, match="precision 'int4'"):
        load_detector(f"{network}&precision=int4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image found"):
        load_detector(f"{network}&precision=int8&calibration={tmp_path / 'empty'}")


def test_a_provider_that_is_not_there_is_no_cpu(network: str) -> None:
    """What is there is named, and what brings the other."""
    known = onnxruntime.get_available_providers()
    missing = next(
        name
        for name in ("cuda", "openvino", "dml")
        if not any(one.lower().startswith(name) for one in known)
    )
    with pytest.raises(PrerequisiteError, match=r"has no provider .*cpu") as error:
        load_detector(f"{network}&provider={missing}")
    assert "onnxruntime-" in error.value.hint
    assert len(load_detector(f"{network}&provider=cpu").detect(PICTURE)) > 0


def test_a_provider_that_lacks_operators_is_no_cpu(network: str) -> None:
    """ONNX Runtime would run them on the CPU without a word."""
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has only a provider that has every operator")
    with pytest.raises(PrerequisiteError, match="cannot be run by Azure"):
        load_detector(f"{network}&provider=azure")


@pytest.mark.parametrize("name", ["yolov8", "yolo11-half", "detr-hf", "efficientdet"])
def test_openvino_answers_as_onnx_runtime(tmp_path: Path, name: str) -> None:
    """The same file, recognised and read the same."""
    pytest.importorskip("openvino", reason="compared where OpenVINO is at hand")
    names = tmp_path / "names"
    names.write_text(NAMES_TEXT)
    options = BY_NAME[name].options.replace("NAMES", str(names))
    file = BY_NAME[name].write(tmp_path)
    detector = load_detector(f"openvino:{file}{options}")
    found = detector.detect(PICTURE)
    other = load_detector(f"onnx:{file}{options}").detect(PICTURE)
    assert found.boxes == pytest.approx(other.boxes, abs=0.05)
    assert found.labels.tolist() == other.labels.tolist()
    assert detector.name == f"{name} (OpenVINO)"
    check_detector(lambda: detector)


def test_a_file_that_is_no_model_of_openvino_is_refused(tmp_path: Path) -> None:
    """The error names it."""
    pytest.importorskip("openvino", reason="compared where OpenVINO is at hand")
    file = tmp_path / "a.xml"
    file.write_text("<net/>")
    with pytest.raises(DataError, match=r"a\.xml is not a model"):
        load_detector(f"openvino:{file}?labels=coco80")
