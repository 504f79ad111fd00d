"""Frames as samples: what is looked at, how novel they are, which are uploaded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.frames import FrameNovelty, frame_inputs, frame_samples
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Samples
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.model import Detections

NAMES = ("car", "bus", "dog")
N_INPUTS = len(NAMES) + 8 + 5 + 16 + 16


def _found(rng: np.random.Generator, n: int, best: float = 0.9) -> Detections:
    low = rng.uniform(0, 60, (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(4, 36, (n, 2))], axis=1)
    return Detections(
        boxes=boxes,
        scores=np.sort(rng.uniform(0.02, best, n))[::-1],
        labels=rng.integers(len(NAMES), size=n).astype(np.int32),
        names=NAMES,
    )


def _frame(rng: np.random.Generator, light: float) -> np.ndarray:
    pixels = rng.normal(light, 20, (72, 96, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _world(n: int, seed: int, light: float = 140) -> Samples:
    """Inputs of frames of one brightness, with chance in all of them."""
    rng = np.random.default_rng(seed)
    rows = [
        frame_inputs(_frame(rng, light + rng.normal(0, 5)), _found(rng, 6))
        for _ in range(n)
    ]
    return Samples.of(np.stack(rows))


@pytest.fixture(scope="module")
def novelty() -> FrameNovelty:
    """What is known of 240 frames by day."""
    return FrameNovelty.fitted(_world(240, 0).x, np.random.default_rng(0))


def test_inputs_are_what_was_found_and_how_light_falls() -> None:
    """A frame with one box, half of it dark, has exactly the inputs that these say."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    found = Detections(
        boxes=np.array([[0.0, 0, 16, 8]]),
        scores=np.array([0.7]),
        labels=np.array([1], np.int32),
        names=NAMES,
    )
    classes, scores, sizes, light, contrast = np.split(
        frame_inputs(pixels, found), np.cumsum([3, 8, 5, 16])
    )
    one = np.log1p(0.7)
    assert classes == pytest.approx([0, one, 0])
    assert scores == pytest.approx([0, 0, 0, 0, 0, np.log(2), 0, 0.7])
    assert sizes == pytest.approx([0, 0, 0, one, 0])  # a fifth of the side
    assert light == pytest.approx(np.tile([0, 0, 1, 1], 4), abs=1e-6)
    assert contrast == pytest.approx(np.zeros(16), abs=1e-6)


