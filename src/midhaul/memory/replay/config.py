"""Config of memory.replay and memory.compare: a stream, memories, rules, training."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator

from midhaul.memory.predictors.base import Correction
from midhaul.memory.predictors.mlp import WAYS
from midhaul.memory.retraining.catalogue import RULES
from midhaul.memory.retraining.worth import RetrainingCost
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.memory.sources.table import SampleColumns
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.section import section

if TYPE_CHECKING:
    SelectorName = RuleName = WayName = str
else:
    SelectorName = Literal[SELECTORS.names]
    RuleName = Literal[RULES.names]
    WayName = Literal[tuple(WAYS)]


class ColumnsConfig(section(SampleColumns)):
    """Which columns of a table are what of a sample."""


class StreamConfig(Section):
    """Where samples come from."""

    kind: Literal["drawn", "puffer-gaps", "cellular", "puffer", "table", "traffic"] = (
        setting(
            "drawn",
            "drawn, transfers that are made here; puffer-gaps, send gaps of two days "
            "of Puffer; cellular, downloads over 4G and 5G; puffer, days as Puffer "
            "publishes them; table, any Parquet or CSV; traffic, flows of three runs "
            "of network.simulate.",
        )
    )
    dir: Path | None = setting(None, "Folder of the files, for puffer-gaps and puffer.")
    file: Path | None = setting(None, "The file, for cellular and table.")
    runs: tuple[Path, ...] = setting((), "Folders of the three runs, for traffic.")
    columns: ColumnsConfig | None = setting(None, "Columns of the table, for table.")
    edges: tuple[float, ...] = setting(
        (),
        "Edges of the bins of a table's output; 21 bins that are equally full in the "
        "first period if none are said.",
    )
    shift: Literal["none", "incremental", "periodic", "congestion"] = setting(
        "incremental",
        "How it changes: not at all (drawn), from one sort to the next, by what comes "
        "back after some periods, or by more load (traffic).",
    )
    n_periods: int = setting(9, "Periods of a drawn stream or of a table.", ge=2)
    n_sessions: int = setting(40, "Sessions of each period of a drawn one.", ge=2)
    share: float = setting(1.0, "Share of Puffer's sessions that is used.", gt=0, le=1)
    horizon: int = setting(
        0, "How many chunks ahead, of Puffer's published days.", ge=0, le=4
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed, shifts = _STREAMS[self.kind]
        lacking = [name for name in needed if not getattr(self, name)]
        if lacking:
            message = f"kind = {self.kind!r} needs {' and '.join(lacking)}"
            raise ValueError(message)
        if shifts and self.shift not in shifts:
            message = f"{self.kind} has the shifts {', '.join(shifts)}"
            raise ValueError(message)
        return self


_STREAMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "drawn": ((), ("none", "incremental", "periodic")),
    "puffer-gaps": (("dir",), ()),
    "cellular": (("file",), ("incremental", "periodic")),
    "puffer": (("dir",), ()),
    "table": (("file", "columns"), ()),
    "traffic": (("runs",), ("incremental", "periodic", "congestion")),
}
"""What each kind of stream needs, and the shifts that it has."""


class SampleMemoryConfig(Section):
    """A memory: what it keeps, and how much."""

    selector: SelectorName = setting("priority", "Which samples stay.")
    name: str = setting("", "What tables call it; the selector by default.")
    capacity: int | None = setting(
        10_000, "Samples at most; as many as bytes allow if only these are said.", ge=1
    )
    capacity_bytes: int | None = setting(
        None,
        "Bytes that samples and marks of the selector take at most.",
        ge=1,
    )
    uniform_share: float | None = setting(
        None, "Of priority: part of the memory that is drawn uniformly.", ge=0, le=1
    )
    exponent: float | None = setting(
        None, "Of priority: how much rarer cells are preferred.", ge=0, le=1
    )
    half_life_s: float | None = setting(
        None,
        "Time after which a sample counts half; never if not said, and "
        "reservoir-half-life must be told.",
        gt=0,
    )
    rarest: float | None = setting(
        None, "Of priority: share below which no output is rarer.", ge=0, le=1
    )
    batch_size: int | None = setting(None, "Of coverage: samples of a batch.", ge=1)
    bandwidth: float | None = setting(None, "Of coverage: of its kernel.", gt=0)
    temperature: float | None = setting(
        None, "Of coverage and of scores: how random removals are.", ge=0
    )
    sort: Literal["value", "bin"] | None = setting(
        None, "Of coverage: by what batches are cut."
    )
    forget: float | None = setting(
        None, "Share of the memory that is forgotten at each period.", ge=0, lt=1
    )
    random_fraction: float | None = setting(
        None, "Of coverage-random: share that is drawn uniformly.", gt=0, lt=1
    )
    upscale: float | None = setting(
        None, "Of jtt: how often a misclassified sample counts.", gt=0
    )
    members: int = setting(3, "Of committee: models that are asked.", ge=2)

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name or self.selector

    def told(self) -> dict[str, Any]:
        """What its selector is told of what was said."""
        return {
            key: value for key in _TOLD if (value := getattr(self, key)) is not None
        }

    @property
    def most(self) -> int:
        """The capacity of its selector, before bytes lower it: each takes one or more.

        0 where nothing is said, which nothing is made with.
        """
        return self.capacity or self.capacity_bytes or 0

    @model_validator(mode="before")
    @classmethod
    def _has_one_limit(cls, said: Any) -> Any:
        if isinstance(said, dict) and said.get("capacity_bytes") is not None:
            return {"capacity": None, **said}
        return said

    @model_validator(mode="after")
    def _is_limited(self) -> Self:
        if self.capacity is None and self.capacity_bytes is None:
            message = "expected a capacity, in samples or in bytes"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _is_of_its_selector(self) -> Self:
        options = SELECTORS.entry(self.selector).options
        strange = [key for key in self.told() if key not in options]
        if strange:
            message = f"{self.selector} has no {' and no '.join(strange)}"
            raise ValueError(message)
        if self.selector == "reservoir-half-life" and self.half_life_s is None:
            message = "reservoir-half-life needs half_life_s"
            raise ValueError(message)
        return self


_TOLD = (
    "uniform_share",
    "exponent",
    "half_life_s",
    "rarest",
    "batch_size",
    "bandwidth",
    "temperature",
    "sort",
    "forget",
    "random_fraction",
    "upscale",
)


class WorthConfig(section(RetrainingCost)):
    """What a training costs and its gain is worth: a rule's yes is tried against it."""


