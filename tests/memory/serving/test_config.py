"""The file of a served memory: all its mistakes at once, and what it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.errors import ConfigError
from midhaul.memory.replay.config import SampleMemoryConfig
from midhaul.memory.serving.config import MemoryFile, read_memory_file

if TYPE_CHECKING:
    from pathlib import Path


def _file(folder: Path, text: str) -> Path:
    file = folder / "memory.toml"
    file.write_text(text)
    return file


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """Wherever the process is started."""
    text = 'model = "net.onnx"\n[journal]\ndir = "here"'
    config = read_memory_file(_file(tmp_path, text))
    assert config.journal.dir == tmp_path.resolve() / "here"
    assert config.model == tmp_path.resolve() / "net.onnx"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bins = 3", "bins"),
        ("[bins]\nn_classes = 3\nedges = [0.0, 1.0]", "n_classes or edges"),
        ("[bins]\nedges = [1.0, 0.0]", "rising edges"),
        ("[bins]\nedges = [nan, 0.0]", "rising edges"),
        ("[memory]\ncapacity = 0", "line 2, memory.capacity"),
        ('[memory]\nselector = "committee"', "committee asks models"),
        ('[memory]\nselector = "fifo"\nexponent = 1.0', "fifo has no exponent"),
        ('[upload]\nreasons = ["noise"]', "upload.reasons"),
        ("[jurnal]", "unknown key"),
        ("port = 80_000", "port"),
    ],
)
def test_mistakes_are_told_with_their_place(
    tmp_path: Path, text: str, said: str
) -> None:
    """Never as a traceback."""
    with pytest.raises(ConfigError, match=said):
        read_memory_file(_file(tmp_path, text))


def test_bins_are_classes_or_between_edges(tmp_path: Path) -> None:
    """TOML has infinite numbers, and edges may be some."""
    config = read_memory_file(_file(tmp_path, "[bins]\nedges = [-inf, 0.5, inf]"))
    assert config.made().bins.edges.tolist() == [-np.inf, 0.5, np.inf]
    assert MemoryFile().made().bins.n == 21


def test_a_memory_may_be_limited_in_bytes(tmp_path: Path) -> None:
    """Then its number of samples is what they allow, unless it is said as well."""
    config = read_memory_file(_file(tmp_path, "[memory]\ncapacity_bytes = 9000"))
    assert (config.memory.capacity, config.made().capacity_bytes) == (None, 9000)
    assert "capacity" not in config.settled()["memory"]
    both = "[memory]\ncapacity = 7\ncapacity_bytes = 9000"
    assert read_memory_file(_file(tmp_path, both)).made().selector.capacity == 7
    again = SampleMemoryConfig.model_validate(config.memory.model_dump())
    assert again == config.memory
    with pytest.raises(ValueError, match="in samples or in bytes"):
        SampleMemoryConfig.model_validate({"capacity": None})


def test_what_a_state_rests_on_is_what_was_said(tmp_path: Path) -> None:
    """Keys that nobody set are not in it, so that new ones change no old state."""
    config = read_memory_file(_file(tmp_path, "[memory]\ncapacity = 7"))
    assert config.settled()["memory"] == {
        "selector": "priority",
        "capacity": 7,
        "members": 3,
    }
