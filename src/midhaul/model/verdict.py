"""Whether a measurement may be believed, and what was counted on the way."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 3
"""How many of many places a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many of many things were dropped, mended, assumed, cut or timed out.

    A tally always stands beside the verdict. It speaks against the measurement when
    its share is above ``max_share``.

    Attributes:
        what: the things and what became of them, to follow a number:
            ``"boxes were clipped to their image"``.
        n: how many of them.
        of: how many there were in all; at least ``n``.
        max_share: share in [0, 1] above which the measurement is not valid: 0 where
            none is acceptable, 1 where any number is.
        advice: what to do about it, a sentence.
        places: where the first ones are: ``"labels/7.txt:3"``.

    Raises:
        ValueError: the numbers contradict each other, or the share is outside [0, 1].

    Example:
        >>> Tally(what="boxes were clipped", n=3, of=200, max_share=0.01,
        ...       advice="Correct them.", places=("a.txt:1",)).sentence
        '3 of 200 boxes were clipped (1.5 %): a.txt:1.'
    """

    what: str
    n: int
    of: int
    max_share: float
    advice: str
    places: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold the numbers to each other."""
        if not 0 <= self.n <= self.of or not 0 <= self.max_share <= 1:
            message = (
                f"a tally needs 0 <= n <= of and a share in [0, 1], found {self.n} of "
                f"{self.of} and {self.max_share}"
            )
            raise ValueError(message)

    @property
    def share(self) -> float:
        """Share of all that it counts; 0 of nothing is 0."""
        return self.n / self.of if self.of else 0.0

    @property
    def is_too_many(self) -> bool:
        """True when it speaks against the measurement."""
        return self.share > self.max_share

    @property
    def sentence(self) -> str:
        """What was counted, out of how many, and where."""
        # Rounding must not turn a few into none or into all.
        share = self.share
        percent = min(max(share * 100, 0.01), 99.99) if 0 < share < 1 else share * 100
        shown = f"{percent:.2f}".rstrip("0").rstrip(".")
        text = f"{self.n:,} of {self.of:,} {self.what} ({shown} %)"
        if self.places:
            text += f": {', '.join(self.places[:_SHOWN])}"
            if self.n > min(len(self.places), _SHOWN):
                return f"{text}, …"
        return f"{text}."

    @property
    def reason(self) -> str:
        """The sentence with the limit, for a verdict."""
        limit = f"at most {self.max_share:.3%}".replace(".000%", "%")
        return f"{self.sentence} Demanded: {limit if self.max_share else 'none'}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Valid, or the reasons why not, each with its advice.

    Attributes:
        reasons: one sentence each, with what was demanded and what was found.
        advice: one sentence each, in the same order: what to change.
        tallies: what was dropped, mended or assumed on the way; :meth:`of` makes
            reasons of those that are too many.
    """

    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    tallies: tuple[Tally, ...] = ()

    def __post_init__(self) -> None:
        """Hold every reason to its advice."""
        if len(self.reasons) != len(self.advice):
            message = (
                f"a verdict needs one advice per reason: {len(self.reasons)} reasons, "
                f"{len(self.advice)} advices"
            )
            raise ValueError(message)

    @classmethod
    def of(cls, *tallies: Tally) -> Verdict:
        """The verdict that tallies alone give; one that counts nothing is left out."""
        found = tuple(dict.fromkeys(t for t in tallies if t.n))
        bad = [t for t in found if t.is_too_many]
        return cls(
            reasons=tuple(t.reason for t in bad),
            advice=tuple(t.advice for t in bad),
            tallies=found,
        )

    @property
    def is_valid(self) -> bool:
        """True when nothing speaks against the measurement."""
        return not self.reasons

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was counted and does not speak against it, a sentence each."""
        return tuple(t.sentence for t in self.tallies if not t.is_too_many)

    def __add__(self, other: Verdict) -> Verdict:
        """Both lists of reasons and of tallies, without repetition."""
        pairs = dict(zip(self.reasons, self.advice, strict=True))
        pairs |= dict(zip(other.reasons, other.advice, strict=True))
        return Verdict(
            reasons=tuple(pairs),
            advice=tuple(pairs.values()),
            tallies=tuple(dict.fromkeys((*self.tallies, *other.tallies))),
        )
