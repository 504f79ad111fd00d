"""The sample memory: it holds what its selector keeps, and goes on from a state."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.errors import ConfigError, DataError
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins, Samples, concatenate
from midhaul.memory.selectors.coverage import CoverageMemory
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.selectors.jtt import JustTrainTwice
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.selectors.reservoir import Reservoir
from midhaul.memory.selectors.several import coverage_with_random
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.memory.selectors.base import Selector

BINS = Bins.of_classes(3)


def _stream(n: int, seed: int = 0, begin: int = 0) -> Samples:
    rng = np.random.default_rng([seed, begin])
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = rng.choice(3, n, p=[0.9, 0.09, 0.01]).astype(float)
    prediction = rng.dirichlet([4, 1, 0.5], n).astype(np.float32)
    time = begin + np.arange(n, dtype=float)
    return Samples.of(x, y, prediction=prediction, time_s=time, group=time // 10)


class _Says:
    """A model that says the same of everything."""

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = np.array(shares, np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Its shares for each."""
        return np.tile(self.shares, (len(x), 1))

    def trained(self, samples: Samples, rng: np.random.Generator) -> _Says:
        """Itself; it does not learn."""
        del samples, rng
        return self


def _identity(samples: Samples) -> set[float]:
    return set(samples.time_s.tolist())


def test_what_is_said_to_be_kept_is_in_memory() -> None:
    """Rows, and only those, that an offer calls kept stay until they are dropped."""
    memory = SampleMemory(Fifo(capacity=5), BINS)
    first, second = _stream(4), _stream(4, begin=4)
    assert memory.offer(first).is_kept.all()
    assert memory.offer(second).is_kept.all()
    assert _identity(memory.get()) == {3, 4, 5, 6, 7}
    assert len(memory) == 5
    assert memory.n_offered == 8
    rows = dict(zip(second.time_s, second.x, strict=True))
    for time, x in zip(memory.get().time_s, memory.get().x, strict=True):
        if time in rows:
            assert np.array_equal(x, rows[time])


def test_other_inputs_or_bins_are_refused() -> None:
    """One memory is for one learning problem."""
    memory = SampleMemory(Reservoir(capacity=5), BINS)
    memory.offer(_stream(3))
    with pytest.raises(DataError, match="expected 4 inputs"):
        memory.offer(Samples.of(np.zeros((2, 3), np.float32)))
    assert len(memory) == 3


def test_a_memory_of_nothing_is_refused() -> None:
    """A capacity of 0 is a mistake, told before anything is offered."""
    with pytest.raises(ConfigError, match="capacity"):
        SampleMemory(Reservoir(capacity=0), BINS)


def test_a_memory_below_one_batch_holds_what_it_can() -> None:
    """A thousand samples for three places leave three."""
    memory = SampleMemory(PrioritySampler(capacity=3, bins=BINS), BINS)
    assert memory.offer(_stream(1000)).is_kept.sum() == 3
    assert len(memory) == 3


