"""All selectors of the catalogue keep what a selector promises, and each its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import ConfigError, DataError
from midhaul.memory.checks import (
    SelectorClaims,
    check_selector,
    check_stream,
)
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins, Samples
from midhaul.memory.selectors.balanced import BalancedReservoir, water_level
from midhaul.memory.selectors.base import Reason
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.memory.selectors.committee import Committee, disagreement
from midhaul.memory.selectors.fifo import Fifo
from midhaul.memory.selectors.forgetting import ForgettingReservoir, HalfLifeReservoir
from midhaul.memory.selectors.jtt import JustTrainTwice
from midhaul.memory.selectors.lars import Lars, going_shares, replace_by_loss
from midhaul.memory.selectors.score import (
    ScoreSelector,
    softmax_kept,
)
from midhaul.memory.selectors.stalled import StalledSessions

if TYPE_CHECKING:
    from collections.abc import Callable

BINS = Bins.of_classes(4)


class Fixed:
    """A predictor that says the same of everything."""

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = np.array(shares, np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Its shares for each."""
        return np.tile(self.shares, (len(x), 1))

    def trained(self, samples: Samples, rng: np.random.Generator) -> Fixed:
        """Itself; it does not learn."""
        del samples, rng
        return self


MEMBERS = (Fixed((0.7, 0.1, 0.1, 0.1)), Fixed((0.1, 0.7, 0.1, 0.1)))
TOLD: dict[str, Any] = {
    "bins": BINS,
    "predictors": MEMBERS,
    "slow_from": 2.5,
    "half_life_s": 60.0,
}
CLAIMS = {
    "class-balanced": SelectorClaims(needs_output=True),
    "loss": SelectorClaims(needs_output=True, needs_prediction=True),
    "confidence": SelectorClaims(needs_prediction=True),
    "lars": SelectorClaims(needs_output=True, needs_prediction=True),
    "coverage": SelectorClaims(
        needs_output=True, needs_prediction=True, fills=False, least_capacity=2
    ),
    "coverage-random": SelectorClaims(
        needs_output=True, needs_prediction=True, fills=False, least_capacity=20
    ),
    "priority": SelectorClaims(needs_prediction=True),
}


def make(name: str, **told: Any) -> Callable[[int], Any]:
    """A maker of selectors of a name."""
    return lambda capacity: SELECTORS.called(
        name, **{"capacity": capacity, **TOLD, **told}
    )


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_selectors_pass_the_suite(name: str) -> None:
    """Each by the name that configs use, its own unless it is made of several."""
    told = {"batch_size": 2} if name.startswith("coverage") else {}
    assert make(name, **told)(40).name in {name, "several"}
    check_selector(make(name, **told), BINS, CLAIMS.get(name))


class Greedy(Fifo):
    """Breaks what a subclass is told to break."""

    fault = ""

    def choose(self, kept: Samples, marks: Any, new: Samples, rng: Any) -> Any:
        """As FIFO, but for the fault."""
        if self.fault == "data" and len(kept):
            kept.x[0] = 7
        found = super().choose(kept, marks, new, rng)
        if self.fault == "capacity":
            found.take[:] = True
            found.reasons[:] = Reason.RECENT
        if self.fault == "reason":
            found.reasons[:] = Reason.RECENT
        return found

    def restore(self, state: Any) -> None:
        """As FIFO, or one off."""
        super().restore(state)
        self._n_seen += self.fault == "state"

    def weights(self, kept: Samples, marks: Any) -> Any:
        """None, or what says nothing."""
        del marks
        return np.ones(len(kept)) if self.fault == "weights" else None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("capacity", "at most 1 samples"),
        ("data", "leave the memory alone"),
        ("reason", "a reason to keep"),
        ("state", "go on as before"),
        ("weights", "sum to the stream"),
    ],
)
def test_the_suite_finds_faults(fault: str, message: str) -> None:
    """A suite that finds nothing wrong with anything is none."""
    faulty = type("Faulty", (Greedy,), {"fault": fault})
    with pytest.raises(ValueError, match=message):
        check_selector(lambda capacity: faulty(capacity=capacity), BINS)


