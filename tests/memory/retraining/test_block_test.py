"""The block test alarms as often as it says, sees changes, knows what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.memory.retraining.base import RetrainSituation
from midhaul.memory.retraining.block_test import BlockTest, sketched
from midhaul.memory.retraining.group_counts import NO_GROUPS, GroupCounts
from midhaul.memory.retraining.permutation import permutation_test
from midhaul.memory.samples import Bins, Samples

BINS = Bins.of_classes(4)
USUAL = (6.0, 3.0, 1.0, 0.3)
OTHER = (3.0, 3.0, 3.0, 3.0)


def period(
    rng: np.random.Generator,
    law: tuple[float, ...] = USUAL,
    *,
    n_groups: int = 25,
    n: int = 40,
) -> Samples:
    """Sessions that differ from each other: each has outputs of a law of its own."""
    parts = [rng.choice(4, n, p=rng.dirichlet(law)) for _ in range(n_groups)]
    y = np.concatenate(parts)
    said = np.eye(4)[y] * 0.4 + 0.15
    return Samples.of(
        rng.normal(size=(len(y), 1)),
        y.astype(float),
        prediction=said / said.sum(axis=1, keepdims=True),
        group=np.repeat(np.arange(n_groups), n),
        model_version=1,
    )


def asked(
    new: Samples, rng: np.random.Generator, *, is_first: bool = False
) -> RetrainSituation:
    """What a rule is asked at the end of a period."""
    return RetrainSituation(
        period=0,
        new=new,
        memory=new,
        trained=None if is_first else new,
        bins=BINS,
        rng=rng,
    )


def alarms(rule: BlockTest, periods: list[Samples], seed: int = 0) -> list[int]:
    """In which periods it alarms; a training follows each, the first one too."""
    rng = np.random.default_rng(seed)
    found = []
    for number, new in enumerate(periods):
        if rule.decide(asked(new, rng, is_first=number == 0)).retrain:
            found.append(number)
            rule.retrained()
    assert found[0] == 0
    return found[1:]


def plain_p(counts: np.ndarray, m: int, choices: list[np.ndarray]) -> float:
    """The test in so many words, group by group, for given choices of groups."""
    n = counts.sum(axis=1)
    a = np.sqrt(n)
    share = counts / n[:, None]
    mean = (a[:, None] * share).sum(axis=0) / a.sum()
    v = ((a[:, None] * (share - mean)) ** 2).mean(axis=0)
    use = v > 0

    def value(rows: np.ndarray) -> float:
        is_new = np.zeros(len(n), bool)
        is_new[rows] = True
        one = (a[is_new] @ share[is_new]) / a[is_new].sum()
        other = (a[~is_new] @ share[~is_new]) / a[~is_new].sum()
        return float(((one - other)[use] ** 2 / v[use]).sum())

    observed = value(np.arange(len(n) - m, len(n)))
    reached = sum(value(one) >= observed * (1 - 1e-5) for one in choices)
    return (1 + reached) / (1 + len(choices))


def test_the_matrix_of_permutations_gives_what_the_formula_gives() -> None:
    """Against the same statistic group by group, on other permutations."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, (14, 3))
    counts[9:, 0] += 4
    group, cell = np.nonzero(counts)
    before, since = (
        GroupCounts.of(
            np.repeat(group, counts[group, cell])[pick],
            np.repeat(cell, counts[group, cell])[pick],
        )
        for pick in (
            np.repeat(group, counts[group, cell]) < 9,
            np.repeat(group, counts[group, cell]) >= 9,
        )
    )
    n = 4000
    found = permutation_test(
        before, since, rng, likes=np.zeros(3, int), n_permutations=n, level=1.0
    )
    choices = [rng.choice(14, 5, replace=False) for _ in range(n)]
    assert found.n_permutations == n
    assert found.p_value == pytest.approx(plain_p(counts, 5, choices), abs=0.03)