@pytest.mark.parametrize("n_inputs", [4, 40])
def test_bytes_limit_what_arrays_and_marks_take(n_inputs: int) -> None:
    """However wide samples are, what is held is below the limit, and close to it."""
    sampler = PrioritySampler(capacity=10**6, bins=BINS)
    memory = SampleMemory(sampler, BINS, capacity_bytes=20_000)
    streams = [
        replace(one, x=np.repeat(one.x, n_inputs // 4, axis=1))
        for one in (_stream(300, begin=begin) for begin in (0, 300, 600))
    ]
    for new in streams[:2]:
        memory.offer(new)
        arrays = [getattr(memory.get(), f.name) for f in fields(Samples)]
        row = sum(one.nbytes for one in arrays) / len(memory) + 8 * sampler.n_marks
        assert 20_000 - row < len(memory) * row <= 20_000
    other = SampleMemory(PrioritySampler(capacity=10**6, bins=BINS), BINS)
    other.offer(streams[2])
    memory.merge(other)
    assert len(memory) == 20_000 // row


def test_bytes_have_room_for_predictions_to_come() -> None:
    """What comes without predictions leaves room for those of a model that is sent."""
    memory = SampleMemory(Reservoir(capacity=10**6), BINS, capacity_bytes=10_000)
    bare = Samples.of(_stream(200).x)
    memory.offer(bare)
    assert len(memory) == 10_000 // (bare.row_bytes + 4 * BINS.n)
    memory.predict_again(_Says((0.2, 0.3, 0.5)), 1)
    assert memory.get().row_bytes * len(memory) <= 10_000
    with pytest.raises(DataError, match="at most 3 bins, found 4"):
        memory.predict_again(_Says((0.25,) * 4), 2)
    assert (memory.get().model_version == 1).all()


def test_bytes_for_no_sample_or_no_batch_are_told() -> None:
    """As soon as the first sample says what one takes; nothing is held then."""
    for selector in (
        Reservoir(capacity=9),
        CoverageMemory(capacity=900, bins=BINS, batch_size=64),
        coverage_with_random(capacity=900, bins=BINS, batch_size=64),
    ):
        memory = SampleMemory(selector, BINS, capacity_bytes=70)
        with pytest.raises(DataError, match="have room for 0 samples of"):
            memory.offer(_stream(3))
        assert len(memory) == 0
    for selector in (
        CoverageMemory(capacity=900, bins=BINS, batch_size=64),
        coverage_with_random(capacity=900, bins=BINS, batch_size=64),
    ):
        memory = SampleMemory(selector, BINS, capacity_bytes=1000)
        with pytest.raises(DataError, match=r"samples of .* bytes: capacity of"):
            memory.offer(_stream(3))
    with pytest.raises(ConfigError, match="1 byte or more, found 0"):
        SampleMemory(Reservoir(capacity=9), BINS, capacity_bytes=0)


def test_bytes_limit_what_is_restored() -> None:
    """A state goes on under the same limit, and is refused by a smaller one."""

    def made(n_bytes: int) -> SampleMemory:
        selector = JustTrainTwice(capacity=10**6, bins=BINS)
        return SampleMemory(selector, BINS, capacity_bytes=n_bytes)

    memory, again = made(9000), made(9000)
    memory.offer(_stream(300))
    again.restore(memory.state())
    for one in (memory, again):
        one.offer(_stream(300, begin=300))
    assert _identity(memory.get()) == _identity(again.get())
    with pytest.raises(DataError, match="cannot hold"):
        made(8000).restore(memory.state())


@pytest.mark.parametrize(
    "selector",
    [
        lambda: Reservoir(capacity=50),
        lambda: Fifo(capacity=50),
        lambda: PrioritySampler(capacity=50, bins=BINS),
    ],
)
def test_a_restored_memory_goes_on_as_if_nothing_had_been(
    selector: Callable[[], Selector], tmp_path: Path
) -> None:
    """State, file, state: the next offers are decided alike."""
    memory, other = (
        SampleMemory(selector(), BINS, seed=3),
        SampleMemory(selector(), BINS, seed=9),
    )
    memory.offer(_stream(200))
    file = tmp_path / "memory.npz"
    write_state(file, memory.state())
    other.restore(read_state(file))
    more = _stream(200, begin=200)
    assert np.array_equal(memory.offer(more).is_kept, other.offer(more).is_kept)
    assert _identity(memory.get()) == _identity(other.get())


def test_a_state_of_another_selector_or_cut_short_is_refused() -> None:
    """It says what was expected, and the memory is as before."""
    memory = SampleMemory(Reservoir(capacity=5), BINS)
    memory.offer(_stream(5))
    with pytest.raises(DataError, match="by reservoir, found 1 by fifo"):
        memory.restore(SampleMemory(Fifo(capacity=5), BINS).state())
    short = memory.state()
    del short["marks"]
    with pytest.raises(DataError, match="marks"):
        SampleMemory(Reservoir(capacity=5), BINS).restore(short)
    with pytest.raises(DataError, match="cannot hold 5"):
        SampleMemory(Reservoir(capacity=4), BINS).restore(memory.state())


def test_two_gateways_merged_are_one_that_saw_both() -> None:
    """Numbers are hashes, so the same samples stay, with the same weights."""
    parts = [_stream(3000, begin=0), _stream(2000, seed=1, begin=3000)]
    gateways = []
    for part in parts:
        gateways.append(SampleMemory(PrioritySampler(capacity=200, bins=BINS), BINS))
        gateways[-1].offer(part)
    both = SampleMemory(PrioritySampler(capacity=200, bins=BINS), BINS)
    both.offer(concatenate(parts))
    gateways[0].merge(gateways[1])
    merged, whole = gateways[0].weighted(), both.weighted()
    assert merged is not None
    assert whole is not None
    shared = _identity(merged) & _identity(whole)
    assert len(shared) >= 198  # where a gateway's own limit was tighter
    assert merged.weight.sum() == pytest.approx(5000, rel=0.15)
    assert gateways[0].n_offered == 5000


def test_memories_that_cannot_be_merged_say_so() -> None:
    """A reservoir knows no rates of cells."""
    one = SampleMemory(Reservoir(capacity=5), BINS)
    with pytest.raises(ConfigError, match="cannot be merged"):
        one.merge(SampleMemory(Reservoir(capacity=5), BINS))


def test_a_memory_without_a_rule_decides_nothing() -> None:
    """It says that it has none."""
    memory = SampleMemory(Reservoir(capacity=5), BINS)
    with pytest.raises(ConfigError, match="no rule"):
        memory.decide(_stream(3), None)