class RetrainConfig(Section):
    """When to retrain."""

    rule: RuleName = setting("always", "What decides, at the end of each period.")
    name: str = setting("", "What tables call it; the rule by default.")
    threshold: float | None = setting(
        None, "Of coverage: from which growth on it retrains.", gt=0
    )
    share: float | None = setting(
        None, "Of loss: by what share it must be worse.", gt=0
    )
    every: int | None = setting(None, "Of every: periods between trainings.", ge=1)
    alpha: float | None = setting(
        None, "Of tests: false alarms that are accepted.", gt=0, lt=1
    )
    worth: WorthConfig | None = setting(
        None, "With it, what the rule wants is done only if it is worth its cost."
    )

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name or self.rule

    def told(self) -> dict[str, Any]:
        """What its rule is told of what was said."""
        keys = ("threshold", "share", "every", "alpha")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _is_of_its_rule(self) -> Self:
        strange = [k for k in self.told() if k not in RULES.entry(self.rule).options]
        if strange:
            message = f"{self.rule} has no {' and no '.join(strange)}"
            raise ValueError(message)
        return self


class FitConfig(Section):
    """How models are trained."""

    way: WayName = setting(
        "steps",
        "steps, a fixed number of batches; memento, early stopping from the model "
        "before; puffer, many epochs from the model before.",
    )
    n_steps: int = setting(700, "Batches, of steps.", ge=1)
    correction: Correction = setting(
        "restore",
        "What is done where the chance of samples to be kept is known: restore, undo "
        "the shift of the prior after training; weigh, weigh samples; none.",
    )
    most_worse: float | None = setting(
        None,
        "Share by which the mean log loss of a new model may be above that of the "
        "present one on a held part; every new model is taken if not said.",
        ge=0,
    )


