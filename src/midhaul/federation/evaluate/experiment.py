"""federation.evaluate: policies learned on some items, and judged on others.

*Regret over time* has the test items of a split one after another.

*Faults*: policies serve the test items while one provider fails in one way after
another.

*Examples* are images: what each provider found on one, and what was made of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation.bundle import Bundle
from midhaul.federation.evaluate import metrics, tables
from midhaul.federation.evaluate.inputs import features_of, image_reader, recording_of
from midhaul.federation.evaluate.metrics import PolicyOutcome, judge, summarise
from midhaul.federation.evaluate.online import is_kept_up, write_online
from midhaul.federation.evaluate.split_and_fit import (
    Contender,
    Learned,
    LearnedAs,
    PreparedSplit,
    TestPart,
    learn,
    learn_bound,
    line_up,
    split_three,
)
from midhaul.federation.evaluate.tables import (
    FAULT_PHASES,
    FAULT_REQUESTS,
    FAULT_SUMMARY,
)
from midhaul.federation.evaluate.train import train
from midhaul.federation.policies.base import Examples, replay
from midhaul.federation.policies.baselines import best_single
from midhaul.federation.policies.catalogue import entry_named
from midhaul.federation.policies.online.streaming import stream
from midhaul.federation.recordings.problem import members
from midhaul.federation.serving.replay import (
    ReplaySettings,
    qualities_of,
    replay_under_faults,
    request_rows,
    standard_phases,
    summary_rows,
)
from midhaul.model import Detections, Verdict
from midhaul.vision.images.image import decode, draw, jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float32, Float64

    from midhaul.federation.evaluate.config import EvaluateConfig, FaultsConfig
    from midhaul.federation.evaluate.metrics import PolicyOutcome
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import PolicyFamily, SubsetPolicy
    from midhaul.federation.recordings.problem import Answers, Recording
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run
    from midhaul.vision.images.image import Pixels

__all__ = ["evaluate", "train"]

_MOST_ITEMS = 3_000
_WORTH_OF_ALL = 0.1
"""Quality that the price of asking everybody has to buy, as Armol weighs calls."""


def write_regret(
    run: Run,
    part: TestPart,
    fuser: Fuser,
    policies: Mapping[int, SubsetPolicy],
    seed: int,
) -> None:
    """Stream the test items to some policies and write what each lost.

    ``part`` is in the order of a permutation.
    """
    price_usd = float(part.recording.prices_usd.sum())
    multiplier = _WORTH_OF_ALL / price_usd if price_usd > 0 else 0.0
    order = np.random.default_rng([seed, 7]).permutation(len(part.items))[:_MOST_ITEMS]
    recording, features = part.recording.take(order), part.features[order]
    for number, policy in policies.items():
        done = stream(
            policy,
            recording,
            features,
            fuser,
            np.random.default_rng([seed, 8]),
            multiplier=multiplier,
            batch=64,
        )
        rows = [
            {
                "configuration": number,
                "item_number": point.item_number,
                "regret": point.regret,
                "quality": point.quality,
                "cost_usd": point.cost_usd,
                "is_alarm": point.is_alarm,
            }
            for point in done.points()
        ]
        run.write(tables.REGRET, rows, part=number)


_DEARER = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A policy that is served during the faults."""

    name: str
    policy: SubsetPolicy


