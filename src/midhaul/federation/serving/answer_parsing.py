"""Providers' answers in the words of one label set, and what was odd about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.recordings.cleaning import clean_answer
from midhaul.federation.recordings.problem import Answers
from midhaul.federation.recordings.vocabulary import UNKNOWN
from midhaul.model import Detections, Tags

if TYPE_CHECKING:
    from midhaul.federation.recordings.cleaning import CleaningRules
    from midhaul.federation.recordings.findings import FindingCounter
    from midhaul.federation.recordings.problem import Task
    from midhaul.federation.recordings.vocabulary import Vocabulary

_NO_FINDINGS: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Read:
    """One provider's answer to one item, ready to be fused.

    Attributes:
        answers: of one item; missing where nothing usable was answered.
        findings: oddities by ``provider: reason``, with their numbers.
        unknown: words that the vocabulary does not know.
    """

    answers: Answers
    findings: dict[str, int]
    unknown: tuple[str, ...]


class AnswerParser:
    """Brings answers of live calls into order, and counts all oddities."""

    def __init__(
        self,
        task: Task,
        vocabulary: Vocabulary,
        rules: CleaningRules | None,
        tally: FindingCounter,
    ) -> None:
        self._task: Task = task
        self._vocabulary = vocabulary
        self._rules = rules
        self._tally = tally

    def read(
        self,
        answer: Detections | Tags,
        *,
        provider: str,
        item: str,
        size_px: tuple[float, float] | None,
        n_dropped: int = 0,
    ) -> Read | None:
        """One answer in the label set of the federation.

        None where it has no boxes that are wanted. ``n_dropped`` entries of it could
        not be read.
        """
        is_boxes = isinstance(answer, Detections)
        if self._task == "boxes" and not is_boxes:
            return None
        used = _with_used_names(answer)
        if self._task != "boxes" and isinstance(used, Detections):
            used = Tags(scores=used.scores, labels=used.labels, names=used.names)
        before = dict(self._tally.counts)
        self._tally.see(provider, entries=n_dropped)
        self._tally.add(provider, "unreadable entry", n_dropped, [item])
        cleaned = clean_answer(
            used,
            self._vocabulary,
            self._rules,
            provider=provider,
            item=item,
            tally=self._tally,
            size_px=size_px,
        )
        answers = self._as_answers(cleaned, provider, item)
        if before == self._tally.counts:
            return Read(answers=answers, findings=_NO_FINDINGS, unknown=())
        findings = {
            f"{provider}: {reason}": count - before.get((whose, reason), 0)
            for (whose, reason), count in self._tally.counts.items()
            if whose == provider and count > before.get((whose, reason), 0)
        }
        return Read(
            answers=answers, findings=findings, unknown=self._unknown(used, provider)
        )

    def _unknown(self, answer: Detections | Tags, provider: str) -> tuple[str, ...]:
        find = self._vocabulary.find
        return tuple(w for w in answer.names if find(w, provider) == UNKNOWN)

    def _as_answers(
        self, cleaned: Detections | Tags, provider: str, item: str
    ) -> Answers:
        scores, labels = cleaned.scores, cleaned.labels
        boxes = (
            cleaned.boxes
            if isinstance(cleaned, Detections)
            else np.zeros((len(labels), 4), np.float32)
        )
        is_missing = False
        if self._task == "labels":
            is_missing = not len(labels)
            if is_missing:
                self._tally.add(provider, "no label", 1, [item])
            if len(labels) > 1:
                self._tally.add(
                    provider, "one of several labels", len(labels) - 1, [item]
                )
                best = [int(np.argmax(scores))]
                scores, labels, boxes = scores[best], labels[best], boxes[best]
        return Answers(
            starts=np.array([0, len(labels)], np.int64),
            labels=labels.astype(np.int32, copy=False),
            scores=scores.astype(np.float32, copy=False),
            boxes=boxes.astype(np.float32, copy=False),
            is_missing=np.array([is_missing]),
            is_ignored=np.zeros(len(labels), bool),
        )


def _with_used_names(answer: Detections | Tags) -> Detections | Tags:
    """The same with the names that it uses alone: a vendor's label set may be long."""
    if len(answer.names) <= len(answer):
        return answer
    used, labels = np.unique(answer.labels, return_inverse=True)
    names = tuple(answer.names[i] for i in used.tolist())
    labels = labels.astype(np.int32)
    if isinstance(answer, Detections):
        return Detections(
            boxes=answer.boxes, scores=answer.scores, labels=labels, names=names
        )
    return Tags(scores=answer.scores, labels=labels, names=names)


def as_answer(fused: Answers, task: Task, names: tuple[str, ...]) -> Detections | Tags:
    """The fused answer to one item as a value that stands for itself."""
    if task == "boxes":
        return Detections(
            boxes=fused.boxes, scores=fused.scores, labels=fused.labels, names=names
        )
    return Tags(scores=fused.scores, labels=fused.labels, names=names)
