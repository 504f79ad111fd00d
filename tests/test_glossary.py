"""The glossary holds: what it says not to say is no name and stands on no page.

Its tables are read, so a word is settled there and nowhere else. A word of the last
column with a remark in brackets is wrong in some sense only, which no test can tell.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDERS = {
    "Everywhere": ".",
    "Vision": "vision",
    "Testbed": "testbed",
    "Deploy": "deploy",
    "Federation": "federation",
    "Packets": "captures",
    "Network": "network",
    "Memory": "memory",
}
"""The code of each heading of the glossary."""
PAGES = {
    "What is judged": "Vision",
    "What is measured": "Testbed",
    "What is shown": "Testbed",
    "What is decided": "Deploy",
    "What happens": "Deploy",
    "Who is asked": "Federation",
    "What flows": "Network",
    "What is kept": "Memory",
}
"""Whose words the explanations below each heading of their index use."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A word not to be said for a term of an area."""

    area: str
    term: str
    word: str

    def is_in(self, name: str) -> bool:
        """Whether a name of code has the word in it, in one or in many."""
        wanted = _parts(self.word)
        parts = _parts(name)
        places = range(len(parts) - len(wanted) + 1)
        return any(
            all(
                part in {word, f"{word}s", f"{word}es"}
                for part, word in zip(parts[place:], wanted, strict=False)
            )
            for place in places
        )

    def on(self, text: str) -> list[str]:
        """Where a text says it."""
        words = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", self.word)))
        return re.findall(rf"(?i)(?<![\w-])(?:{words})(?:e?s)?(?![\w-])", text)


def forbidden() -> list[Wrong]:
    """Every word without a remark, of the areas that there are."""
    found: list[Wrong] = []
    area = ""
    for line in (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (.+)|\*\*(.+)\*\*$", line):
            name = heading[1] or heading[2]
            area = name if heading[1] or name in FOLDERS else area
        elif line.startswith("| ") and not line.startswith("| word"):
            term, _, words = (cell.strip() for cell in line.strip("|").split("|"))
            found += [
                Wrong(area, term, word)
                for word in re.split(r",\s*(?![^(]*\))", words)
                if word and "(" not in word and area in FOLDERS
            ]
    return found


WRONG = forbidden()


def test_the_tables_of_the_glossary_are_read() -> None:
    """A page that is laid out anew must not empty the tests below."""
    assert {one.area for one in WRONG} == set(FOLDERS)
    assert len(WRONG) > 50
    assert Wrong("Testbed", "forward", "offload") in WRONG


def test_words_are_found_in_names_and_on_pages() -> None:
    """In snake and camel case, in the plural, and not as a part of another word."""
    word = Wrong("Deploy", "gateway", "fog node")
    assert word.is_in("n_fog_nodes")
    assert word.is_in("FogNode")
    assert word.is_in("--fog-node")
    assert not word.is_in("node_fog")
    assert not Wrong("Vision", "image", "photo").is_in("photon_counts")
    assert word.on("two Fog\nnodes, and fog nodes.") == ["Fog\nnodes", "fog nodes"]


@pytest.mark.parametrize("area", FOLDERS)
def test_no_name_is_a_word_that_is_not_said(area: str) -> None:
    """Definitions, arguments, variables, keys, options and files of its code."""
    wrong = [one for one in WRONG if one.area == area]
    found = {
        f"{file}: {name}: {one.term}, not {one.word}"
        for file, names in _names(ROOT / "src" / "midhaul" / FOLDERS[area]).items()
        for name in names
        for one in wrong
        if one.is_in(name)
    }
    assert found == set()


@pytest.mark.parametrize("area", FOLDERS)
def test_no_page_says_a_word_that_is_not_said(area: str) -> None:
    """The text of an area's explanations, and for words of all areas every page."""
    found = {
        f"{page.relative_to(ROOT)}: {said!r}: {one.term}, not {one.word}"
        for page in _pages(area)
        for one in WRONG
        if one.area == area
        for said in one.on(_prose(page))
    }
    assert found == set()


def _parts(name: str) -> list[str]:
    """The words of a name or a text, small."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return [word.lower() for word in words]


def _names(folder: Path) -> dict[Path, set[str]]:
    return {
        file.relative_to(ROOT): _names_in(file) for file in sorted(folder.rglob("*.py"))
    }


@functools.cache
def _names_in(file: Path) -> set[str]:
    """What a file calls something, its own name and command line options included."""
    found = {file.stem, file.parent.name}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.arg():
                found.add(node.arg)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.Attribute(ctx=ast.Store()):
                found.add(node.attr)
            case ast.Constant(value=str(text)) if re.fullmatch(r"--[a-z-]+", text):
                found.add(text)
            case _:
                pass
    return found


def _pages(area: str) -> list[Path]:
    if area == "Everywhere":
        pages = [page for page in DOCS.rglob("*.md") if "reference" not in page.parts]
        return [ROOT / "README.md", *(p for p in pages if p != DOCS / "glossary.md")]
    index = DOCS / "explanation" / "index.md"
    heading = ""
    found: list[Path] = []
    for line in index.read_text(encoding="utf-8").splitlines():
        if title := re.fullmatch(r"\*\*(.+)\*\*", line):
            heading = title[1]
        elif PAGES.get(heading) == area:
            found += [index.parent / page for page in re.findall(r"\]\((.+?)\)", line)]
    return found


@functools.cache
def _prose(page: Path) -> str:
    """The text of a page without code, addresses, quotations and titles of papers."""
    text = page.read_text(encoding="utf-8").replace("**", "")
    text = re.sub(r"(?ms)^```.*?^```", " ", text)
    for other in (r"`[^`\n]*`", r"\]\([^)]*\)", r"\"[^\"]*\"", r"\*[^*\s][^*]*\*"):
        text = re.sub(other, " ", text)
    return text
