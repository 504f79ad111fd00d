"""Settings of a node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from midhaul.errors import ConfigError, DataError
from midhaul.testbed.nodes.settings import VARIABLE, NodeFile, NodeSettings
from midhaul.vision.images.image import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

EDGE = NodeSettings(
    name="edge1",
    cloud="cloud",
    detector="null",
    preprocessing=Preprocessing(gray=True, resize=0.5, encode="jpeg:75"),
    forward="uncertain",
    cpu_limit=0.5,
)


def test_settings_survive_json() -> None:
    """Settings written as JSON and read again are equal."""
    assert NodeSettings.from_dict(json.loads(json.dumps(EDGE.to_dict()))) == EDGE


def test_variable_settings_can_be_changed() -> None:
    """A running node takes over detector, preprocessing and forwarding."""
    other = NodeSettings(name="edge1", cloud="cloud", forward="image")
    changed = EDGE.changed(other.variable())
    assert changed.forward == "image"
    assert changed.detector is None
    assert changed.preprocessing.is_identity
    assert changed.cpu_limit == EDGE.cpu_limit
    assert set(other.variable()) == set(VARIABLE)


def test_an_empty_detector_is_none() -> None:
    """The empty text of an experiment file means no detector."""
    assert EDGE.changed({"detector": "", "forward": "image"}).detector is None


@pytest.mark.parametrize(
    "values",
    [
        {"name": "other"},
        {"threads": 2},
        {"forward": "everything"},
        {"forward_below": "high"},
        {"detector": 3},
        {"preprocessing": {"resize": 0.5, "colour": True}},
        {"preprocessing": {"encode": "jpeg:101"}},
        {"preprocessing": {"resize": "half"}},
        {"preprocessing": 5},
        {"detector": None},
    ],
)
def test_a_change_that_does_not_fit_is_refused(values: dict[str, Any]) -> None:
    """A fixed setting, a wrong type or a contradiction is a ConfigError."""
    with pytest.raises(ConfigError):
        EDGE.changed(values)


@pytest.mark.parametrize(
    "values",
    [
        {"role": "cloud", "forward": "image", "cloud": "other"},
        {"role": "satellite"},
        {"forward": "image"},
        {"forward": "results", "cloud": "cloud"},
        {"threads": 0},
        {"cpu_limit": 0.0},
        {"memory_limit_bytes": -1},
        {"timeout_s": 0.0},
        {"port": 70_000},
        {"colour": "blue"},
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    values: dict[str, Any],
) -> None:
    """What cannot be meant is a ConfigError that names the node or the key."""
    with pytest.raises(ConfigError):
        NodeSettings.from_dict({"name": "n", **values})


def test_a_node_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """The start file of a node is read as it was written."""
    file = tmp_path / "node.json"
    node = NodeFile(settings=EDGE, cloud_url="http://127.0.0.1:1", is_attached=True)
    node.write(file)
    assert NodeFile.read(file) == node


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"settings": 1}', '{"settings": {}, "a": 1}']
)
def test_a_file_that_is_no_node_file_is_refused(tmp_path: Path, text: str) -> None:
    """A start file with something else in it is a DataError that names it."""
    file = tmp_path / "node.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"node\.json"):
        NodeFile.read(file)


def test_a_file_with_several_wrong_types_names_them_all(tmp_path: Path) -> None:
    """With the file, so that one knows where to mend them."""
    file = tmp_path / "node.json"
    wrong = {"name": 5, "threads": [1], "max_head_bytes": "8 KB"}
    file.write_text(json.dumps({"settings": wrong, "fd": "x", "host": 7}))
    with pytest.raises(ConfigError) as caught:
        NodeFile.read(file)
    assert str(file) in str(caught.value)
    for name in (*wrong, "fd", "host"):
        assert f"{name} is" in str(caught.value)
