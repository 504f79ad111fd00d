"""All retraining rules keep what a rule promises, and each its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midhaul.errors import ConfigError
from midhaul.memory.retraining.base import RetrainDecision, RetrainSituation
from midhaul.memory.retraining.catalogue import RULES
from midhaul.memory.retraining.drift import DriftRule
from midhaul.memory.retraining.loss import LossRule
from midhaul.memory.retraining.schedule import EveryPeriods, NeverAgain
from midhaul.memory.retraining.worth import RetrainingCost, WorthIt, gain_curve
from midhaul.memory.rule_checks import RuleClaims, check_rule, check_situations
from midhaul.memory.samples import Bins, Samples

if TYPE_CHECKING:
    from collections.abc import Callable

BINS = Bins.of_classes(4)
NEEDS_SCORES = RuleClaims(needs_output=True, needs_prediction=True)
CLAIMS = {
    "loss": NEEDS_SCORES,
    "adwin": NEEDS_SCORES,
    "page-hinkley": NEEDS_SCORES,
    "kswin": NEEDS_SCORES,
    "block-test": RuleClaims(knows_p=True),
}
TOLD: dict[str, dict[str, Any]] = {
    "every": {"every": 2},
    "coverage": {"batch_size": 16},
}


class Frequencies:
    """A predictor that has learnt how often each bin is, whatever the input."""

    def __init__(self, shares: np.ndarray | None = None) -> None:
        self.shares = np.full(4, 0.25) if shares is None else shares
        self.n_trained = 0

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Its shares for each."""
        return np.tile(self.shares.astype(np.float32), (len(x), 1))

    def trained(self, samples: Samples, rng: np.random.Generator) -> Frequencies:
        """The frequencies of these samples, one more of each."""
        del rng
        self.n_trained += 1
        counts = np.bincount(BINS.of(samples.y), samples.weight, minlength=4) + 1
        return Frequencies(counts / counts.sum())


def worth(cost: float = 0.05) -> WorthIt:
    """A block-wise loss rule that is followed when it pays."""
    return WorthIt(LossRule(share=0.05), Frequencies(), RetrainingCost(cost=cost))


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_pass_the_suite(name: str) -> None:
    """Each by the name that configs use."""
    check_rule(lambda: RULES.called(name, **TOLD.get(name, {})), BINS, CLAIMS.get(name))


def test_a_rule_that_is_worth_it_passes_the_suite() -> None:
    """With the state of its inner rule and of the data since the change."""
    check_rule(worth, BINS, NEEDS_SCORES)
    check_rule(lambda: worth(1e6), BINS, NEEDS_SCORES)


class Faulty(EveryPeriods):
    """Breaks what a subclass is told to break."""

    fault = ""

    def decide(self, now: RetrainSituation) -> RetrainDecision:
        """As every third period, but for the fault."""
        found = super().decide(now)
        if self.fault == "first" and now.trained is None:
            return replace(found, retrain=False)
        if self.fault == "why":
            return replace(found, why="")
        if self.fault == "chance":
            return replace(found, value=float(np.random.default_rng().random()))
        if self.fault == "data" and len(now.new):
            now.new.y[0] = 3
        return found

    def restore(self, state: Any) -> None:
        """As every third period, or one off."""
        super().restore(state)
        self._n_since += self.fault == "state"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("first", "before the first training"),
        ("why", "a reason"),
        ("chance", "in one way"),
        ("data", "leave new alone"),
        ("state", "go on as before"),
    ],
)
def test_the_suite_finds_faults(fault: str, message: str) -> None:
    """A suite that finds nothing wrong with anything is none."""
    faulty = type("One", (Faulty,), {"fault": fault})
    with pytest.raises(ValueError, match=message):
        check_rule(lambda: faulty(every=3), BINS)


def followed(rule: Any, situations: Any) -> list[bool]:
    """When it retrains."""
    found = []
    for now in situations:
        found.append(rule.decide(now).retrain)
        if found[-1]:
            rule.retrained()
    return found


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (NeverAgain, [True, False, False, False, False, False]),
        (EveryPeriods, [True] * 6),
        (lambda: EveryPeriods(every=2), [True, False, True, False, True, False]),
        (lambda: LossRule(share=0.5), [True, False, False, False, True, True]),
        (
            lambda: LossRule(share=0.5, is_held=True),
            [True, False, False, False, True, False],
        ),
        (DriftRule, [True, False, False, False, True, False]),
    ],
)
def test_rules_retrain_when_they_should(
    make: Callable[[], Any], wanted: list[bool]
) -> None:
    """The outputs change at the fifth period, and the predictions do not follow."""
    assert followed(make(), check_situations(BINS)) == wanted


@pytest.mark.parametrize("detector", ["page-hinkley", "kswin"])
def test_detectors_see_a_change_of_the_score(detector: Any) -> None:
    """Every one finds the fifth period, on its samples or on its groups."""
    assert followed(DriftRule(detector=detector), check_situations(BINS))[4]


