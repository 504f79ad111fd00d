"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Values are checked by the shapes and types in their annotations, in the tests only.
# The hook must come before anything imports them.
install_import_hook("midhaul.model", "beartype.beartype")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("MIDHAUL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set MIDHAUL_DATA to its folder")
    return folder
