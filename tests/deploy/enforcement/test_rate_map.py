"""What filters match, cover and share is what the words of MQTT say."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from midhaul.deploy.enforcement.rate_map import (
    RateMap,
    covers,
    matches,
    needed,
    overlap,
    renamed,
    renamed_filter,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVELS = ["a", "b", "$c", ""]
_TOPICS = [
    "/".join(levels)
    for n in (1, 2, 3, 4)
    for levels in itertools.product(_LEVELS, repeat=n)
    if levels != ("",)
]


def _filter(levels: Sequence[str], *, is_open: bool) -> str:
    return "/".join([*levels, *(["#"] if is_open else [])]) or "a"


filters = st.builds(
    _filter,
    st.lists(st.sampled_from([*_LEVELS, "+"]), max_size=3),
    is_open=st.booleans(),
).filter(bool)


@given(filters, st.sampled_from(_TOPICS))
def test_a_topic_matches_as_another_implementation_says(name: str, topic: str) -> None:
    """Paho's matcher is the judge."""
    assert matches(name, topic) == topic_matches_sub(name, topic)


@given(filters, filters)
def test_cover_and_overlap_are_those_of_the_topics(one: str, other: str) -> None:
    """Over all topics of up to four levels, one more than filters have before #."""
    first = {topic for topic in _TOPICS if matches(one, topic)}
    second = {topic for topic in _TOPICS if matches(other, topic)}
    assert overlap(one, other) == bool(first & second)
    if covers(one, other):
        assert second <= first


@given(st.lists(filters, max_size=5))
def test_needed_filters_match_the_same(names: list[str]) -> None:
    """None of them is covered by another one."""
    few = needed(names)
    for topic in _TOPICS:
        wanted = any(matches(name, topic) for name in names)
        assert wanted == any(matches(name, topic) for name in few)
    pairs = itertools.permutations(few, 2)
    assert not any(
        covers(one, other) and not covers(other, one) for one, other in pairs
    )


@given(
    filters,
    st.sampled_from(["", "a/", "a", "b/a/", "$c/"]),
    st.sampled_from(["", "new/", "new", "x/new"]),
)
def test_a_renamed_filter_holds_the_renamed_topics(
    name: str, begin: str, instead: str
) -> None:
    """So that a loop is seen before a message is sent."""
    wide = renamed_filter(name, begin, instead)
    for topic in _TOPICS:
        if matches(name, topic) and (new := renamed(topic, begin, instead)):
            assert matches(wide, new) or new.startswith("$")


@pytest.mark.parametrize("name", ["$share/pool/iot/#", "$share", "$share/pool"])
def test_a_shared_subscription_is_refused_with_its_reason(name: str) -> None:
    """A bridge would get a part of the messages; the hint has the filter itself."""
    with pytest.raises(DataError, match="only a part of the messages") as caught:
        RateMap(rates_bps={name: 1e6})
    assert "'iot/#'" in caught.value.hint
