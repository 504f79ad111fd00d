"""Priority sampling: known chances, the same samples in any order, rare cells first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.cells import N_LEVELS, Cells
from midhaul.memory.checks import SelectorClaims, check_selector
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins, Samples
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.priority import PrioritySampler

BINS = Bins.of_classes(3)


def _stream(n: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.9, 0.09, 0.01]).astype(float)
    prediction = rng.dirichlet([4, 1, 0.5], n).astype(np.float32)
    return Samples.of(
        rng.normal(size=(n, 4)).astype(np.float32), y, prediction=prediction
    )


def _memory(capacity: int = 100, **told: float) -> SampleMemory:
    return SampleMemory(PrioritySampler(capacity=capacity, bins=BINS, **told), BINS)


def test_it_is_a_selector() -> None:
    """The suite that every selector passes."""
    check_selector(
        lambda capacity: PrioritySampler(capacity=capacity, bins=BINS),
        BINS,
        SelectorClaims(needs_prediction=True),
    )


def test_cells_are_bin_mode_and_level() -> None:
    """By hand: sure and right, unsure and wrong, and one whose output is not known."""
    prediction = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1, 0]], np.float32)
    samples = Samples.of(
        np.zeros((3, 1), np.float32), np.array([0, 2, np.nan]), prediction=prediction
    )
    found = Cells(bins=BINS).of(samples)
    last = N_LEVELS - 1
    assert found.tolist() == [0, (2 * 3) * N_LEVELS + last, (3 + 1) * N_LEVELS]


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.25, 1.0]))
@settings(max_examples=15, deadline=None)
def test_weights_sum_to_the_stream(seed: int, share: float) -> None:
    """The inverse chances of what is kept estimate how much there was, cell by cell."""
    memory = _memory(400, uniform_share=share)
    stream = _stream(4000, seed)
    for at in range(0, 4000, 500):
        memory.offer(stream.take(slice(at, at + 500)))
    kept = memory.weighted()
    assert kept is not None
    # A total of n / C rows each varies by about n / sqrt(C); six of that is no chance.
    assert kept.weight.sum() == pytest.approx(4000, rel=6 / np.sqrt(400))


def test_chances_are_unbiased() -> None:
    """Over many seeds of the hash the mean estimate of each bin is its count."""
    stream = _stream(2000)
    told = []
    for seed in range(150):
        memory = _memory(100, seed=seed)
        memory.offer(stream)
        kept = memory.weighted()
        assert kept is not None
        told.append(np.bincount(BINS.of(kept.y), kept.weight, 3))
    true = np.bincount(BINS.of(stream.y), minlength=3)
    error = np.std(told, axis=0) / np.sqrt(len(told))
    assert (np.abs(np.mean(told, axis=0) - true) < 5 * error).all()


def test_the_same_stays_however_the_stream_is_cut() -> None:
    """A number is a hash: parts change what is kept only through the rates so far."""
    stream = _stream(3000)
    whole, parts = _memory(300), _memory(300)
    whole.offer(stream)
    for at in range(0, 3000, 100):
        parts.offer(stream.take(slice(at, at + 100)))
    one, other = (set(m.get().time_s.tolist()) for m in (whole, parts))
    assert len(one & other) >= 290


def test_rare_outputs_are_kept_more_often() -> None:
    """One in a hundred of the stream is many in a hundred of the memory."""
    memory = _memory(200)
    memory.offer(_stream(20_000))
    share = float((memory.get().y == 2).mean())
    assert share > 0.08
    uniform = _memory(200, uniform_share=1.0)
    uniform.offer(_stream(20_000))
    assert float((uniform.get().y == 2).mean()) < 0.04


def test_random_labels_do_not_fill_the_memory() -> None:
    """One label in a hundred is wrong, anywhere: rare is not useful."""
    rng = np.random.default_rng(5)
    k, n = 21, 40_000
    bins = Bins.of_classes(k)
    y = np.minimum(rng.exponential(1.5, n).astype(int), k - 1)
    prediction = np.full((n, k), 0.2 / k, np.float32)
    prediction[np.arange(n), y] += 0.8
    is_wrong = rng.random(n) < 0.01
    told = np.where(is_wrong, rng.integers(k, size=n), y).astype(float)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    shares = {}
    for rarest in (0.0, 0.01):
        sampler = PrioritySampler(capacity=2000, bins=bins, rarest=rarest)
        memory = SampleMemory(sampler, bins)
        memory.offer(Samples.of(x, told, prediction=prediction))
        shares[rarest] = is_wrong[memory.get().time_s.astype(int)].mean()
    assert shares[0.01] < 0.6 * shares[0.0]


def test_a_new_model_is_counted_anew() -> None:
    """What another model says puts samples into other cells; the total stays."""
    memory = _memory(200)
    memory.offer(_stream(2000))
    kept = memory.get()
    other = np.roll(kept.prediction, 1, axis=1)

    class Rolled:
        def predict(self, x: np.ndarray) -> np.ndarray:
            return other[: len(x)]

    memory.predict_again(Rolled(), 1)
    new = _stream(500, 1)
    memory.offer(new.predicted(new.prediction, 1))
    sampler = memory.selector
    assert isinstance(sampler, PrioritySampler)
    assert sampler.counts.sum() == pytest.approx(2500, rel=0.25)


def test_what_is_old_fades() -> None:
    """With a half-life, the last part of a stream has more than its share."""
    stream = _stream(8000)
    faded = _memory(400, half_life_s=1000.0)
    even = _memory(400)
    for at in range(0, 8000, 1000):
        faded.offer(stream.take(slice(at, at + 1000)))
        even.offer(stream.take(slice(at, at + 1000)))
    late = [float((m.get().time_s >= 6000).mean()) for m in (faded, even)]
    assert late[0] > 2 * late[1]


def test_each_kept_sample_has_its_reason() -> None:
    """While there is room it is that; later an empty cell is new, a rare one rare."""
    memory = _memory(50)
    assert set(memory.offer(_stream(50)).reasons) == {Reason.FILLING}
    offered = memory.offer(_stream(5000, 1))
    assert set(offered.reasons[~offered.is_kept]) == {Reason.DROPPED}
    assert Reason.RARE in offered.reasons[offered.is_kept]


@pytest.mark.parametrize(
    "told", [{"uniform_share": 1.5}, {"exponent": -0.1}, {"half_life_s": 0.0}]
)
def test_settings_out_of_range_are_refused(told: dict[str, float]) -> None:
    """Each names its key."""
    with pytest.raises(ConfigError, match=next(iter(told))):
        PrioritySampler(capacity=5, bins=BINS, **told)


def test_samples_without_predictions_are_refused() -> None:
    """Cells need what a model says."""
    with pytest.raises(DataError, match="predictions over 3 bins"):
        _memory().offer(Samples.of(np.zeros((2, 4), np.float32), np.zeros(2)))