def test_the_coverage_rule_compares_the_increase_with_its_threshold() -> None:
    """What was trained on covers itself, and does not cover other outputs."""
    rule = RULES.called("coverage", batch_size=16, threshold=0.1)
    now = check_situations(BINS)[1]
    same = rule.decide(replace(now, memory=now.trained))
    assert not same.retrain
    assert same.value == pytest.approx(0, abs=1e-6)
    few = replace(now.new, y=np.full(len(now.new), 3.0))
    assert rule.decide(replace(now, memory=few)).retrain


def situation(y: np.ndarray, trained_y: np.ndarray) -> RetrainSituation:
    """A period of outputs in groups of ten, as the first frequencies see them."""
    model = Frequencies().trained(
        Samples.of(np.zeros((len(trained_y), 1)), trained_y), np.random.default_rng(0)
    )

    def seen(outputs: np.ndarray, shift: int) -> Samples:
        x = np.zeros((len(outputs), 1), np.float32)
        group = shift + np.arange(len(outputs)) // 10
        return Samples.of(x, outputs, prediction=model.predict(x), group=group)

    trained = seen(trained_y, 10_000)
    return RetrainSituation(
        period=1,
        new=seen(y, 0),
        memory=trained,
        trained=trained,
        bins=BINS,
        rng=np.random.default_rng(0),
    )


def test_a_gain_curve_rises_towards_what_is_to_be_had() -> None:
    """Frequencies are learnt from the new data, whose part in training grows."""
    y = np.where(np.arange(600) % 10 < 8, 3.0, 0.0)
    now = situation(y, np.zeros(300))
    curve = gain_curve(now.new, now, Frequencies())
    assert curve.n_samples.tolist() == [100, 200, 400]
    assert (np.diff(curve.gain) > 0).all()
    assert curve.gain[-1] > 2
    assert (curve.error < 0.5).all()


def test_a_change_that_pays_is_trained_for() -> None:
    """And one that costs more than it brings is settled, and not asked about again."""
    y = np.where(np.arange(600) % 10 < 8, 3.0, 0.0)
    found = worth(0.1).decide(situation(y, np.zeros(300)))
    assert found.retrain
    assert found.value >= found.threshold == pytest.approx(0.1)
    assert "it is worth it" in found.why
    dear = worth(50.0)
    refused = dear.decide(situation(y, np.zeros(300)))
    assert not refused.retrain
    assert "not worth it" in refused.why
    assert not dear.state()["lengths"].size


def test_data_that_do_not_suffice_are_waited_for() -> None:
    """Sessions that disagree on the gain wait for others, as long as patience lasts."""
    y = np.repeat(np.tile([3.0, 0.0], 6), 10)
    now = situation(y, np.zeros(2000))
    rule = WorthIt(EveryPeriods(), Frequencies(), RetrainingCost(cost=1.5), patience=3)
    found = rule.decide(now)
    assert not found.retrain
    assert "do not suffice" in found.why
    assert rule.state()["lengths"].tolist() == [120]
    later = [rule.decide(replace(now, rng=np.random.default_rng(i))) for i in (1, 2)]
    assert "suffice" not in later[-1].why
    assert not rule.state()["lengths"].size


def test_a_gain_is_judged_on_clusters_that_nobody_was_trained_on() -> None:
    """What the memory has of held clusters is left out of the training."""
    seen: list[set[int]] = []

    class Watching(Frequencies):
        def trained(self, samples: Samples, rng: np.random.Generator) -> Frequencies:
            seen.append(set(samples.cluster.tolist()))
            return super().trained(samples, rng)

    now = situation(np.zeros(120), np.ones(100))
    now = replace(now, memory=now.new)
    gain_curve(now.new, now, Watching())
    assert max(len(clusters) for clusters in seen) == 8


def test_one_cluster_cannot_be_split() -> None:
    """It waits for more, and says so; when patience ends it is settled."""
    now = situation(np.full(10, 3.0), np.zeros(100))
    rule = WorthIt(EveryPeriods(), Frequencies(), RetrainingCost(cost=0), patience=2)
    assert "cannot be split" in rule.decide(now).why
    rule.decide(now)
    assert not rule.state()["lengths"].size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EveryPeriods(every=0), "1 period or more"),
        (lambda: LossRule(share=0), "more than 0"),
        (lambda: DriftRule(detector="else"), "adwin, page-hinkley, kswin"),  # type: ignore[arg-type]
        (lambda: DriftRule(nothing=1.0), "cannot be told"),
        (lambda: RULES.called("coverage", threshold=-1.0), "more than 0"),
        (lambda: RULES.called("block-test", alpha=0.0), "alpha within 0 to 1"),
        (lambda: RULES.called("block-test", n_permutations=99), "399 or more"),
        (lambda: RetrainingCost(cost=-1), "0 or more"),
        (lambda: RetrainingCost(cost=1, n_samples=0), "more than 0"),
        (
            lambda: WorthIt(
                NeverAgain(), Frequencies(), RetrainingCost(cost=1), patience=0
            ),
            "1 period or more",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make: Callable[[], Any], message: str
) -> None:
    """They say what was expected and what was found."""
    with pytest.raises(ConfigError, match=message):
        make()
