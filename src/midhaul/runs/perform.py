"""Running one experiment: its log, its end and its errors."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from midhaul.errors import MidhaulError, StoreError
from midhaul.runs.progress import Progress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Generator

    from midhaul.runs.manifest import Status

Experiment = Callable[[Any, Run, Progress], None]
"""What a kind does: fill a run as its config says, telling its progress."""


def perform(experiment: Experiment, config: Any, run: Run, progress: Progress) -> None:
    """Let an experiment fill a run and write down how it ended.

    Raises:
        MidhaulError: what the experiment met; the run is marked failed.
        KeyboardInterrupt: the user stopped it; the run is marked interrupted.
    """
    with _logged(run):
        run.log("begin", kind=run.manifest.kind, resumed=len(run.manifest.resumed))
        try:
            experiment(config, run, progress)
            run.finish("done")
        except KeyboardInterrupt:
            _end(run, "interrupted", None)
            raise
        except Exception as error:
            _end(run, "failed", error)
            raise
        run.log("end", status="done")


def in_words(error: Exception) -> str:
    """An error as a manifest or a table shows it."""
    return str(error) if isinstance(error, MidhaulError) else repr(error)


def _end(run: Run, status: Status, error: Exception | None) -> None:
    """Write down a bad end as far as the disk allows, without hiding its cause."""
    text = in_words(error) if error is not None else None
    with contextlib.suppress(StoreError):
        run.finish(status, text)
    with contextlib.suppress(StoreError):
        trace = traceback.format_exception(error) if error is not None else []
        run.log("end", status=status, error=text, traceback="".join(trace))


class _LogFile(logging.Handler):
    """Appends what midhaul's modules log to a run's ``log.jsonl``."""

    def __init__(self, run: Run) -> None:
        super().__init__(logging.INFO)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a full disk is told by the tables, not by the log."""
        try:
            level = record.levelname.lower()
            text = record.getMessage()
            self._run.log("message", level=level, logger=record.name, text=text)
        except (StoreError, TypeError, ValueError):
            self.handleError(record)


@contextlib.contextmanager
def _logged(run: Run) -> Generator[None]:
    logger = logging.getLogger("midhaul")
    handler, level = _LogFile(run), logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
