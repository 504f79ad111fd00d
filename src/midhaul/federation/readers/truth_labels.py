"""Labels of answers that are the truth's in another spelling, or by another name.

Without a vocabulary, words mean themselves. What differs from a word of the truth in
capitals, spaces or hyphens alone is that word all the same. What the tables that come
with midhaul call a synonym is only counted: whether the tables hold, is the caller's to
say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from midhaul.federation.readers.parts import relabelled
from midhaul.federation.vocabulary import read_vocabulary
from midhaul.vision.spelling import word_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.federation.finding_rules import Reason
    from midhaul.federation.findings import FindingCounter
    from midhaul.federation.problem import Answers, Recording

_Key = TypeVar("_Key", str, int)


def match_labels(recording: Recording, *, tally: FindingCounter) -> Recording:
    """Take labels for those of the truth that are spelled nearly the same.

    Args:
        recording: as it was read, with its own words.
        tally: where labels are counted that the truth does not have.

    Returns:
        The same where there is no truth, or all labels are of it.
    """
    if recording.truth is None or not len(recording.truth.labels):
        return recording
    names = recording.names
    true = np.unique(recording.truth.labels).tolist()
    spelled = _unique((word_key(names[label]), label) for label in true)
    answers: list[Answers] = []
    for provider, one in zip(recording.providers, recording.answers, strict=True):
        counts = Counter(one.labels.tolist())
        odd = [label for label, _ in counts.most_common() if label not in set(true)]
        if not odd:
            answers.append(one)
            continue
        table = np.arange(len(names), dtype=np.int32)
        for label in odd:
            meant = spelled.get(word_key(names[label]))
            table[label] = label if meant is None else meant
        synonyms = _synonyms(names, true, odd)
        for label in odd:
            reason: Reason = "label that nothing is"
            example = names[label]
            if table[label] != label:
                reason = "label in another spelling"
                example = f"{example!r} for {names[table[label]]!r}"
            elif label in synonyms:
                reason = "label by another name"
                example = f"{example!r} for {names[synonyms[label]]!r}"
            tally.add(provider, reason, counts[label], [example])
        answers.append(relabelled(one, table))
    return replace(recording, answers=tuple(answers))


def _synonyms(
    names: tuple[str, ...], true: list[int], odd: list[int]
) -> dict[int, int]:
    """The true label that each odd one is another word for, where a table has both."""
    found: dict[int, int] = {}
    for table in ("coco80", "voc20"):
        vocabulary = read_vocabulary(table)
        places = _unique(
            (place, label)
            for label in true
            if (place := vocabulary.find(names[label])) >= 0
        )
        for label in odd:
            place = vocabulary.find(names[label])
            if place in places:
                found.setdefault(label, places[place])
    return found


def _unique(pairs: Iterable[tuple[_Key, int]]) -> dict[_Key, int]:
    """What each key stands for, without those that stand for two things."""
    listed = list(pairs)
    counts = Counter(key for key, _ in listed)
    return {key: value for key, value in listed if counts[key] == 1}
