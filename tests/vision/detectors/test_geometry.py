"""From pixels to a model's input and back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.vision.detectors.card import Card, parse_card
from midhaul.vision.detectors.geometry import InputBuffer


def card_for(**changes: Any) -> Card:
    """A card for an input of 20x10 px."""
    values: dict[str, Any] = {
        "name": "a", "file": "a.onnx", "input_width": 20, "input_height": 10,
        "colour": "rgb", "decoder": "fastestdet", "labels": ["x"], "licence": "MIT",
        "source": "a test",
    }  # fmt: skip
    return parse_card(values | changes, where="a test")


def noise(height: int, width: int) -> np.ndarray:
    """Random pixels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_channels_are_ordered_and_normalised() -> None:
    """(pixel - mean) / std per channel, in the order of the colours."""
    pixels = noise(10, 20)
    mean, std = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    array, _ = InputBuffer(card_for(colour="bgr", mean=mean, std=std)).fill(pixels)
    wanted = (pixels[:, :, ::-1].astype(float) - mean) / std
    assert array.dtype == np.float32
    assert array.shape == (1, 3, 10, 20)
    assert array[0] == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-5)


def test_layouts_and_types() -> None:
    """Channels last with a batch, bytes as they are, channels first without a batch."""
    pixels = noise(10, 20)
    array, _ = InputBuffer(card_for(layout="nhwc", dtype="uint8")).fill(pixels)
    assert np.array_equal(array[0], pixels)
    array, _ = InputBuffer(card_for(layout="chw")).fill(pixels)
    assert np.array_equal(array, pixels.transpose(2, 0, 1).astype(np.float32))


def test_stretch_resizes_both_ways() -> None:
    """The aspect is not kept; interpolation is the card's."""
    pixels = noise(30, 30)
    card = card_for(layout="nhwc", dtype="uint8", interpolation="area")
    array, geometry = InputBuffer(card).fill(pixels)
    wanted = cv2.resize(pixels, (20, 10), interpolation=cv2.INTER_AREA)
    assert np.array_equal(array[0], wanted)
    assert (geometry.scale_x, geometry.scale_y) == (20 / 30, 10 / 30)


@pytest.mark.parametrize(("anchor", "left"), [("top-left", 0), ("centre", 5)])
def test_letterbox_pads_where_the_card_says(anchor: str, left: int) -> None:
    """The image keeps its aspect; bars have the pad value, also the second time."""
    card = card_for(
        layout="nhwc", dtype="uint8", fit="letterbox", letterbox_anchor=anchor,
        pad_value=9,
    )  # fmt: skip
    buffer = InputBuffer(card)
    buffer.fill(noise(10, 20))
    array, geometry = buffer.fill(noise(20, 20))
    bars = np.ones((10, 20), bool)
    bars[:, left : left + 10] = False
    assert (array[0][bars] == 9).all()
    assert (geometry.left, geometry.top) == (left, 0)
    assert (geometry.scale_x, geometry.scale_y) == (0.5, 0.5)


def test_as_is_takes_every_size() -> None:
    """The buffer follows the image where the model does the resizing."""
    card = card_for(
        fit="as-is", layout="chw", input_width=0, input_height=0, decoder="boxes",
        outputs=["b", "l", "s"],
    )  # fmt: skip
    buffer = InputBuffer(card)
    assert buffer.fill(noise(3, 5))[0].shape == (3, 3, 5)
    assert buffer.fill(noise(7, 2))[0].shape == (3, 7, 2)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    fit=st.sampled_from(["stretch", "letterbox"]),
    anchor=st.sampled_from(["centre", "top-left"]),
)
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, fit: str, anchor: str
) -> None:
    """Image to input to image is the identity, for every size and fit."""
    card = card_for(fit=fit, letterbox_anchor=anchor)
    _, geometry = InputBuffer(card).fill(noise(height, width))
    rng = np.random.default_rng(width)
    box = np.sort(rng.random((2, 2)), axis=0) * [width, height]
    scale = np.array([geometry.scale_x, geometry.scale_y])
    shift = np.array([geometry.left, geometry.top])
    there = (box * scale + shift).reshape(1, 4).astype(np.float32)
    back = geometry.to_image(there)
    assert back.dtype == np.float32
    assert back[0] == pytest.approx(box.reshape(4), abs=1e-2, rel=1e-3)
    whole = np.array([[0, 0, card.input_width, card.input_height]], np.float32)
    x1, y1, x2, y2 = geometry.to_image(whole)[0]
    assert (x1, y1) == (0, 0)
    assert x2 == pytest.approx(width, rel=1e-5)
    assert y2 == pytest.approx(height, rel=1e-5)
