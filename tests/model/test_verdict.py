"""Verdicts, and what is counted into them."""

from __future__ import annotations

import pytest

from midhaul.model import Tally, Verdict


def clipped(n: int, of: int = 200, max_share: float = 0.01) -> Tally:
    """A tally of clipped boxes."""
    return Tally(
        what="boxes were clipped",
        n=n,
        of=of,
        max_share=max_share,
        advice="Correct them.",
        places=tuple(f"a.txt:{line}" for line in range(n)),
    )


def test_a_few_stand_beside_a_valid_verdict() -> None:
    """Up to the share that is accepted, a tally is a remark."""
    verdict = Verdict.of(clipped(2))
    assert verdict.is_valid
    assert verdict.remarks == ("2 of 200 boxes were clipped (1 %): a.txt:0, a.txt:1.",)


def test_too_many_make_it_not_valid_and_say_what_to_do() -> None:
    """Above the share, the tally is a reason and no remark."""
    verdict = Verdict.of(clipped(3))
    assert not verdict.is_valid
    assert verdict.advice == ("Correct them.",)
    assert "3 of 200" in verdict.reasons[0]
    assert "at most 1%" in verdict.reasons[0]
    assert not verdict.remarks


def test_where_none_is_acceptable_one_is_too_many() -> None:
    """A share of 0 means none."""
    assert not Verdict.of(clipped(1, of=1_000_000, max_share=0.0)).is_valid


def test_one_of_many_is_never_said_to_be_none_of_them() -> None:
    """Rounding stops short of 0 and of 100 %."""
    assert "(0.01 %)" in clipped(1, of=1_000_000).sentence
    assert "(100 %)" not in clipped(999_999, of=1_000_000).sentence


def test_nothing_counted_is_no_tally() -> None:
    """A reader may tally everything it looks for."""
    assert Verdict.of(clipped(0)) == Verdict()


def test_verdicts_add_up_without_repetition() -> None:
    """The same reader in two blocks says its tally once."""
    both = Verdict.of(clipped(3)) + Verdict.of(clipped(3), clipped(1))
    assert len(both.reasons) == 1
    assert len(both.tallies) == 2


def test_numbers_that_contradict_each_other_are_refused() -> None:
    """More than there are cannot have been clipped."""
    with pytest.raises(ValueError, match="n <= of"):
        clipped(3, of=2)
