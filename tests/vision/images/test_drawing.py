"""Boxes drawn on images."""

from __future__ import annotations

import numpy as np
from tests.tiny import four_images

from midhaul.vision.images.image import draw, jpeg


def test_sure_boxes_are_drawn_and_the_image_is_left_alone() -> None:
    """A threshold above every score draws the ground truth only."""
    dataset, answers = four_images()
    pixels = np.zeros((80, 100, 3), np.uint8)
    none = draw(pixels, dataset.truth["a"].boxes, answers["a"], 1.0)
    some = draw(pixels, dataset.truth["a"].boxes, answers["a"], 0.5)
    assert not pixels.any()
    assert none.any()
    assert (none != some).any()
    assert none.shape == pixels.shape


def test_pixels_become_a_small_jpeg() -> None:
    """The bytes begin as those of a JPEG do."""
    assert jpeg(np.zeros((20, 30, 3), np.uint8))[:2] == b"\xff\xd8"
