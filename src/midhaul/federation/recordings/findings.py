"""Findings: what was odd about answers, counted by provider and reason, never hidden.

Whoever reads or cleans answers is handed a :class:`FindingCounter` and adds to it; its
report is what tables and the live service show.

A *reason* says what can be odd, what is done about it, and how much of it is too much.

The shares are conventions, and stand in the docs beside the reasons for them. What is
mended, or left out because somebody said so, may be any number; what is lost unseen may
be one in a hundred; ids that do not fit what the answers say may not be at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, get_args

from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Reason = Literal[
    "score is not finite",
    "score out of range",
    "score rounded to the range",
    "box is not finite",
    "box ends before it begins",
    "box without area",
    "box outside of the image",
    "box clipped to the image",
    "duplicate",
    "one of several labels",
    "unknown label",
    "unknown category id",
    "ignored label",
    "label in another spelling",
    "label by another name",
    "label that nothing is",
    "labels shifted by one",
    "labels in another order",
    "no label",
    "item found by its file",
    "item not in the truth",
    "items shifted by one",
    "item without an answer",
    "item answered with nothing",
    "item not answered by everybody",
    "unreadable entry",
    "file without an item",
    "file without a use",
]
"""What can be odd about an answer."""

Action = Literal["dropped", "mended", "noted"]
"""What is done about it: an entry or item is left out, corrected, or kept as it is."""

Unit = Literal["entries", "items", "files"]
"""What is counted: boxes and labels, what is answered, or files of answers."""

REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRule:
    """What a finding means to a measurement.

    Attributes:
        what: what became of what is counted, behind *entries of* somebody.
        max_share: the share from which the measurement is not valid.
    """

    action: Action
    what: str
    max_share: float
    advice: str
    unit: Unit = "entries"


_ANY, _FEW = 1.0, 0.01
_EXPORT = "Look at the entries that are named, and write the provider's answers again."
_IDS = (
    "Compare its ids with those of the truth; where its file holds other items on "
    'purpose, set data.mismatch = "intersection".'
)
_BOXES = (
    "Boxes are corners in px of the image as people see it: compare them with its size."
)
_WORDS = (
    "Say in data.vocabulary what the words mean: a table that comes with midhaul, or a "
    "file with synonyms, ignored words, or ignores_others = true."
)


def _rule(
    action: Action, what: str, max_share: float, advice: str, unit: Unit = "entries"
) -> FindingRule:
    return FindingRule(
        action=action, what=what, max_share=max_share, advice=advice, unit=unit
    )


RULES: dict[Reason, FindingRule] = {
    "score is not finite": _rule(
        "dropped", "have a score that is no number and were dropped", _FEW, _EXPORT
    ),
    "score out of range": _rule(
        "dropped",
        "have a score outside of 0 to 1 and were dropped",
        _FEW,
        "Name the provider in data.percent_providers if they are percentages.",
    ),
    "score rounded to the range": _rule(
        "mended", "have a score that was rounded to 0 or 1", _ANY, _EXPORT
    ),
    "box is not finite": _rule(
        "dropped", "have corners that are no numbers and were dropped", _FEW, _EXPORT
    ),
    "box ends before it begins": _rule(
        "dropped",
        "have a box that ends before it begins and were dropped",
        _FEW,
        _BOXES,
    ),
    "box without area": _rule(
        "dropped", "have a box without area and were dropped", _FEW, _BOXES
    ),
    "box outside of the image": _rule(
        "dropped", "have a box outside of the image and were dropped", _FEW, _BOXES
    ),
    "box clipped to the image": _rule(
        "mended", "have a box that was clipped to the image", 0.25, _BOXES
    ),
    "duplicate": _rule(
        "dropped", "say what a better one says and were dropped", _ANY, _EXPORT
    ),
    "one of several labels": _rule(
        "dropped",
        "stand beside a label with a better score and were dropped",
        _ANY,
        'Set data.task = "tags" where an item has several labels.',
    ),
    "unknown label": _rule(
        "dropped",
        "have a word that means none of the labels and were dropped",
        0.05,
        _WORDS,
    ),
    "unknown category id": _rule(
        "dropped",
        "have a category id that the truth does not have and were dropped",
        _FEW,
        "Write the ids that the truth's list of categories has: some begin at "
        "1, some leave numbers out.",
    ),
    "ignored label": _rule(
        "dropped",
        "have a word that was declared to mean none of the labels",
        _ANY,
        _WORDS,
    ),
    "label in another spelling": _rule(
        "mended",
        "have a label that the truth spells otherwise, and were taken for it",
        _ANY,
        _WORDS,
    ),
    "label by another name": _rule(
        "noted",
        "have a label that is another word for one of the truth, and count as wrong",
        _FEW,
        _WORDS,
    ),
    "label that nothing is": _rule(
        "noted", "have a label that nothing of the truth has", 0.9, _WORDS
    ),
    "labels shifted by one": _rule(
        "noted",
        "have another label than the true thing that they found, and would have "
        "its own if ids were shifted by one",
        0.0,
        "Its ids look shifted by one: count labels from where the truth does.",
    ),
    "labels in another order": _rule(
        "noted",
        "have another label than the true thing that they found, always the same one",
        0.0,
        "Its labels look exchanged: compare the order of its label list with "
        "the truth's.",
    ),
    "no label": _rule(
        "noted",
        "were left without a label and count as not answered",
        0.05,
        _WORDS,
        "items",
    ),
    "item found by its file": _rule(
        "mended",
        "name an item by its file, and were taken to be about that",
        _ANY,
        _IDS,
    ),
    "item not in the truth": _rule(
        "dropped",
        "are about an item that the truth does not have and were dropped",
        _FEW,
        _IDS,
    ),
    "items shifted by one": _rule(
        "noted",
        "do not fit what their item shows, and would fit the one beside it",
        0.0,
        "Its ids look shifted by one: number items from where the truth does.",
        "items",
    ),
    "item without an answer": _rule(
        "noted",
        "have no answer, which counts as a wrong one",
        0.05,
        'Ask about them again, or set data.mismatch = "intersection" to judge '
        "on what everybody has answered.",
        "items",
    ),
    "item answered with nothing": _rule(
        "noted",
        "were answered with nothing, though there is something to find",
        0.5,
        "Look whether its file was cut short, or leave it out with data.providers.",
        "items",
    ),
    "item not answered by everybody": _rule(
        "dropped", "are not answered by everybody and were left out", 0.5, _IDS, "items"
    ),
    "unreadable entry": _rule(
        "dropped", "cannot be read and were dropped", _FEW, _EXPORT
    ),
    "file without an item": _rule(
        "dropped", "belong to no item and were not read", _FEW, _IDS, "files"
    ),
    "file without a use": _rule(
        "dropped", "hold nothing that is of use here", _ANY, _EXPORT, "files"
    ),
}
"""The rule for each reason."""


NOT_PROVIDERS = {"truth": " of the truth", "everybody": "", "items": "", "images": ""}
"""What findings are filed under that are no provider's, and how it is said whose."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sort of oddity of one provider.

    Attributes:
        provider: whose answers; ``truth`` for those of people.
        of: out of how many entries, items or files; at least ``count``.
        examples: a few of the items or words, for people.
    """

    provider: str
    reason: Reason
    action: Action
    count: int
    of: int
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """The finding in a line of text."""
        shown = ", ".join(self.examples)
        more = ", …" if self.count > len(self.examples) else ""
        where = f" ({shown}{more})" if shown else ""
        return f"{self.provider}: {self.count} × {self.reason}, {self.action}{where}"

    def tally(self, *, is_accepted: bool = False) -> Tally:
        """The finding as it counts into a verdict, or does not as it is accepted."""
        rule = RULES[self.reason]
        whose = NOT_PROVIDERS.get(self.provider, f" of {self.provider}")
        return Tally(
            what=f"{rule.unit}{whose} {rule.what}",
            n=self.count,
            of=self.of,
            max_share=1.0 if is_accepted else rule.max_share,
            advice=rule.advice,
            places=self.examples,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLabel:
    """A word of a provider that the vocabulary does not know.

    Attributes:
        word: as the provider wrote it.
        suggestions: names of the label set that look or mean nearly the same.
    """

    provider: str
    word: str
    count: int
    suggestions: tuple[str, ...]

    @property
    def meant(self) -> str:
        """The suggestions, for people."""
        return " or ".join(self.suggestions)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """Everything odd about some answers.

    Attributes:
        findings: by provider, then by reason.
        unknown_labels: the most frequent first.
        taken: what others have counted, such as the reader of a data set.
    """

    findings: tuple[Finding, ...]
    unknown_labels: tuple[UnknownLabel, ...]
    taken: tuple[Tally, ...] = ()

    def count(
        self, *, provider: str | None = None, reason: Reason | None = None
    ) -> int:
        """How many oddities there are, of one provider or reason or of all."""
        return sum(
            finding.count
            for finding in self.findings
            if provider in (None, finding.provider) and reason in (None, finding.reason)
        )

    @property
    def n_dropped(self) -> int:
        """Entries and items that were left out."""
        return sum(f.count for f in self.findings if f.action == "dropped")

    def tallies(self, accepted: Collection[Reason] = ()) -> tuple[Tally, ...]:
        """All findings as they count into a verdict; accepted reasons do not."""
        own = [
            replace(finding, examples=self._said(finding)).tally(
                is_accepted=finding.reason in accepted
            )
            for finding in self.findings
        ]
        return (*self.taken, *own)

    def _said(self, finding: Finding) -> tuple[str, ...]:
        """Examples; of unknown words the most frequent, with what they may mean."""
        if finding.reason != "unknown label":
            return finding.examples
        mine = (one for one in self.unknown_labels if one.provider == finding.provider)
        words = (
            f"{one.word} (perhaps {one.meant})" if one.suggestions else one.word
            for one in mine
        )
        return tuple(islice(words, _SHOWN)) or finding.examples

    def sentences(self) -> tuple[str, ...]:
        """All findings and unknown labels, a line of text each."""
        words = (
            f"{one.provider}: {one.count} × unknown label {one.word!r}"
            + (f", perhaps {one.meant}" if one.suggestions else "")
            for one in self.unknown_labels
        )
        return (*(finding.sentence() for finding in self.findings), *words)


class FindingCounter:
    """Counts oddities as they come; one may live as long as a service does.

    Examples are the first few of each sort, so memory stays bounded by the number of
    providers, reasons and unknown words; of the last no more than ``max_words`` are
    kept for each provider.

    Args:
        max_words: unknown words to tell apart for each provider.
    """

    def __init__(self, max_words: int = 10_000) -> None:
        self._max_words = max_words
        self._counts: Counter[tuple[str, Reason]] = Counter()
        self._of: Counter[tuple[str, Reason]] = Counter()
        self._seen: Counter[tuple[str, Unit]] = Counter()
        self._examples: dict[tuple[str, Reason], list[str]] = {}
        self._words: dict[str, Counter[str]] = {}
        self._suggestions: dict[str, tuple[str, ...]] = {}
        self._taken: tuple[Tally, ...] = ()

    @property
    def counts(self) -> Mapping[tuple[str, Reason], int]:
        """How often each reason came, by provider and reason."""
        return self._counts

    def add(
        self,
        provider: str,
        reason: Reason,
        count: int = 1,
        examples: Iterable[str] = (),
        *,
        of: int = 0,
    ) -> None:
        """Count an oddity.

        Args:
            provider: whose answers.
            reason: what is odd.
            count: how often; 0 adds nothing.
            examples: items or words; only the first few of all are kept.
            of: out of how many, where that is not all that was seen.
        """
        if count <= 0:
            return
        key = (provider, reason)
        self._of[key] += of
        self._counts[key] += count
        kept = self._examples.setdefault(key, [])
        for example in examples:
            if len(kept) >= _SHOWN:
                break
            if example not in kept:
                kept.append(example)

    def see(
        self, provider: str, *, entries: int = 0, items: int = 0, files: int = 0
    ) -> None:
        """Tell what was looked at, of which oddities are a share.

        An entry is told by who cleans it, or by the reader that drops it before.
        """
        units: dict[Unit, int] = {"entries": entries, "items": items, "files": files}
        for unit, count in units.items():
            self._seen[provider, unit] += count

    def take(self, *tallies: Tally) -> None:
        """Pass on what the reader of a data set has counted."""
        self._taken += tallies

    def forget(self, providers: Collection[str]) -> None:
        """Drop what was counted about providers that nobody wants after all."""
        for key in [key for key in self._counts if key[0] in providers]:
            del self._counts[key], self._of[key]
            self._examples.pop(key)
        for seen in [seen for seen in self._seen if seen[0] in providers]:
            del self._seen[seen]
        for provider in providers:
            self._words.pop(provider, None)

    def add_unknown(
        self,
        provider: str,
        words: Mapping[str, int],
        suggestions: Mapping[str, Sequence[str]],
    ) -> None:
        """Count words that the vocabulary does not know.

        Args:
            provider: whose words.
            words: how often each came.
            suggestions: near names of words that are new; see :meth:`is_new`.
        """
        self.add(provider, "unknown label", sum(words.values()), words)
        known = self._words.setdefault(provider, Counter())
        for word, count in words.items():
            if word in known or len(known) < self._max_words:
                known[word] += count
        for word, near in suggestions.items():
            self._suggestions[word] = tuple(near)

    def is_new(self, word: str) -> bool:
        """True for a word that has no suggestions yet, which are slow to find."""
        return (
            word not in self._suggestions and len(self._suggestions) < self._max_words
        )

    def report(self) -> CleaningReport:
        """What was counted so far."""
        order = sorted(self._counts, key=lambda k: (k[0], REASONS.index(k[1])))
        unknown = [
            UnknownLabel(
                provider=provider,
                word=word,
                count=count,
                suggestions=self._suggestions.get(word, ()),
            )
            for provider, words in self._words.items()
            for word, count in words.items()
        ]
        unknown.sort(key=lambda one: (-one.count, one.provider, one.word))
        findings = (
            Finding(
                provider=provider,
                reason=reason,
                action=RULES[reason].action,
                count=(count := self._counts[provider, reason]),
                of=max(count, self._total(provider, reason)),
                examples=tuple(self._examples[provider, reason]),
            )
            for provider, reason in order
        )
        return CleaningReport(
            findings=tuple(findings), unknown_labels=tuple(unknown), taken=self._taken
        )

    def _total(self, provider: str, reason: Reason) -> int:
        """Out of how many a finding is."""
        return self._of[provider, reason] or self._seen[provider, RULES[reason].unit]
