"""The net over bins: it learns, is the same with the same seed, and goes to ONNX."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.memory.cells import Cells
from midhaul.memory.predictors.mlp import WAYS, MlpPredictor, TrainSettings
from midhaul.memory.predictors.onnx_net import OnnxPredictor
from midhaul.memory.predictors.restored import restored
from midhaul.memory.samples import Bins, Samples

if TYPE_CHECKING:
    from pathlib import Path

BINS = Bins.of_classes(3)


def _easy(n: int = 3000, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    x[:, 4] = 7.0
    y = (x[:, 0] > 0) + (x[:, 1] > 1) * 1.0
    return Samples.of(x, y, group=np.arange(n) // 20)


def _right(predictor: MlpPredictor, samples: Samples) -> float:
    return float((predictor.predict(samples.x).argmax(axis=1) == samples.y).mean())


def test_before_training_all_bins_are_alike() -> None:
    """Nothing is known, and that is what it says."""
    assert np.allclose(MlpPredictor(BINS).predict(_easy(5).x), 1 / 3)


@pytest.mark.parametrize("way", WAYS)
def test_it_solves_what_is_easy(way: str) -> None:
    """Each way of training learns two thresholds, as far as its budget goes."""
    told = replace(WAYS[way], learning_rate=1e-2)
    if told.n_epochs:
        told = replace(told, n_epochs=20)
    found = MlpPredictor(BINS, told).trained(_easy(), np.random.default_rng(0))
    assert _right(found, _easy(1000, 1)) > 0.93


def test_the_same_seed_gives_the_same_net() -> None:
    """Another one gives another."""
    told = MlpPredictor(BINS, TrainSettings(n_steps=20))
    one, same, other = (
        told.trained(_easy(), np.random.default_rng(seed)).predict(_easy(50, 2).x)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_weights_count_as_often_as_they_say() -> None:
    """With all weight on two of the three outputs, the third is not expected."""
    samples = _easy()
    weighted = replace(samples, weight=(samples.y != 2).astype(float))
    found = MlpPredictor(BINS, TrainSettings(n_steps=300)).trained(
        weighted, np.random.default_rng(0)
    )
    assert found.predict(samples.x)[:, 2].max() < 0.1


def test_an_input_that_never_varied_says_nothing() -> None:
    """What was constant in training may come with any value later."""
    samples = _easy()
    found = MlpPredictor(BINS, TrainSettings(n_steps=50)).trained(
        samples, np.random.default_rng(0)
    )
    moved = samples.x.copy()
    moved[:, 4] = -1e6
    assert np.array_equal(found.predict(samples.x), found.predict(moved))


def test_nothing_to_train_on_is_refused() -> None:
    """Outputs that are not known, and weights of none."""
    rng = np.random.default_rng(0)
    unknown = Samples.of(np.zeros((4, 2), np.float32))
    with pytest.raises(DataError, match="4 of 4 samples lack their output"):
        MlpPredictor(BINS).trained(unknown, rng)
    nothing = replace(_easy(4), weight=np.zeros(4))
    with pytest.raises(DataError, match="nothing to train on"):
        MlpPredictor(BINS).trained(nothing, rng)


def test_a_net_says_the_same_as_an_onnx_model(tmp_path: Path) -> None:
    """What torch and ONNX Runtime answer agrees to single precision."""
    found = MlpPredictor(BINS, TrainSettings(n_steps=100)).trained(
        _easy(), np.random.default_rng(0)
    )
    file = tmp_path / "net.onnx"
    file.write_bytes(found.save_onnx())
    again = OnnxPredictor(file)
    x = _easy(500, 4).x
    assert np.allclose(again.predict(x), found.predict(x), atol=1e-5)
    with pytest.raises(DataError, match="expected 5 inputs, found 4"):
        again.predict(x[:, :4])
    with pytest.raises(DataError, match="cannot be trained"):
        again.trained(_easy(5), np.random.default_rng(0))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as an ONNX model"):
        OnnxPredictor(file)


class _Fixed:
    """A model that learnt from a memory with a third of each output."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full((len(x), 3), 1 / 3, np.float32)

    def trained(self, samples: Samples, rng: np.random.Generator) -> _Fixed:
        del samples, rng
        return self


def test_the_prior_of_the_stream_is_restored() -> None:
    """By hand: even in memory, 90 to 9 to 1 in the stream, for all inputs alike."""
    y = np.repeat([0.0, 1, 2], 1000)
    weight = np.repeat([90.0, 9, 1], 1000)
    kept = Samples.of(np.zeros((3000, 1), np.float32), y)
    found = restored(_Fixed(), Cells(bins=BINS), kept, weight, n_prior=1e-6)
    assert found.predict(kept.x[:1])[0] == pytest.approx([0.9, 0.09, 0.01], abs=1e-3)
