"""One provider's answer to one item, or its failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32

from midhaul.model.detections import Detections
from midhaul.model.display import Shown

PredictionStatus = Literal[
    "ok",
    "timeout",
    "throttled",
    "unavailable",
    "unreachable",
    "refused",
    "denied",
    "malformed",
    "not_sent",
]
"""How a call went.

``throttled`` is HTTP 429, ``unavailable`` HTTP 5xx or a connection that was lost behind
the request, ``unreachable`` one that never came about (refused, no such name, no TLS,
no route), ``denied`` HTTP 401, 403, 404 and the like, which are about who asks and
where, ``refused`` another HTTP 4xx, which is about the image, ``malformed`` an answer
that cannot be read, ``not_sent`` a call that was never made (no budget, an open
circuit breaker).
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Tags(Shown):
    """Labels of one item without boxes, each with a score.

    Attributes:
        scores: ``(n,)`` in [0, 1].
        labels: ``(n,)`` indices into ``names``.
        names: the label set.

    Raises:
        ValueError: the arrays disagree in length, or a label has no name.
    """

    scores: Float32[np.ndarray, " n"]
    labels: Int32[np.ndarray, " n"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the shapes against each other."""
        if self.scores.shape != self.labels.shape:
            message = f"{len(self.labels)} labels but scores {self.scores.shape}"
            raise ValueError(message)
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(
            self.names
        ):
            message = f"labels must lie in 0..{len(self.names) - 1}"
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Prediction(Shown):
    """One provider's answer to one item, or its failure.

    Attributes:
        provider: name of the provider.
        item: id of the item.
        status: how the call went.
        answer: boxes or tags; None unless the status is ``ok``.
        latency_s: from the send to the decoded answer or the failure.
        price_usd: what the call was charged; 0 where it is not.
        message: what went wrong, in a sentence; empty when nothing did.
        retry_after_s: when the provider asks not to be called earlier; 0 otherwise.
        is_sent: false where nothing has reached the provider, so that it cannot bill.
        n_dropped: boxes or labels of the answer that cannot be read and are not there.
    """

    provider: str
    item: str
    status: PredictionStatus
    answer: Detections | Tags | None
    latency_s: float
    price_usd: float
    message: str = ""
    retry_after_s: float = 0.0
    is_sent: bool = True
    n_dropped: int = 0

    def __post_init__(self) -> None:
        """An answer goes with the status ok, and only with it."""
        if (self.status == "ok") != (self.answer is not None):
            message = f"a prediction that is {self.status} has answer {self.answer}"
            raise ValueError(message)

    @property
    def is_ok(self) -> bool:
        """True when there is an answer."""
        return self.status == "ok"

    @property
    def has_reached(self) -> bool:
        """True where the provider may have heard of the call, and may bill it."""
        return self.is_sent and self.status not in ("unreachable", "not_sent")
