"""``midhaul run``: one experiment file, one run; ``midhaul demo``: a shipped one."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from midhaul.cli.compare import GATE, Bound, Bounds, Strict, failures_of
from midhaul.cli.options import RUNS, File, Json, NoReport, Open, Out, Resume, Set

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.runs.config import Config
    from midhaul.runs.run import Run


def run(
    file: File,
    *,
    set_: Set = None,
    out: Out = RUNS,
    resume: Resume = False,
    no_report: NoReport = False,
    open_: Open = False,
    strict: Strict = False,
    gate: Bounds = None,
    json: Json = False,
) -> None:
    """Run an experiment file: a folder with tables, a summary and a report."""
    from midhaul.cli.output import print_result, say

    bounds = [Bound.parse(text) for text in gate or ()]
    done = run_file(file, set_ or (), out, resume=resume)
    print_result(done, as_json=json, with_report=not no_report, open_it=open_)
    if strict or bounds:
        failures = failures_of(done, bounds)
        for text in failures:
            say(f"gate: {text}")
        if failures:
            raise typer.Exit(GATE)


def run_file(
    file: Path, overrides: Sequence[str], out: Path, *, resume: bool = False
) -> Run:
    """Run an experiment file and return the finished run.

    MidhaulError if the file is wrong, or the experiment failed.
    """
    from midhaul import api
    from midhaul.cli.output import say
    from midhaul.runs.experiment_file import Override

    kind, config = api.prepare(file, [Override.parse(text) for text in overrides])
    experiment = kind.load_run()
    started = api.begin(kind, config, out, resume=resume, say=say)
    _perform(experiment, config, started)
    return started


def _perform(experiment: Any, config: Config, started: Run) -> None:
    from midhaul.cli.guard import UnforeseenError
    from midhaul.cli.output import say
    from midhaul.cli.progress import shown_progress
    from midhaul.errors import MidhaulError
    from midhaul.machine.children import watched
    from midhaul.runs.perform import perform

    def interrupted() -> None:
        say(f"what was measured is in {started.dir}; continue with: {resume_command()}")

    def out_of_time() -> None:
        started.finish("interrupted")
        interrupted()
        say("midhaul: interrupted")

    try:
        with watched(out_of_time), shown_progress() as progress:
            perform(experiment, config, started, progress)
    except KeyboardInterrupt:
        interrupted()
        raise
    except ModuleNotFoundError:
        raise
    except MidhaulError:
        has = (
            "what was measured before" if started.tables() else "nothing but the error"
        )
        say(f"{has} is in {started.dir}")
        raise
    except Exception as error:
        message = f"the experiment failed: {type(error).__name__}: {error}"
        hint = f"the traceback is in {started.dir / 'log.jsonl'}; please report it"
        raise UnforeseenError(message, hint) from error


def resume_command() -> str:
    """The command of this process with ``--resume``."""
    words = ["midhaul", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


def demo(
    *,
    set_: Set = None,
    out: Out = RUNS,
    resume: Resume = False,
    open_: Open = False,
    json: Json = False,
) -> None:
    """Run a testbed of two edges and a cloud over built-in scenes, to a report."""
    from importlib import resources

    from midhaul.cli.output import print_result

    packaged = resources.files("midhaul.cli").joinpath("demo.toml")
    with resources.as_file(packaged) as file:
        done = run_file(file, set_ or (), out, resume=resume)
    print_result(done, as_json=json, with_report=True, open_it=open_)