def test_p_values_are_uniform_when_nothing_has_changed() -> None:
    """For sessions that differ from each other; by samples it would always alarm."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        before = sketched(period(rng, n_groups=30), BINS)["outputs"]
        since = sketched(period(rng, n_groups=12), BINS)["outputs"]
        test = permutation_test(
            before, since, rng, likes=np.zeros(4, int), n_permutations=199, level=1.0
        )
        found.append(test.p_value)
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(found) <= level)
        assert share <= level + 3.5 * np.sqrt(level * (1 - level) / 300)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_stopping_early_changes_no_decision() -> None:
    """Where p is small all permutations are drawn; where it is large a part will do."""
    rng = np.random.default_rng(2)
    usual, other = (
        sketched(period(rng, law), BINS)["outputs"] for law in (USUAL, OTHER)
    )
    again = sketched(period(rng), BINS)["outputs"]
    likes = np.zeros(4, int)
    far = permutation_test(usual, other, rng, likes=likes)
    near = permutation_test(usual, again, rng, likes=likes)
    assert far.n_permutations == 1199
    assert far.p_value == pytest.approx(1 / 1200)
    assert near.n_permutations < 1199
    assert near.p_value > 0.005


def test_false_alarms_keep_their_rate_over_streams_and_do_not_creep() -> None:
    """At a rate of 40 % in ten periods, so that sixty streams can tell."""
    rng = np.random.default_rng(3)
    counts = np.zeros(10)
    n_streams = 60
    n_with = 0
    for seed in range(n_streams):
        rule = BlockTest(alpha=0.4, n_permutations=199)
        found = alarms(rule, [period(rng, n_groups=12) for _ in range(11)], seed)
        counts[np.array(found, int) - 1] += 1
        n_with += bool(found)
    assert n_with / n_streams <= 0.4 + 3 * np.sqrt(0.24 / n_streams)
    assert counts[5:].sum() <= counts[:5].sum() + 4 * np.sqrt(counts.sum() + 1)


def test_a_change_is_found_once_and_what_comes_back_is_known() -> None:
    """Usual, other, usual, other: one alarm, and it says what grew."""
    rng = np.random.default_rng(4)
    laws = [USUAL] * 4 + [OTHER] * 3 + [USUAL] * 2 + [OTHER] * 2
    rule = BlockTest()
    assert alarms(rule, [period(rng, law) for law in laws]) == [4]
    stream = [period(rng, law) for law in (USUAL, USUAL, OTHER)]
    rule = BlockTest()
    assert alarms(rule, stream[:2]) == []
    found = rule.decide(asked(stream[2], rng))
    assert found.retrain
    assert found.p_value <= 0.005
    assert found.grown[0][0] == 3
    assert found.grown[0][2] > found.grown[0][1] + 0.1
    assert "unlike all that is known" in found.why


def test_with_one_chapter_each_change_is_an_alarm() -> None:
    """There and back again, when nothing before the last training is remembered."""
    rng = np.random.default_rng(5)
    laws = [USUAL] * 4 + [OTHER] * 3 + [USUAL] * 2
    rule = BlockTest(n_known=1)
    assert alarms(rule, [period(rng, law) for law in laws]) == [4, 7]


def test_an_alarm_that_nobody_heeds_goes_on() -> None:
    """A period that alarmed becomes known by a training only."""
    rng = np.random.default_rng(6)
    rule = BlockTest()
    assert alarms(rule, [period(rng) for _ in range(3)]) == []
    for _ in range(3):
        assert rule.decide(asked(period(rng, OTHER), rng)).retrain
    rule.retrained()
    assert not rule.decide(asked(period(rng, OTHER), rng)).retrain


def test_a_model_that_says_other_things_is_found_without_outputs() -> None:
    """By what it says alone; outputs that are not known yet are no change."""
    rng = np.random.default_rng(7)

    def bare(law: tuple[float, ...]) -> Samples:
        samples = period(rng, law)
        return replace(samples, y=np.full(len(samples), np.nan))

    rule = BlockTest()
    laws = [USUAL] * 4 + [OTHER]
    assert alarms(rule, [bare(law) for law in laws]) == [4]
    rule = BlockTest()
    mixed = [period(rng), period(rng), bare(USUAL), period(rng)]
    assert alarms(rule, mixed) == []


def test_predictions_of_another_model_are_not_compared() -> None:
    """It says other things of everything, which is no change of the stream."""
    rng = np.random.default_rng(8)
    rule = BlockTest()
    assert alarms(rule, [period(rng) for _ in range(4)]) == []
    turned = period(rng)
    turned = replace(
        turned,
        prediction=turned.prediction[:, ::-1].copy(),
        model_version=np.full(len(turned), 2),
    )
    assert not rule.decide(asked(turned, rng)).retrain
    mixed = replace(turned, model_version=np.arange(len(turned)) % 2)
    assert not rule.decide(asked(mixed, rng)).retrain


def test_sessions_of_a_trace_are_one_block() -> None:
    """Twenty sessions of two traces say no more than two."""
    rng = np.random.default_rng(9)
    samples = period(rng, n_groups=20)
    shared = replace(samples, cluster=samples.group // 10)
    assert sketched(samples, BINS)["outputs"].n == 20
    assert sketched(shared, BINS)["cells"].n == 2


def test_nothing_to_compare_is_an_error() -> None:
    """A period without outputs and without predictions."""
    rng = np.random.default_rng(10)
    rule = BlockTest()
    alarms(rule, [period(rng)] * 2)
    bare = Samples.of(np.zeros((5, 1)))
    with pytest.raises(DataError, match="neither outputs nor predictions"):
        rule.decide(asked(bare, rng))


def test_a_state_that_was_cut_short_is_refused() -> None:
    """With what is missing."""
    rng = np.random.default_rng(11)
    rule = BlockTest()
    alarms(rule, [period(rng)] * 2)
    state = dict(rule.state())
    del state["0/cells/count"]
    with pytest.raises(DataError, match="0/cells/count"):
        BlockTest().restore(state)


@given(
    data=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=0, max_size=60
    ),
    cut=st.integers(0, 60),
)
def test_counts_of_two_gateways_are_those_of_one(
    data: list[tuple[int, int]], cut: int
) -> None:
    """Joined and dense they are the counts, and thinned they are some of them."""
    pairs = np.array(data, np.int64).reshape(-1, 2)
    parts = [GroupCounts.of(p[:, 0], p[:, 1]) for p in (pairs[:cut], pairs[cut:])]
    joined = GroupCounts.joined(parts)
    dense = joined.dense(np.arange(10), 10)
    assert dense.shape == (joined.n, 10)
    assert dense.sum(axis=0) == pytest.approx(np.bincount(pairs[:, 1], minlength=10))
    thin = joined.thinned(3, np.random.default_rng(0))
    assert thin.n == min(3, joined.n)
    rows = {tuple(row) for row in dense.tolist()}
    assert {tuple(r) for r in thin.dense(np.arange(10), 10).tolist()} <= rows
    again = GroupCounts.from_state(joined.state())
    assert np.array_equal(again.dense(np.arange(10), 10), dense)


@pytest.mark.parametrize(("most_bytes", "n_left"), [(96_000, 256), (4000, 150)])
def test_a_sketch_of_a_chapter_is_small(most_bytes: int, n_left: int) -> None:
    """However many sessions there were, and what is forgotten is said and counted."""
    rng = np.random.default_rng(12)
    rule, n_forgotten = BlockTest(most_bytes=most_bytes), 0
    for number in range(3):
        new = period(rng, n_groups=300)
        found = rule.decide(asked(new, rng, is_first=not number))
        assert found.n_groups == 300
        assert f"{found.n_forgotten} sessions forgotten" in found.why
        n_forgotten += found.n_forgotten
        rule.retrained()
    state = rule.state()
    kept = {name: np.asarray(one) for name, one in state.items() if one.ndim}
    assert sum(one.nbytes for one in kept.values()) <= most_bytes
    n = int(state["0/outputs/n"])
    assert n_left / 2 < n <= n_left
    assert n_forgotten == 900 - n
    again = BlockTest(most_bytes=most_bytes)
    again.restore(state)
    for name, one in again.state().items():
        assert np.array_equal(one, state[name])
    assert NO_GROUPS.n_bytes == 0


def test_chapters_that_are_too_many_are_counted_as_forgotten() -> None:
    """By the decision after the one that they went for."""
    rng = np.random.default_rng(13)
    rule = BlockTest(n_known=1)
    assert alarms(rule, [period(rng), period(rng), period(rng, OTHER)]) == [2]
    assert rule.decide(asked(period(rng, OTHER), rng)).n_forgotten == 50
    assert rule.decide(asked(period(rng, OTHER), rng)).n_forgotten == 0


def test_one_session_that_is_too_large_leaves_nothing_to_compare() -> None:
    """A limit holds whatever comes; then it says that nothing can be compared."""
    rng = np.random.default_rng(14)
    rule = BlockTest(most_bytes=1)
    assert alarms(rule, [period(rng), period(rng)]) == []
    found = rule.decide(asked(period(rng, OTHER), rng))
    assert "nothing is known yet" in found.why
    assert found.n_forgotten == 25
