"""Tests of writing configs as TOML."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.toy_kind import ToyConfig, Worker

from midhaul.runs.experiment_file import read_file
from midhaul.runs.schema import dump_config, keys, template

if TYPE_CHECKING:
    from pathlib import Path

_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
_numbers = st.floats(0, 1e30, exclude_min=True) | st.just(math.inf)
_workers = st.builds(Worker, name=_texts, speed=_numbers)
_configs = st.builds(
    ToyConfig,
    seed=st.integers(0, 2**62),
    factor=st.floats(-1e30, 1e30) | st.sampled_from([math.inf, -math.inf]),
    labels=st.lists(_texts, max_size=3).map(tuple),
    workers=st.lists(_workers, max_size=3).map(tuple),
    spare=st.none() | _workers,
    grid=st.dictionaries(
        st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3})?", fullmatch=True),
        st.lists(st.integers(-5, 5) | _texts, max_size=2).map(tuple),
        max_size=2,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_configs)
def test_a_written_config_reads_back_as_itself(
    tmp_path: Path, config: ToyConfig
) -> None:
    """Whatever a config holds survives config.toml."""
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config))
    assert read_file(path).config(ToyConfig, []) == config


def test_a_template_is_the_defaults_with_every_key_explained(tmp_path: Path) -> None:
    """What new prints can be run, and says what each key means."""
    text = template(ToyConfig())
    path = tmp_path / "toy.toml"
    path.write_text(text)
    assert read_file(path).config(ToyConfig, []) == ToyConfig()
    for key in keys(ToyConfig):
        assert f"# {key.description}" in text
    assert '# How. ("fast" | "slow")' in text
    assert "# input =" in text
    assert all(len(line) <= 88 for line in text.splitlines())


def test_the_keys_of_a_config_are_listed_depth_first() -> None:
    """Keys of tables in lists have [] in their names."""
    found = {key.name: key for key in keys(ToyConfig)}
    assert found["workers[].speed"].type == "number, more than 0"
    assert found["workers[].speed"].default == "1.0"
    assert found["workers[].name"].is_required
    assert found["seed"].type == "whole number, at least 0"
    assert list(found)[:2] == ["kind", "seed"]


def test_values_that_are_not_set_are_visible_as_comments() -> None:
    """config.toml shows what has no value, and is still TOML."""
    text = dump_config(ToyConfig())
    assert "# input is not set" in text
    assert "input" not in tomllib.loads(text)
