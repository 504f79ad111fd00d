"""Whether a measurement may be believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Valid, or the reasons why not, each with its advice.

    Attributes:
        reasons: one sentence each, with what was demanded and what was found.
        advice: one sentence each, in the same order: what to change.
    """

    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold every reason to its advice."""
        if len(self.reasons) != len(self.advice):
            message = (
                f"a verdict needs one advice per reason: {len(self.reasons)} reasons, "
                f"{len(self.advice)} advices"
            )
            raise ValueError(message)

    @property
    def is_valid(self) -> bool:
        """True when nothing speaks against the measurement."""
        return not self.reasons

    def __add__(self, other: Verdict) -> Verdict:
        """Both lists of reasons, without repetition."""
        pairs = dict(zip(self.reasons, self.advice, strict=True))
        pairs |= dict(zip(other.reasons, other.advice, strict=True))
        return Verdict(reasons=tuple(pairs), advice=tuple(pairs.values()))
