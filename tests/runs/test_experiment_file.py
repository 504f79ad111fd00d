"""Tests of reading experiment files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.toy_kind import ToyConfig

from midhaul.errors import ConfigError
from midhaul.runs.experiment_file import Override, parse_key, parse_value, read_file
from midhaul.runs.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

Write = Callable[[str], "Path"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an experiment file and return its path."""

    def _write(text: str) -> Path:
        path = tmp_path / "folder" / "toy.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text('kind = "toy.count"\n' + text)
        return path

    return _write


def load(path: Path, *overrides: str) -> ToyConfig:
    """The config of a toy file."""
    laid = [Override.parse(text) for text in overrides]
    return read_file(path).config(ToyConfig, laid)


def complaint(path: Path, *overrides: str) -> str:
    """What is said about a wrong file."""
    with pytest.raises(ConfigError) as caught:
        load(path, *overrides)
    assert caught.value.hint
    return caught.value.message


def test_defaults_then_file_then_set(write: Write) -> None:
    """The file goes over the defaults, a set goes over the file, the last set wins."""
    path = write("n_steps = 5\nfactor = 2\n")
    config = load(path, "factor=3", "factor=4.5")
    assert (config.seed, config.n_steps, config.factor) == (0, 5, 4.5)


def test_all_mistakes_are_told_at_once_with_their_lines(write: Write) -> None:
    """Each mistake has its line and key, in the order of the file."""
    path = write(
        'n_stps = 3\nmode = "fats"\nfactor = "x"\n'
        '[[workers]]\nname = "a"\n[[workers]]\nspeed = -1\n'
    )
    lines = complaint(path).splitlines()
    assert lines[0].endswith("has 5 mistakes:")
    assert lines[1] == "  line 2, n_stps: unknown key; did you mean 'n_steps'?"
    assert lines[2].startswith("  line 3, mode: expected 'fast' or 'slow'")
    assert lines[2].endswith("; did you mean 'fast'?")
    assert lines[3] == '  line 4, factor: expected a number, found "x"'
    assert lines[4] == "  line 7, workers.1.name: this key is required"
    assert lines[5].startswith(
        "  line 8, workers.1.speed: expected a value greater than 0"
    )


def test_mistakes_of_set_are_told_along(write: Write) -> None:
    """A wrong --set is one of the mistakes, without a line of the file."""
    text = complaint(write("n_stps = 3\n"), "workers.cid.speed=2", "factor=y")
    assert "--set workers.cid.speed: workers has no entry 'cid', there is ann" in text
    assert "line 2, n_stps" in text
    assert '\n  factor: expected a number, found "y"' in text


def test_numbers_in_quotes_are_no_numbers(write: Write) -> None:
    """Nothing is converted behind the user's back."""
    assert "expected a whole number" in complaint(write('n_steps = "3"\n'))
    assert "found true" in complaint(write("factor = true\n"))


def test_an_unknown_key_far_from_all_lists_the_known(write: Write) -> None:
    """Without a near word, the known keys are told."""
    assert "known are name, speed, tool" in complaint(
        write('[[workers]]\nname = "a"\nzzzzzz = 1\n')
    )


def test_a_missing_file_a_folder_and_no_toml_are_config_errors(tmp_path: Path) -> None:
    """Every unreadable file is one message with its name."""
    (tmp_path / "bad.toml").write_text("a = \n")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    (tmp_path / "dir.toml").mkdir()
    for name in ("none", "bad", "latin", "dir"):
        with pytest.raises(ConfigError, match=f"{name}.toml"):
            read_file(tmp_path / f"{name}.toml")


def test_entries_are_found_by_index_and_by_name_even_among_defaults(
    write: Write,
) -> None:
    """List entries of the defaults can be changed one by one."""
    config = load(write(""), "workers.bob.speed=2", "workers.0.speed=3.5")
    assert [(w.name, w.speed) for w in config.workers] == [("ann", 3.5), ("bob", 2.0)]


def test_keys_below_an_absent_table_can_be_set(write: Write) -> None:
    """A set makes the tables that its key goes through."""
    spare = load(write(""), "spare.name=cid", "spare.speed=2").spare
    assert spare is not None
    assert (spare.name, spare.speed) == ("cid", 2.0)


def test_nothing_can_be_set_below_a_plain_value(write: Write) -> None:
    """A key that goes through a number is a mistake, not a crash."""
    assert "it has nothing below it" in complaint(write("n_steps = 3\n"), "n_steps.a=1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.0", 3.0),
        ("true", True),
        ('"3"', "3"),
        ("plain words", "plain words"),
        ("[1, 2]", [1, 2]),
        ("inf", float("inf")),
        ("2026-01-01", "2026-01-01"),
        ("", ""),
        ("1\nb = 2", "1\nb = 2"),
        ("{a = 1}", {"a": 1}),
    ],
)
def test_values_are_toml_or_plain_text(text: str, value: object) -> None:
    """What is no TOML value is text; dates are text too."""
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.text())
def test_any_text_is_a_value(text: str) -> None:
    """No text makes parsing fail."""
    parse_value(text)


@pytest.mark.parametrize("text", ["", "=3", "a b=3", "n_steps", "a..b=1", "a=\n=3"[:1]])
def test_a_set_without_key_or_value_is_refused(text: str) -> None:
    """A --set that is no assignment is a config error."""
    with pytest.raises(ConfigError):
        Override.parse(text)


def test_keys_may_be_quoted() -> None:
    """A quoted step keeps its points."""
    assert parse_key('grid."edge.encode"') == ("grid", "edge.encode")


def test_dotted_names_of_a_mapping_are_joined(write: Write) -> None:
    """Where any name may stand, edge.encode is one name, quoted or not."""
    path = write("[grid]\nedge.encode = [1]\n")
    config = load(path, "grid.cloud.detector=['x']")
    assert config.grid == {"edge.encode": (1,), "cloud.detector": ("x",)}


def test_paths_of_the_file_begin_at_its_folder_and_of_set_at_the_current(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both hold for paths and for specs, also inside of lists."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = write(
        'input = "data/a.txt"\n[[workers]]\nname = "a"\ntool = "onnx:m.onnx"\n'
    )
    config = load(path)
    assert config.input == path.parent / "data/a.txt"
    assert config.workers[0].tool == Spec(f"onnx:{path.parent}/m.onnx")
    config = load(path, "input=b.txt", "workers.a.tool=onnx:n.onnx")
    assert config.input == here / "b.txt"
    assert config.workers[0].tool == Spec(f"onnx:{here}/n.onnx")


def test_the_table_sweep_is_read_apart(write: Write) -> None:
    """Its keys are dotted, and its values are lists."""
    file = read_file(write("[sweep]\nn_steps = [1, 2]\nworkers.ann.speed = [1.5]\n"))
    assert file.sweep == {"n_steps": [1, 2], "workers.ann.speed": [1.5]}
    for wrong in ("sweep = 3\n", "[sweep]\nn_steps = 3\n", "[sweep]\nn_steps = []\n"):
        with pytest.raises(ConfigError, match="sweep"):
            read_file(write(wrong))


def test_a_file_needs_a_kind(tmp_path: Path) -> None:
    """A file without kind is a config error."""
    path = tmp_path / "x.toml"
    path.write_text("a = 1\n")
    with pytest.raises(ConfigError, match="kind"):
        _ = read_file(path).kind
