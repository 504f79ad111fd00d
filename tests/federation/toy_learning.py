"""Small problems whose best subset is known, for learners and their environment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.federation.policies.armol.ppo import fit_ppo
from midhaul.federation.policies.armol.presets import preset
from midhaul.federation.policies.armol.sac import fit_sac
from midhaul.federation.policies.armol.td3 import fit_td3
from midhaul.federation.policies.base import Examples
from midhaul.federation.recordings.problem import Answers, Recording

if TYPE_CHECKING:
    from jaxtyping import Int64

FIT: dict[str, Any] = {"sac": fit_sac, "td3": fit_td3, "ppo": fit_ppo}
N_ITEMS = 24


class LowestAsked:
    """Gives the answer of the lowest-numbered provider that answered."""

    name = "lowest"

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """See :class:`midhaul.federation.fusion.base.Fuser`."""
        labels = np.zeros(len(recording), np.int32)
        is_missing = np.ones(len(recording), bool)
        for p in reversed(range(recording.n_providers)):
            answers = recording.answers[p]
            for i in range(len(recording)):
                has_one = answers.starts[i + 1] > answers.starts[i]
                if asked[i] >> p & 1 and has_one:
                    labels[i] = answers.labels[answers.starts[i]]
                    is_missing[i] = False
        which = np.flatnonzero(~is_missing)
        return Answers.of_rows(
            which,
            len(recording),
            labels[which],
            np.ones(len(which), np.float32),
            is_missing=is_missing,
        )


def labels_of(labels: Int64[np.ndarray, " n"]) -> Answers:
    """One label per item; -1 for an empty answer."""
    which = np.flatnonzero(labels >= 0)
    return Answers.of_rows(
        which,
        len(labels),
        labels[which].astype(np.int32),
        np.ones(len(which), np.float32),
    )


def examples_of(
    right: np.ndarray, features: np.ndarray, *, first_item: int = 0
) -> Examples:
    """Items of two labels that each provider gets right or wrong as a table says.

    Args:
        right: ``(M, n)`` true where a provider is right, -1 where it says nothing.
        features: ``(n, d)``.
        first_item: number of the first item, in its id.
    """
    m, n = right.shape
    truth = np.arange(n) % 2
    answers = [
        np.where(row < 0, -1, np.where(row == 1, truth, 1 - truth)) for row in right
    ]
    recording = Recording(
        task="labels",
        items=tuple(f"item{first_item + i}" for i in range(n)),
        names=("no", "yes"),
        providers=tuple(f"p{p}" for p in range(m)),
        prices_usd=np.full(m, 0.001),
        answers=tuple(labels_of(row) for row in answers),
        truth=labels_of(truth),
    )
    return Examples(
        recording=recording,
        features=features.astype(np.float32),
        fuser=LowestAsked(),
    )


def one_best(n_providers: int = 3, best: int = 1) -> Examples:
    """One provider is always right, the others never; there are no features."""
    right = np.zeros((n_providers, N_ITEMS), np.int64)
    right[best] = 1
    return examples_of(right, np.zeros((N_ITEMS, 0)))


def two_contexts(*, first_item: int = 0) -> Examples:
    """A feature tells whether the first or the second of three providers is right."""
    context = np.arange(N_ITEMS) // 2 % 2
    right = np.stack([context == 0, context == 1, np.zeros(N_ITEMS, bool)])
    noise = np.random.default_rng(first_item).normal(size=N_ITEMS)
    features = np.stack([context, noise], axis=1)
    return examples_of(right.astype(np.int64), features, first_item=first_item)


def without_truth(examples: Examples) -> Examples:
    """The same items, about which nobody said what is right."""
    return replace(examples, recording=replace(examples.recording, truth=None))


def small(learner: str, name: str = "corrected", n_steps: int = 1_600) -> Any:
    """A preset with small networks that learn quickly."""
    settings: Any = preset(learner, name, n_steps)
    if learner == "ppo":
        course = replace(settings.course, n_epochs=n_steps // 130, n_steps=240)
        return replace(settings, course=course, actor_rate=5e-3, value_rate=1e-2)
    memory = replace(
        settings.replay,
        hidden=(24, 24),
        n_batch=64,
        learning_rate=4e-3,
        n_random=n_steps // 5,
        n_before=n_steps // 5,
        n_updates=10,
    )
    return replace(settings, replay=memory)
