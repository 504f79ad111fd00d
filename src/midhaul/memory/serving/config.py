"""Config of a served memory: the file behind ``midhaul serve memory``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import ValidationError, model_validator
from pydantic_core import to_json

from midhaul import documents
from midhaul.errors import ConfigError, DataError
from midhaul.memory.replay.config import RetrainConfig, SampleMemoryConfig
from midhaul.memory.retraining.catalogue import RULES
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.runs.config import Section, setting
from midhaul.runs.config_errors import mistakes
from midhaul.runs.experiment_file import key_lines
from midhaul.runs.section import key
from midhaul.wire.limits import ServerLimits

if TYPE_CHECKING:
    from midhaul.memory.retraining.base import RetrainRule
    from midhaul.memory.selectors.base import Reason, Selector

ReasonName = Literal[
    "filling", "drawn", "new-region", "rare", "high-loss", "unsure", "recent"
]
_UNSERVED = ("committee",)
"""Selectors that ask models of their own, which a gateway has not got."""


def reason_name(reason: Reason) -> str:
    """What answers and files call it."""
    return reason.name.lower().replace("_", "-")


class BinsConfig(Section):
    """How outputs are discretised."""

    n_classes: int = setting(
        21, "Outputs are the numbers of so many classes.", ge=2, le=256
    )
    edges: tuple[float, ...] | None = setting(
        None, "Or numbers, between these rising edges; -inf and inf may be among them."
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if {"n_classes", "edges"} <= self.model_fields_set and self.edges is not None:
            message = "expected n_classes or edges, and not both"
            raise ValueError(message)
        try:
            self.made()
        except DataError as error:
            raise ValueError(error.message) from None
        return self

    def made(self) -> Bins:
        """The bins."""
        if self.edges is None:
            return Bins.of_classes(self.n_classes)
        return Bins(edges=np.array(self.edges, np.float64))


class UploadConfig(Section):
    """What a gateway may send on, and of what kind."""

    period_s: float = setting(3600.0, "Period of the budget.", gt=0)
    n_samples: int = setting(0, "Samples at most in a period; 0 for none.", ge=0)
    n_bytes: int | None = setting(
        None, "Bytes at most in a period, as the arrays of a sample take.", ge=1
    )
    reasons: tuple[ReasonName, ...] = setting(
        ("new-region", "rare", "high-loss", "unsure"),
        "Why samples are worth sending, the best reason first; others are not.",
    )


class JournalConfig(Section):
    """Where what was acknowledged is written down."""

    dir: Path = setting(
        Path("memory"), "Folder of snapshots and journals.", validate_default=False
    )
    sync: Literal["never", "interval", "always"] = setting(
        "interval",
        "When the disk is waited for. Killing the process loses nothing with any of "
        "them; a power cut loses what came since the last sync.",
    )
    sync_s: float = setting(1.0, "Time between syncs, of interval.", gt=0)
    snapshot_s: float = setting(300.0, "Most time between snapshots.", gt=0)
    max_bytes: int = setting(
        256_000_000, "A longer journal is followed by a snapshot.", ge=4096
    )


class MemoryFile(Section):
    """A served memory."""

    name: str = setting("memory", "Its name.", pattern=r"^[\w.-]{1,64}$")
    host: str = setting("127.0.0.1", "Address to listen on; loopback unless said.")
    port: int = setting(8090, "TCP port; 0 for a free one.", ge=0, le=65535)
    bins: BinsConfig = setting(BinsConfig, "How outputs are discretised.")
    n_inputs: int | None = setting(
        None, "Inputs of a sample; as the first batch has if not said.", ge=1
    )
    memory: SampleMemoryConfig = setting(SampleMemoryConfig, "What is kept.")
    retrain: RetrainConfig = setting(
        lambda: RetrainConfig(rule="block-test"), "When to retrain."
    )
    upload: UploadConfig = setting(UploadConfig, "What may be sent on.")
    journal: JournalConfig = setting(JournalConfig, "What survives a kill.")
    model: Path | None = setting(
        None,
        "ONNX model that predicts what comes without predictions, until another one is "
        "sent; none if not said.",
    )
    model_version: int = setting(0, "Version of that model.", ge=0)
    accepts_models: bool = setting(True, "Whether POST /model replaces the model.")
    n_since: int = setting(
        200_000,
        "Samples since a decision that the next one looks at; of more, whole clusters "
        "are drawn by lot.",
        ge=2,
    )
    max_ahead_s: float | None = setting(
        None, "Batches that are so far ahead of all before are refused.", gt=0
    )
    max_batch: int = setting(100_000, "Batches of more samples are refused.", ge=1)
    max_body_bytes: int = setting(64_000_000, "Larger bodies are refused.", ge=1)
    body_timeout_s: float = setting(10.0, "How long a body may take to arrive.", gt=0)
    max_requests: int = setting(
        1000, "Requests at a time, waiting ones too; else 503.", ge=1
    )
    drain_s: float = setting(
        10.0, "How long requests under way may take after SIGTERM.", ge=0
    )
    max_head_bytes: int = key(ServerLimits, "max_head_bytes")
    max_url_bytes: int = key(ServerLimits, "max_url_bytes")
    head_timeout_s: float = key(ServerLimits, "head_timeout_s")
    max_flight_bytes: int = key(ServerLimits, "max_flight_bytes")
    max_connections: int = key(ServerLimits, "max_connections")
    answer_timeout_s: float = key(ServerLimits, "answer_timeout_s")
    seed: int = setting(0, "Of all chance; the same for memories to be merged.", ge=0)

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        if self.memory.selector in _UNSERVED:
            message = f"{self.memory.selector} asks models that a gateway has not got"
            raise ValueError(message)
        return self

    def made(self) -> SampleMemory:
        """An empty memory with its selector and its rule.

        ConfigError or PrerequisiteError if it cannot be made.
        """
        bins = self.bins.made()
        told: dict[str, Any] = {
            **self.memory.told(),
            "capacity": self.memory.most,
            "bins": bins,
            "seed": self.seed,
        }
        selector: Selector = SELECTORS.called(self.memory.selector, **told)
        told = {**self.retrain.told(), "bins": bins}
        rule: RetrainRule = RULES.called(self.retrain.rule, **told)
        limit = self.memory.capacity_bytes
        return SampleMemory(selector, bins, rule, seed=self.seed, capacity_bytes=limit)

    def settled(self) -> dict[str, Any]:
        """What a state on disk must have been written with."""
        return {
            "bins": [repr(edge) for edge in self.bins.made().edges.tolist()],
            "memory": _said(self.memory),
            "retrain": _said(self.retrain),
            "n_since": self.n_since,
            "seed": self.seed,
        }


def _said(config: Section) -> dict[str, Any]:
    """The keys that something is said of, so that new ones change no old state."""
    return config.model_dump(mode="json", exclude={"name"}, exclude_none=True)


def read_memory_file(file: Path) -> MemoryFile:
    """Read the file of a served memory; files in it are relative to its folder.

    ConfigError where it cannot be read, with all mistakes at once.
    """
    with documents.expected(
        f"memory file {file} cannot be read:", "it is TOML", raises=ConfigError
    ):
        text = documents.read_text(file)
        values = documents.parse_toml(text)
    try:
        config = MemoryFile.model_validate_json(
            to_json(values, inf_nan_mode="constants")
        )
    except ValidationError as error:
        found = mistakes(MemoryFile, error, values, key_lines(text))
        listed = "".join(f"\n  {mistake}" for mistake in found)
        message = f"memory file {file} is wrong:{listed}"
        raise ConfigError(message) from error
    folder = file.resolve().parent
    journal = config.journal.model_copy(update={"dir": folder / config.journal.dir})
    model = config.model and folder / config.model
    return config.model_copy(update={"journal": journal, "model": model})