def test_a_claim_that_is_too_small_is_found() -> None:
    """Who refuses what others take has to say so."""
    with pytest.raises(ValueError, match="no need of outputs"):
        check_selector(make("class-balanced"), BINS)
    with pytest.raises(ValueError, match="a DataError of fifo"):
        check_selector(make("fifo"), BINS, SelectorClaims(needs_output=True))


def test_fifo_keeps_the_last_in_any_offers() -> None:
    """The numbers of the stream, not the places in memory, say what is oldest."""
    memory = SampleMemory(Fifo(capacity=5), BINS)
    for new in check_stream(BINS, (4, 3, 9, 2)):
        memory.offer(new)
    assert sorted(memory.get().time_s.tolist()) == [13, 14, 15, 16, 17]
    assert memory.weighted() is None


def test_forgetting_by_share_lets_old_ones_go() -> None:
    """A fifth goes at each offer, so that after many hardly any old one is left."""
    kept = {}
    for forget in (0.0, 0.2):
        memory = SampleMemory(ForgettingReservoir(capacity=50, forget=forget), BINS)
        for new in check_stream(BINS, (50,) * 30):
            memory.offer(new)
        assert len(memory) == 50
        kept[forget] = float(np.median(memory.get().time_s))
    assert kept[0.0] < 1000 < kept[0.2]


