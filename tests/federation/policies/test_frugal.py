"""FrugalML: exact thresholds, labels of their own, and its variants."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.base import replay
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.frugal import FrugalSettings, fit_frugal, rule_group
from midhaul.federation.quality import item_quality, subset_qualities
from midhaul.federation.recordings.problem import first_label

if TYPE_CHECKING:
    from midhaul.federation.policies.base import SubsetPolicy

_RNG = np.random.default_rng
EXAMPLES = check_examples("labels", fuser_named("vote"), _RNG(5), n_items=240)
SETTINGS = FrugalSettings(min_support=1)


def _worth(policy: SubsetPolicy, rate: float) -> float:
    recording = EXAMPLES.recording
    done = replay(policy, recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
    return float((item_quality(recording, done.fused) - rate * done.cost_usd).mean())


@pytest.mark.parametrize("rate", [0.0, 40.0, 150.0, 600.0])
def test_is_optimal(rate: float) -> None:
    """No base, thresholds and add-ons are worth more on the training items."""
    recording = EXAMPLES.recording
    masks = np.arange(1, 8)
    qualities = subset_qualities(recording, EXAMPLES.fuser, masks)
    best = -np.inf
    for base in range(3):
        labels, scores = first_label(recording.answers[base], 4)
        labels = np.minimum(labels, 4)
        total = -rate * recording.prices_usd[base] * len(recording)
        alone = qualities[:, (1 << base) - 1]
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            options = []
            for other in set(range(3)) - {base}:
                pair = qualities[:, (1 << base | 1 << other) - 1]
                fee = rate * recording.prices_usd[other]
                for cut in [*scores[rows], -1.0, 2.0]:
                    below = scores[rows] < cut
                    chosen = np.where(below, pair[rows] - fee, alone[rows])
                    options.append(chosen.sum())
            total += max(options)
        best = max(best, total / len(recording))
    # Rows whose base failed have no rule; the substitute decides about them.
    policy = fit_frugal(EXAMPLES, SETTINGS).at(rate)
    missing = recording.answers[policy.base].is_missing.mean()
    assert _worth(policy, rate) >= best - 2 * missing - 1e-9
    assert _worth(policy, rate) <= best + 2 * missing + 1e-9


def test_group_is_brute_force() -> None:
    """The best threshold and add-on of a group are those that trying all finds."""
    rng = _RNG(1)
    for trial in range(40):
        n = int(rng.integers(1, 9))
        scores = rng.integers(0, 4, n) / 4
        alone, paired = rng.random(n), rng.random((n, 2))
        fees = rng.random(2)
        group = rule_group(np.array([0]), 1.0, scores, alone, paired)
        threshold, add_on, value = group.best(fees)
        tries = {
            (cut, j): float(np.where(scores < cut, paired[:, j] - fees[j], alone).sum())
            for cut, j in itertools.product([*scores, -1.0, 2.0], range(2))
        }
        assert value == pytest.approx(max(tries.values())), trial
        below = scores < threshold
        again = np.where(below, paired[:, add_on] - fees[add_on], alone).sum()
        assert again == pytest.approx(value)


def test_labels_matter() -> None:
    """With a rule for each label it is worth at least as much as with one for all."""
    by_label = fit_frugal(EXAMPLES, SETTINGS)
    for_all = fit_frugal(EXAMPLES, FrugalSettings(is_by_label=False, min_support=1))
    for rate in (30.0, 100.0, 300.0):
        assert _worth(by_label.at(rate), rate) >= _worth(for_all.at(rate), rate) - 1e-9


def test_fixed_base() -> None:
    """A given base is asked first, and an unknown one refused."""
    family = fit_frugal(EXAMPLES, FrugalSettings(base="b"))
    assert all(family.at(rate).base == 1 for rate in (0.0, 100.0, np.inf))
    with pytest.raises(DataError, match="no provider z"):
        fit_frugal(EXAMPLES, FrugalSettings(base="z"))


def test_rare_labels_share_a_rule() -> None:
    """Labels with few items have one rule, which all items stand behind if need be."""
    family = fit_frugal(EXAMPLES, FrugalSettings(min_support=10_000))
    policy = family.at(100.0)
    assert len(np.unique(policy.thresholds)) == 1
    assert len(np.unique(policy.add_ons)) == 1


def test_extremes() -> None:
    """At no price it asks as much as helps, at an infinite one the cheapest alone."""
    family = fit_frugal(EXAMPLES, SETTINGS)
    recording = EXAMPLES.recording
    args = (recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
    cheapest = int(recording.prices_usd.argmin())
    done = replay(family.at(np.inf), *args)
    answered = ~recording.answers[cheapest].is_missing
    assert (done.asked[answered] == 1 << cheapest).all()
    assert _worth(family.at(0.0), 0.0) >= _worth(family.at(100.0), 0.0)


def test_failed_base_is_followed() -> None:
    """When the base fails another provider is asked."""
    policy = fit_frugal(EXAMPLES, SETTINGS).at(50.0)
    recording = EXAMPLES.recording
    args = (recording, EXAMPLES.features, EXAMPLES.fuser, _RNG(0))
    done = replay(policy, *args)
    missing = recording.answers[policy.base].is_missing
    assert missing.any()
    assert (np.bitwise_count(done.asked[missing]) == 2).all()
