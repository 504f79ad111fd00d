"""Online learning while it serves: feedback, and how requests ended, as lessons.

An answer may wait for feedback, what people say is right, until enough others wait or
its time is over; then it is learned from without. Learning anew may take seconds, so
that it is done in one thread of its own, lesson by lesson, and requests are decided by
the policy as it was meanwhile. In virtual time it is done in line.

The *state* of the policy that learns is one ``.npz`` without pickles, replaced as a
whole, so that a process that is killed leaves the one before; a lock beside it keeps
others away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
from collections import Counter, OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from midhaul.errors import ConfigError, DataError, MidhaulError, StoreError
from midhaul.federation.policies.catalogue import CATALOGUE
from midhaul.federation.recordings.problem import Answers
from midhaul.machine.locks import FileLock
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jaxtyping import Bool

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.policies.base import Situation, SubsetPolicy
    from midhaul.federation.policies.online.online import OnlineRefit
    from midhaul.federation.policies.online.refit import Recipe
    from midhaul.federation.recordings.problem import Task
    from midhaul.federation.recordings.vocabulary import Vocabulary
    from midhaul.federation.serving.config import ServedOnlineConfig
    from midhaul.federation.serving.settings import LearningSettings

Told = Literal["taken", "unknown", "busy"]
"""What becomes of feedback: it is learned from; no answer of that id waits for any
(any more); or too many lessons wait to be learned."""

_LOG = logging.getLogger(__name__)
_KEYS = {"label", "box", "is_ignored"}
_N_CORNERS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """How a request ended.

    Attributes:
        situation: at the end; its recording has a truth where people told it.
        is_audit: ``(1,)`` whether everybody was asked in order to learn; None for a
            policy without audits.
    """

    situation: Situation
    fused: Answers
    is_audit: Bool[np.ndarray, " 1"] | None
    given_s: float

    def told(self, truth: Answers) -> Lesson:
        """The same with what people say is right."""
        recording = replace(self.situation.recording, truth=truth)
        return replace(self, situation=replace(self.situation, recording=recording))


class Lessons:
    """Hands what happened to the policy, where it is one that learns.

    It learns in a thread, from :meth:`start` on, or at once; ``save`` is called there.

    Attributes:
        counts: lessons ``learned``, of these ``with_feedback``; ``failed`` by an error;
            ``dropped``, as too many waited; and ``saved`` and ``unsaved`` states.
        n_changes: how often answers given before may no longer be those of now, since
            an alarm came or another policy decides.
    """

    def __init__(
        self,
        policy: SubsetPolicy,
        *,
        in_thread: bool,
        settings: LearningSettings,
        clock: Callable[[], float],
        save: Callable[[], None] | None = None,
    ) -> None:
        learn: Any = getattr(policy, "learn", None)
        self._learn = learn if callable(learn) else None
        self._policy: Any = policy
        self._in_thread = in_thread
        self._settings = settings
        self._clock = clock
        self._save = save
        self._saved_s = clock()
        self._is_saved = True
        self._waiting: OrderedDict[str, Lesson] = OrderedDict()
        self._queue: deque[Lesson] = deque()
        self._there = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._before = self._standing()
        self.counts: Counter[str] = Counter()
        self.n_changes = 0

    @property
    def n_waiting(self) -> int:
        """Answers that wait for feedback."""
        return len(self._waiting)

    @property
    def n_queued(self) -> int:
        """Lessons that wait to be learned."""
        return len(self._queue)

    @property
    def takes_feedback(self) -> bool:
        """Whether answers wait for what people say is right."""
        return self._learn is not None and self._in_thread and self._settings.wait_s > 0

    def is_audit(self, situation: Situation) -> Bool[np.ndarray, " 1"] | None:
        """Whether everybody was asked in order to learn; None without audits."""
        is_audit: Any = getattr(self._policy, "is_audit", None)
        if is_audit is None:
            return None
        everyone = situation.recording.everyone
        return is_audit(situation) & (situation.asked == everyone)

    def give(self, answer_id: str, situation: Situation, fused: Answers) -> None:
        """Say how a request ended; by ``answer_id`` people may say what is right."""
        if self._learn is None:
            return
        lesson = Lesson(
            situation=situation,
            fused=fused,
            is_audit=self.is_audit(situation),
            given_s=self._clock(),
        )
        if not self._in_thread:
            self._learn_one(lesson)
        elif not self.takes_feedback:
            self._put(lesson)
        else:
            self._waiting[answer_id] = lesson
            self._move_on(until_s=lesson.given_s - self._settings.wait_s)
            self._there.set()

    def tell(self, answer_id: str, truth: Answers) -> Told:
        """Say what is right about an answer."""
        if answer_id not in self._waiting:
            return "unknown"
        if not self._has_room:
            return "busy"
        self._put(self._waiting.pop(answer_id).told(truth))
        return "taken"

    def start(self) -> None:
        """Begin to learn in a thread."""
        if self._learn is not None and self._in_thread:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="learning")
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Learn from all that is there, without more feedback, and save it."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        while self._waiting or self._queue:
            self._move_on(until_s=math.inf)
            await self._learn_queue()
        await self._save_if(is_due=True)
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._next_s()):
                    await self._there.wait()
            self._there.clear()
            self._move_on(until_s=self._clock() - self._settings.wait_s)
            await self._learn_queue()
            await self._save_if(is_due=self._is_save_due)

    def _next_s(self) -> float | None:
        """Seconds until something is due that nobody announces."""
        due = [] if self._is_saved else [self._saved_s + self._settings.save_s]
        if self._waiting:
            first = next(iter(self._waiting.values()))
            due.append(first.given_s + self._settings.wait_s)
        return max(0.0, min(due) - self._clock()) if due else None

    @property
    def _has_room(self) -> bool:
        return len(self._queue) < self._settings.n_queued

    def _put(self, lesson: Lesson) -> None:
        if not self._has_room:
            self.counts["dropped"] += 1
            return
        self._queue.append(lesson)
        self._there.set()

    def _move_on(self, until_s: float) -> None:
        """Wait no longer for feedback on answers that are too old or too many."""
        while self._waiting and self._has_room:
            first = next(iter(self._waiting.values()))
            is_over = first.given_s <= until_s
            if not is_over and len(self._waiting) <= self._settings.n_waiting:
                return
            self._put(self._waiting.popitem(last=False)[1])
        while len(self._waiting) > self._settings.n_waiting:
            self._waiting.popitem(last=False)
            self.counts["dropped"] += 1

    async def _learn_queue(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            lesson = self._queue.popleft()
            work = loop.run_in_executor(self._thread, self._learn_one, lesson)
            try:
                await asyncio.shield(work)
            except Exception:  # noqa: BLE001  requests go on without it
                self.counts["failed"] += 1
                _LOG.exception("the policy could not learn from a request")
            await self._save_if(is_due=self._is_save_due)

    def _learn_one(self, lesson: Lesson) -> None:
        from midhaul.federation.quality import item_quality  # noqa: PLC0415 - numba

        assert self._learn is not None  # noqa: S101 - see give
        recording = lesson.situation.recording
        is_told = recording.truth is not None
        quality = item_quality(recording, lesson.fused) if is_told else _UNTOLD
        marked: dict[str, Any] = {}
        if lesson.is_audit is not None:
            marked["is_audit"] = lesson.is_audit
        self._is_saved = False
        self._learn(lesson.situation, lesson.fused, quality, **marked)
        self.counts["learned"] += 1
        self.counts["with_feedback"] += is_told
        before, self._before = self._before, self._standing()
        if any(a is not b for a, b in zip(before, self._before, strict=True)):
            self.n_changes += 1
            self._saved_s = -math.inf

    def _standing(self) -> tuple[Any, Any]:
        """What is replaced where answers may be others from now on."""
        return getattr(self._policy, "alarms", ()), getattr(self._policy, "inner", None)

    @property
    def _is_save_due(self) -> bool:
        is_old = self._clock() - self._saved_s >= self._settings.save_s
        return not self._is_saved and is_old

    async def _save_if(self, *, is_due: bool) -> None:
        if not is_due or self._save is None or self._is_saved:
            return
        loop = asyncio.get_running_loop()
        try:
            await asyncio.shield(loop.run_in_executor(self._thread, self._save))
        except Exception:  # noqa: BLE001  the next one may succeed
            self.counts["unsaved"] += 1
            _LOG.exception("what was learned could not be saved")
        else:
            self.counts["saved"] += 1
            self._is_saved = True
        self._saved_s = self._clock()


_UNTOLD = np.full(1, np.nan)


def truth_of(said: object, task: Task, vocabulary: Vocabulary) -> Answers:
    """What people say is right about one item.

    Entries have a ``label``, those of boxes also a ``box`` and perhaps ``is_ignored``;
    else DataError.
    """
    if not isinstance(said, list):
        message = f"truth should be a list of entries, found {_shown(said)}"
        raise DataError(message)
    entries: list[Any] = said
    if task == "labels" and len(entries) != 1:
        message = f"truth should be one label, found {len(entries)}"
        raise DataError(message)
    labels = [_label(entry, vocabulary) for entry in entries]
    if task == "tags" and len(set(labels)) < len(labels):
        message = "truth names a label twice"
        raise DataError(message)
    boxes = np.array([_box(entry, task) for entry in entries], np.float32)
    return Answers(
        starts=np.array([0, len(entries)], np.int64),
        labels=np.array(labels, np.int32),
        scores=np.ones(len(entries), np.float32),
        boxes=boxes.reshape(-1, _N_CORNERS),
        is_missing=np.zeros(1, bool),
        is_ignored=np.array([_is_ignored(entry, task) for entry in entries], bool),
    )


def _label(entry: object, vocabulary: Vocabulary) -> int:
    if not isinstance(entry, dict):
        message = f"an entry of truth should be an object, found {_shown(entry)}"
        raise DataError(message)
    said: Mapping[str, Any] = entry
    if unknown := sorted(set(said) - _KEYS):
        message = f"an entry of truth has no key {_shown(unknown[0])}"
        raise DataError(message)
    word = said.get("label")
    label = vocabulary.find(word) if isinstance(word, str) else -1
    if label < 0:
        message = f"no label {_shown(word)} in the label set, which /info lists"
        raise DataError(message)
    return label


def _box(entry: Mapping[str, Any], task: Task) -> list[float]:
    said = entry.get("box")
    if task != "boxes":
        if said is not None:
            message = f"entries of {task} have no box"
            raise DataError(message)
        return [0.0] * _N_CORNERS
    corners: list[Any] = said if isinstance(said, list) else []
    is_number = all(type(corner) in {int, float} for corner in corners)
    if len(corners) == _N_CORNERS and is_number:
        x1, y1, x2, y2 = corners
        if 0 <= x1 < x2 < _MOST_PX and 0 <= y1 < y2 < _MOST_PX:
            return [float(c) for c in corners]
    message = f"a box is four corners x1, y1, x2, y2 in px, found {_shown(said)}"
    raise DataError(message)


_MOST_PX = 1e6


def _is_ignored(entry: Mapping[str, Any], task: Task) -> bool:
    said = entry.get("is_ignored", False)
    if not isinstance(said, bool) or (said and task != "boxes"):
        message = f"is_ignored is true or false, of a box, found {_shown(said)}"
        raise DataError(message)
    return said


def _shown(value: object) -> str:
    return repr(value)[:60]


_FORMAT = 1
_REFITTED = tuple(
    entry.name
    for entry in CATALOGUE
    if entry.name == "single" or (entry.is_family and not entry.knows_truth)
)
"""Policies that are learned in seconds, at an exchange rate or without one."""


class OnlineState:
    """The file of what was learned; nobody else's until it is closed.

    The ``.npz`` file need not be there. StoreError where another process has it, or its
    folder cannot be written.
    """

    def __init__(self, file: Path, trained: Path) -> None:
        self.file = file
        self._trained = trained
        self._digest = ""
        try:
            self._lock = FileLock(file.with_name(f"{file.name}.lock"))
        except BlockingIOError as error:
            message = f"{file} is in use by another process"
            hint = "give each federation a file of its own: policy.online.file"
            raise StoreError(message, hint) from error
        except OSError as error:
            message = f"{file} cannot be written: {error.strerror}"
            raise StoreError(message) from error

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self._lock.release()

    def policy(
        self, config: ServedOnlineConfig, bundle: Bundle, seed: int
    ) -> OnlineRefit:
        """The policy as it was saved last, or the trained one to begin with.

        MidhaulError where the file is damaged or of another training.
        """
        from midhaul.federation.policies.online.online import OnlineRefit  # noqa: PLC0415 - numba

        self._digest = hashlib.sha256(self._trained.read_bytes()).hexdigest()
        settings, recipe = config.settings, recipe_of(config, bundle, seed)
        if not self.file.exists():
            return online_of(config, bundle, seed)
        hint = f"move {self.file.name} away to begin with the trained policy again"
        try:
            state = read_state(self.file)
            if state.get("format") != _FORMAT:
                message = f"{self.file} is no state of format {_FORMAT}"
                raise DataError(message)
            if state.get("trained") != self._digest:
                message = f"{self.file} was learned on top of another training"
                raise DataError(message)
            return OnlineRefit.from_state(state["policy"], settings, recipe)
        except MidhaulError as error:
            raise DataError(error.message, hint) from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            message = f"{self.file} is no state of a policy: {error}"
            raise DataError(message, hint) from error

    def save(self, policy: OnlineRefit) -> None:
        """Replace the file by what a policy knows now.

        OSError where it cannot be written; the one before is still there.
        """
        state = {"format": _FORMAT, "trained": self._digest, "policy": policy.state()}
        write_state(self.file, state)


def online_of(config: ServedOnlineConfig, bundle: Bundle, seed: int) -> OnlineRefit:
    """A trained federation's policy, to be kept up to date from now on.

    ConfigError where what it should learn is not learned while it serves.
    """
    from midhaul.federation.policies.online.online import OnlineRefit  # noqa: PLC0415 - numba

    return OnlineRefit(
        bundle.policy,
        recipe_of(config, bundle, seed),
        bundle.fuser,
        bundle.providers,
        bundle.prices_usd,
        config.settings,
    )


def recipe_of(config: ServedOnlineConfig, bundle: Bundle, seed: int) -> Recipe:
    """What is learned anew; ConfigError where it is not learned while it serves."""
    from midhaul.federation.policies.online.refit import Recipe  # noqa: PLC0415

    name = config.refit or bundle.policy.name
    if name not in _REFITTED:
        message = f"policy {name!r} is not learned while it serves"
        known = ", ".join(_REFITTED)
        raise ConfigError(message, f"policy.online.refit is one of {known}")
    rate = config.rate(bundle.prices_usd)
    return Recipe(name=name, told={}, multiplier=rate, seed=seed)
