"""A small data set in COCO's format."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class TinyCoco:
    """Where it lies.

    Attributes:
        images: its image files, in the order of their ids.
        annotations: its JSON file.
    """

    images: tuple[Path, ...]
    annotations: Path

    @property
    def settings(self) -> tuple[str, ...]:
        """What to set so that an experiment uses it."""
        return (
            "data={}",
            "data.kind=coco",
            f"data.images={self.images[0].parent}",
            f"data.annotations={self.annotations}",
        )


def write_coco(folder: Path, n_images: int = 4) -> TinyCoco:
    """Write images of noise with one box each.

    Args:
        folder: where to, made when missing.
        n_images: how many images.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    files: list[Path] = []
    for number in range(1, n_images + 1):
        target = io.BytesIO()
        pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(target, "JPEG")
        files.append(folder / "images" / f"{number:012d}.jpg")
        files[-1].write_bytes(target.getvalue())
    numbers = range(1, n_images + 1)
    truth = {
        "images": [
            {"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 48}
            for n in numbers
        ],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [5, 5, 20, 20],
                "area": 400,
                "iscrowd": 0,
            }
            for n in numbers
        ],
    }
    annotations = folder / "instances.json"
    annotations.write_text(json.dumps(truth))
    return TinyCoco(images=tuple(files), annotations=annotations)
