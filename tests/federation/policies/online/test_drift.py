"""Alarms: how rarely they are false, and how soon they are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from midhaul.errors import DataError
from midhaul.federation.evaluate.online import degraded
from midhaul.federation.fusion import fuser_named
from midhaul.federation.policies.checks import check_examples
from midhaul.federation.policies.online.drift import (
    N_BINS,
    SIGNALS,
    Alarm,
    DriftMonitor,
    EDetectors,
    advance,
)

if TYPE_CHECKING:
    from midhaul.federation.recordings.problem import Recording

_RNG = np.random.default_rng
VOTE = fuser_named("vote")


def _watched(
    monitor: DriftMonitor, recording: Recording, start: int = 0
) -> tuple[Alarm, ...]:
    rows = np.arange(start, len(recording))
    part = recording.take(rows)
    asked = np.full(len(part), part.everyone)
    return monitor.watch(part, VOTE.fuse(part.shown(asked), asked))


def test_false_alarms_are_rare() -> None:
    """Over many streams without a change, alarms are rarer than was asked for."""
    n_alarms, n_items = 0, 0
    for seed in range(40):
        recording = check_examples("labels", VOTE, _RNG(seed), n_items=2500).recording
        monitor = DriftMonitor(recording.providers, 10_000)
        n_alarms += len(_watched(monitor, recording))
        n_items += len(recording)
    # 100,000 items at no more than 1 in 10,000: 10 expected at most, 20 is 3 sigma off.
    assert n_items == 100_000
    assert n_alarms < 20


def test_bets_are_fair() -> None:
    """R is on average no more than the number of bets, which the guarantee rests on."""
    n, n_runs = 60, 1500
    rng = _RNG(3)
    tails, wins, is_high = EDetectors(1, 1).bets
    found = []
    for _ in range(n_runs):
        levels = np.zeros((1, len(tails)))
        bins = rng.choice([3, 700, N_BINS - 1], n, p=[0.2, 0.3, 0.5])[None, :]
        counts = np.zeros((1, N_BINS), np.int64)
        starts, sums = np.ones(levels.shape, np.int64), np.ones(levels.shape)
        chances = rng.random((1, n))
        args = (tails, wins, is_high, np.inf)
        numbers = np.arange(n)
        advance(bins, chances, numbers, counts, levels, sums, starts, *args)
        found.append(levels.mean())
    # The mean over runs has heavy tails; far above n it would be a bet that cheats.
    assert np.median(found) < n
    assert np.mean(np.minimum(found, 100 * n)) < 1.5 * n


def test_kernel_is_its_reference() -> None:
    """The compiled loop does what the same lines do in plain Python."""
    rng = _RNG(4)
    bets = EDetectors(6, 40).bets
    bins = rng.integers(-1, 5, (6, 200))
    bins[2, 100:] = 900
    chances = rng.random((6, 200))
    outcomes = []
    for function in (advance, cast("Any", advance).py_func):
        counts = np.zeros((6, N_BINS), np.int64)
        shape = 6, len(bets[0])
        levels, sums = np.zeros(shape), np.ones(shape)
        starts = np.ones(shape, np.int64)
        args = (counts, levels, sums, starts, *bets, 240.0)
        end = function(bins, chances, np.arange(200), *args)
        outcomes.append((end, counts, levels, sums, starts))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][0][1] == 2
    for ours, theirs in zip(outcomes[0][1:], outcomes[1][1:], strict=True):
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("how", "signal", "within"),
    [
        ("swapped", "agreement", 120),
        ("failing", "answered", 30),
        ("unsure", "score", 60),
    ],
)
def test_changes_are_noticed(how: str, signal: str, within: int) -> None:
    """A provider that is worse on half of the items is named within a few of them."""
    delays, n_right = [], 0
    for seed in range(8):
        rng = _RNG(seed)
        recording = check_examples("labels", VOTE, rng, n_items=1200).recording
        worse = degraded(recording, "a", 600, rng, share=0.5, how=how)  # pyright: ignore[reportArgumentType]
        monitor = DriftMonitor(recording.providers, 500)
        before = recording.take(np.arange(600))
        asked = np.full(600, before.everyone)
        monitor.baseline(before, VOTE.fuse(before.shown(asked), asked))
        alarm = _watched(monitor, worse, 600)[0]
        delays.append(alarm.number)
        n_right += alarm.provider == "a" and alarm.signal == signal
        assert 1 <= alarm.onset <= alarm.number
    assert np.median(delays) <= within
    assert n_right >= 6


def test_alarm_begins_anew() -> None:
    """After an alarm the provider is watched as it is now, without further alarms."""
    rng = _RNG(0)
    recording = check_examples("labels", VOTE, rng, n_items=3000).recording
    worse = degraded(recording, "b", 1000, rng, share=1.0, how="failing")
    monitor = DriftMonitor(recording.providers, 10_000)
    alarms = _watched(monitor, worse)
    assert [(a.provider, a.signal, a.direction) for a in alarms] == [
        ("b", "answered", "fell")
    ]
    assert (monitor.evidence < 1).all()


def test_batches_do_not_matter() -> None:
    """Items one by one raise the alarms of all of them together."""
    rng = _RNG(1)
    recording = check_examples("tags", VOTE, rng, n_items=400).recording
    worse = degraded(recording, "c", 200, rng, share=0.8)
    whole = DriftMonitor(recording.providers, 50)
    single = DriftMonitor(recording.providers, 50)
    together = _watched(whole, worse)
    apart = []
    for i in range(400):
        apart += _watched(single, worse.take(np.array([i])))
    assert list(together) == apart
    assert len(apart) > 0
    assert whole.evidence == pytest.approx(single.evidence)


def test_state_goes_on() -> None:
    """A monitor that was saved and read back goes on where it stopped."""
    rng = _RNG(2)
    recording = check_examples("labels", VOTE, rng, n_items=600).recording
    first = DriftMonitor(recording.providers, 100)
    _watched(first, recording.take(np.arange(300)))
    second = DriftMonitor.from_state(first.state())
    rest = recording.take(np.arange(300, 600))
    assert _watched(first, rest) == _watched(second, rest)
    assert np.array_equal(first.evidence, second.evidence)


def test_new_providers_are_watched() -> None:
    """A provider that comes later is watched; what is known of the others stays."""
    rng = _RNG(2)
    recording = check_examples("labels", VOTE, rng, n_items=300).recording
    narrow = DriftMonitor(["a", "b"], 100)
    _watched(narrow, recording.only(["a", "b"]))
    wide = narrow.with_providers(["a", "b", "c"])
    ratio = narrow.evidence[:2] * 2 / 3
    assert wide.evidence[:2] == pytest.approx(ratio)
    assert wide.evidence[2].tolist() == [0.0] * len(SIGNALS)
    _watched(wide, recording)
    with pytest.raises(DataError, match="watched"):
        _watched(wide, recording.only(["a", "b"]))
    with pytest.raises(ValueError, match="n_between"):
        DriftMonitor(["a"], 0)
