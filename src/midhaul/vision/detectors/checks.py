"""What every detector must do, ours or a stranger's.

``check_detector(make)`` runs each check on a detector made afresh and raises an
``AssertionError`` that says what was expected and what was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.vision.detectors.detector import Detector
    from midhaul.vision.images.image import Pixels

# Height and width in px: usual, a single pixel, very wide, very high, odd.
_SIZES = ((120, 160), (1, 1), (3, 500), (500, 3), (97, 131))


def check_detector(
    make: Callable[[], Detector],
    *,
    image_id: str = "",
    sizes: Sequence[tuple[int, int]] = _SIZES,
) -> None:
    """Run all checks.

    Args:
        make: makes the detector; called several times, always for the same one.
        image_id: an image that a detector of recorded answers knows.
        sizes: height and width in px of the images shown, at least two; a detector of
            recorded answers that knows sizes takes only those of the same shape.

    Raises:
        AssertionError: the detector breaks its protocol.
    """
    detector = make()
    check_names(detector)
    for height, width in sizes:
        pixels = noise(height, width)
        check_answer(detector, pixels, image_id=image_id)
    check_answer(detector, np.zeros((*sizes[0], 3), np.uint8), image_id=image_id)
    check_input_is_kept(detector, image_id=image_id, size=sizes[0])
    check_repeats(make, image_id=image_id, sizes=sizes)


def noise(height: int, width: int, *, seed: int = 0) -> Pixels:
    """An image of noise: whatever a detector says about it must be well formed."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def check_names(detector: Detector) -> None:
    """It has a name, and a label set without repetition or empty names."""
    _demand(bool(detector.name), "a detector needs a name")
    names = detector.names
    is_set = len(set(names)) == len(names) and all(names)
    _demand(type(names) is tuple and is_set, f"{names} is no tuple of unique names")


def check_answer(detector: Detector, pixels: Pixels, *, image_id: str = "") -> None:
    """Types, ranges and order of one answer are as the protocol says."""
    found = detector.detect(pixels, image_id=image_id)
    height, width = pixels.shape[:2]
    where = f"on an image of {width}x{height} px"
    _demand(type(found) is Detections, f"{type(found)} is no Detections {where}")
    kinds = (found.boxes.dtype, found.scores.dtype, found.labels.dtype)
    one_of = {np.dtype(np.float32), np.dtype(np.float64)}
    fits = set(kinds[:2]) <= one_of and kinds[2] == np.int32
    _demand(fits, f"types are {kinds}, not floats and int32 {where}")
    _demand(found.names == detector.names, f"names differ from the detector's {where}")
    x1, y1, x2, y2 = found.boxes.T
    ordered = (x1 >= 0) & (x1 <= x2) & (x2 <= width)
    ordered &= (y1 >= 0) & (y1 <= y2) & (y2 <= height)
    _demand(bool(ordered.all()), f"{found.boxes[~ordered][:1]} leaves it {where}")
    scores = found.scores
    _demand(bool(((scores >= 0) & (scores <= 1)).all()), f"scores leave 0..1 {where}")
    _demand(bool((np.diff(scores) <= 0).all()), f"scores are not sorted {where}")


def check_input_is_kept(
    detector: Detector, *, image_id: str = "", size: tuple[int, int] = _SIZES[0]
) -> None:
    """The image given is not changed, and may be read-only."""
    pixels = noise(*size)
    before = pixels.copy()
    pixels.flags.writeable = False
    detector.detect(pixels, image_id=image_id)
    _demand(np.array_equal(before, pixels), "the image given was changed")


def check_repeats(
    make: Callable[[], Detector],
    *,
    image_id: str = "",
    sizes: Sequence[tuple[int, int]] = _SIZES,
) -> None:
    """The same image gets the same answer, whatever came between, and from a twin."""
    pixels = noise(*sizes[0], seed=1)
    one, twin = make(), make()
    first = one.detect(pixels, image_id=image_id)
    kept = (first.boxes.copy(), first.scores.copy(), first.labels.copy())
    one.detect(noise(*sizes[1], seed=2), image_id=image_id)
    still = (first.boxes, first.scores, first.labels)
    same = all(np.array_equal(a, b) for a, b in zip(kept, still, strict=True))
    _demand(same, "an answer changed after it was given")
    for name, again in (("second", one), ("twin's", twin)):
        found = again.detect(pixels, image_id=image_id)
        now = (found.boxes, found.scores, found.labels)
        same = all(np.array_equal(a, b) for a, b in zip(kept, now, strict=True))
        _demand(same, f"the {name} answer to the same image differs")


def _demand(holds: bool, complaint: str) -> None:  # noqa: FBT001
    if not holds:
        raise AssertionError(complaint)
