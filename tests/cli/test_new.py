"""Tests of ``midhaul new``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midhaul.kinds import KINDS
from midhaul.runs.experiment_file import read_file

if TYPE_CHECKING:
    from tests.cli.conftest import Midhaul


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_begins_with_a_file_that_is_its_defaults(
    midhaul: Midhaul, name: str
) -> None:
    """What new writes is a valid experiment."""
    said = midhaul("new", name, "--out", "new.toml")
    assert said.code == 0
    assert "midhaul run new.toml" in said.err
    model = KINDS[name].load_config()
    config = read_file(Path("new.toml")).config(model, [])
    assert config == model.model_validate({"kind": name})
    assert midhaul("new", name).out == Path("new.toml").read_text()


def test_without_a_kind_they_are_listed(midhaul: Midhaul) -> None:
    """Each has a sentence."""
    assert "testbed.measure" in midhaul("new").out
    assert {k["kind"] for k in json.loads(midhaul("new", "--json").out)} == set(KINDS)


def test_a_file_that_is_there_is_not_overwritten(midhaul: Midhaul) -> None:
    """Neither is a folder that is not there made."""
    Path("a.toml").write_text("mine")
    for out in ("a.toml", "none/a.toml"):
        assert midhaul("new", "toy.count", "--out", out).code == 2
    assert Path("a.toml").read_text() == "mine"


def test_keys_can_be_read_by_a_program(midhaul: Midhaul) -> None:
    """The JSON has type, default and description of each key."""
    keys = {k["name"]: k for k in json.loads(midhaul("new", "toy.count", "--json").out)}
    assert keys["n_steps"]["default"] == "3"
    assert keys["workers[].name"]["is_required"]
