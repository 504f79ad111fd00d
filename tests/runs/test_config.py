"""Tests of the base of all configs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.toy_kind import ToyConfig

from midhaul.runs.spec import Spec


def test_hash_is_the_same_on_every_machine() -> None:
    """The hash of a config is a function of its values only."""
    assert ToyConfig().hash() == "1b76d42b0726"


@given(st.integers(0, 100), st.integers(0, 100))
def test_hash_tells_configs_apart(a: int, b: int) -> None:
    """Two configs share a hash exactly when they are equal."""
    one, two = ToyConfig(n_steps=a), ToyConfig(n_steps=b)
    assert (one.hash() == two.hash()) == (one == two)


def test_hash_does_not_care_where_a_value_comes_from() -> None:
    """A default that is written out is the same config."""
    assert ToyConfig().hash() == ToyConfig(seed=0, n_steps=3).hash()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("null", "null"),
        ("builtin:street-s", "builtin:street-s"),
        ("onnx:model.onnx", "onnx:/data/model.onnx"),
        ("onnx:../a/b", "onnx:/a/b"),
        ("onnx:/abs/model.onnx", "onnx:/abs/model.onnx"),
        ("onnx:m.onnx?card=c.toml", "onnx:/data/m.onnx?card=/data/c.toml"),
        (
            "recorded:d.json?provider=p&service_s=0.05",
            "recorded:/data/d.json?provider=p&service_s=0.05",
        ),
        ("torchvision:ssd300?weights=none", "torchvision:ssd300?weights=none"),
        ("jpeg:75", "jpeg:75"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://node.example.org/a.b", "https://node.example.org/a.b"),
        ("local:builtin:street-n", "local:builtin:street-n"),
        ("local:onnx:m.onnx?card=c.toml", "local:onnx:/data/m.onnx?card=/data/c.toml"),
    ],
)
def test_specs_find_their_files(text: str, expected: str) -> None:
    """What looks like a file is taken from the folder, anything else stays."""
    assert Spec(text).resolved(Path("/data")) == expected


@given(st.text())
def test_resolving_a_spec_twice_changes_nothing(text: str) -> None:
    """Absolute specs stay, whatever they hold."""
    once = Spec(text.replace("\0", "")).resolved(Path("/data"))
    assert once.resolved(Path("/elsewhere/deep")) == once or "%" in once
