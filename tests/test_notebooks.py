"""Tests of the notebooks in the documentation: they run, and by the door alone."""

from __future__ import annotations

import re
import subprocess
import sys
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


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_cells_run_from_top_to_bottom(notebook: Path) -> None:
    """As a script too: no cell raises, and none leaves a file beside the notebook."""
    before = set(notebook.parent.iterdir())
    done = subprocess.run(
        [sys.executable, str(notebook)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(notebook.parent.iterdir()) == before


@pytest.mark.parametrize("page", PAGES, ids=lambda file: file.stem)
def test_nothing_deeper_than_an_area_is_imported(page: Path) -> None:
    """What a notebook needs is in ``midhaul`` or in one of its areas."""
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^import midhaul$", text, re.MULTILINE)
    assert re.findall(r"(?:from|import) midhaul\.\w+\.\w+", text) == []
