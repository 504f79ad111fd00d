"""Tests of the notebooks in the documentation; the build of the site runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials" / "notebooks").glob("*.py"))
PAGES = [*NOTEBOOKS, DOCS / "how-to" / "use-from-python.md"]


def test_every_notebook_is_in_the_menu() -> None:
    """Each is a page, and there are the five that there should be."""
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    said = [file for file in NOTEBOOKS if f"tutorials/notebooks/{file.name}" in menu]
    assert said == NOTEBOOKS
    assert {file.stem for file in said} == {"compare", "fuse", "judge", "plan", "run"}


@pytest.mark.parametrize("page", PAGES, ids=lambda file: file.stem)
def test_nothing_deeper_than_an_area_is_imported(page: Path) -> None:
    """What a notebook needs is in ``midhaul`` or in one of its areas."""
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^import midhaul$", text, re.MULTILINE)
    assert re.findall(r"(?:from|import) midhaul\.\w+\.\w+", text) == []
