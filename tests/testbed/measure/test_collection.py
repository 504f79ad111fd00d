"""Images, ground truth and detections survive being stored."""

from __future__ import annotations

import numpy as np
import pytest

from midhaul.errors import StoreError
from midhaul.testbed.measure.tables import (
    DETECTIONS,
    IMAGES,
    folds,
    image_rows,
    stored_dataset,
    stored_detections,
)
from midhaul.vision.data.opening import open_dataset


def test_a_stored_data_set_is_the_same() -> None:
    """Labels, boxes, sizes and order come back; pictures do not."""
    dataset = open_dataset("builtin", n_images=5)
    table = IMAGES.from_rows(image_rows(dataset, 0))
    again = stored_dataset(table, "run", dataset.names)
    assert again.image_ids == dataset.image_ids
    assert again.names == dataset.names
    for image in dataset.image_ids:
        np.testing.assert_array_equal(
            again.truth[image].boxes, dataset.truth[image].boxes
        )
        np.testing.assert_array_equal(
            again.truth[image].labels, dataset.truth[image].labels
        )
        assert again.size(image) == dataset.size(image)
    with pytest.raises(StoreError, match="keeps no pictures"):
        again.read(again.image_ids[0])


def test_halves_are_halves_and_stay_the_same() -> None:
    """The half of an image depends on its id and the seed alone."""
    dataset = open_dataset("builtin", n_images=10)
    first = folds(IMAGES.from_rows(image_rows(dataset, 0)))
    assert sorted(first.values()) == [0] * 5 + [1] * 5
    assert first == folds(IMAGES.from_rows(image_rows(dataset, 0)))


def test_detections_come_back_by_label() -> None:
    """Numbers of labels may change, names do not; an empty answer is one."""
    rows = [
        {"image": "a", "boxes": [0.0, 0, 5, 5], "scores": [0.5], "labels": ["dog"]},
        {"image": "b", "boxes": [], "scores": [], "labels": []},
    ]
    found = stored_detections(DETECTIONS.from_rows(rows))
    assert [found["a"].names[label] for label in found["a"].labels] == ["dog"]
    assert found["a"].boxes.tolist() == [[0, 0, 5, 5]]
    assert len(found["b"]) == 0
