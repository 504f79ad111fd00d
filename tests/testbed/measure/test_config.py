"""The experiment files of the testbed."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from midhaul.testbed.measure import config
from midhaul.testbed.measure.config import AccuracyConfig, MeasureConfig, OverheadConfig

CLOUD = {"name": "cloud", "role": "cloud", "detector": "null"}
EDGE = {"name": "edge1", "role": "edge", "cloud": "cloud", "forward": "image"}


def measure(**changes: object) -> MeasureConfig:
    """A measure config read as from a file."""
    data = {"kind": "testbed.measure", "nodes": [CLOUD, EDGE], **changes}
    return MeasureConfig.model_validate_json(json.dumps(data))


@pytest.mark.parametrize("kind", [AccuracyConfig, MeasureConfig, OverheadConfig])
def test_defaults_are_a_whole_experiment(kind: type[BaseModel]) -> None:
    """Every kind runs without a single key."""
    assert kind()


def test_every_key_is_described() -> None:
    """Help texts and the reference are made from the descriptions."""
    sections = [
        value
        for value in vars(config).values()
        if isinstance(value, type) and issubclass(value, BaseModel)
    ]
    for section in sections:
        for key, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{key}"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nodes": [CLOUD]}, "at least one node with role"),
        ({"nodes": [CLOUD, EDGE, EDGE]}, "unique"),
        ({"nodes": [CLOUD, EDGE | {"cloud": "nowhere"}]}, "which is no cloud"),
        ({"nodes": [CLOUD, EDGE | {"forward": "uncertain"}]}, "runs no detector"),
        ({"nodes": [CLOUD | {"forward": "image"}, EDGE]}, "forwards to nobody"),
        ({"nodes": [CLOUD, EDGE | {"encode": "jpeg:101"}]}, "pattern"),
        ({"links": [{"source": "edge1", "target": "workload"}]}, "workload->edge1"),
        ({"data": {"kind": "yolo"}}, "data of kind yolo needs images"),
        ({"data": {"kind": "coco", "images": "x"}}, "coco needs annotations"),
        ({"load": {"arrivals": "file"}}, "needs the key file"),
        ({"load": {"rate_hz": "10"}}, "valid number"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], text: str) -> None:
    """What cannot run is refused before anything starts."""
    with pytest.raises(ValidationError, match=text):
        measure(**changes)
