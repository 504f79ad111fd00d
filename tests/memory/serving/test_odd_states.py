"""States that were changed: a memory refuses them in words, or goes on with them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.odd_states import odd_states
from tests.support.served_memory import arrow, exported, no_model, stream

from midhaul.errors import DataError
from midhaul.memory.serving.config import MemoryFile
from midhaul.memory.serving.engine import Operation, Refused, ServedMemory
from midhaul.memory.serving.messages import Piece

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = MemoryFile.model_validate(
    {"bins": {"n_classes": 3}, "memory": {"capacity": 20}}
)


def _engine(
    state: Mapping[str, Any] | None = None, config: MemoryFile = CONFIG
) -> ServedMemory:
    return ServedMemory(config, no_model, lambda _: state or {})


def _offered(engine: ServedMemory, begin: int) -> Any:
    piece = Piece(data=arrow(stream(30, begin=begin)), is_json=False)
    return engine.perform(Operation(kind="offer", now_s=1.0, pieces=(piece,)))[0]


def test_any_state_is_merged_or_refused_and_nothing_between() -> None:
    """A cell that there is not would be read from anywhere: it is refused too."""
    n_refused = 0
    for what, state in odd_states(exported(), random.Random(2)):
        engine = _engine(state)
        _offered(engine, 0)
        piece = Piece(data=b"", is_json=False)
        merge = Operation(kind="merge", now_s=2.0, pieces=(piece,))
        (found,) = engine.perform(merge)
        is_refused = isinstance(found, Refused)
        n_refused += is_refused
        n_seen = engine.memory.n_offered
        assert (n_seen == 30) == is_refused, what
        assert not isinstance(_offered(engine, 1000), Refused), what
        engine.memory.get().check()
    assert n_refused > 50


def test_any_state_is_restored_or_refused() -> None:
    """What a disk brings back is gone on with, or told."""
    before = _engine()
    for begin in (0, 30):
        _offered(before, begin)
        before.decide()
    n_refused = n_restored = 0
    for _, state in odd_states(before.state(), random.Random(3), n=1):
        engine = _engine()
        try:
            engine.restore(state)
        except DataError:
            n_refused += 1
            continue
        _offered(engine, 1000)
        engine.decide()
        n_restored += 1
    assert min(n_refused, n_restored) > 20


def test_marks_of_a_cell_that_there_is_not_are_refused() -> None:
    """As are numbers and limits that no sampler notes."""
    for column, value in ((0, 0.0), (0, 1.0), (1, 0.0), (2, -1.0), (2, 36.0), (2, 0.5)):
        state = exported()
        marks = state["memory"]["marks"].copy()
        marks[3, column] = value
        state["memory"]["marks"] = marks
        found = _engine(state)
        with pytest.raises(Refused, match="marks of priority"):
            found.merge(Piece(data=b"", is_json=False))


def test_gateways_of_other_limits_are_merged() -> None:
    """One of so many bytes takes in one of so many samples, and stays within them."""
    memory = {"capacity_bytes": 1500}
    config = MemoryFile.model_validate({"bins": {"n_classes": 3}, "memory": memory})
    engine = _engine(exported(), config)
    _offered(engine, 0)
    n_before = len(engine.memory)
    assert engine.merge(Piece(data=b"", is_json=False))["n_offered"] == 60
    assert len(engine.memory) == n_before == 1500 // (4 * (4 + 3) + 8 * (6 + 3))


def test_a_sample_for_which_there_are_no_bytes_is_refused() -> None:
    """It is told, nothing is kept, and the next one is told as well."""
    memory = {"capacity_bytes": 90}
    config = MemoryFile.model_validate({"bins": {"n_classes": 3}, "memory": memory})
    engine = _engine(config=config)
    for begin in (0, 30):
        found = _offered(engine, begin)
        assert isinstance(found, Refused)
        assert (found.status, found.reason) == (400, "unfit")
        assert "room for 0 samples of 100 bytes" in found.text
    assert engine.memory.n_offered == 0
