"""Conformance suite of retraining rules, ours or a stranger's.

A rule says yes before the first training, gives its reason, answers the same question
in one way, leaves alone what it looks at, and goes on from its state as if nothing had
been.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.checks import check_stream, demand, read_back
from midhaul.memory.retraining.base import RetrainSituation
from midhaul.memory.samples import Samples, concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midhaul.memory.retraining.base import RetrainDecision, RetrainRule
    from midhaul.memory.samples import Bins

    MakeRule = Callable[[], RetrainRule]

_N_PERIODS = 6
_N_SAMPLES = 300
_CHANGES_AT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleClaims:
    """What a rule promises, so that it is held to no more and no less.

    Attributes:
        needs_output: true where a period without any output is refused.
        needs_prediction: true where a period that no model has seen is refused.
        knows_p: true where a decision has its p-value once there is something to
            compare with.
    """

    needs_output: bool = False
    needs_prediction: bool = False
    knows_p: bool = False


def check_situations(bins: Bins, seed: int = 0) -> tuple[RetrainSituation, ...]:
    """Six periods; at the fifth the outputs change. Trained after the first."""
    periods = list(check_stream(bins, (_N_SAMPLES,) * _N_PERIODS, seed))
    for at in range(_CHANGES_AT, _N_PERIODS):
        largest = np.full(_N_SAMPLES, periods[0].y.max())
        periods[at] = replace(periods[at], y=largest)
    return tuple(
        RetrainSituation(
            period=at,
            new=new,
            memory=concatenate(periods[: at + 1]).take(slice(None, None, at + 1)),
            trained=None if at == 0 else periods[0],
            bins=bins,
            rng=np.random.default_rng([seed, at]),
        )
        for at, new in enumerate(periods)
    )


def check_rule(make: MakeRule, bins: Bins, claims: RuleClaims | None = None) -> None:
    """Hold a rule to what everybody expects of it.

    Args:
        make: a new one.
        bins: of the outputs that it is shown.
        claims: what it promises.

    Raises:
        ValueError: it does not keep what a rule promises.
    """
    claims = claims or RuleClaims()
    _check_answers(make, bins, claims)
    _check_state(make, bins)
    _check_what_is_missing(make, bins, claims)


def _followed(
    rule: RetrainRule, situations: Sequence[RetrainSituation]
) -> list[RetrainDecision]:
    """Its answers; a training follows each yes."""
    found: list[RetrainDecision] = []
    for now in situations:
        found.append(rule.decide(now))
        if found[-1].retrain:
            rule.retrained()
    return found


def _check_answers(make: MakeRule, bins: Bins, claims: RuleClaims) -> None:
    rule = make()
    demand(is_met=bool(rule.name), expected="a name", found=rule.name)
    situations, untouched = check_situations(bins), check_situations(bins)
    found = _followed(rule, situations)
    again = _followed(make(), untouched)
    demand(
        is_met=_told(found) == _told(again),
        expected=f"{rule.name} to answer the same question in one way",
        found="another answer",
    )
    demand(
        is_met=found[0].retrain,
        expected=f"yes of {rule.name} before the first training",
        found=found[0],
    )
    for one in found:
        demand(is_met=bool(one.why), expected="a reason", found=one)
        demand(
            is_met=bool(np.isnan(one.p_value)) or 0 <= one.p_value <= 1,
            expected="a p-value from 0 to 1, or none",
            found=one,
        )
        if not np.isnan(one.value) and not np.isnan(one.threshold):
            demand(
                is_met=one.retrain == (one.value >= one.threshold),
                expected="to retrain from the threshold on",
                found=one,
            )
    if claims.knows_p:
        last = found[_CHANGES_AT - 1]
        demand(is_met=last.p_value > 0, expected="a p-value", found=last)
    for now, before in zip(situations, check_situations(bins), strict=True):
        for name in ("new", "memory"):
            same = all(
                np.array_equal(
                    getattr(getattr(now, name), f.name),
                    getattr(getattr(before, name), f.name),
                )
                for f in fields(Samples)
            )
            demand(is_met=same, expected=f"{rule.name} to leave {name} alone", found="")


def _told(decisions: Sequence[RetrainDecision]) -> list[str]:
    return [repr(one) for one in decisions]


def _check_state(make: MakeRule, bins: Bins) -> None:
    for cut in range(_N_PERIODS):
        one, other = make(), make()
        _followed(one, check_situations(bins)[:cut])
        other.restore(read_back(one.state()))
        demand(
            is_met=_told(_followed(one, check_situations(bins)[cut:]))
            == _told(_followed(other, check_situations(bins)[cut:])),
            expected=f"{one.name} to go on as before it was restored at {cut}",
            found="another answer",
        )
    rule = make()
    try:
        rule.restore({"of_somebody_else": np.zeros(3)})
    except DataError:
        return
    message = f"{rule.name} takes a state that is not its own"
    raise ValueError(message)


def _check_what_is_missing(make: MakeRule, bins: Bins, claims: RuleClaims) -> None:
    """A period in which nothing came, one without outputs, one without predictions."""
    now = check_situations(bins)[1]
    first = check_situations(bins)[0]
    y = np.full(len(now.new), np.nan)
    bare = np.zeros((len(now.new), 0), np.float32)
    for new, is_refused, what in (
        (now.new.take(slice(0, 0)), False, "samples"),
        (replace(now.new, y=y), claims.needs_output, "outputs"),
        (replace(now.new, prediction=bare), claims.needs_prediction, "predictions"),
    ):
        rule = make()
        _followed(rule, [first])
        try:
            rule.decide(replace(now, new=new))
            rule.decide(replace(now, new=new))
        except DataError:
            demand(is_met=is_refused, expected=f"no need of {what}", found="DataError")
        else:
            demand(
                is_met=not is_refused,
                expected=f"a DataError of {rule.name} without {what}",
                found="a decision",
            )
