"""FrugalML: a base provider, and for each label it predicts a threshold and an add-on.

Chen, Zaharia and Zou, "FrugalML: how to use ML prediction APIs more accurately and
cheaply", NeurIPS 2020. A base i is asked about every item. It predicts label l with
score s; where s < Q[i, l], the add-on P[i, l] is asked as well. Maximised is expected
quality under a mean price. They solve a mixed-integer problem on a grid of thresholds.

With a Lagrange multiplier m the problem falls apart: for each base and label,

    max over threshold Q and add-on j of
        sum over s >= Q of quality(i)  +  sum over s < Q of quality(i, j) - m * price(j)

which prefix sums over items sorted by score solve exactly, in O(n M log n) for each
base; the best base is then the one of the highest total. Everett 1963: whatever a
multiplier reaches is optimal for the price that it costs.

1. Exact thresholds at every score that occurs, instead of a grid and a solver. What
   lies between two multipliers is reached by a mixture of two policies
   (:mod:`midhaul.federation.policies.budgets`), which stands for their random bases and
   add-ons.
2. Their add-on replaces the base's answer. Here both answers are fused; they are paid.
3. Labels with few training items, and labels that did not occur, share one rule, so
   that a threshold never rests on a handful of items.
4. Where an answer holds several labels or boxes, the label is that of the highest score
   (:mod:`midhaul.federation.recordings.problem`). An empty answer is a label too.
5. A base that fails is followed by the best other provider; they do not say.

``is_by_label=False`` is their "QS only" (one threshold for all labels), ``base`` their
"fixed base".

The best threshold and add-on for some training items of one base are found exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64, Int64

from midhaul.federation.policies.base import SavedByKind, best_of, finite_multiplier
from midhaul.federation.recordings.problem import first_label

if TYPE_CHECKING:
    from jaxtyping import Bool

    from midhaul.federation.policies.base import Examples, Situation

NEVER = -1.0
"""A threshold that every score reaches: the add-on is never asked."""

ALWAYS = 2.0
"""A threshold that no score reaches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleGroup:
    """Training items of one base that share a rule, by falling score.

    Attributes:
        labels: rules that this group stands for.
        weight: of its value: 1, or less where it rests on items of other labels too.
        scores: ``(k + 1,)`` threshold that keeps the first i items, for each i.
        is_cut: ``(k + 1,)`` whether a threshold can separate them.
        alone: ``(k + 1,)`` quality of the base alone, summed over the first i.
        paired: ``(a, k + 1)`` quality with each add-on, over all but the first i.
    """

    labels: Int64[np.ndarray, " l"]
    weight: float
    scores: Float64[np.ndarray, " k1"]
    is_cut: Bool[np.ndarray, " k1"]
    alone: Float64[np.ndarray, " k1"]
    paired: Float64[np.ndarray, "a k1"]

    def best(self, fees: Float64[np.ndarray, " a"]) -> tuple[float, int, float]:
        """Threshold, add-on and value of the best rule at these prices."""
        n_left = np.arange(len(self.alone))[::-1]
        value = self.alone + self.paired - fees[:, None] * n_left
        value[:, ~self.is_cut] = -np.inf
        # Of equally good rules the one that asks least: the last cut.
        top = value.max(axis=1)
        add_on = int(top.argmax())
        row = value[add_on]
        nearly = row >= row.max() - 1e-12 * max(1.0, abs(float(row.max())))
        cut = len(row) - 1 - int(nearly[::-1].argmax())
        return float(self.scores[cut]), add_on, float(row[cut])


