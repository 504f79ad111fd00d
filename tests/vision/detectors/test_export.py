"""The list of models that midhaul knows by name."""

from __future__ import annotations

import pytest

from midhaul.vision.detectors.detector import parse_spec
from midhaul.vision.detectors.export import known_models


def test_every_known_model_has_a_spec_and_a_licence() -> None:
    """Built in, by a shipped card, or of torchvision; no torch is needed to list."""
    models = known_models()
    kinds = {parse_spec(model.spec).kind for model in models}
    assert kinds == {"builtin", "onnx", "tflite", "torchvision"}
    assert len({model.name for model in models}) == len(models)
    assert all(model.licence for model in models)


def test_published_accuracy_is_given_where_authors_state_it() -> None:
    """As a fraction, for torchvision's detectors."""
    published = {one.name: one.published_ap for one in known_models()}
    assert published["fasterrcnn_resnet50_fpn"] == pytest.approx(0.37)
    assert published["yolox-nano_416"] is None
