"""A short search with drawn changes: readers and servers bear what comes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.support.bad_files import ALL
from tests.support.federations import served_federation
from tests.support.good_files import GOOD
from tests.support.mutations import LONGEST_BYTES, mutant
from tests.support.raw_http import (
    is_healthy,
    problem_of,
    requests,
    requests_to_a_federation,
)
from tests.support.readers import READERS, SUFFIXES, told
from tests.support.served_memory import logged_memory
from tests.support.served_memory import requests as requests_to_a_memory

from midhaul.testbed.nodes.launcher import LocalLauncher
from midhaul.testbed.nodes.settings import NodeSettings

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = [*GOOD, *(data for data in ALL.values() if len(data) < 3000)]
N_CONTENTS, N_REQUESTS = 12, 150


def test_changes_are_many_bounded_and_repeatable() -> None:
    """The same seed gives the same changes, of which hardly two are alike."""
    first, again = (
        [mutant(CORPUS, random.Random(i)) for i in range(200)] for _ in "ab"
    )
    assert first == again
    assert len(set(first)) > 150
    assert max(map(len, first)) <= LONGEST_BYTES


@pytest.mark.parametrize("name", READERS)
def test_no_reader_breaks_on_changed_files(name: str, tmp_path: Path) -> None:
    """A changed file is good, or a word of ours says what is wrong with it."""
    rng = random.Random(name)
    for _ in range(N_CONTENTS):
        data = mutant(CORPUS, rng)
        for ending in SUFFIXES.get(name, (".txt",)):
            file = tmp_path / f"file{ending}"
            file.write_bytes(data)
            error = told(READERS[name], file)
            assert error is None, f"{error!r} on {data[:500]!r}"


def test_no_request_breaks_a_node(tmp_path: Path) -> None:
    """Any bytes end in a status or in a close, and the node answers afterwards."""
    rng, contents = random.Random(11), requests()
    with LocalLauncher(tmp_path) as launcher:
        node = launcher.start(NodeSettings(name="edge", detector="null"), {})
        for _ in range(N_REQUESTS):
            data = mutant(contents, rng)
            assert not problem_of(node.url, data), data[:500]
        assert is_healthy(node.url)
        assert "Traceback" not in node.log()


def test_no_request_breaks_a_federation(tmp_path: Path) -> None:
    """The same for the other server, behind which a provider always answers."""
    rng, contents = random.Random(11), requests_to_a_federation()
    with served_federation(tmp_path) as (url, log):
        for data in contents:
            assert not problem_of(url, data), data[:500]
        for _ in range(N_REQUESTS):
            data = mutant(contents, rng)
            assert not problem_of(url, data), data[:500]
        assert is_healthy(url)
        assert "Traceback" not in log()


def test_no_request_breaks_a_memory(tmp_path: Path) -> None:
    """Nor does an odd state that it is to merge, which it would remember for good."""
    rng, contents = random.Random(11), requests_to_a_memory(tmp_path)
    with logged_memory(tmp_path) as (url, log):
        for data in contents:
            assert not problem_of(url, data), data[:500]
        for _ in range(N_REQUESTS):
            data = mutant(contents, rng)
            assert not problem_of(url, data), data[:500]
        assert is_healthy(url)
        assert "Traceback" not in log()
    with logged_memory(tmp_path) as (url, log):
        assert is_healthy(url), log()
