"""What COCO's evaluation leaves open: how many detections count, and from which IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COCO_IOU: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""0.50, 0.55, …, 0.95, as COCO's evaluation writes them."""
COCO_AREAS_PX = (32.0**2, 96.0**2)
_AP50, _AP75 = 0.5, 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRules:
    """How answers are judged; the defaults are COCO's.

    Attributes:
        max_detections: detections per image and class that count, best first.
        iou: thresholds that AP is the mean over.
        match_iou: threshold of precision, recall and F1.
        area_limits_px: areas that part small boxes from medium ones, and these from
            large ones.
    """

    max_detections: int = 100
    iou: tuple[float, ...] = COCO_IOU
    match_iou: float = 0.5
    area_limits_px: tuple[float, float] = COCO_AREAS_PX

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Every IoU threshold that something is asked at, rising."""
        return tuple(sorted({*self.iou, self.match_iou, _AP50, _AP75}))

    def places(self, iou: float | None = None) -> tuple[int, ...]:
        """Where thresholds stand in ``thresholds``: one, or those of AP."""
        wanted = self.iou if iou is None else (iou,)
        return tuple(self.thresholds.index(one) for one in wanted)
