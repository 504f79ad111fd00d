"""Worked examples for the report: images with what was detected on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.vision.drawing import draw, jpeg
from midhaul.vision.images import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.model import Detections
    from midhaul.vision.data import Dataset

N_IMAGES = 3
"""Images shown, each under every chosen configuration."""


def write_examples(
    folder: Path,
    dataset: Dataset,
    answers: Mapping[str, Mapping[str, Detections]],
    threshold: float,
) -> None:
    """Write a few images under a few configurations, as small JPEG files.

    The images are those with the most boxes, so that there is something to see; human
    boxes are white, detections amber with their label and score.

    Args:
        folder: where to, made when missing.
        dataset: the images with their ground truth.
        answers: detections by image, by the name of a configuration.
        threshold: score from which a detection is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busiest = sorted(dataset.image_ids, key=lambda i: -len(dataset.truth[i]))
    for number, image in enumerate(busiest[:N_IMAGES], 1):
        pixels = decode(dataset.read(image), where=image)
        for name, found in answers.items():
            if image in found:
                drawn = draw(
                    pixels, dataset.truth[image].boxes, found[image], threshold
                )
                caption = f"Image {number}-- {name}".replace(" ", "_").replace("/", "-")
                (folder / f"{caption}.jpg").write_bytes(jpeg(drawn))
