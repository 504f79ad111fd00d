"""What all tests share."""

from __future__ import annotations

import functools
import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

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


def pytest_configure(config: pytest.Config) -> None:
    """Compile no kernel in two processes of ``make test``, and long ones first."""
    if hasattr(config, "workerinput"):
        from tests.support.kernels import compile_once  # noqa: PLC0415

        compile_once()
        gc.disable()  # all that is imported stays
    elif config.getoption("numprocesses", 0) and _is_whole(config):
        from tests.support.kernels import compile_meanwhile  # noqa: PLC0415

        compiler = compile_meanwhile()
        config.add_cleanup(compiler.wait)
        config.add_cleanup(compiler.kill)


def _is_whole(config: pytest.Config) -> bool:
    """Whether all tests are run, those of networks among them."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the collector of garbage leave alone what collecting has loaded."""
    if hasattr(session.config, "workerinput"):
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that need it skip elsewhere."""
    folder = Path(os.environ.get("MIDHAUL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set MIDHAUL_DATA to its folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that processes end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class _FixturesTogether(LoadScopeScheduling):
    """Each process takes a test, or a file whose tests share what a fixture made."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._is_shared = functools.cache(self._shares)

    def _shares(self, file: str) -> bool:
        text = (self.config.rootpath / file).read_text(encoding="utf-8")
        return 'scope="module"' in text

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if self._is_shared(file) else nodeid


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: some test is always waiting for what it started."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _FixturesTogether:
    """How tests are dealt out to the processes of ``make test``."""
    return _FixturesTogether(config, log)


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
