"""Images, ground truth and detections as rows of a run, and back.

A run keeps the ground truth beside the answers, so that it can be judged, compared and
reported where the data set is not at hand. None of it ever reaches a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import StoreError
from midhaul.model import Detections, GroundTruth
from midhaul.vision.data import Dataset
from midhaul.vision.precision import as_double

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


def image_rows(dataset: Dataset, seed: int) -> list[dict[str, object]]:
    """Rows of the table ``images``.

    Args:
        dataset: the images used.
        seed: decides, with an image's id, into which half it falls.
    """
    half, _ = dataset.split(0.5, np.random.default_rng([seed, 2]))
    first = set(half.image_ids)
    rows: list[dict[str, object]] = []
    for image in dataset.image_ids:
        truth = dataset.truth[image]
        width, height = dataset.size(image)
        rows.append(
            {
                "image": image,
                "fold": 0 if image in first else 1,
                "width_px": width,
                "height_px": height,
                "file_bytes": len(dataset.read(image)),
                "boxes": as_double(truth.boxes).ravel(),
                "labels": [truth.names[label] for label in truth.labels],
                "is_crowd": truth.is_crowd,
                "areas_px": as_double(truth.areas_px),
            }
        )
    return rows


def stored_dataset(images: pa.Table, name: str, names: tuple[str, ...]) -> Dataset:
    """The data set that a run kept, without its pictures.

    Args:
        images: the table ``images``.
        name: of the data set, for titles.
        names: its label set.
    """
    rows: list[dict[str, Any]] = images.to_pylist()
    numbers = {label: number for number, label in enumerate(names)}
    return Dataset(
        name=name,
        names=names,
        image_ids=tuple(row["image"] for row in rows),
        truth={row["image"]: _truth(row, numbers, names) for row in rows},
        sizes={row["image"]: (row["width_px"], row["height_px"]) for row in rows},
        source=_no_picture,
    )


def folds(images: pa.Table) -> dict[str, int]:
    """The half into which each image falls."""
    rows: list[dict[str, Any]] = images.select(["image", "fold"]).to_pylist()
    return {row["image"]: row["fold"] for row in rows}


def stored_detections(detections: pa.Table) -> dict[str, Detections]:
    """Answers by image.

    Args:
        detections: rows of the table ``detections``, of one configuration.
    """
    columns = ["image", "boxes", "scores", "labels"]
    rows: list[dict[str, Any]] = detections.select(columns).to_pylist()
    names = tuple(sorted({label for row in rows for label in row["labels"]}))
    numbers = {label: number for number, label in enumerate(names)}
    return {
        row["image"]: Detections(
            boxes=np.array(row["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(row["scores"], np.float64),
            labels=np.array([numbers[label] for label in row["labels"]], np.int32),
            names=names,
        )
        for row in rows
    }


def _truth(
    row: Mapping[str, Any],
    numbers: Mapping[str, int],
    names: tuple[str, ...],
) -> GroundTruth:
    return GroundTruth(
        boxes=np.array(row["boxes"], np.float64).reshape(-1, 4),
        labels=np.array([numbers[label] for label in row["labels"]], np.int32),
        is_crowd=np.array(row["is_crowd"], bool),
        areas_px=np.array(row["areas_px"], np.float64),
        names=names,
    )


def _no_picture(image: str) -> bytes:
    message = f"a run keeps no pictures, so image {image} cannot be read from it"
    raise StoreError(message, "open the data set itself")
