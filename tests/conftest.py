"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from collections.abc import Generator

# Values are checked by the shapes and types in their annotations, in the tests only.
# The hook must come before anything imports them.
install_import_hook("midhaul.model", "beartype.beartype")

# A machine whose cores are busy makes examples slow, which says nothing of the code.
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("MIDHAUL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set MIDHAUL_DATA to its folder")
    return folder


_LACKS = ("not installed", "could not import", "pip install", "apt-get install")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """In CI, which installs what the tests need, a missing program is a failure."""
    report = yield
    reason = str(report.longrepr)
    lacks = any(word in reason for word in _LACKS)
    if os.environ.get("CI") and report.skipped and lacks:
        report.outcome = "failed"
        report.longrepr = f"CI has to install what this needs: {reason}"
    return report
