"""Holding the running nodes against the answers that were judged."""

from __future__ import annotations

import numpy as np

from midhaul.model import Detections
from midhaul.testbed.load.records import RequestRecord
from midhaul.testbed.measure.judging import Agreement, are_same
from midhaul.wire import Answer


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Detections from rows of x1 y1 x2 y2 score label."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        boxes=table[:, :4],
        scores=table[:, 4],
        labels=table[:, 5].astype(np.int32),
        names=("car", "dog"),
    )


CAR = (10, 10, 50, 50, 0.9, 0)


def record(image: str, status: str = "ok") -> RequestRecord:
    """A request for one image."""
    return RequestRecord(
        request=0,
        is_warmup=False,
        node="edge",
        images=(image,),
        planned_ns=0,
        sent_ns=0,
        done_ns=1,
        status=status,
        error=None,
        sent_bytes=1,
        received_bytes=1,
        meta={},
    )


def test_small_shifts_and_unsure_boxes_do_not_matter() -> None:
    """Rounding moves a corner a little and lets faint boxes come and go."""
    other = found((10.5, 10, 50, 50, 0.88, 0), (0, 0, 5, 5, 0.05, 1))
    assert are_same(found(CAR), other)
    assert are_same(found(), found((0, 0, 5, 5, 0.05, 1)))


def test_a_missing_moved_or_renamed_box_matters() -> None:
    """What a reader would call another answer is one."""
    assert not are_same(found(CAR), found())
    assert not are_same(found(CAR), found((10, 10, 60, 50, 0.9, 0)))
    assert not are_same(found(CAR), found((10, 10, 50, 50, 0.9, 1)))


def test_a_cell_whose_nodes_answer_otherwise_is_not_valid() -> None:
    """Only judged images that were answered are compared."""
    agreement = Agreement({"a": found(CAR), "b": found(CAR)}, 100)
    agreement.add(record("a"), Answer(status="ok", detections=(found(CAR),)))
    agreement.add(record("b", "timeout"), Answer(status="timeout"))
    agreement.add(record("c"), Answer(status="ok", detections=(found(),)))
    assert agreement.verdict().is_valid
    agreement.add(record("b"), Answer(status="ok", detections=(found(),)))
    verdict = agreement.verdict()
    assert not verdict.is_valid
    assert "1 of 2 images, b first" in verdict.reasons[0]
