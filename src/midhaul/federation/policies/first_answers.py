"""What a provider seems to say, and how sure it seems: its label and its score.

FrugalML reads both off the answer of a classifier. Where an answer holds several labels
or boxes, the label is that of the highest score and the score is that one's; of equal
scores the first counts. An empty answer has a label of its own and score 0, and so has
an answer that is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.federation.problem import Answers, Recording


def first_label(
    answers: Answers, n_names: int
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """The label of the highest score in each answer, and that score.

    Args:
        answers: a provider's, to n items.
        n_names: labels there are.

    Returns:
        ``(n,)`` label, ``n_names`` where the answer is empty and ``n_names + 1`` where
        it is missing; and ``(n,)`` score in [0, 1].
    """
    labels = np.where(answers.is_missing, n_names + 1, n_names).astype(np.int64)
    scores = np.zeros(len(answers))
    known = np.nan_to_num(answers.scores.astype(np.float64), nan=0.0).clip(0.0, 1.0)
    order = np.lexsort((np.arange(len(known)), -known, answers.items))
    counts = answers.counts
    has_any = counts > 0
    tops = order[answers.starts[:-1][has_any]]
    labels[has_any] = answers.labels[tops]
    scores[has_any] = known[tops]
    return labels, scores


def first_scores(recording: Recording) -> Float64[np.ndarray, "p n"]:
    """``(M, n)`` highest score in each provider's answer to each item."""
    n_names = len(recording.names)
    return np.stack([first_label(answers, n_names)[1] for answers in recording.answers])
