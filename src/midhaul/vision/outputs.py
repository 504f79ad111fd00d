"""From the outputs of a network to detections: decode, suppress, map to the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.model import Detections
from midhaul.vision.decoders import FAMILIES, mismatch
from midhaul.vision.suppression import suppress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.card import Card
    from midhaul.vision.geometry import Geometry


class OutputDecoder:
    """Turns the outputs of one model into detections.

    Args:
        card: says how.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        self._decode = FAMILIES[card.decoder]
        self._names = card.names
        used = [bool(name) for name in card.numbered_labels]
        # Index into names by number; -1 where a number is not in use.
        self._index = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)

    @property
    def names(self) -> tuple[str, ...]:
        """The label set."""
        return self._names

    def __call__(self, outputs: Sequence[np.ndarray], geometry: Geometry) -> Detections:
        """Decode, suppress, and carry the boxes back to the image.

        Raises:
            DataError: the outputs do not fit the card.
        """
        card = self._card
        found = self._decode(outputs, card)
        numbers = found.numbers - card.first_label
        inside = (numbers >= 0) & (numbers < len(self._index))
        if not inside.all() and card.first_label == 0:
            raise mismatch(
                card,
                f"labels has {len(self._index)} numbers",
                f"the model answers number {found.numbers.max()}",
            )
        labels = np.where(inside, self._index[np.where(inside, numbers, 0)], -1)
        used = labels >= 0
        boxes, scores = found.boxes[used], found.scores[used]
        labels = labels[used].astype(np.int32)
        keep = suppress(
            boxes, scores, labels, iou=card.nms_iou, limit=card.max_detections
        )
        return Detections(
            boxes=geometry.to_image(boxes[keep]),
            scores=np.clip(scores[keep], 0, 1),
            labels=labels[keep],
            names=self._names,
        )
