"""federation.evaluate: what happens when a file of that kind is run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.federation import result_rows, tables
from midhaul.federation.bundle import Bundle
from midhaul.federation.comparison import Outcome, judge
from midhaul.federation.evaluation import replay
from midhaul.federation.fault_replay import Served, write_faults
from midhaul.federation.inputs import features_of, image_reader, recording_of
from midhaul.federation.learning import Learned, learn, learn_bound
from midhaul.federation.line_up import Contender, LearnedAs, line_up
from midhaul.federation.policies.base import Examples
from midhaul.federation.policies.catalogue import entry_named
from midhaul.federation.preparing import Prepared, TestPart, split_three
from midhaul.federation.regret import write_regret
from midhaul.federation.serving.tables import FAULT_SUMMARY
from midhaul.federation.summarising import summarise
from midhaul.federation.worked_examples import write_examples
from midhaul.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.config import EvaluateConfig
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_PARTS_A_SPLIT = 10_000
_SEEDS_A_RUN = 1_000


def evaluate(config: EvaluateConfig, run: Run, progress: Progress) -> None:
    """Learn every policy on some items and judge it on others, over several splits.

    What a policy did to the test items of a split is written as soon as it is known; a
    run that is resumed reads it instead of learning that policy again.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        MidhaulError: the data are not what they should be, or a policy cannot be had.
    """
    recording, tallies = recording_of(config.data, config.seed, progress)
    run.tally(*tallies)
    features, _ = features_of(
        config.features, config.data, config.seed, recording, progress
    )
    run.write(tables.PROVIDERS, result_rows.provider_rows(recording), part=0)
    trained = [Bundle.load(file) for file in config.trained]
    for bundle in trained:
        bundle.check_fits(recording)
    contenders = line_up(config, recording, trained)
    run.write(tables.CONFIGURATIONS, [one.row() for one in contenders], part=0)
    outcomes: dict[int, list[Outcome]] = {one.number: [] for one in contenders}
    total = config.n_seeds * len(contenders)
    with progress.task("learning and judging", total=total) as task:
        for number in range(config.n_seeds):
            seed = config.seed * _SEEDS_A_RUN + number
            prepared, part = split_three(
                recording,
                features,
                config.fusion,
                config.reference,
                config.shares,
                seed,
            )
            split = _Split(
                config=config,
                run=run,
                progress=progress,
                number=number,
                seed=seed,
                prepared=prepared,
                part=part,
                trained=trained,
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
    prepared: Prepared
    part: TestPart
    trained: Sequence[Bundle]
    learned: dict[LearnedAs, Learned] = field(
        default_factory=dict["LearnedAs", Learned]
    )

    def outcome(self, one: Contender) -> Outcome:
        """What a contender did to the test items: read, or done now and written."""
        number = self.number * _PARTS_A_SPLIT + one.number
        part, fuser = self._judged_on(one)
        if number in set(self.run.parts(tables.DECISIONS.name)):
            return judge(part, fuser, *self._read(one.number))
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
        outcome = judge(part, fuser, done.asked, first, n_rounds)
        at = {"configuration": one.number, "split": self.number}
        fits = [{**at, "fit_s": fit_s, "decide_s": decide_s}]
        self.run.write(tables.FITS, fits, part=number)
        rows = result_rows.decision_table(
            one.number, self.number, part.recording.items, outcome
        )
        self.run.write(tables.DECISIONS, rows, part=number)
        return outcome

    def tell_more(
        self,
        contenders: Sequence[Contender],
        outcomes: dict[int, list[Outcome]],
    ) -> None:
        """Write what one split is enough for: reliability, regret, faults, images."""
        rows = result_rows.reliability_rows(self.part)
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
            items=self.part.items,
            raw=raw,
            recording=shown,
            features=self.part.features,
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
