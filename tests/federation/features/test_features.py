"""Features are finite numbers of each item alone, and can be made again when loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.federation.toy_learning import one_best, two_contexts

from midhaul.errors import DataError
from midhaul.federation.features.base import NoFeatures, extractor_of
from midhaul.federation.features.embedding import load_embedding
from midhaul.federation.features.statistics import ImageStatistics, statistics_of
from midhaul.federation.policies.answer_features import (
    AfterFirstPolicy,
    FirstAnswer,
    describe,
)
from midhaul.federation.policies.armol.actor_policy import (
    ActorNetwork,
    ActorPolicy,
    Scaling,
)
from midhaul.federation.policies.base import Situation
from midhaul.npz_state import read_state, write_state
from midhaul.vision.detectors.card import Card

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.federation.recordings.problem import Recording

STATISTICS = ImageStatistics()


def jpeg(pixels: np.ndarray) -> bytes:
    """An RGB picture as a JPEG file."""
    return cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes()


def items_of(n: int) -> Recording:
    """The first items of a small problem."""
    return two_contexts().recording.take(np.arange(n))


def column(features: np.ndarray, name: str) -> np.ndarray:
    """One named column of image statistics."""
    return features[:, STATISTICS.names.index(name)]


def test_no_features_are_a_table_without_columns() -> None:
    """There is a row for every item, and nothing in it."""
    assert NoFeatures().extract(items_of(5)).shape == (5, 0)
    assert NoFeatures().names == ()


def test_statistics_say_what_they_are_called() -> None:
    """Colour, edges and size show in the columns of these names."""
    red = np.zeros((40, 60, 3), np.uint8)
    red[:, :, 0] = 255
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::4] = 255
    found = STATISTICS.extract(items_of(2), [jpeg(red), jpeg(stripes)])
    assert found.shape == (2, len(STATISTICS.names))
    assert column(found, "mean_r")[0] == pytest.approx(1.0, abs=0.02)
    assert column(found, "mean_b")[0] == pytest.approx(0.0, abs=0.02)
    assert column(found, "log_width_px")[0] == pytest.approx(np.log(60))
    for name in ("edge_energy", "sharpness", "entropy_bits", "bytes_per_px"):
        assert column(found, name)[1] > column(found, name)[0]
    for name in ("colourfulness", "saturation", "hue_0"):
        assert column(found, name)[0] > column(found, name)[1]


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    seed=st.integers(0, 1000),
    is_flat=st.booleans(),
)
def test_statistics_are_finite_for_any_picture(
    height: int, width: int, seed: int, *, is_flat: bool
) -> None:
    """Pictures of one pixel, of one colour and of noise all have finite numbers."""
    rng = np.random.default_rng(seed)
    shape = (1, 1, 3) if is_flat else (height, width, 3)
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (height, width, 3)).copy()
    found = statistics_of(pixels, height * width)
    assert found.shape == (len(STATISTICS.names),)
    assert np.isfinite(found).all()


def test_statistics_depend_on_the_item_alone() -> None:
    """The row of a picture is the same in any company."""
    rng = np.random.default_rng(0)
    images = [jpeg(rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)) for _ in "abc"]
    together = STATISTICS.extract(items_of(3), images)
    alone = STATISTICS.extract(items_of(1), images[2:])
    assert (together[2] == alone[0]).all()


def test_bad_images_are_refused() -> None:
    """A missing image and a broken one are errors that say which."""
    with pytest.raises(DataError, match="2 items, but 1 images"):
        STATISTICS.extract(items_of(2), [b""])
    with pytest.raises(DataError, match="item0"):
        STATISTICS.extract(items_of(1), [b"no image"])


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Card]:
    """A model that doubles a picture, then averages it, with its card."""
    doubled = helper.make_node("Mul", ["image", "two"], ["doubled"])
    mean = helper.make_node("GlobalAveragePool", ["doubled"], ["mean"])
    flat = helper.make_node("Flatten", ["mean"], ["flat"])
    shape = [1, 3, 4, 6]
    graph = helper.make_graph(
        [doubled, mean, flat],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("flat", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array(2.0, np.float32), "two")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    file = tmp_path / "tiny.onnx"
    onnx.save(model, file)
    card = Card(
        name="tiny",
        file=file.name,
        input_width=6,
        input_height=4,
        colour="bgr",
        decoder="boxes",
        outputs=("boxes", "labels", "scores"),
        labels=("thing",),
        licence="none",
        source="a test",
    )
    return file, card


def test_an_embedding_is_what_the_model_says(tiny: tuple[Path, Card]) -> None:
    """The output, and the average of a tensor inside, are the model's numbers."""
    file, card = tiny
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:] = (10, 20, 30)
    image = cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    for output in ("", "flat", "doubled", "mean"):
        embedding = load_embedding(file, output, card=card)
        found = embedding.extract(items_of(1), [image])
        assert found.tolist() == [[60.0, 40.0, 20.0]]
        assert len(embedding.names) == 3


