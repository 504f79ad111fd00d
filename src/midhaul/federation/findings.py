"""What was odd about providers' answers: counted by provider and reason, never hidden.

Whoever reads or cleans answers is handed a :class:`FindingCounter` and adds to it; its
report is what tables and the live service show.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    "ignored label",
    "no label",
    "item not in the truth",
    "item without an answer",
    "item not answered by everybody",
    "unreadable entry",
    "file without a use",
]
"""What can be odd about an answer."""

Action = Literal["dropped", "mended", "noted"]
"""What is done about it: an entry or item is left out, corrected, or kept as it is."""

_ACTIONS: dict[Reason, Action] = {
    "score rounded to the range": "mended",
    "box clipped to the image": "mended",
    "no label": "noted",
    "item without an answer": "noted",
}
_REASONS: tuple[Reason, ...] = get_args(Reason)
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sort of oddity of one provider.

    Attributes:
        provider: whose answers; ``truth`` for those of people.
        reason: what is odd.
        action: what was done about it.
        count: how often.
        examples: a few of the items or words, for people.
    """

    provider: str
    reason: Reason
    action: Action
    count: int
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """The finding in a line of text."""
        shown = ", ".join(self.examples)
        more = ", …" if self.count > len(self.examples) else ""
        where = f" ({shown}{more})" if shown else ""
        return f"{self.provider}: {self.count} × {self.reason}, {self.action}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLabel:
    """A word of a provider that the vocabulary does not know.

    Attributes:
        provider: whose word.
        word: as the provider wrote it.
        count: how often it came.
        suggestions: names of the label set that look or mean nearly the same.
    """

    provider: str
    word: str
    count: int
    suggestions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningReport:
    """Everything odd about some answers.

    Attributes:
        findings: by provider, then by reason.
        unknown_labels: the most frequent first.
    """

    findings: tuple[Finding, ...]
    unknown_labels: tuple[UnknownLabel, ...]

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

    def sentences(self) -> tuple[str, ...]:
        """All findings and unknown labels, a line of text each."""
        words = [
            f"{unknown.provider}: {unknown.count} × unknown label {unknown.word!r}"
            + (
                f", perhaps {' or '.join(known)}"
                if (known := unknown.suggestions)
                else ""
            )
            for unknown in self.unknown_labels
        ]
        return tuple(finding.sentence() for finding in self.findings) + tuple(words)


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
        self._examples: dict[tuple[str, Reason], list[str]] = {}
        self._words: dict[str, Counter[str]] = {}
        self._suggestions: dict[str, tuple[str, ...]] = {}

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
    ) -> None:
        """Count an oddity.

        Args:
            provider: whose answers.
            reason: what is odd.
            count: how often; 0 adds nothing.
            examples: items or words; only the first few of all are kept.
        """
        if count <= 0:
            return
        key = (provider, reason)
        self._counts[key] += count
        kept = self._examples.setdefault(key, [])
        for example in examples:
            if len(kept) >= _SHOWN:
                break
            if example not in kept:
                kept.append(example)

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
        order = sorted(self._counts, key=lambda k: (k[0], _REASONS.index(k[1])))
        unknown = [
            (provider, word, count)
            for provider, words in self._words.items()
            for word, count in words.items()
        ]
        return CleaningReport(
            findings=tuple(
                Finding(
                    provider=provider,
                    reason=reason,
                    action=_ACTIONS.get(reason, "dropped"),
                    count=self._counts[provider, reason],
                    examples=tuple(self._examples[provider, reason]),
                )
                for provider, reason in order
            ),
            unknown_labels=tuple(
                UnknownLabel(
                    provider=provider,
                    word=word,
                    count=count,
                    suggestions=self._suggestions.get(word, ()),
                )
                for provider, word, count in sorted(
                    unknown, key=lambda row: (-row[2], row[0], row[1])
                )
            ),
        )
