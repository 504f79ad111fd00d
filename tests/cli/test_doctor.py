"""Tests of ``midhaul doctor``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midhaul.cli.check import extras

if TYPE_CHECKING:
    from tests.cli.conftest import Midhaul


def test_everything_has_a_status_and_missing_things_a_fix(midhaul: Midhaul) -> None:
    """What is not there comes with the command that mends it."""
    checks = {
        check["what"]: check for check in json.loads(midhaul("doctor", "--json").out)
    }
    assert checks["python"]["status"] == "ok"
    assert int(checks["cores"]["found"]) >= 1
    assert "GiB free" in checks["disk"]["found"]
    for check in checks.values():
        assert check["status"] != "missing" or check["fix"]
    assert "python" in midhaul("doctor").out


def test_extras_are_read_from_the_package() -> None:
    """An extra that holds others names all of their libraries."""
    found = extras()
    assert {"detect", "serve", "report", "testbed", "all"} <= set(found)
    assert set(found["detect"]) <= set(found["testbed"]) <= set(found["all"])
    assert "onnxruntime" in found["detect"]
    assert all(not name.startswith("midhaul") for name in found["all"])
