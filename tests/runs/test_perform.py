"""Tests of running one experiment."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import toy_kind
from tests.support.toy_kind import NAME, STEPS, ToyConfig

from midhaul.errors import NodeError
from midhaul.machine.children import Interrupt, was_interrupted
from midhaul.runs.perform import perform
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from pathlib import Path


def begun(tmp_path: Path, config: ToyConfig) -> Run:
    """A run of a config."""
    return Run.create(tmp_path, NAME, config)


def events(run: Run) -> list[dict]:
    """The lines of the log."""
    return [json.loads(s) for s in (run.dir / "log.jsonl").read_text().splitlines()]


def test_a_run_that_ends_well_is_done(tmp_path: Path) -> None:
    """Its verdict is written, and its log has a begin and an end."""
    run = begun(tmp_path, ToyConfig())
    perform(toy_kind.run, ToyConfig(), run, SilentProgress())
    assert Run.open(run.dir).status == "done"
    assert Run.open(run.dir).verdict is not None
    assert [e["event"] for e in events(run)] == ["begin", "end"]


def test_a_failed_run_keeps_its_rows_and_its_error(tmp_path: Path) -> None:
    """The error goes on to the caller, and the log has the traceback."""
    config = ToyConfig(fail_at=2)
    run = begun(tmp_path, config)
    with pytest.raises(NodeError):
        perform(toy_kind.run, config, run, SilentProgress())
    found = Run.open(run.dir)
    assert (found.status, found.count("steps")) == ("failed", 2)
    assert found.manifest.error == "step 2 failed\ntake fewer steps"
    assert "NodeError" in events(run)[-1]["traceback"]


def test_ctrl_c_marks_a_run_interrupted(tmp_path: Path) -> None:
    """The interrupt goes on to the caller."""

    def interrupted(config: ToyConfig, run: Run, progress: object) -> None:
        del config, progress
        run.write(STEPS, [{"step": 0}])
        raise KeyboardInterrupt

    run = begun(tmp_path, ToyConfig())
    with pytest.raises(KeyboardInterrupt):
        perform(interrupted, ToyConfig(), run, SilentProgress())
    assert Run.open(run.dir).status == "interrupted"
    again = Run.resume(run.dir)
    perform(toy_kind.run, ToyConfig(), again, SilentProgress())
    assert Run.open(run.dir).read(STEPS)["step"].to_pylist() == [0, 1, 2]
    assert Run.open(run.dir).manifest.error is None


def test_an_interrupt_of_which_a_library_makes_an_error_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that is stopped in the middle says something else; it is told so."""
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)
    run = begun(tmp_path, ToyConfig())

    def compiles(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            message = "returned a result with an exception set"
            raise SystemError(message) from error

    before = signal.signal(signal.SIGTERM, Interrupt())
    try:
        with pytest.raises(KeyboardInterrupt):
            perform(compiles, None, run, SilentProgress())
        assert was_interrupted()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert Run.open(run.dir).status == "interrupted"
    assert not was_interrupted()


def test_what_modules_log_is_in_the_log(tmp_path: Path) -> None:
    """Messages of midhaul's loggers are lines, and afterwards no more."""
    logger = logging.getLogger("midhaul.toy")

    def talkative(config: ToyConfig, run: Run, progress: object) -> None:
        del config, run, progress
        logger.info("step %d", 3)

    run = begun(tmp_path, ToyConfig())
    perform(talkative, ToyConfig(), run, SilentProgress())
    logger.warning("too late")
    lines = [e for e in events(run) if e["event"] == "message"]
    assert [line["text"] for line in lines] == ["step 3"]