def write_faults(
    run: Run,
    part: TestPart,
    fuser: Fuser,
    policies: Mapping[int, Served],
    config: FaultsConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Serve each policy under the same faults of the provider that is best alone."""
    recording = part.recording
    victim = best_single(recording, fuser)
    price_usd = float(recording.prices_usd[victim]) * _DEARER
    phases = standard_phases(
        recording.providers[victim], phase_s=config.phase_s, price_usd=price_usd
    )
    rows = [row for phase in phases for row in phase.rows()]
    run.write(FAULT_PHASES, rows, part=0)
    settings = ReplaySettings(rate_hz=config.rate_hz, seed=seed)
    with progress.task("serving under faults", total=len(policies)) as task:
        for number, one in policies.items():
            done = replay_under_faults(
                one.policy, recording, part.features, fuser, phases, settings
            )
            qualities = qualities_of(done, recording)
            named = {"policy": one.name}
            requests = request_rows(done, recording, phases, qualities)
            run.write(FAULT_REQUESTS, [{**r, **named} for r in requests], part=number)
            sums = summary_rows(done, phases, qualities)
            run.write(FAULT_SUMMARY, [{**r, **named} for r in sums], part=number)
            task.advance()


_THRESHOLD = 0.3
_BLANK = 40
_PLACES = ("gained most", "typical", "lost most")


def write_examples(
    folder: Path,
    recording: Recording,
    outcome: PolicyOutcome,
    baseline: Float64[np.ndarray, " k"],
    read: Callable[[str], bytes | None],
    n_examples: int,
) -> None:
    """Draw a few items: every provider's boxes, and the fused ones.

    The items are chosen by what the policy gained over the baseline: the one with the
    largest gain, a typical one, the one with the largest loss, and then others between.
    ``baseline`` has the item quality of what it is held against, ``read`` gives an
    encoded picture or None.
    """
    if recording.task != "boxes" or recording.truth is None or not n_examples:
        return
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _spread(outcome.item_quality - baseline, n_examples)
    for number, item in enumerate(chosen, 1):
        pixels = _picture(recording, item, read(recording.items[item]))
        place = _PLACES[number - 1] if number <= len(_PLACES) else "another"
        truth = recording.truth.boxes[recording.truth.of(item)]
        asked = int(outcome.asked[item])
        names = "+".join(recording.providers[p] for p in members(asked))
        for p, provider in enumerate(recording.providers):
            found = _detections(recording.answers[p], item, recording.names)
            is_asked = "asked" if asked >> p & 1 else "not asked"
            picture = draw(pixels, truth, found, _THRESHOLD)
            caption = f"Item {number}-- {place}-- {provider}-- {is_asked}"
            _save(folder, caption, picture)
        fused = _detections(outcome.fused, item, recording.names)
        picture = draw(pixels, truth, fused, _THRESHOLD)
        caption = f"Item {number}-- {place}-- fused of {names or 'nobody'}"
        _save(folder, caption, picture)


def _spread(gains: Float64[np.ndarray, " k"], n: int) -> list[int]:
    """The largest, the middle and the smallest gain, and then others between them."""
    order = np.argsort(-gains, kind="stable")
    last = len(order) - 1
    places = [0, last // 2, last, *(round(last * i / (n + 1)) for i in range(1, n + 1))]
    return list(dict.fromkeys(int(order[place]) for place in places))[:n]


def _detections(answers: Answers, item: int, names: Sequence[str]) -> Detections:
    where = answers.of(item)
    return Detections(
        boxes=answers.boxes[where],
        scores=answers.scores[where],
        labels=answers.labels[where],
        names=tuple(names),
    )


def _picture(recording: Recording, item: int, data: bytes | None) -> Pixels:
    """The item's picture; a dark one where it is not here, or in another frame."""
    size = None
    if recording.sizes_px is not None and not np.isnan(recording.sizes_px[item]).any():
        size = tuple(recording.sizes_px[item].astype(int).tolist())
    if data is not None:
        pixels = decode(data, where=recording.items[item])
        if size in {None, (pixels.shape[1], pixels.shape[0])}:
            return pixels
    width, height = size or (640, 480)
    return np.full((height, width, 3), _BLANK, np.uint8)


def _save(folder: Path, caption: str, picture: Pixels) -> None:
    name = caption.replace(" ", "_").replace("/", "-")
    (folder / f"{name}.jpg").write_bytes(jpeg(picture))


_PARTS_A_SPLIT = 10_000
_SEEDS_A_RUN = 1_000


def evaluate(config: EvaluateConfig, run: Run, progress: Progress) -> None:
    """Learn every policy on some items and judge it on others, over several splits.

    What a policy did to the test items of a split is written as soon as it is known; a
    run that is resumed reads it instead of learning that policy again. MidhaulError
    where the data are not what they should be, or a policy cannot be had.
    """
    recording, tallies = recording_of(config.data, config.seed, progress)
    run.tally(*tallies)
    features, _ = features_of(
        config.features, config.data, config.seed, recording, progress
    )
    run.write(tables.PROVIDERS, tables.provider_rows(recording), part=0)
    trained = [Bundle.load(file) for file in config.trained]
    for bundle in trained:
        bundle.check_fits(recording)
    contenders = line_up(config, recording, trained)
    run.write(tables.CONFIGURATIONS, [one.row() for one in contenders], part=0)
    outcomes: dict[int, list[PolicyOutcome]] = {one.number: [] for one in contenders}
    total = config.n_seeds * len(contenders)
    with progress.task("learning and judging", total=total) as task:
        for number in range(config.n_seeds):
            split = _Split.of(
                config, run, progress, number, recording, features, trained
            )
            for one in contenders:
                outcomes[one.number].append(split.outcome(one))
                task.advance()
            if number == 0:
                split.tell_more(contenders, outcomes)
    summarise(config, run, recording, contenders, outcomes, progress)
    run.verdict = Verdict()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Split:
    """One way to part the items, and what was learned on it."""

    config: EvaluateConfig
    run: Run
    progress: Progress
    number: int
    seed: int
    prepared: PreparedSplit
    part: TestPart
    trained: Sequence[Bundle]
    learned: dict[LearnedAs, Learned] = field(
        default_factory=dict["LearnedAs", Learned]
    )

    @classmethod
    def of(
        cls,
        config: EvaluateConfig,
        run: Run,
        progress: Progress,
        number: int,
        recording: Recording,
        features: Float32[np.ndarray, "n d"],
        trained: Sequence[Bundle],
    ) -> _Split:
        """Part the items anew, and fit what comes before any policy."""
        seed = config.seed * _SEEDS_A_RUN + number
        prepared, part = split_three(
            recording, features, config.fusion, config.reference, config.shares, seed
        )
        return cls(
            config=config,
            run=run,
            progress=progress,
            number=number,
            seed=seed,
            prepared=prepared,
            part=part,
            trained=trained,
        )

    def outcome(self, one: Contender) -> PolicyOutcome:
        """What a contender did to the test items: read, or done now and written."""
        number = self.number * _PARTS_A_SPLIT + one.number
        part, fuser = self._judged_on(one)
        if number in set(self.run.parts(tables.DECISIONS.name)):
            asked, first, n_rounds = self._read(one.number)
            fused = fuser.fuse(part.recording.shown(asked), asked)
            return judge(part, fused, asked, first, n_rounds)
        policy, fit_s = self._policy(one)
        begin_s = time.perf_counter()
        done = replay(
            policy,
            part.recording,
            part.features,
            fuser,
            np.random.default_rng([self.seed, 6, one.number]),
        )
        decide_s = (time.perf_counter() - begin_s) / len(part.items)
        first = done.rounds[0] if len(done.rounds) else np.zeros_like(done.asked)
        n_rounds = (done.rounds != 0).sum(axis=0).astype(np.int64)
        outcome = judge(part, done.fused, done.asked, first, n_rounds)
        at = {"configuration": one.number, "split": self.number}
        fits = [{**at, "fit_s": fit_s, "decide_s": decide_s}]
        self.run.write(tables.FITS, fits, part=number)
        rows = metrics.decision_table(
            one.number, self.number, part.recording.items, outcome
        )
        self.run.write(tables.DECISIONS, rows, part=number)
        return outcome

    def tell_more(
        self, contenders: Sequence[Contender], outcomes: dict[int, list[PolicyOutcome]]
    ) -> None:
        """Write what one split is enough for: reliability, regret, faults, images."""
        rows = tables.reliability_rows(self.part)
        self.run.write(tables.CALIBRATION, rows, part=0)
        ours = _dearest(contenders, "cascade") or contenders[-1]
        singles = [one for one in contenders if one.provider >= 0]
        if singles and self.config.n_examples:
            best = max(singles, key=lambda c: outcomes[c.number][0].quality.value)
            write_examples(
                self.run.file("examples"),
                self.part.raw,
                outcomes[ours.number][0],
                outcomes[best.number][0].item_quality,
                image_reader(
                    self.config.data, self.config.features.images, self.config.seed
                ),
                self.config.n_examples,
            )
        self._tell_online(contenders)
        streamed = _streamed(contenders)
        if self._is_told(streamed):
            return
        served = {
            one.number: Served(name=one.name, policy=self._policy(one)[0])
            for one in streamed
        }
        policies = {number: one.policy for number, one in served.items()}
        write_regret(self.run, self.part, self.prepared.fuser, policies, self.seed)
        if self.config.faults.is_on and served:
            write_faults(
                self.run,
                self.part,
                self.prepared.fuser,
                served,
                self.config.faults,
                self.seed,
                self.progress,
            )

    def _tell_online(self, contenders: Sequence[Contender]) -> None:
        """Stream all families that are learned here, if the file says so."""
        if not self.config.online.is_on:
            return
        kept = [one for one in _streamed(contenders) if is_kept_up(one.policy)]
        there = set(self.run.parts(tables.ONLINE_SUMMARY.name))
        families: dict[int, tuple[str, PolicyFamily]] = {}
        for one in kept:
            if one.number not in there:
                self._policy(one)
                curve = self.learned[one.learned_as].curve
                if curve is not None:
                    families[one.number] = one.policy, curve.family
        write_online(
            self.run,
            self.prepared,
            self.part,
            families,
            self.config.online,
            self.seed,
            self.progress,
        )

    def _is_told(self, streamed: Sequence[Contender]) -> bool:
        """Whether a run that is resumed has regret and faults of all that are streamed.

        Where it has not, all of them are learned and streamed again: a policy that
        learns from what it is told goes into the faults as it came out of the stream.
        """
        last = FAULT_SUMMARY if self.config.faults.is_on else tables.REGRET
        return {one.number for one in streamed} <= set(self.run.parts(last.name))

    def _policy(self, one: Contender) -> tuple[SubsetPolicy, float]:
        """A contender's policy, and how long learning it took."""
        if one.trained >= 0:
            return self.trained[one.trained].policy, 0.0
        key = one.learned_as
        if key not in self.learned:
            self.learned[key] = self._learn(one)
            rows = [
                {"configuration": one.number, "split": self.number, **row}
                for row in self.learned[key].learning
            ]
            if rows:
                number = self.number * _PARTS_A_SPLIT + one.number
                self.run.write(tables.LEARNING, rows, part=number)
        found = self.learned[key]
        return found.at(one.budget_usd), found.fit_s

    def _learn(self, one: Contender) -> Learned:
        if entry_named(one.policy).knows_truth:
            part = self.part
            mine = Examples(
                recording=part.recording,
                features=part.features,
                fuser=self.prepared.fuser,
            )
            return learn_bound(mine, self.seed)
        return learn(
            one.policy,
            self.prepared.train,
            self.prepared.calibration,
            self.config.learner,
            self.seed,
            self.progress,
            settings=one.settings,
        )

    def _judged_on(self, one: Contender) -> tuple[TestPart, Fuser]:
        """The test items as a contender sees them, and what fuses its answers."""
        if one.trained < 0:
            return self.part, self.prepared.fuser
        bundle = self.trained[one.trained]
        raw = self.part.raw
        shown = raw if bundle.calibration is None else bundle.calibration.apply(raw)
        part = TestPart(
            items=self.part.items, raw=raw, recording=shown, features=self.part.features
        )
        return part, bundle.fuser

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What was decided before this run was resumed."""
        query = (
            "SELECT item, asked, first, n_rounds FROM decisions "  # noqa: S608 - numbers
            f"WHERE configuration = {number} AND split = {self.number}"
        )
        rows = self.run.sql(query)
        items = self.part.raw.items
        place = {item: i for i, item in enumerate(rows["item"].to_pylist())}
        order = np.array([place[item] for item in items], np.int64)
        asked, first, n_rounds = (
            np.asarray(rows[name].to_numpy(), np.int64)[order]
            for name in ("asked", "first", "n_rounds")
        )
        return asked, first, n_rounds


def _dearest(contenders: Sequence[Contender], policy: str) -> Contender | None:
    found = [one for one in contenders if one.policy == policy]
    return found[-1] if found else None


def _streamed(contenders: Sequence[Contender]) -> list[Contender]:
    """One contender of each policy that is learned here: its middle budget."""
    found: dict[str, list[Contender]] = {}
    for one in contenders:
        is_here = one.trained < 0 and one.provider < 0
        if is_here and not entry_named(one.policy).knows_truth:
            found.setdefault(one.policy, []).append(one)
    return [group[len(group) // 2] for group in found.values()]
