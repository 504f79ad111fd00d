"""The command line with the toy kind, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.support import toy_kind
from typer.testing import CliRunner

from midhaul.cli.app import app
from midhaul.kinds import KINDS

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Said:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str


class Midhaul(Protocol):
    """Calls the command line."""

    def __call__(self, *arguments: str) -> Said:
        """Call it with arguments."""
        ...


@pytest.fixture
def midhaul(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Any:
    """The command line, in an empty folder."""
    del request
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(KINDS, toy_kind.NAME, toy_kind.KIND)

    def call(*arguments: str) -> Said:
        result = CliRunner().invoke(app, arguments, prog_name="midhaul")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    """An experiment file of the toy kind."""
    path = tmp_path / "toy.toml"
    path.write_text('kind = "toy.count"\nn_steps = 12\n')
    return path
