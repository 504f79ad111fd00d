"""The house: what a folder shows, what a file holds, and how far a reader walks."""

from __future__ import annotations

import ast
import re

import pytest
from tools import house

LONG: dict[str, str] = {}
"""Files over 600 lines, each with its reason."""

MOST_LINES = 600
MOST_ENTRIES = 20
MOST_ENTRIES_MANY = 30
"""Of the testbed, and of the network with its many kinds."""
MOST_ENTRIES_TOP = 24
"""Each area has a package there."""
JOURNEYS = {
    "a request": 12,
    "an image through accuracy": 9,
    "an item through evaluate": 12,
    "an analytic through plan": 10,
}


def test_no_file_is_longer_than_600_lines_without_its_reason() -> None:
    """A file is one idea; what is longer than that is two, or says why not."""
    sizes = {m.name: m.n_lines for m in house.modules_of(house.ROOT / "src")}
    assert len(sizes) > 300
    assert {name for name, n in sizes.items() if n > MOST_LINES} == set(LONG)
    assert all(LONG.values())


def test_a_folder_shows_at_most_20_entries() -> None:
    """More than that is two rooms in one; parts that are many and alike may be more."""
    most = {
        folder: MOST_ENTRIES_MANY if "/testbed" in folder else MOST_ENTRIES
        for folder in house.entries(house.ROOT / "src")
    }
    most["midhaul"] = MOST_ENTRIES_TOP
    most["midhaul/network"] = MOST_ENTRIES_MANY
    assert len(most) > 30
    found = house.entries(house.ROOT / "src")
    assert {at: n for at, n in found.items() if n > most[at]} == {}


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_journey_is_short_and_leads_through_the_code(journey: str) -> None:
    """Each file that is opened names an earlier one, or is named by one."""
    files = house.journeys(house.ROOT)[journey]
    assert 5 < len(files) <= JOURNEYS[journey]
    assert len(set(files)) == len(files)
    texts = [(house.ROOT / file).read_text(encoding="utf-8") for file in files]
    for place, file in enumerate(files[1:], 1):
        names = any(_names(text, file) for text in texts[:place])
        is_named = any(_names(texts[place], earlier) for earlier in files[:place])
        assert names or is_named, f"{journey}: no way leads to {file}"


def _names(text: str, file: str) -> bool:
    """Whether a text names a module, or with its package something that is in it."""
    parts = file.removeprefix("src/").removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        return ".".join(parts[:-1]) in text
    package, module = ".".join(parts[:-1]), parts[-1]
    tree = ast.parse((house.ROOT / file).read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    words = set(re.findall(r"\w+", text))
    return f"{package}.{module}" in text or (
        package in text and not words.isdisjoint({module, *defined})
    )


def test_paths_that_a_contributor_is_sent_to_are_there() -> None:
    """Where to add what is said by path, and paths move."""
    text = (house.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"((?:src|tests|tools|docs|benchmarks)/[\w./{},-]+)", text)
    paths = [path for name in named for path in _spelled_out(name.rstrip(".,"))]
    assert len(paths) > 20
    assert [path for path in paths if not (house.ROOT / path).exists()] == []


def _spelled_out(path: str) -> list[str]:
    """``a/{b,c}/`` as ``a/b/`` and ``a/c/``."""
    braces = re.search(r"\{([^}]*)\}", path)
    if braces is None:
        return [path]
    return [path.replace(braces[0], one) for one in braces[1].split(",")]
