"""A fitted corrector: monotone answers, intervals, ranges, its file."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.correctors import scenario, scenario_of, untrained_corrector

from midhaul.errors import DataError
from midhaul.network.corrector.base import LEVELS, pooled
from midhaul.network.corrector.features import features_of
from midhaul.network.corrector.fitted import FORMAT, load_corrector, read_corrector

if TYPE_CHECKING:
    from pathlib import Path


def test_answers_rise_are_at_least_one_and_lie_in_their_intervals() -> None:
    """By construction, whatever the weights are."""
    features = [features_of(scenario(i).path) for i in range(10)]
    found = untrained_corrector().predict(features)
    assert found.slowdown.shape == (10, 5, len(LEVELS))
    assert (found.slowdown >= 1).all()
    assert (np.diff(found.slowdown, axis=2) >= 0).all()
    assert (found.low <= found.slowdown).all()
    assert (found.slowdown <= found.high).all()
    for ends in (found.low, found.high):
        assert (ends >= 1).all()
        assert (np.diff(ends, axis=2) >= 0).all()


def test_a_path_alone_is_told_what_it_is_among_others() -> None:
    """Links that are not there do not count."""
    features = [features_of(scenario(i).path) for i in range(6)]
    together = untrained_corrector().predict(features)
    for i, one in enumerate(features):
        alone = untrained_corrector().predict([one])
        assert alone.slowdown[0] == pytest.approx(together.slowdown[i], rel=1e-4)


def test_no_path_has_no_answer() -> None:
    """An empty list is no mistake."""
    assert len(untrained_corrector().predict([]).slowdown) == 0


def test_an_empty_class_has_an_answer_that_weighs_nothing() -> None:
    """A class without flows is told by what crosses the path."""
    path = scenario_of("dctcp").path
    sizes = np.full(len(path), 500)
    found = untrained_corrector().predict(
        [features_of(replace(path, size_bytes=sizes))]
    )
    assert found.counts[0].tolist()[1:] == [0, 0, 0, 0]
    assert np.isfinite(found.slowdown).all()


def test_what_training_has_seen_is_inside_and_what_it_has_not_is_named() -> None:
    """The paths that made the ranges, and one with a hundred times the rate."""
    corrector = untrained_corrector()
    path = scenario_of("cubic").path
    assert corrector.predict([features_of(path)]).outside == ((),)
    links = tuple(replace(x, delay_s=x.delay_s + 1.0) for x in path.links)
    far = replace(
        path,
        links=links,
        back=tuple(replace(x, source=x.target, target=x.source) for x in links),
    )
    (said,) = corrector.predict([features_of(far)]).outside
    assert "round trip above what was seen" in said


def test_a_file_says_what_was_saved(tmp_path: Path) -> None:
    """The same answers, up to what half precision cuts off."""
    corrector = untrained_corrector()
    file = tmp_path / "corrector.npz"
    file.write_bytes(corrector.saved())
    again = load_corrector(file)
    features = [features_of(scenario(i).path) for i in range(4)]
    one, other = corrector.predict(features), again.predict(features)
    assert other.slowdown == pytest.approx(one.slowdown, rel=0.02)
    assert again.record == corrector.record


def _changed(**changes: Any) -> bytes:
    with np.load(io.BytesIO(untrained_corrector().saved())) as read:
        arrays = {name: read[name] for name in read.files}
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is none"),
        (b"PK\x03\x04 no archive", "is none"),
        (_changed(format=np.array(FORMAT + 1)), f"format {FORMAT + 1}, this version"),
        (_changed(ratios=None), "damaged"),
        (_changed(record=np.frombuffer(b"{", np.uint8)), "damaged"),
    ],
)
def test_a_bad_file_is_refused_in_words(content: bytes, words: str) -> None:
    """Empty, no archive, another version, an array that lacks, no JSON."""
    with pytest.raises(DataError, match=words):
        read_corrector(content, "mine.npz")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the path."""
    with pytest.raises(DataError, match="cannot be read"):
        load_corrector(tmp_path / "none.npz")


@given(
    st.lists(st.floats(0, 3), min_size=len(LEVELS), max_size=len(LEVELS)),
    st.floats(0.01, 5),
)
@settings(max_examples=50)
def test_a_pool_of_one_is_what_it_was(steps: list[float], weight: float) -> None:
    """Its percentiles at the levels at which it is told, within a step of them."""
    logs = np.cumsum(np.abs(steps)) / 10
    shares = LEVELS[2:-2]
    told = np.log(pooled(np.exp(logs)[None], np.array([weight]), shares))
    assert (told <= logs[3:-1] + 1e-9).all()
    assert (told >= logs[1:-3] - 1e-9).all()


def test_a_pool_is_weighed() -> None:
    """A tenth of the flows is slow: they are the slowest tenth of the pool."""
    fast, slow = np.full(len(LEVELS), 1.0), np.full(len(LEVELS), 9.0)
    told = pooled(np.stack([fast, slow]), np.array([0.9, 0.1]), np.array([0.85, 0.95]))
    assert told.tolist() == pytest.approx([1, 9])
