"""Values that several parts of midhaul pass to each other.

Frozen, slotted, keyword-only dataclasses on plain numpy. Units are in the names.
"""

from midhaul.model.detections import (
    Detections,
    GroundTruth,
    Prediction,
    PredictionStatus,
    Tags,
)
from midhaul.model.estimate import Estimate
from midhaul.model.flows import Flows
from midhaul.model.topology import Link, LinkQueue, Topology
from midhaul.model.verdict import Tally, Verdict

__all__ = [
    "Detections",
    "Estimate",
    "Flows",
    "GroundTruth",
    "Link",
    "LinkQueue",
    "Prediction",
    "PredictionStatus",
    "Tags",
    "Tally",
    "Topology",
    "Verdict",
]