@pytest.mark.parametrize(
    ("label", "score", "left", "expected"),
    [
        (1, 0.5, 1.0, 0.8 + 0.5),
        (0, 0.5, 1.0, 0.0),
        (1, 0.3, 1.0, 0.3),
        (1, 0.5, 30.0, 0.0),
    ],
    ids=["another class", "the same class", "far less sure", "elsewhere"],
)
def test_boxes_are_contested_by_other_classes(
    label: int, score: float, left: float, expected: float
) -> None:
    """A box is contested where another class is nearly as sure of the same place."""
    found = Detections(
        boxes=np.array([[0.0, 0, 20, 20], [left, 0, 20 + left, 20]]),
        scores=np.array([0.8, score]),
        labels=np.array([0, label], np.int32),
        names=NAMES,
    )
    inputs = frame_inputs(np.zeros((64, 64, 3), np.uint8), found)
    assert inputs[len(NAMES) + 6] == pytest.approx(np.log1p(expected))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 80),
    height=st.integers(4, 50),
    width=st.integers(4, 50),
    seed=st.integers(0, 1000),
)
def test_any_frame_is_a_sample(n: int, height: int, width: int, seed: int) -> None:
    """Whatever is found on a frame of any size, its inputs are finite and as many."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    inputs = frame_inputs(pixels, _found(rng, n))
    assert inputs.shape == (N_INPUTS,)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()


def test_novelty_is_a_predictor(novelty: FrameNovelty) -> None:
    """Predictions are distributions over strata, and it trains again."""
    samples = _world(30, 1)
    prediction = novelty.predict(samples.x)
    assert samples.predicted(prediction, 0).prediction.shape[1] == novelty.bins.n
    again = novelty.trained(samples, np.random.default_rng(1))
    assert again.bins.n == novelty.bins.n
    assert not np.allclose(again.middle, novelty.middle)


def test_training_looks_at_weights() -> None:
    """Frames that stand for none of the stream are not known."""
    day, night = _world(40, 0), _world(40, 1, light=30)
    both = Samples.of(
        np.concatenate([day.x, night.x]), weight=np.repeat([1.0, 0.0], 40)
    )
    novelty = FrameNovelty.fitted(both.x, np.random.default_rng(0))
    assert np.median(novelty.novelty(night.x)) < 1
    of_day = novelty.trained(both, np.random.default_rng(0))
    assert of_day.novelty(night.x).min() > 1


def test_few_known_frames_are_beyond_the_reach(novelty: FrameNovelty) -> None:
    """Of other frames of a known world, not many more than the share asked for are."""
    beyond = novelty.novelty(_world(200, 7).x) > 1
    assert 0 < beyond.mean() < 0.2


def test_strata_rise_with_novelty(novelty: FrameNovelty) -> None:
    """The darker a world, the higher its stratum; the mode is where novelty lies."""
    places: list[float] = []
    for light in (140, 100, 70, 40):
        x = _world(10, 2, light=light).x
        mode = novelty.predict(x).argmax(axis=1)
        r = novelty.novelty(x)
        expected = np.clip(np.floor(np.log2(r)) + 1, 0, novelty.bins.n - 1)
        assert np.array_equal(mode, expected)
        places.append(float(mode.mean()))
    assert places == sorted(places)
    assert places[-1] == novelty.bins.n - 1


def test_a_changed_world_is_uploaded_more_often(novelty: FrameNovelty) -> None:
    """Of a stream whose last tenth is dark, more than a tenth of what is kept is."""
    rng = np.random.default_rng(3)
    n_old, n_dark, capacity = 360, 40, 20
    lights = np.repeat([140, 40], [n_old, n_dark]) + rng.normal(0, 5, n_old + n_dark)
    frames = (_frame(rng, float(light)) for light in lights)
    found = [_found(rng, 6) for _ in lights]
    samples = frame_samples(frames, found, novelty)
    assert np.isnan(samples.y).all()
    sampler = PrioritySampler(capacity=capacity, bins=novelty.bins, uniform_share=0.0)
    memory = SampleMemory(sampler, novelty.bins)
    for start in range(0, len(samples), 50):
        memory.offer(samples.take(slice(start, start + 50)))
    assert len(memory) == capacity
    assert (memory.get().time_s >= n_old).mean() >= 0.2
    weighted = memory.weighted()
    assert weighted is not None
    assert weighted.weight.sum() == pytest.approx(len(samples), rel=0.8)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 40, 3), np.uint8),
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 3), np.float32),
    ],
    ids=["small", "gray", "float"],
)
def test_what_is_no_frame_is_refused(pixels: np.ndarray) -> None:
    """Images that are too small, gray or no bytes are named."""
    with pytest.raises(DataError, match="expected a frame"):
        frame_inputs(pixels, Detections.empty(NAMES))


def test_frames_and_detections_must_be_as_many(novelty: FrameNovelty) -> None:
    """A frame without an answer, an answer without a frame, and nothing are refused."""
    one = [np.zeros((8, 8, 3), np.uint8)]
    empty = Detections.empty(NAMES)
    with pytest.raises(DataError, match=r"frame 1: .* found no frame"):
        frame_samples(one, [empty, empty], novelty)
    with pytest.raises(DataError, match=r"frame 1: .* found no detections"):
        frame_samples(one * 2, [empty], novelty)
    with pytest.raises(DataError, match="found none"):
        frame_samples([], [], novelty)


def test_novelty_is_of_one_detector(novelty: FrameNovelty) -> None:
    """A detector of other classes makes other inputs, which are refused."""
    with pytest.raises(DataError, match=f"expected {N_INPUTS} inputs"):
        novelty.predict(np.zeros((2, N_INPUTS + 1), np.float32))
    with pytest.raises(DataError, match="at least 8 frames"):
        FrameNovelty.fitted(_world(3, 0).x, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        FrameNovelty.fitted(_world(9, 0).x, np.random.default_rng(0), odd_share=1.0)
