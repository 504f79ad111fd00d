"""Tests of ``midhaul doctor``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midhaul.cli.check import extras, modules_of, unimportable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.cli.conftest import Midhaul


def test_everything_has_a_status_and_missing_things_a_fix(midhaul: Midhaul) -> None:
    """What is not there comes with the command that mends it."""
    checks = {
        check["what"]: check
        for check in json.loads(midhaul("doctor", "--quick", "--json").out)
    }
    assert checks["python"]["status"] == "ok"
    assert int(checks["cores"]["found"]) >= 1
    assert "GiB free" in checks["disk"]["found"]
    for check in checks.values():
        assert check["status"] != "missing" or check["fix"]
    assert "python" in midhaul("doctor", "--quick").out


def test_a_library_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is told; one that takes the process down hides no other."""
    (tmp_path / "broken_one.py").write_text("raise OSError('no symbol')")
    (tmp_path / "deadly_one.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tried = {
        name: [name] for name in ("broken_one", "deadly_one", "json", "absent_one")
    }
    found = unimportable(tried)
    assert found["broken_one"] == "OSError: no symbol"
    assert found["deadly_one"] == "the process ended with 9"
    assert "ModuleNotFoundError" in found["absent_one"]
    assert "json" not in found


def test_the_modules_of_a_library_are_found() -> None:
    """Also where they are called otherwise; a library that is not there has none."""
    found = modules_of(["opencv-python-headless", "numpy", "no-such-thing"])
    assert found == {"opencv-python-headless": ["cv2"], "numpy": ["numpy"]}


def test_extras_are_read_from_the_package() -> None:
    """An extra that holds others names all of their libraries."""
    found = extras()
    assert {"detect", "serve", "report", "testbed", "all"} <= set(found)
    assert set(found["detect"]) <= set(found["testbed"]) <= set(found["all"])
    assert "onnxruntime" in found["detect"]
    assert all(not name.startswith("midhaul") for name in found["all"])