def rule_group(
    labels: Int64[np.ndarray, " l"],
    weight: float,
    scores: Float64[np.ndarray, " k"],
    alone: Float64[np.ndarray, " k"],
    paired: Float64[np.ndarray, "k a"],
) -> RuleGroup:
    """Sort items by score and sum qualities from both ends, once for all prices.

    Quality is of the base ``alone``, and ``paired`` with each add-on.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    zero = np.zeros((paired.shape[1], 1))
    before = np.concatenate([zero, np.cumsum(paired[order].T, axis=1)], axis=1)
    is_cut = np.ones(len(scores) + 1, bool)
    is_cut[1:-1] = falling[1:] < falling[:-1]
    thresholds = np.concatenate([[ALWAYS], falling])
    thresholds[-1] = NEVER if len(scores) else thresholds[-1]
    return RuleGroup(
        labels=labels,
        weight=weight,
        scores=thresholds,
        is_cut=is_cut,
        alone=np.concatenate([[0.0], np.cumsum(alone[order])]),
        paired=before[:, -1:] - before,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrugalSettings:
    """What is searched.

    Attributes:
        is_by_label: whether each label has a threshold and an add-on of its own.
        base: name of the base; the best one when empty.
        min_support: training items that a label needs for a rule of its own.
    """

    is_by_label: bool = True
    base: str = ""
    min_support: int = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrugalPolicy(SavedByKind):
    """A base, and a rule for each label that it may predict.

    Attributes:
        base: number of the provider that is asked first.
        thresholds: ``(C + 1,)`` score of the base below which the add-on is asked;
            the last one is for empty answers.
        add_ons: ``(C + 1,)`` number of that provider.
        substitute: provider to ask when the base fails; -1 for nobody.
    """

    base: int
    thresholds: Float64[np.ndarray, " c"]
    add_ons: Int64[np.ndarray, " c"]
    substitute: int

    kind: ClassVar[str] = "frugal"

    def decide(
        self, situation: Situation, rng: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """Ask the base, then perhaps one more."""
        del rng
        answers = situation.recording.answers[self.base]
        n_rules = len(self.thresholds)
        labels, scores = first_label(answers, n_rules - 1)
        rules = np.minimum(labels, n_rules - 1)
        more = np.where(
            scores < self.thresholds[rules], np.int64(1) << self.add_ons[rules], 0
        )
        instead = 0 if self.substitute < 0 else 1 << self.substitute
        more = np.where(answers.is_missing, instead, more)
        new = np.where(situation.asked == 1 << self.base, more, 0)
        return np.where(situation.asked == 0, 1 << self.base, new)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrugalFamily:
    """The optimal base, thresholds and add-ons for every exchange rate.

    Attributes:
        groups: of each base that may be chosen, by its number.
        singles: ``(M,)`` mean quality of each provider alone.
        n_rules: labels, and one for empty answers.
    """

    groups: dict[int, tuple[RuleGroup, ...]]
    singles: Float64[np.ndarray, " p"]
    prices_usd: Float64[np.ndarray, " p"]
    n_items: int
    n_rules: int

    @property
    def name(self) -> str:
        """Short name."""
        return FrugalPolicy.kind

    def at(self, multiplier: float) -> FrugalPolicy:
        """The policy of the highest quality less multiplier times price."""
        rate = finite_multiplier(multiplier, self.prices_usd)
        found = [self._with_base(base, rate) for base in self.groups]
        values = [value for value, _ in found]
        return found[int(np.argmax(values))][1]

    def _with_base(self, base: int, rate: float) -> tuple[float, FrugalPolicy]:
        others = _others(base, len(self.prices_usd))
        thresholds = np.full(self.n_rules, NEVER)
        add_ons = np.zeros(self.n_rules, np.int64)
        value = -rate * float(self.prices_usd[base]) * self.n_items
        fees = rate * self.prices_usd[others]
        for group in self.groups[base]:
            if not len(others):
                value += group.weight * float(group.alone[-1])
                continue
            threshold, number, gain = group.best(fees)
            thresholds[group.labels] = threshold
            add_ons[group.labels] = others[number]
            value += group.weight * gain
        substitute = -1
        if len(others):
            prices = self.prices_usd[others]
            best = best_of(self.singles[None, others], prices, rate)[0]
            substitute = int(others[best])
        policy = FrugalPolicy(
            base=base, thresholds=thresholds, add_ons=add_ons, substitute=substitute
        )
        return value, policy


def fit_frugal(
    examples: Examples, settings: FrugalSettings | None = None
) -> FrugalFamily:
    """Sort training items by the score of each base, once for all multipliers.

    DataError where there is no provider of the name of the base.
    """
    from midhaul.federation.quality import subset_qualities  # noqa: PLC0415

    settings = FrugalSettings() if settings is None else settings
    recording = examples.recording
    m = recording.n_providers
    if settings.base:
        bases = (
            recording.providers.index(recording.only([settings.base]).providers[0]),
        )
    else:
        bases = tuple(range(m))
    pairs = {1 << i | 1 << j for i in bases for j in range(m)}
    masks = np.array(sorted(pairs | {1 << p for p in range(m)}), np.int64)
    qualities = subset_qualities(recording, examples.fuser, masks)
    column = {mask: i for i, mask in enumerate(masks.tolist())}
    n_rules = len(recording.names) + 1
    groups: dict[int, tuple[RuleGroup, ...]] = {}
    for base in bases:
        labels, scores = first_label(recording.answers[base], n_rules - 1)
        rules = np.minimum(labels, n_rules - 1)
        alone = qualities[:, column[1 << base]]
        wide = np.array(
            [column[1 << base | 1 << j] for j in _others(base, m).tolist()], np.int64
        )
        everything = np.arange(len(recording))
        found: list[RuleGroup] = []
        for which, rows in _parts(rules, n_rules, settings):
            # What holds for all items holds for a label that is hardly ever seen.
            enough = rows if len(rows) >= settings.min_support else everything
            weight = len(rows) / max(1, len(enough))
            values = alone[enough], qualities[np.ix_(enough, wide)]
            found.append(rule_group(which, weight, scores[enough], *values))
        groups[base] = tuple(found)
    singles = [float(qualities[:, column[1 << p]].mean()) for p in range(m)]
    return FrugalFamily(
        groups=groups,
        singles=np.array(singles),
        prices_usd=recording.prices_usd,
        n_items=len(recording),
        n_rules=n_rules,
    )


def _others(base: int, n_providers: int) -> Int64[np.ndarray, " a"]:
    return np.array([p for p in range(n_providers) if p != base], np.int64)


def _parts(
    rules: Int64[np.ndarray, " n"], n_rules: int, settings: FrugalSettings
) -> list[tuple[Int64[np.ndarray, " l"], Int64[np.ndarray, " k"]]]:
    """Rules that are shared, with the items that they rest on."""
    counts = np.bincount(rules, minlength=n_rules)
    has_own = (counts >= settings.min_support) & settings.is_by_label
    parts = [
        (np.array([rule]), np.flatnonzero(rules == rule))
        for rule in np.flatnonzero(has_own).tolist()
    ]
    rare = np.flatnonzero(~has_own)
    if len(rare):
        parts.append((rare, np.flatnonzero(~has_own[rules])))
    return parts
