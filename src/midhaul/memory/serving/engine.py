"""A served memory: what becomes of offers, labels, models and other memories.

Everything that changes it is an :class:`Operation`: bodies as they came, and the time.
The same operations on the same state have the same outcome, so a journal of them is all
that has to be written down (:mod:`midhaul.memory.serving.journal`).

*Versions of models.* With a model of its own it predicts again whatever comes without a
prediction, or with another version's. Without one it takes the version of the first
batch, and refuses others until it hears that a new model was trained.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.memory.samples import Samples, concatenate
from midhaul.memory.selectors.base import Joinable
from midhaul.memory.selectors.pool import whole
from midhaul.memory.selectors.priority import PrioritySampler
from midhaul.memory.serving.messages import LateLabels, Piece, read_labels, read_samples
from midhaul.memory.serving.since_decision import SinceDecision
from midhaul.memory.serving.uploads import UploadBudget
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Int8

    from midhaul.memory.predictors.base import Predictor
    from midhaul.memory.retraining.base import RetrainDecision
    from midhaul.memory.serving.config import MemoryFile

    LoadModel = Callable[[bytes], Predictor]

FORMAT = 1
OperationKind = Literal["offer", "label", "decide", "retrained", "model", "merge"]
_CLASH, _BAD = 409, 400
_NO_VERSION = -2
"""Before a batch or a model has said which one it is."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """Something that is not done, with its HTTP status and why it is counted."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that changes a memory.

    Attributes:
        kind: what is done.
        now_s: when, by the clock of the service.
        pieces: bodies, of which an offer has one or more.
        version: of a model, where it is about one.
    """

    kind: OperationKind
    now_s: float
    pieces: tuple[Piece, ...] = ()
    version: int = _NO_VERSION


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfferOutcome:
    """What became of a batch.

    Attributes:
        fates: ``(m,)`` places in FATES.
        reasons: ``(m,)`` :class:`~midhaul.memory.selectors.base.Reason` of each.
    """

    fates: Int8[np.ndarray, " m"]
    reasons: Int8[np.ndarray, " m"]


class ServedMemory:
    """A memory with a model, a rule and an upload budget.

    Args:
        config: of the file.
        load: makes a predictor of the bytes of a model.
        read_state: reads the exported state of another memory.

    Attributes:
        counts: what was done and seen since it began, by name.
        gateway: names this memory and no other.
        version: of the present model.
        decision: the last one, as answers say it; None before the first.
        n_inputs: of a sample; None before it is known.
        merged: gateways whose samples are in this memory, with how many they saw.
    """

    def __init__(
        self,
        config: MemoryFile,
        load: LoadModel,
        read_state: Callable[[bytes], Mapping[str, Any]],
    ) -> None:
        self.config = config
        self.memory = config.made()
        self.since = SinceDecision(config.n_since)
        upload = config.upload
        self.uploads = UploadBudget(
            period_s=upload.period_s,
            n_samples=upload.n_samples,
            n_bytes=upload.n_bytes,
            reasons=upload.reasons,
        )
        self.counts: Counter[str] = Counter()
        self.gateway = secrets.token_hex(8)
        self.version = _NO_VERSION
        self.decision: dict[str, Any] | None = None
        self.n_inputs = config.n_inputs
        self.merged: dict[str, int] = {}
        self._load = load
        self._read_state = read_state
        self._model: Predictor | None = None
        self._model_bytes = b""
        self._trained: Samples | None = None
        self._latest_s = -np.inf

    @property
    def has_model(self) -> bool:
        """Whether it predicts by itself."""
        return self._model is not None

    @property
    def is_settled(self) -> bool:
        """Whether the number of inputs and the model are known, so batches may join."""
        return self.n_inputs is not None and self.version != _NO_VERSION

    @property
    def n_other_model(self) -> int:
        """Samples in memory that another model than the present one has looked at."""
        return int((self.memory.get().model_version != self.version).sum())

    def admitted(self, piece: Piece) -> Samples:
        """The samples of a body as they will be offered; Refused where they are not."""
        try:
            found = read_samples(piece, most=self.config.max_batch)
        except DataError as error:
            raise Refused(_BAD, "malformed", error.message) from None
        if not len(found):
            return found
        self._check_width(found)
        self._check_outputs(found)
        self._check_clock(found)
        return self._of_present_model(found)

    def perform(self, operation: Operation) -> list[Any]:
        """Do it from its bodies, as a journal is read; one outcome for each of them.

        An outcome may be the :class:`Refused` that it was answered with.
        """
        pieces, version = operation.pieces, operation.version
        try:
            match operation.kind:
                case "offer":
                    parts = [self.admitted(piece) for piece in pieces]
                    return self.offer(parts, operation.now_s)
                case "label":
                    outcome: Any = self.label(self.labels_of(pieces[0]))
                case "decide":
                    outcome = self.decide()
                case "retrained":
                    outcome = self.retrained(version)
                case "model":
                    outcome = self.take_model(pieces[0], version)
                case "merge":
                    outcome = self.merge(pieces[0])
        except Refused as refusal:
            outcome = refusal
        return [outcome]

    def offer(
        self, parts: Sequence[Samples], now_s: float
    ) -> list[OfferOutcome | Refused]:
        """Offer admitted batches as one, or each by itself where that fails."""
        some = [part for part in parts if len(part)]
        try:
            whole = self._offered(concatenate(some), now_s) if some else _NOTHING
        except DataError as error:
            if len(parts) == 1:
                return [Refused(_BAD, "unfit", error.message)]
            return [one for part in parts for one in self.offer([part], now_s)]
        ends = np.cumsum([len(part) for part in parts])
        return [
            OfferOutcome(fates=whole.fates[a:b], reasons=whole.reasons[a:b])
            for a, b in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def labels_of(self, piece: Piece) -> LateLabels:
        """The labels of a body; Refused where they are none."""
        try:
            found = read_labels(piece, most=self.config.max_batch)
        except DataError as error:
            raise Refused(_BAD, "malformed", error.message) from None
        self._check_classes(found.y)
        return found

    def label(self, labels: LateLabels) -> dict[str, int]:
        """Hear outputs; how many were of samples in memory, and how many were not."""
        is_here = self.memory.label(labels.time_s, labels.group, labels.y)
        self.since.label(labels)
        n_here = int(is_here.sum())
        n_gone = len(is_here) - n_here
        self.counts.update(n_labelled=n_here, n_labels_gone=n_gone)
        return {"n": len(is_here), "n_in_memory": n_here, "n_gone": n_gone}

    def decide(self) -> dict[str, Any]:
        """Ask the rule about what came since it was last asked, and begin anew."""
        new = self.since.get()
        number = self.counts["n_decisions"]
        try:
            found = self.memory.decide(new, self._trained, number)
        except DataError as error:
            raise Refused(_CLASH, "undecidable", error.message) from None
        self.decision = {
            "number": number,
            **_said(found),
            "n_samples": len(new),
            "n_clusters": len(np.unique(new.cluster)),
            "n_left_out": self.since.n_left_out,
        }
        self.counts["n_decisions"] += 1
        self.counts["n_retrain_decisions"] += int(found.retrain)
        self.since.clear()
        return self.decision

    def retrained(self, version: int) -> dict[str, Any]:
        """Hear that a model was trained elsewhere, which clients predict by."""
        if self._model is not None:
            text = "this memory predicts by a model of its own: send the new one"
            raise Refused(_CLASH, "own-model", text)
        return self._begin_version(self._next_version(version))

    def take_model(self, piece: Piece, version: int) -> dict[str, Any]:
        """Predict by another model from now on, also what is in memory."""
        found = self._next_version(version)
        kept = self.memory.get()
        try:
            model = self._load(piece.data)
            width = self.n_inputs or kept.x.shape[1]
            x = kept.x if len(kept) else np.zeros((1, width), np.float32)
            if width:
                self._check_model(model.predict(x), len(x))
                if len(kept):
                    self.memory.predict_again(model, found)
        except DataError as error:
            raise Refused(_BAD, "bad-model", error.message) from None
        self._model, self._model_bytes = model, piece.data
        return self._begin_version(found)

    def merge(self, piece: Piece) -> dict[str, Any]:
        """Take in the exported state of another memory, each one once."""
        if not isinstance(self.memory.selector, Joinable):
            name = self.memory.selector.name
            text = f"memories by {name} cannot be merged, those by priority can"
            raise Refused(_CLASH, "unmergeable", text)
        try:
            state = self._read_state(piece.data)
            other = self._other(state)
            self._check_other(other)
            self.memory.merge(other.memory)
        except DataError as error:
            raise Refused(_BAD, "bad-merge", error.message) from None
        if self.version == _NO_VERSION:
            self.version = other.version
        self.n_inputs = self.n_inputs or other.n_inputs
        self.merged[other.gateway] = other.memory.n_offered
        self.merged.update(other.merged)
        self.counts["n_merged"] += 1
        return {
            "gateway": other.gateway,
            "n_samples": len(self.memory),
            "n_offered": self.memory.n_offered,
        }

    def weighted(self) -> Samples:
        """What is in memory, each with how many of the stream it stands for."""
        return self.memory.weighted() or self.memory.get()

    def sketch(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was seen of the stream in few bytes: settings, and counts of cells."""
        selector = self.memory.selector
        counts = np.zeros(0)
        if isinstance(selector, PrioritySampler):
            counts = selector.counts
        cells = np.flatnonzero(counts)
        said = {
            "gateway": self.gateway,
            "n_offered": self.memory.n_offered,
            "n_samples": len(self.memory),
            "model_version": self.version,
            "n_cells": len(counts),
            "settings": self.config.settled(),
        }
        return said, {"cell": cells, "count": counts[cells]}

    def state(self) -> dict[str, Any]:
        """All that it holds, as copies that later operations leave alone."""
        trained = self._trained
        memory = self.memory.state()
        return {
            "format": FORMAT,
            "what": "midhaul served memory",
            "settings": self.config.settled(),
            "gateway": self.gateway,
            "version": self.version,
            "n_inputs": self.n_inputs,
            "memory": _copied(memory),
            "since": _copied(self.since.state()),
            "uploads": _copied(self.uploads.state()),
            "model": np.frombuffer(self._model_bytes, np.uint8),
            "trained": None
            if trained is None
            else {f.name: getattr(trained, f.name) for f in fields(trained)},
            "merged": dict(self.merged),
            "counts": dict(self.counts),
            "decision": self.decision,
            "latest_s": np.array(self._latest_s),
        }

    def exported(self) -> dict[str, Any]:
        """The part of its state that another memory merges."""
        whole = self.state()
        del whole["memory"]["of_rule"]
        left_out = ("since", "uploads", "model", "trained", "counts", "decision")
        return {k: v for k, v in whole.items() if k not in left_out}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; DataError if it is of another version or memory."""
        with whole("a state of a served memory", "it was cut short: use another"):
            check_head(state, self.config.settled())
            self.memory.restore(state["memory"])
            self.since.restore(state["since"])
            self.uploads.restore(state["uploads"])
            self.gateway = str(state["gateway"])
            self.version = int(state["version"])
            self.n_inputs = _width(state)
            self._model_bytes = state["model"].tobytes()
            self._model = self._load(self._model_bytes) if self._model_bytes else None
            trained = state["trained"]
            self._trained = None if trained is None else Samples(**trained)
            self.merged = {str(k): int(v) for k, v in state["merged"].items()}
            self.counts = Counter(state["counts"])
            self.decision = state["decision"]
            self._latest_s = float(state["latest_s"])

    def _offered(self, new: Samples, now_s: float) -> OfferOutcome:
        offered = self.memory.offer(new)
        is_upload = self.uploads.choose(new, offered, self.memory.selector, now_s)
        self.since.add(new)
        self.n_inputs = new.x.shape[1]
        self.version = int(new.model_version[0])
        n_back = int((new.time_s < self._latest_s).sum())
        self._latest_s = max(self._latest_s, float(new.time_s.max()))
        edges = self.memory.bins.edges
        n_outside = int(((new.y < edges[0]) | (new.y > edges[-1])).sum())
        self.counts.update(
            n_offered=len(new),
            n_kept=int(offered.is_kept.sum()),
            n_clock_back=n_back,
            n_outside_bins=n_outside,
            n_without_output=int(np.isnan(new.y).sum()),
        )
        fates = offered.is_kept.astype(np.int8) + is_upload
        return OfferOutcome(fates=fates, reasons=offered.reasons)

    def _check_width(self, new: Samples) -> None:
        wanted = self.n_inputs
        if wanted is not None and new.x.shape[1] != wanted:
            text = f"expected {wanted} inputs, found {new.x.shape[1]}"
            raise Refused(_BAD, "width", text)
        k, n_bins = new.prediction.shape[1], self.memory.bins.n
        if k not in (0, n_bins):
            text = f"expected predictions over {n_bins} bins, found {k}"
            raise Refused(_BAD, "width", text)
        needs = isinstance(self.memory.selector, PrioritySampler)
        if not k and self._model is None and needs:
            text = (
                f"expected predictions over {n_bins} bins, found none, and this memory "
                f"has no model of its own"
            )
            raise Refused(_BAD, "no-prediction", text)

    def _check_outputs(self, new: Samples) -> None:
        self._check_classes(new.y[~np.isnan(new.y)])

    def _check_classes(self, y: np.ndarray) -> None:
        n_classes = self.config.bins.n_classes
        if self.config.bins.edges is not None:
            return
        is_class = (y >= 0) & (y < n_classes) & (y == np.floor(y))
        if not is_class.all():
            found = y[~is_class][0]
            text = f"expected a class from 0 to {n_classes - 1} as y, found {found:g}"
            raise Refused(_BAD, "class", text)

    def _check_clock(self, new: Samples) -> None:
        ahead_s = self.config.max_ahead_s
        last = float(new.time_s.max())
        if ahead_s is not None and last > self._latest_s + ahead_s > -np.inf:
            text = (
                f"expected times up to {ahead_s:g} s after {self._latest_s:.3f}, "
                f"found {last:.3f}"
            )
            raise Refused(_BAD, "clock-ahead", text)

    def _of_present_model(self, new: Samples) -> Samples:
        """Samples with what the present model says of them; Refused where it cannot."""
        versions = new.model_version
        if self._model is not None:
            if new.prediction.shape[1] and (versions == self.version).all():
                return new
            try:
                found = new.predicted(self._model.predict(new.x), self.version)
            except DataError as error:
                raise Refused(_BAD, "width", error.message) from None
            self.counts["n_predicted"] += len(new)
            return found
        wanted = int(versions[0]) if self.version == _NO_VERSION else self.version
        if (versions != wanted).any():
            other = int(versions[versions != wanted][0])
            text = (
                f"expected predictions of model {wanted}, found some of model {other}; "
                f"POST /retrained says that there is a new one"
            )
            raise Refused(_CLASH, "other-model", text)
        return new

    def _check_model(self, said: np.ndarray, n: int) -> None:
        """Hold what a model says to what is needed; DataError where it is not that."""
        bins = self.memory.bins
        if said.shape != (n, bins.n):
            message = f"expected {n} rows over {bins.n} bins, found {said.shape}"
            raise DataError(message, "export a model of this learning problem")
        Samples.of(np.zeros((n, 0), np.float32)).predicted(said, 0)

    def _next_version(self, wanted: int) -> int:
        if wanted == _NO_VERSION:
            return max(self.version, -1) + 1
        if wanted <= self.version:
            text = f"expected a version above {self.version}, found {wanted}"
            raise Refused(_CLASH, "version", text)
        return wanted

    def _begin_version(self, version: int) -> dict[str, Any]:
        """What came since the last decision was seen by the old model: leave it out."""
        n_left_out = len(self.since) + self.since.n_left_out
        self.since.clear()
        self.since.n_left_out = n_left_out
        self.version = version
        kept = self.memory.get()
        self._trained = kept.take(np.arange(len(kept)))
        if self.memory.rule is not None:
            self.memory.rule.retrained()
        self.counts["n_retrained"] += 1
        return {
            "model_version": version,
            "n_trained": len(kept),
            "n_left_out": n_left_out,
        }

    def _other(self, state: Mapping[str, Any]) -> ServedMemory:
        """Another memory from its state, which may hold more or less than this one."""
        settings = self.config.settled()
        found = ServedMemory(self.config, self._load, self._read_state)
        with whole("a state of a served memory", "export it again"):
            head = dict(state.get("settings") or {})
            theirs = dict(head.get("memory") or {})
            if theirs.get("selector") == self.config.memory.selector:
                mine = settings["memory"]
                theirs |= {key: mine.get(key) for key in ("capacity", "capacity_bytes")}
                theirs = {key: one for key, one in theirs.items() if one is not None}
            # What a rule and a period are told is each gateway's own business.
            same = {**settings, "memory": theirs}
            same |= {key: head.get(key) for key in ("bins", "seed")}
            check_head({**state, "settings": same}, settings)
            memory = {**state["memory"], "of_rule": found._rule_state()}
            found.memory.capacity_bytes = None
            found.memory.selector.capacity = max(len(memory["marks"]), 1)
            found.memory.restore(memory)
            found.version, found.n_inputs = int(state["version"]), _width(state)
            found.gateway = str(state["gateway"])
            found.merged = {str(k): int(v) for k, v in state["merged"].items()}
        return found

    def _rule_state(self) -> dict[str, Any]:
        return {} if self.memory.rule is None else dict(self.memory.rule.state())

    def _check_other(self, other: ServedMemory) -> None:
        """Refuse what cannot be merged, or would be counted twice."""
        if len(other.memory):
            self._check_width(other.memory.get())
        seen = {*self.merged, self.gateway} & {*other.merged, other.gateway}
        if seen:
            text = f"what gateway {min(seen)} saw is in this memory already"
            raise Refused(_CLASH, "merged-before", text)
        if self.version not in (_NO_VERSION, other.version) and len(other.memory):
            text = (
                f"expected a memory of model {self.version}, found one of model "
                f"{other.version}"
            )
            raise Refused(_CLASH, "other-model", text)


_NOTHING = OfferOutcome(fates=np.zeros(0, np.int8), reasons=np.zeros(0, np.int8))


def _width(state: Mapping[str, Any]) -> int | None:
    """Inputs of a sample, as a state says it."""
    found = state["n_inputs"]
    return None if found is None else int(found)


def check_head(state: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Hold the head of a state to this version and these settings, else DataError."""
    found = state.get("what"), state.get("format")
    if found != ("midhaul served memory", FORMAT):
        message = f"expected a served memory of format {FORMAT}, found {found}"
        raise DataError(message, "it was written by another version of midhaul")
    before: Mapping[str, Any] = state.get("settings") or {}
    if before != settings:
        others = [
            f"{key}: {before.get(key)!r} is not {value!r}"
            for key, value in settings.items()
            if before.get(key) != value
        ]
        message = f"the state is of a memory with other settings: {'; '.join(others)}"
        raise DataError(
            message, "put the settings back, or begin anew in another journal.dir"
        )


def _said(decision: RetrainDecision) -> dict[str, Any]:
    """A decision as JSON says it."""
    found = asdict(decision)
    found["retrain"] = bool(decision.retrain)
    for name in ("value", "threshold", "p_value"):
        found[name] = known(found[name])
    found["grown"] = [
        {"bin": number, "before": before, "now": now}
        for number, before, now in decision.grown
    ]
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return value
