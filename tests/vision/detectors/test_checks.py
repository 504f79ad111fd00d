"""The conformance suite finds what breaks the protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.model import Detections
from midhaul.vision.detectors.checks import check_detector, noise

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("car", "dog")


def proper(pixels: np.ndarray) -> Detections:
    """Two boxes inside the image, whatever it shows."""
    height, width = pixels.shape[:2]
    return Detections(
        boxes=np.array([[0, 0, width, height], [0, 0, 1, 1]], np.float32),
        scores=np.array([0.75, 0.5], np.float32),
        labels=np.array([1, 0], np.int32),
        names=NAMES,
    )


@dataclass
class Fake:
    """A detector whose answer is a function of the pixels."""

    answer: Callable[[np.ndarray], Detections] = proper
    name: str = "fake"
    names: tuple[str, ...] = NAMES

    def detect(self, pixels: np.ndarray, *, image_id: str = "") -> Detections:
        """Answer."""
        del image_id
        return self.answer(pixels)


def with_scores(*scores: float) -> Callable[[np.ndarray], Detections]:
    """The proper answer with other scores."""
    return lambda pixels: replace(proper(pixels), scores=np.array(scores, np.float32))


def paint(pixels: np.ndarray) -> Detections:
    """Writes into the image it is given."""
    pixels[0, 0] = 0
    return proper(pixels)


def rounded(pixels: np.ndarray) -> Detections:
    """Boxes in whole numbers, past the type check that tests put on values."""
    found = proper(pixels)
    object.__setattr__(found, "boxes", found.boxes.astype(np.int64))
    return found


def outside(pixels: np.ndarray) -> Detections:
    """Boxes that leave the image."""
    return replace(proper(pixels), boxes=proper(pixels).boxes + np.float32(1))


def moody(pixels: np.ndarray) -> Detections:
    """Another answer each time."""
    score = np.random.default_rng().uniform(0.6, 1)
    return with_scores(score, 0.5)(pixels)


def test_a_proper_detector_passes() -> None:
    """Nothing is demanded beyond the protocol."""
    check_detector(Fake)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (Fake(with_scores(0.1, 0.9)), "not sorted"),
        (Fake(with_scores(1.5, 0.9)), "leave 0..1"),
        (Fake(rounded), "types"),
        (Fake(outside), "leaves"),
        (Fake(moody), "differs"),
        (Fake(name=""), "needs a name"),
        (Fake(names=("car", "car")), "unique names"),
        (Fake(names=("dog", "car")), "names differ"),
        (Fake(lambda pixels: [pixels]), "no Detections"),
    ],
)
def test_broken_detectors_fail(broken: Fake, complaint: str) -> None:
    """Each way to break the protocol has its own words."""
    with pytest.raises(AssertionError, match=complaint):
        check_detector(lambda: broken)


def test_a_detector_that_writes_into_its_input_fails() -> None:
    """The image is shared with whoever asks next."""
    with pytest.raises(ValueError, match="read-only"):
        check_detector(lambda: Fake(paint))


def test_an_answer_that_changes_later_fails() -> None:
    """A buffer that is reused must not be handed out."""
    boxes = np.zeros((2, 4), np.float32)

    def reuse(pixels: np.ndarray) -> Detections:
        boxes[:, 2:] = pixels.shape[1::-1]
        return replace(proper(pixels), boxes=boxes)

    with pytest.raises(AssertionError, match="changed after"):
        check_detector(lambda: Fake(reuse))


def test_noise_follows_its_seed() -> None:
    """The same seed makes the same image."""
    assert np.array_equal(noise(3, 4, seed=1), noise(3, 4, seed=1))
    assert noise(3, 4).shape == (3, 4, 3)
