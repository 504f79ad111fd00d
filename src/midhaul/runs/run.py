"""One run: a folder with the config, a manifest, Parquet tables and other files."""

from __future__ import annotations

import importlib.util
import json
import secrets
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa

from midhaul import documents
from midhaul.errors import (
    ConfigError,
    DataError,
    PrerequisiteError,
    StoreError,
    suggestion,
)
from midhaul.machine.locks import FileLock
from midhaul.model import Verdict
from midhaul.model.display import MOST_ROWS, Display
from midhaul.runs import store, tables
from midhaul.runs.manifest import (
    NAME,
    Manifest,
    Status,
    code_version,
    commit,
    is_alive,
    machine,
    this_process,
    versions,
)
from midhaul.runs.schema import dump_config
from midhaul.runs.summary import SUMMARY, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Tally
    from midhaul.runs.config import Config
    from midhaul.runs.manifest import Process
    from midhaul.runs.metric import Metrics
    from midhaul.runs.summary import ReportFile
    from midhaul.runs.tables import Table

    Clock = Callable[[], datetime]

CONFIG = "config.toml"
LOCK = ".lock"
LOG = "log.jsonl"
_MOST_LINES = 8


def utc_now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class Presenter(Protocol):
    """What shows a run; its kind does, which this package does not know."""

    def load_metrics(self) -> Metrics:
        """What it finds, by name."""
        ...

    def load_tables(self) -> tuple[Table, ...]:
        """The tables that a run may have."""
        ...

    def write_report(self, run: Run) -> ReportFile:
        """Write the report of a run into its folder."""
        ...

    def figures(self, run: Run) -> Mapping[str, Any]:
        """The charts of the report, by their titles."""
        ...


