"""Recorded detections of built-in scenes: two detectors that cost next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midhaul.vision.data.opening import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

KEPT = {"good": 0.9, "poor": 0.4}
"""Share of the true boxes that each detector finds, by its name."""


def record_scenes(file: Path, n_scenes: int, seed: int = 0) -> None:
    """Write what two made-up detectors find on the scenes of a seed.

    Args:
        file: Parquet file to write.
        n_scenes: scenes, from the first.
        seed: of the scenes.
    """
    dataset = open_dataset("builtin", n_images=n_scenes, seed=seed)
    rng = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    for image in dataset.image_ids:
        truth = dataset.truth[image]
        for provider, share in KEPT.items():
            for box, label in zip(truth.boxes, truth.labels, strict=True):
                if rng.random() < share:
                    x1, y1, x2, y2 = (box + rng.normal(0, 1, 4)).tolist()
                    rows.append(
                        {
                            "image_id": image,
                            "provider": provider,
                            "label": truth.names[label],
                            "score": float(rng.uniform(0.3, 1)),
                            "x1": x1,
                            "y1": y1,
                            "x2": max(x2, x1 + 1),
                            "y2": max(y2, y1 + 1),
                        }
                    )
        nothing = {"label": truth.names[0], "score": 0.01, "x1": 0.0, "y1": 0.0}
        nothing |= {"x2": 5.0, "y2": 5.0}  # every image has an answer
        rows += [{"image_id": image, "provider": p, **nothing} for p in KEPT]
    pq.write_table(pa.Table.from_pylist(rows), file)