def test_pooling_takes_the_largest_where_asked(tiny: tuple[Path, Card]) -> None:
    """Maximum pooling of a map gives each channel's largest place."""
    file, card = tiny
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[2, 3] = (7, 8, 9)
    image = cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    embedding = load_embedding(file, "doubled", pooling="max", card=card)
    assert embedding.extract(items_of(1), [image]).tolist() == [[18.0, 16.0, 14.0]]


def test_a_model_that_cannot_be_used_is_refused(tiny: tuple[Path, Card]) -> None:
    """No file, no such tensor, no model and a card that does not fit are errors."""
    file, card = tiny
    with pytest.raises(DataError, match="does not exist"):
        load_embedding(file.with_name("none.onnx"), card=card)
    with pytest.raises(DataError, match="no output or inner tensor 'other'"):
        load_embedding(file, "other", card=card)
    broken = file.with_name("broken.onnx")
    broken.write_bytes(b"no model")
    with pytest.raises(DataError, match="not a model"):
        load_embedding(broken, card=card)
    wide = replace(card, input_width=12)
    with pytest.raises(DataError, match="cannot be fed"):
        load_embedding(file, card=wide)


def test_every_extractor_can_be_made_again(
    tiny: tuple[Path, Card], tmp_path: Path
) -> None:
    """From a saved state comes an extractor with the same names and numbers."""
    file, card = tiny
    rng = np.random.default_rng(1)
    images = [jpeg(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)) for _ in "ab"]
    embedding = load_embedding(file, "doubled", pooling="max", card=card)
    some = (NoFeatures(), STATISTICS, embedding, FirstAnswer(provider="p1"))
    for extractor in some:
        write_state(tmp_path / "features.npz", extractor.state())
        again = extractor_of(read_state(tmp_path / "features.npz"))
        assert again.names == extractor.names
        assert again.is_of_images == extractor.is_of_images
        found = again.extract(items_of(2), images)
        assert found.tolist() == extractor.extract(items_of(2), images).tolist()
    with pytest.raises(DataError, match="unknown kind of features 'dreams'"):
        extractor_of({"kind": "dreams"})


@pytest.mark.needs_data
def test_a_detector_describes_pictures(data_dir: Path) -> None:
    """An inner tensor of a real detector tells two pictures apart."""
    file = data_dir / "models" / "FastestDet.onnx"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    files = sorted((data_dir / "coco_mini" / "val").iterdir())
    images = [file.read_bytes() for file in files[:2]]
    node = onnx.load(file).graph.node[-20]
    embedding = load_embedding(file, node.output[0])
    found = embedding.extract(items_of(2), images)
    assert found.shape == (2, len(embedding.names))
    assert np.isfinite(found).all()
    assert (found[0] != found[1]).any()


def test_a_first_answer_is_described_and_charged() -> None:
    """Its columns describe that provider's answer, at the price of a call for each."""
    examples = one_best()
    first = FirstAnswer(provider="p1")
    found = first.extract(examples.recording)
    expected = describe(examples.recording.answers[1], examples.recording)
    assert (found == expected).all()
    assert first.mask(examples.recording) == 0b010
    assert first.prices_usd(examples.recording) == pytest.approx(0.001)
    with pytest.raises(DataError, match="no provider p9"):
        FirstAnswer(provider="p9").extract(examples.recording)


def test_the_first_provider_is_asked_before_anybody_else() -> None:
    """Round one is the first provider; round two whoever the inner policy adds."""
    examples = two_contexts()
    first = FirstAnswer(provider="p2")
    wide = first.widened(examples)
    width = wide.features.shape[1]
    inner = ActorPolicy(
        name="fixed",
        n_providers=3,
        scaling=Scaling(
            centre=np.zeros(width, np.float32), scale=np.ones(width, np.float32)
        ),
        actor=ActorNetwork(
            weights=(np.zeros((width, 3), np.float32),),
            biases=(np.array([1, 0, 1], np.float32),),
            activation="relu",
        ),
        is_squashed=False,
        is_box_mapped=False,
    )
    policy = AfterFirstPolicy(first=first, inner=inner)
    rng = np.random.default_rng(0)
    asked = np.zeros(len(examples), np.int64)
    for expected in (0b100, 0b001, 0):
        situation = Situation(
            recording=examples.recording.shown(asked),
            features=examples.features,
            asked=asked,
        )
        new = policy.decide(situation, rng)
        assert set(new.tolist()) == {expected}
        asked = asked | new
