"""The kinds of experiment: where each one's parts are, imported when used.

The folder of ``deploy.plan`` is ``midhaul.deploy.plan``, with ``PlanConfig`` in its
``config``, ``plan`` in ``experiment``, ``PLAN_TABLES`` in ``tables``, ``build_plan`` in
``report``, ``PLAN_METRICS`` and ``samples`` in ``metrics``; where ``samples`` imports
more than the core it has a file of its own. A config may have its area in front, as
``NetworkSimulateConfig`` has. A folder of one kind, or of several that share a part,
has ``TABLES``, ``METRICS`` and ``build``. Configs and metrics need the core only, so
that ``new``, ``ls`` and ``show`` work without the libraries that an experiment needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from midhaul.errors import ConfigError, PrerequisiteError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from midhaul.model.estimate import MetricSamples
    from midhaul.report import Figure, Page
    from midhaul.runs.config import Config
    from midhaul.runs.experiment_file import ExperimentFile, Override
    from midhaul.runs.metric import Metrics
    from midhaul.runs.perform import Experiment
    from midhaul.runs.run import Run
    from midhaul.runs.summary import ReportFile
    from midhaul.runs.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of experiment.

    Attributes:
        name: what an experiment file says as ``kind``.
        summary: what it is for, in a sentence.
        extra: the extra of midhaul that brings what it imports.
        folder: the package of its parts, or the module of all of them; the one of its
            name where empty.
        needs: libraries of that extra that it imports late, so that a run which lacks
            them is refused before it begins.
        is_exclusive: true when it measures time, so that nothing may run beside it.
    """

    name: str
    summary: str
    extra: str
    folder: str = ""
    needs: tuple[str, ...] = ()
    is_exclusive: bool = False

    @property
    def verb(self) -> str:
        """The last word of its name, which its parts are called by."""
        return self.name.rpartition(".")[2]

    def load_config(self) -> type[Config]:
        """The config class."""
        verb, area = self.verb.capitalize(), self.name.partition(".")[0].capitalize()
        return self._part("config", f"{verb}Config", f"{area}{verb}Config")

    def load_run(self) -> Experiment:
        """The function that fills a run.

        PrerequisiteError if a library that it needs is not installed.
        """
        for library in self.needs:
            if importlib.util.find_spec(library) is None:
                raise self._lacks(library)
        return self._part("experiment", self.verb)

    def open_inputs(self, config: Config) -> None:
        """Open the models and the data of a config, where the kind can beforehand.

        A MidhaulError says what is missing, before there is a run to fail.
        """
        if (
            opened := getattr(self._file("experiment"), "open_inputs", None)
        ) is not None:
            opened(config)

    def load_tables(self) -> tuple[Table, ...]:
        """The tables it writes."""
        return self._part("tables", f"{self.verb.upper()}_TABLES", "TABLES")

    def load_metrics(self) -> Metrics:
        """What it finds, by name; what declares that needs the core only."""
        return self._part("metrics", f"{self.verb.upper()}_METRICS", "METRICS")

    @property
    def headline(self) -> tuple[str, ...]:
        """The metrics that a summary shows first, all when empty."""
        metrics = self.load_metrics().values()
        return tuple(metric.name for metric in metrics if metric.is_headline)

    def build_page(self, run: Run) -> Page:
        """The report of a run, under its name where it has one."""
        page, manifest = self.load_report()(run), run.manifest
        title = f"{manifest.name} · {page.title}" if manifest.name else page.title
        told = (page.subtitle, manifest.note, " ".join(f"#{t}" for t in manifest.tags))
        return replace(page, title=title, subtitle=" · ".join(filter(None, told)))

    def load_report(self) -> Callable[[Run], Page]:
        """The function that makes a page from a run."""
        return self._part("report", f"build_{self.verb}", "build")

    def write_report(self, run: Run) -> ReportFile:
        """Write the report of a run into its folder.

        PrerequisiteError if a library of the extra ``report`` is missing; StoreError if
        it cannot be written.
        """
        from midhaul.runs.store import store_errors  # noqa: PLC0415
        from midhaul.runs.summary import REPORT, ReportFile  # noqa: PLC0415

        write = self._report("write")
        file = run.dir / REPORT
        page = self.build_page(run)
        with store_errors(file):
            write(page, file)
        return ReportFile(file)

    def figures(self, run: Run) -> dict[str, Figure]:
        """The charts of a run's report, by their titles.

        PrerequisiteError if a library of the extra ``report`` is missing.
        """
        of_class: type[Figure] = self._report("Figure")
        items = [i for section in self.build_page(run).sections for i in section.items]
        return {item.title: item for item in items if isinstance(item, of_class)}

    def _report(self, name: str) -> Any:
        """A name of :mod:`midhaul.report`, which the core cannot import."""
        try:
            return getattr(importlib.import_module("midhaul.report"), name)
        except ModuleNotFoundError as error:
            message = f"a report needs {error.name}, which is not installed"
            raise PrerequisiteError(message, "pip install 'midhaul[report]'") from error

    def samples_of(self, run: Run) -> list[MetricSamples]:
        """A run's metrics, unit by unit."""
        return self.load_samples()(run)

    def load_samples(self) -> Callable[[Run], list[MetricSamples]]:
        """The function that gives a run's metrics unit by unit, to compare."""
        found = getattr(self._file("metrics"), "samples", None)
        return found or self._part("samples", "samples")

    def _part(self, file: str, *names: str) -> Any:
        """Import a part by the first of its names that its file has."""
        found = self._file(file)
        there = (name for name in names if hasattr(found, name))
        return getattr(found, next(there, names[0]))

    def _file(self, file: str) -> ModuleType:
        """Import a file of its folder, or the module that has all of its parts.

        PrerequisiteError if a library of the kind's extra is not installed.
        """
        try:
            found = importlib.import_module(self.folder or f"midhaul.{self.name}")
            if hasattr(found, "__path__"):
                found = importlib.import_module(f"{found.__name__}.{file}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing == "midhaul":
                raise
            raise self._lacks(missing) from error
        return found

    def _lacks(self, library: str) -> PrerequisiteError:
        message = f"{self.name} needs {library}, which is not installed"
        return PrerequisiteError(message, f"pip install 'midhaul[{self.extra}]'")


_PLANNING = ("highspy", "numba")
_LEARNING = ("cv2", "numba", "sklearn")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="testbed.measure",
            summary="Measure running nodes: accuracy, latency, bytes, cost.",
            extra="testbed",
            is_exclusive=True,
        ),
        Kind(
            name="testbed.accuracy",
            summary="Judge detectors by preprocessings over a data set, no nodes.",
            folder="midhaul.testbed.measure",
            extra="testbed",
        ),
        Kind(
            name="testbed.overhead",
            summary="Measure what midhaul itself costs, with a detector of no work.",
            folder="midhaul.testbed.measure",
            extra="testbed",
            is_exclusive=True,
        ),
        Kind(
            name="deploy.plan",
            summary="Plan what runs on which gateway and who gets how much uplink.",
            extra="deploy",
            needs=_PLANNING,
        ),
        Kind(
            name="deploy.allocate",
            summary="Divide an uplink among analytics by several allocators.",
            folder="midhaul.deploy.plan",
            extra="deploy",
            needs=_PLANNING,
        ),
        Kind(
            name="deploy.simulate",
            summary="Simulate a gateway over time under several policies.",
            extra="deploy",
            needs=_PLANNING,
        ),
        Kind(
            name="deploy.live",
            summary="Run a gateway and its cloud here: real pulls, messages and rates.",
            extra="deploy",
            needs=("aiohttp", *_PLANNING, "onnxruntime", "psutil"),
            is_exclusive=True,
        ),
        Kind(
            name="federation.record",
            summary="Send an image set to live providers and keep what they answer.",
            extra="federation",
            needs=("aiohttp", "cv2", "onnxruntime"),
            is_exclusive=True,
        ),
        Kind(
            name="federation.train",
            summary="Learn which providers to ask, from recorded answers, to serve it.",
            folder="midhaul.federation.evaluate",
            extra="federation",
            needs=_LEARNING,
        ),
        Kind(
            name="federation.evaluate",
            summary="Compare policies of asking providers on items nothing has seen.",
            extra="federation",
            needs=_LEARNING,
        ),
        Kind(
            name="federation.latency",
            summary="Split captured requests into transmission and inference.",
            folder="midhaul.captures",
            extra="federation",
            needs=("scapy",),
        ),
        Kind(
            name="network.simulate",
            summary="Simulate flows through a network: how long they take, and queues.",
            extra="network",
            needs=("numba",),
        ),
        Kind(
            name="network.compare",
            summary="Compare simulators, transports, queues, links on the same flows.",
            extra="network",
            needs=("numba",),
        ),
        Kind(
            name="network.estimate",
            summary="Estimate a network's tail in seconds, and which links to blame.",
            extra="network",
            needs=("numba",),
        ),
        Kind(
            name="network.whatif",
            summary="Find which of several networks is best for the same flows.",
            extra="network",
            needs=("numba",),
        ),
        Kind(
            name="network.train",
            summary="Train what corrects estimates on scenarios simulated by packets.",
            extra="learn",
            needs=("numba", "torch"),
        ),
        Kind(
            name="network.validate",
            summary="Hold a simulator against a judge on parts of your network.",
            extra="network",
            needs=("numba",),
        ),
        Kind(
            name="memory.replay",
            summary="Let a model learn from a bounded memory, period by period.",
            folder="midhaul.memory.replay",
            extra="memory",
            needs=("numba", "torch"),
        ),
        Kind(
            name="memory.compare",
            summary="Compare sample memories and retraining rules on one stream.",
            folder="midhaul.memory.replay",
            extra="memory",
            needs=("numba", "torch"),
        ),
        Kind(
            name="memory.analyse",
            summary="Compare ABR schemes by day, and see how their samples shift.",
            extra="memory",
            needs=("aiohttp", "numba", "scipy"),
        ),
    )
}


def kind_named(name: str) -> Kind:
    """The kind of that name; ConfigError if there is none."""
    if name in KINDS:
        return KINDS[name]
    message = f"expected a kind of experiment, found {name!r}{suggestion(name, KINDS)}"
    raise ConfigError(message, f"kinds: {', '.join(KINDS)}")


def presented(run: Run) -> Run:
    """The run, shown by its kind from now on where there is one of that name."""
    run.presenter = KINDS.get(run.manifest.kind)
    return run


def load_experiment(
    file: ExperimentFile, overrides: Sequence[Override]
) -> tuple[Kind, Config]:
    """The kind of an experiment file and its complete config.

    ConfigError has all mistakes at once.
    """
    kind = kind_of(file, overrides)
    return kind, file.config(kind.load_config(), overrides)


def kind_of(file: ExperimentFile, overrides: Sequence[Override]) -> Kind:
    """The kind that a file names, unless an override names another.

    ConfigError if neither names a kind that there is.
    """
    named = [o.value for o in overrides if o.key == ("kind",)]
    return kind_named(cast("str", named[-1]) if named else file.kind)
