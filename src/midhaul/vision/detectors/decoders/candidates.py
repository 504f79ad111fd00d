"""Candidates: boxes before suppression, and what all decoders share.

Every decoder drops what is below the score threshold before it computes a single box,
so its cost follows the number of candidates and not the size of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32

from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.vision.detectors.card import Card

# Candidates that go into the suppression at most, the best ones.
_MAX_CANDIDATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Boxes before suppression.

    Attributes:
        boxes: corners x1, y1, x2, y2 in px of the network's input.
        scores: in [0, 1].
        numbers: the network's own numbers of the labels, from 0.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    numbers: Int32[np.ndarray, " n"]


def strongest(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the best scores that reach the threshold, in their own order."""
    found = np.flatnonzero(scores >= threshold)
    if len(found) > _MAX_CANDIDATES:
        top = np.argpartition(-scores[found], _MAX_CANDIDATES)[:_MAX_CANDIDATES]
        found = found[np.sort(top)]
    return found


def strong_pairs(
    table: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and score of the best entries that reach the threshold."""
    flat = table.reshape(-1)
    keep = strongest(flat, threshold)
    rows, columns = np.divmod(keep, table.shape[1])
    return rows, columns, flat[keep]


def from_centres(
    centre: np.ndarray, sides: np.ndarray, scores: np.ndarray, numbers: np.ndarray
) -> Candidates:
    """Candidates of centres and sides, both ``(n, 2)``."""
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
    return Candidates(
        boxes=boxes.astype(np.float32),
        scores=scores.astype(np.float32),
        numbers=numbers.astype(np.int32),
    )


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 + 0.5 * np.tanh(values / 2)


def take_outputs(
    outputs: Sequence[np.ndarray], card: Card, n: int
) -> Sequence[np.ndarray]:
    """The first ``n`` outputs; DataError if there are fewer."""
    if len(outputs) < n:
        raise mismatch(card, f"the model has {n} outputs", f"it has {len(outputs)}")
    return outputs[:n]


def check_shape(card: Card, output: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """DataError if a shape is not what the labels make of it; None is any size."""
    is_same = len(shape) == output.ndim and all(
        want in (None, found) for want, found in zip(shape, output.shape, strict=True)
    )
    if not is_same:
        wanted = ", ".join("any" if one is None else str(one) for one in shape)
        raise mismatch(
            card,
            f"the output has shape ({wanted}) for {len(card.numbered_labels)} labels",
            f"it has {output.shape}",
        )


def mismatch(card: Card, expected: str, found: str) -> DataError:
    """The error of a card that does not fit its model."""
    message = (
        f"the card of {card.name} does not fit {card.file}: by decoder "
        f"{card.decoder} {expected}, but {found}"
    )
    return DataError(message, "correct decoder, labels, strides or size in the card")
