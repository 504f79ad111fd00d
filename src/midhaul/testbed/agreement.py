"""Holding the running nodes against the answers that were judged.

Accuracy is computed without nodes. That is only honest as long as the nodes answer the
same, so the first answer to every image in a cell is compared with the judged one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from midhaul.model import Verdict
from midhaul.testbed.answers import best

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.model import Detections
    from midhaul.testbed.records import RequestRecord
    from midhaul.testbed.target import Reply
    from midhaul.wire import Answer

SURE = 0.1
"""Boxes that score less may come and go with the rounding of a thread's sums."""

TOLERANCE_PX = 2.0
"""How far the corners of the same box may lie apart."""


class Agreement:
    """Collects what nodes answered in a cell, and compares it when the cell is over.

    Args:
        judged: the judged answer by image; images that are not in it are not compared.
        max_detections: boxes per image and class that were judged.
    """

    def __init__(self, judged: Mapping[str, Detections], max_detections: int) -> None:
        self._judged = judged
        self._max_detections = max_detections
        self._answered: dict[str, Detections] = {}

    def add(self, record: RequestRecord, reply: Reply) -> None:
        """Keep the first answer to each image; cheap, for it runs beside the load."""
        if not record.is_ok:
            return
        answer = cast("Answer", reply)  # nodes are asked over HTTP
        for image, found in zip(record.images, answer.detections, strict=True):
            if image in self._judged and image not in self._answered:
                self._answered[image] = found

    def verdict(self) -> Verdict:
        """Whether the nodes answered what was judged."""
        different = [
            image
            for image, found in self._answered.items()
            if not are_same(best(found, self._max_detections), self._judged[image])
        ]
        if not different:
            return Verdict()
        reason = (
            f"The nodes were to answer what was judged, but differ on {len(different)} "
            f"of {len(self._answered)} images, {different[0]} first."
        )
        advice = (
            "Check that nodes and workload see the same detector files; if they do, "
            "please report it."
        )
        return Verdict(reasons=(reason,), advice=(advice,))


def are_same(a: Detections, b: Detections) -> bool:
    """Whether two answers have the same sure boxes, by label and corners."""
    return _are_within(a, b) and _are_within(b, a)


def _are_within(a: Detections, b: Detections) -> bool:
    """Whether every sure box of ``a`` is in ``b``."""
    sure = np.flatnonzero(a.scores >= SURE)
    if not len(sure):
        return True
    if not len(b):
        return False
    names_b = np.array(b.names, object)[b.labels]
    names_a = np.array(a.names, object)[a.labels[sure]]
    apart = np.abs(a.boxes[sure][:, None, :] - b.boxes[None, :, :]).max(axis=2)
    is_near = apart <= TOLERANCE_PX
    is_there = is_near & (names_a[:, None] == names_b[None, :])
    return bool(is_there.any(axis=1).all())