def test_a_half_life_halves() -> None:
    """Of what is a half-life older half as many are in memory."""
    counts = np.zeros(4)
    for seed in range(40):
        memory = SampleMemory(
            HalfLifeReservoir(capacity=100, half_life_s=500), BINS, seed=seed
        )
        for new in check_stream(BINS, (250,) * 8):
            memory.offer(new)
        counts += np.bincount((memory.get().time_s // 500).astype(int), minlength=4)
    assert counts[1:] / counts[:-1] == pytest.approx([2, 2, 2], rel=0.2)


def test_a_half_life_does_not_depend_on_the_order_of_offers() -> None:
    """What comes late is treated by its own time; the clock may go backwards."""
    stream = check_stream(BINS, (200,) * 5)
    means = []
    for order in (stream, stream[::-1]):
        found = []
        for seed in range(60):
            memory = SampleMemory(
                HalfLifeReservoir(capacity=40, half_life_s=200), BINS, seed=seed
            )
            for new in order:
                memory.offer(new)
            found.append(memory.get().time_s.mean())
        means.append((np.mean(found), np.std(found) / np.sqrt(60)))
    (one, se), (other, _) = means
    assert abs(one - other) < 5 * se


@given(
    wanted=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    capacity=st.integers(1, 120),
)
def test_water_finds_its_level(wanted: list[int], capacity: int) -> None:
    """All is used, nobody has more than wanted, and the poor have no less for it."""
    share = water_level(np.array(wanted), capacity)
    assert share.sum() == min(capacity, sum(wanted))
    assert (share <= wanted).all()
    short = share < wanted
    if short.any():
        assert share[short].max() - share[short].min() <= 1
        assert share.max() <= share[short].min() + 1


def test_class_balance_keeps_equal_shares_and_all_of_what_is_rare() -> None:
    """Three bins share the room that the rarest does not need."""
    memory = SampleMemory(BalancedReservoir(capacity=90, bins=BINS), BINS)
    rng = np.random.default_rng(0)
    y = rng.choice(4, 4000, p=[0.8, 0.15, 0.048, 0.002]).astype(float)
    for part in np.array_split(np.arange(4000), 17):
        memory.offer(Samples.of(part[:, None].astype(np.float32), y[part]))
    counts = np.bincount(memory.get().y.astype(int), minlength=4)
    n_rare = int((y == 3).sum())
    assert 0 < n_rare < 20
    assert counts[3] == n_rare
    assert counts[:3].max() - counts[:3].min() <= 1
    weighted = memory.weighted()
    assert weighted is not None
    sums = np.bincount(weighted.y.astype(int), weighted.weight)
    assert sums == pytest.approx(np.bincount(y.astype(int)))


def test_class_balance_is_uniform_within_a_bin() -> None:
    """Early and late samples of a bin have the same chance."""
    late = []
    for seed in range(60):
        memory = SampleMemory(
            BalancedReservoir(capacity=40, bins=BINS), BINS, seed=seed
        )
        for new in check_stream(BINS, (100,) * 10):
            memory.offer(new)
        kept = memory.get()
        late.append((kept.time_s[kept.y == 0] >= 500).mean())
    assert np.mean(late) == pytest.approx(0.5, abs=5 * np.std(late) / np.sqrt(60))


def test_drawing_by_gumbel_noise_is_drawing_one_by_one() -> None:
    """Who is left of three after two went by the softmax, against the sum by hand."""
    score, temperature = np.array([0.0, 0.5, 1.0]), 0.7
    e = np.exp(score / temperature)
    wanted = np.zeros(3)
    for first in range(3):
        for second in {0, 1, 2} - {first}:
            chance = e[first] / e.sum() * e[second] / (e.sum() - e[first])
            wanted[3 - first - second] += chance
    rng = np.random.default_rng(0)
    n = 20_000
    found = sum(softmax_kept(score, 1, temperature, rng) for _ in range(n)) / n
    assert found == pytest.approx(wanted, abs=0.02)


def test_scores_that_underflow_still_have_an_order() -> None:
    """A temperature of almost nothing keeps the smallest scores."""
    score = np.linspace(0, 1, 100)
    kept = softmax_kept(score, 10, 1e-9, np.random.default_rng(0))
    assert kept[:10].all()


def test_loss_and_confidence_keep_what_they_are_named_after() -> None:
    """At a low temperature, the highest losses and the least sure predictions."""
    (new,) = check_stream(BINS, (200,))
    for selector, value in (
        (
            ScoreSelector(capacity=20, bins=BINS, of="loss", temperature=1e-6),
            -new.prediction[np.arange(200), BINS.of(new.y)],
        ),
        (
            ScoreSelector(capacity=20, bins=BINS, of="confidence", temperature=1e-6),
            -new.prediction.max(axis=1),
        ),
    ):
        memory = SampleMemory(selector, BINS)
        is_kept = memory.offer(new).is_kept
        assert value[is_kept].min() >= value[~is_kept].max() - 1e-6


def test_disagreement_is_none_where_all_agree() -> None:
    """It is 1 for two that are sure of different things, however unsure all may be."""
    told = np.array(
        [[[1.0, 0, 0], [1 / 3] * 3, [1, 0, 0]], [[1, 0, 0], [1 / 3] * 3, [0, 1, 0]]]
    )
    assert disagreement(told) == pytest.approx([0, 0, 1])


def test_a_committee_keeps_what_it_disagrees_on() -> None:
    """One of its members changes its mind where the input is large."""

    class Split(Fixed):
        def predict(self, x: np.ndarray) -> np.ndarray:
            is_large = x[:, :1] > 1
            return np.where(is_large, MEMBERS[0].shares, MEMBERS[1].shares)

    selector = Committee(capacity=5, predictors=(Split((1, 0, 0, 0)), MEMBERS[1]))
    memory = SampleMemory(selector, BINS)
    x = np.zeros((50, 1), np.float32)
    x[::10] = 2
    found = memory.offer(Samples.of(x))
    assert np.flatnonzero(found.is_kept).tolist() == [0, 10, 20, 30, 40]
    with pytest.raises(ConfigError, match="two members"):
        Committee(capacity=5, predictors=MEMBERS[:1])


@pytest.mark.parametrize("is_text", [False, True])
def test_lars_lets_go_with_the_stated_shares(*, is_text: bool) -> None:
    """The kernel against the probabilities in so many words, class by class."""
    loss = np.array([0.1, 0.5, 2.0, 0.3, 0.9, 1.0, 1.0, 3.0])
    output = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    wanted = going_shares(loss[:7], output[:7], is_text=is_text)
    rng = np.random.default_rng(1)
    n = 20_000
    gone = np.zeros(7)
    for _ in range(n):
        slots = np.arange(7)
        replace_by_loss(slots, np.array([7]), loss, output, 3, is_text, rng)
        gone += slots == 7
    assert gone.sum() == n
    assert gone / n == pytest.approx(wanted, abs=0.015)
    assert wanted.argmin() in {2, 5, 6}


def test_lars_replaces_many_as_it_would_one_by_one() -> None:
    """Twenty in a row against the same done plainly: the composition is alike."""
    rng = np.random.default_rng(2)
    n, m = 30, 20
    loss = rng.exponential(1.0, n + m)
    output = rng.choice(3, n + m, p=[0.7, 0.2, 0.1])
    stays = np.zeros((2, n + m))
    n_tries = 1000
    is_text = True
    for _ in range(n_tries):
        slots = np.arange(n)
        replace_by_loss(slots, n + np.arange(m), loss, output, 3, is_text, rng)
        stays[0, slots] += 1
        plain = np.arange(n)
        for new in range(n, n + m):
            shares = going_shares(loss[plain], output[plain], is_text=is_text)
            plain[rng.choice(n, p=shares)] = new
        stays[1, plain] += 1
    assert stays[0] / n_tries == pytest.approx(stays[1] / n_tries, abs=0.08)


def test_lars_balances_classes() -> None:
    """A class of 2 % has a far larger share of the memory."""
    rng = np.random.default_rng(3)
    y = (rng.random(3000) < 0.02).astype(float)
    prediction = np.tile([[0.5, 0.3, 0.1, 0.1]], (3000, 1))
    memory = SampleMemory(Lars(capacity=60, bins=BINS), BINS)
    for part in np.array_split(np.arange(3000), 10):
        x = np.zeros((len(part), 1), np.float32)
        memory.offer(Samples.of(x, y[part], prediction=prediction[part]))
    assert memory.get().y.mean() > 0.1
    with pytest.raises(ConfigError, match="program or text"):
        Lars(capacity=1, bins=BINS, scale="else")  # type: ignore[arg-type]


def test_jtt_weighs_what_is_wrong_ten_times() -> None:
    """And by the present predictions, so a model that learns takes the weight away."""
    memory = SampleMemory(JustTrainTwice(capacity=10, bins=BINS), BINS)
    prediction = np.tile([[0.7, 0.1, 0.1, 0.1]], (20, 1))
    y = np.tile([0.0, 1.0, 2.0, 0.0, np.nan], 4)
    memory.offer(Samples.of(np.zeros((20, 1), np.float32), y, prediction=prediction))
    weighted = memory.weighted()
    assert weighted is not None
    wrong = np.isfinite(weighted.y) & (weighted.y > 0)
    assert weighted.weight == pytest.approx(np.where(wrong, 20.0, 2.0))
    bare = JustTrainTwice(capacity=3, bins=BINS)
    with pytest.raises(DataError, match="predictions over 4 bins"):
        bare.weights(Samples.of(np.zeros((2, 1)), np.zeros(2)), np.zeros((2, 0)))


def test_stalled_sessions_stay_whole() -> None:
    """One slow sample saves its group, also those of it that came before."""
    memory = SampleMemory(StalledSessions(capacity=12, slow_from=2.5), BINS)
    group = np.arange(60) // 6
    y = np.zeros(60)
    y[33] = 3  # group 5, in the middle of it
    x = np.zeros((60, 1), np.float32)
    for part in (slice(0, 32), slice(32, 60)):
        memory.offer(Samples.of(x[part], y[part], group=group[part]))
    kept = memory.get().group
    assert (kept == 5).sum() >= 4
    memory.offer(Samples.of(x, np.zeros(60), group=100 + group))
    assert (memory.get().group == 5).sum() == (kept == 5).sum()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("loss", {"temperature": 0.0}),
        ("confidence", {"temperature": -1.0}),
        ("stalled-sessions", {"temperature": np.nan}),
        ("committee", {"temperature": 0.0}),
        ("reservoir-half-life", {"half_life_s": 0.0}),
        ("reservoir-forgetting", {"forget": 1.5}),
        ("jtt", {"upscale": 0.0}),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, told: dict[str, float]
) -> None:
    """They say what was expected and what was found."""
    with pytest.raises(ConfigError, match="expected"):
        make(name, **told)(5)