class Run:
    """A run that is being written, or one to be read.

    Use :meth:`create`, :meth:`resume` or :meth:`open`; from Python ``midhaul.run`` and
    ``midhaul.open_run``.

    Attributes:
        dir: the folder.
        manifest: what the run says about itself.
        verdict: whether it may be believed; None as long as nobody judged.
        presenter: what shows it; None for a kind that is not known here.
    """

    def __init__(self, folder: Path, manifest: Manifest, clock: Clock) -> None:
        self.dir = folder
        self.manifest = manifest
        self.verdict: Verdict | None = manifest.verdict
        self.presenter: Presenter | None = None
        self._clock = clock
        self._notes: list[str] = list(manifest.notes)
        self._tallies: list[Tally] = []
        self._lock: FileLock | None = None

    @classmethod
    def create(
        cls,
        root: Path,
        kind: str,
        config: Config,
        *,
        group: str | None = None,
        point: Mapping[str, object] | None = None,
        clock: Clock = utc_now,
    ) -> Run:
        """Make the folder of a new run below ``root``, with status ``running``.

        Args:
            root: the folder of all runs; made when it is missing.
            kind: the kind of the experiment.
            config: the complete config.
            group: what the points of one sweep share.
            point: the keys a sweep varies, with this run's values.
            clock: the time of day, UTC.

        Raises:
            StoreError: the folder cannot be written; then there is none.
        """
        created = clock()
        name = f"{created:%Y%m%dT%H%M%SZ}-{kind}-{config.hash()}"
        manifest = Manifest(
            id=name,
            kind=kind,
            status="running",
            created=created,
            process=this_process(),
            seed=config.seed,
            config_hash=config.hash(),
            code_version=code_version(),
            commit=commit(),
            versions=versions(),
            machine=machine(),
            group=group,
            point=dict(point) if point is not None else None,
            name=config.name,
            note=config.note,
            tags=config.tags,
        )
        folder = _new_folder(root, name)
        manifest = manifest.model_copy(update={"id": folder.name})
        run = cls(folder, manifest, clock)
        try:
            run._lock = _hold(folder)
            run.save(CONFIG, dump_config(config))
            run._save_manifest()
        except BaseException:  # without a manifest nobody would know what it is
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run in ``folder``, to be read.

        Raises:
            StoreError: there is no run.
        """
        return cls(folder, Manifest.read(folder), utc_now)

    @classmethod
    def resume(cls, folder: Path, *, clock: Clock = utc_now) -> Run:
        """Continue the unfinished run in ``folder`` in this process.

        Raises:
            StoreError: it is finished, or another process is at it.
        """
        lock = _hold(folder)
        old = Manifest.read(folder)
        if old.status == "done" or is_running(old):
            lock.release()
            state = "finished" if old.status == "done" else _being_run(old.process)
            message = f"run {old.id} is {state}: there is nothing to resume"
            raise StoreError(message, f"midhaul show {old.id}")
        change = {
            "status": "running",
            "ended": None,
            "error": None,
            "verdict": None,
            "resumed": (*old.resumed, clock()),
            "process": this_process(),
        }
        store.remove_leftovers(folder)
        run = cls(folder, old.model_copy(update=change), clock)
        run._lock = lock
        run._save_manifest()
        return run

    @property
    def id(self) -> str:
        """The name of the folder."""
        return self.manifest.id

    @property
    def status(self) -> str:
        """running, done, failed or interrupted; killed when its process is gone."""
        status = self.manifest.status
        if status == "running" and not is_running(self.manifest):
            return "killed"
        return status

    @property
    def verdict_word(self) -> str | None:
        """Valid or not valid; None as long as nobody judged."""
        if self.verdict is None:
            return None
        return "valid" if self.verdict.is_valid else "not valid"

    def write(
        self,
        table: Table,
        rows: Sequence[Mapping[str, object]] | pa.Table,
        part: int | None = None,
    ) -> int:
        """Write one part of a table; it is there as a whole or not at all.

        Args:
            table: the table's columns.
            rows: its rows.
            part: number of the part, which is replaced when it exists; None for the
                next free one.

        Returns:
            The number of the part.

        Raises:
            StoreError: it cannot be written; what was written before is kept.
            ValueError: the rows do not fit the table.
        """
        if part is None:
            part = max(self.parts(table.name), default=-1) + 1
        tables.write(self._part(table.name, part), table, rows)
        return part

    def parts(self, name: str) -> list[int]:
        """Numbers of the parts that a table has, ascending."""
        return tables.numbers(self._table(name))

    def drop(self, name: str, numbers: Collection[int]) -> None:
        """Delete parts of a table; the ones that are not there are no error."""
        with store.store_errors(self._table(name)):
            for part in numbers:
                self._part(name, part).unlink(missing_ok=True)

    def read(self, table: Table, part: int | None = None) -> pa.Table:
        """All rows of a table, or of one part; none when nothing was written yet.

        Raises:
            StoreError: a part is damaged, or not there.
        """
        files = self._files(table.name)
        if part is not None:
            files = [self._part(table.name, part)]
        found = [tables.read(file, table) for file in files]
        return pa.concat_tables([table.schema.empty_table(), *found])

    def tables(self) -> list[str]:
        """Names of the tables that have rows."""
        folder = self.dir / "tables"
        names = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
        return [name for name in names if self.parts(name)]

    def count(self, name: str) -> int:
        """Number of rows of a table, from the ends of its files.

        Raises:
            StoreError: a part is damaged.
        """
        return sum(tables.count(file) for file in self._files(name))

    def sql(self, query: str) -> pa.Table:
        """The answer of DuckDB to a query over the run's tables, by their names.

        Raises:
            ConfigError: the query is wrong.
            StoreError: a table is damaged.
        """
        try:
            return tables.query(query, {n: self._files(n) for n in self.tables()})
        except (SyntaxError, ValueError) as error:
            kind = ConfigError if isinstance(error, SyntaxError) else StoreError
            message = f"run {self.id} cannot answer the query: {error}"
            hint = f"its tables: {', '.join(self.tables()) or 'none yet'}"
            raise kind(message, hint) from error

    def table(self, name: str) -> pa.Table:
        """All rows of a table, by its name.

        Raises:
            StoreError: the run has no such table, or a part is damaged.
        """
        declared = self.presenter.load_tables() if self.presenter is not None else ()
        for table in declared:
            if table.name == name:
                return self.read(table)
        if name not in self.tables():
            known = [*self.tables(), *(table.name for table in declared)]
            message = f"run {self.id} has no table {name!r}{suggestion(name, known)}"
            raise StoreError(message, f"its tables: {', '.join(self.tables())}")
        return tables.read_undeclared(self._files(name))

    def df(self, name: str, library: Literal["pandas", "polars"] | None = None) -> Any:
        """A table as a data frame.

        Args:
            name: of the table; ``summary`` has the names of the configurations.
            library: of the data frame; pandas where it is installed, else polars.

        Raises:
            StoreError: the run has no such table, or a part is damaged.
            PrerequisiteError: neither library is installed, or not the one named.
        """
        wanted = (library,) if library else ("pandas", "polars")
        there = [one for one in wanted if importlib.util.find_spec(one) is not None]
        if not there:
            message = (
                f"a data frame needs {' or '.join(wanted)}, which is not installed"
            )
            hint = f"pip install {wanted[0]}; run.table({name!r}) needs neither"
            raise PrerequisiteError(message, hint)
        data = self.summary.table if name == SUMMARY.name else self.table(name)
        if there[0] == "pandas":
            return data.to_pandas()
        return importlib.import_module("polars").from_arrow(data)

    @property
    def summary(self) -> Summary:
        """What it found, metric by metric; empty where nothing was written yet.

        Raises:
            StoreError: a part is damaged.
        """
        names = set(self.tables())
        if SUMMARY.name not in names:
            return Summary(SUMMARY.schema.empty_table(), self._declared)
        joined = "s"  # in their order, which a join alone does not keep
        if "configurations" in names:
            joined = (
                "(SELECT name, s.* FROM s JOIN configurations USING (configuration))"
            )
        query = f"""
            WITH s AS (SELECT row_number() OVER () AS place, * FROM summary)
            SELECT * EXCLUDE (place) FROM {joined} ORDER BY configuration, place
        """  # noqa: S608  fixed words
        return Summary(self.sql(query), self._declared)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why no number of it may be relied on, a sentence each; none when it may."""
        if self.status != "done":
            return (f"run {self.id} is {self.status}, not done",)
        if self.verdict is None or self.verdict.is_valid:
            return ()
        reasons = self.verdict.reasons
        return tuple(f"run {self.id} is not valid: {reason}" for reason in reasons)

    def report(self) -> ReportFile:
        """Write its report into its folder; a notebook shows what is returned.

        Raises:
            StoreError: it cannot be written, or nothing here knows the kind.
            PrerequisiteError: a library of the extra ``report`` is missing.
        """
        return self._presented().write_report(self)

    @property
    def figures(self) -> Mapping[str, Any]:
        """The charts of its report by their titles; a notebook shows each.

        Raises:
            StoreError: nothing here knows the kind.
            PrerequisiteError: a library of the extra ``report`` is missing.
        """
        return self._presented().figures(self)

    def figure(self, title: str) -> Any:
        """One chart of its report, which a notebook shows.

        Args:
            title: as the report has it, or its unique beginning.

        Raises:
            DataError: there is no such chart.
            StoreError: nothing here knows the kind.
            PrerequisiteError: a library of the extra ``report`` is missing.
        """
        figures = self.figures
        if title in figures:
            return figures[title]
        lower = title.lower()
        found = [known for known in figures if known.lower().startswith(lower)]
        if len(found) == 1:
            return figures[found[0]]
        message = f"the report of {self.id} has no chart {title!r}"
        known = "; ".join(figures) or "none"
        raise DataError(message + suggestion(title, figures), f"there are: {known}")

    def __repr__(self) -> str:
        """Kind, status and verdict, and the headline, in a few lines."""
        heads, lines = self.summary.lines()
        shown = [heads, *lines[:_MOST_LINES]] if lines else []
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in shown]
        n_more = len(lines) - _MOST_LINES
        rows += [f"and {n_more:,} more"] if n_more > 0 else []
        return "\n  ".join([f"Run({self._line()})", *self._said(), *rows])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        summary = self.summary
        heads, lines = summary.lines()
        display = Display(
            text=self._line(),
            columns=tuple(heads) if lines else (),
            rows=lines[:MOST_ROWS],
            n_rows=len(lines),
            remarks=(*self._said(), *summary.remarks(summary.shown_metrics)),
        )
        return display.html("Run")

    def _line(self) -> str:
        return f"{self.id}, {self.status}, {self.verdict_word or 'not judged'}"

    def _said(self) -> tuple[str, ...]:
        """What must be known beside the numbers, a sentence each."""
        verdict = self.verdict or Verdict()
        error = self.manifest.error
        return (
            *((f"error: {error}",) if error else ()),
            *verdict.reasons,
            *verdict.remarks,
            *self.manifest.notes,
        )

    def _presented(self) -> Presenter:
        if self.presenter is None:
            message = f"nothing here knows the kind {self.manifest.kind!r}"
            raise StoreError(message, "open the run with midhaul.open_run")
        return self.presenter

    @property
    def _declared(self) -> Metrics:
        return {} if self.presenter is None else self.presenter.load_metrics()

    def config_values(self) -> dict[str, Any]:
        """The complete config as it stands in ``config.toml``.

        Raises:
            StoreError: it cannot be read.
        """
        path = self.dir / CONFIG
        with documents.expected(f"{path} cannot be read:", raises=StoreError):
            return documents.parse_toml(documents.read_text(path))

    def file(self, name: str) -> Path:
        """Where to put a file that is no table; its folder exists."""
        path = self.dir / "files" / name
        with store.store_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, name: str, text: str) -> Path:
        """Write a text file of the run as a whole, by its path in the folder.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.dir / name
        store.write_whole(path, lambda temporary: _write_text(temporary, text))
        return path

    def log(self, event: str, **fields: object) -> None:
        """Append a line to ``log.jsonl``.

        Raises:
            StoreError: it cannot be written.
        """
        line = {"time": self._clock().isoformat(), "event": event, **fields}
        path = self.dir / LOG
        with store.store_errors(path), path.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def note(self, text: str) -> None:
        """Keep a remark for the manifest, once."""
        if text not in self._notes:
            self._notes.append(text)

    def tally(self, *tallies: Tally) -> None:
        """Count what was dropped, mended or assumed into the verdict.

        They stand beside the verdict whatever becomes of the run, and make it not
        valid where they are too many; an experiment need not add them itself.
        """
        self._tallies += tallies

    def finish(
        self,
        status: Status = "done",
        error: str | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        """Say how the run ended; ``verdict`` defaults to the one set before.

        What was tallied is added to it.

        Raises:
            StoreError: the manifest cannot be written.
        """
        if verdict is not None:
            self.verdict = verdict
        counted = Verdict.of(*self._tallies)
        if self.verdict is not None or counted.tallies:
            self.verdict = (self.verdict or Verdict()) + counted
        change: dict[str, Any] = {
            "status": status,
            "error": error,
            "ended": self._clock(),
            "verdict": self.verdict,
            "notes": tuple(self._notes),
        }
        self.manifest = self.manifest.model_copy(update=change)
        self._save_manifest()
        if self._lock is not None:
            self._lock.release()

    def remove(self) -> None:
        """Delete its folder; StoreError if a process is at it, or it cannot be."""
        if self._lock is not None:
            self._lock.release()
        elif is_running(self.manifest):
            message = f"run {self.id} is {_being_run(self.manifest.process)}"
            raise StoreError(message, "wait for its end, or end it first")
        with store.store_errors(self.dir):
            shutil.rmtree(self.dir)

    def _save_manifest(self) -> None:
        self.save(NAME, json.dumps(self.manifest.plain(), indent=2) + "\n")

    def _table(self, name: str) -> Path:
        return self.dir / "tables" / name

    def _part(self, name: str, part: int) -> Path:
        return tables.file_of(self._table(name), part)

    def _files(self, name: str) -> list[Path]:
        return [self._part(name, part) for part in self.parts(name)]


def is_running(manifest: Manifest) -> bool:
    """Whether a process is still at the run."""
    return manifest.status == "running" and is_alive(manifest.process)


def _hold(folder: Path) -> FileLock:
    """Take a run for this process, which nobody else may continue meanwhile.

    StoreError if another process has it.
    """
    path = folder / LOCK
    process = this_process()
    with store.store_errors(path):
        try:
            return FileLock(path, f"process {process.pid} on {process.host}")
        except BlockingIOError as error:
            holder = error.strerror or "another process"
            message = f"run {folder.name} is being run by {holder}"
            raise StoreError(message, "wait for its end, or end it first") from error


def _being_run(process: Process) -> str:
    return f"being run by process {process.pid} on {process.host}"


def _new_folder(root: Path, name: str) -> Path:
    with store.store_errors(root / name):
        root.mkdir(parents=True, exist_ok=True)
        folder = root / name
        while True:
            try:
                folder.mkdir()
            except FileExistsError:
                folder = root / f"{name}-{secrets.token_hex(2)}"
            else:
                return folder


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