class SmoothConfig(Section):
    """How predictions are smoothed, every memory's alike."""

    least_uniform: float = setting(
        0.02, "Share of a uniform distribution at least.", ge=0, lt=1
    )
    n_periods: int = setting(3, "Past periods that it is fitted on.", ge=1)


class SeveralMemoriesConfig(Config):
    """What memory.replay and memory.compare share."""

    stream: StreamConfig = setting(StreamConfig, "Where samples come from.")
    fit: FitConfig = setting(FitConfig, "How models are trained.")
    smooth: SmoothConfig = setting(SmoothConfig, "How predictions are smoothed.")
    slow_from: float = setting(
        2.25, "Output from which an event is slow, in the output's unit."
    )
    n_seeds: int = setting(
        3, "Times that everything is done, with other chance each time.", ge=1
    )
    n_resamples: int = setting(500, "Resamples of intervals.", ge=100)
    jobs: int = setting(0, "Processes; one for each core if 0.", ge=0)

    def configurations(
        self,
    ) -> list[tuple[str, SampleMemoryConfig, RetrainConfig]]:
        """The name, the memory and the rule of each configuration."""
        raise NotImplementedError


class MemoryReplayConfig(SeveralMemoriesConfig):
    """One memory and one rule over a stream."""

    kind: str = setting("memory.replay", "Kind of the experiment.")
    memory: SampleMemoryConfig = setting(SampleMemoryConfig, "What is kept.")
    retrain: RetrainConfig = setting(RetrainConfig, "When to retrain.")

    def configurations(
        self,
    ) -> list[tuple[str, SampleMemoryConfig, RetrainConfig]]:
        """The only one."""
        return [(self.memory.label, self.memory, self.retrain)]


class MemoryCompareConfig(SeveralMemoriesConfig):
    """Several memories and rules over the same stream, each pair of them."""

    kind: str = setting("memory.compare", "Kind of the experiment.")
    memories: tuple[SampleMemoryConfig, ...] = setting(
        lambda: (
            SampleMemoryConfig(selector="reservoir"),
            SampleMemoryConfig(selector="priority"),
            SampleMemoryConfig(selector="coverage", batch_size=64),
        ),
        "What is kept; the first is what the others are held against.",
        min_length=1,
    )
    rules: tuple[RetrainConfig, ...] = setting(
        lambda: (RetrainConfig(),), "When to retrain.", min_length=1
    )
    only: tuple[str, ...] = setting(
        (), "Patterns of names (priority*): what fits none of them is left out."
    )

    def configurations(
        self,
    ) -> list[tuple[str, SampleMemoryConfig, RetrainConfig]]:
        """Each memory with each rule, as far as their names are wanted."""
        several = len(self.rules) > 1
        found = [
            (
                f"{memory.label} · {rule.label}" if several else memory.label,
                memory,
                rule,
            )
            for memory in self.memories
            for rule in self.rules
        ]
        wanted = self.only or ("*",)
        return [one for one in found if any(fnmatch.fnmatch(one[0], p) for p in wanted)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for what, labels in (
            ("memories", [one.label for one in self.memories]),
            ("rules", [one.label for one in self.rules]),
        ):
            twice = sorted({one for one in labels if labels.count(one) > 1})
            if twice:
                message = f"two {what} are called {twice[0]}: give them names"
                raise ValueError(message)
        if not self.configurations():
            message = f"no name fits any of only = {list(self.only)}"
            raise ValueError(message)
        return self
