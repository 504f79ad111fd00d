"""One front to all layouts of recorded answers, with what is done to them first."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.alignment import check_alignment
from midhaul.federation.cleaning import CleaningRules, clean_recording, match_items
from midhaul.federation.findings import FindingCounter
from midhaul.federation.readers.truth_labels import match_labels
from midhaul.federation.vocabulary import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.federation.finding_rules import Reason
    from midhaul.federation.problem import Recording, Task
    from midhaul.federation.vocabulary import ShippedTable

_MOST_SILENT, _SHOWN = 0.5, 3

Layout = Literal["parquet", "armol", "frugalml", "frugalmct", "coco"]
"""Layouts of recorded answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSource:
    """Where recorded answers are, and how they are to be taken.

    Attributes:
        kind: the layout.
        file: the file (parquet) or folder (all others) of the answers.
        task: what an answer is; every layout but Parquet knows its own.
        truth: the file of the truth, Parquet or COCO's annotations, where the answers
            do not have it.
        split: which part (armol).
        labels: whether a box is what its class says or the provider's word (armol).
        vocabulary: the label set to bring all words to: a table that comes with
            midhaul, a TOML file, or one that is ready; the words as they are when None.
        names: the label set in another spelling or order, or some of its names, see
            ``Vocabulary.renamed``; without a vocabulary, names that words must be
            spelled like.
        rules: what the providers' numbers mean.
        mismatch: what becomes of items that not everybody answered.
        providers: only these, in this order; all when empty.
        prices_usd: price of a call by provider, before the recorded ones.
        price_usd: price of a call of everybody who has no other.
        n_items: only so many items, drawn by hash; all when None.
        seed: which items are drawn.
    """

    kind: Layout
    file: Path
    task: Task = "boxes"
    truth: Path | None = None
    split: str = "test"
    labels: Literal["class", "word"] = "class"
    vocabulary: ShippedTable | Path | Vocabulary | None = None
    names: tuple[str, ...] = ()
    rules: CleaningRules = field(default_factory=CleaningRules)
    mismatch: Literal["keep", "intersection", "error"] = "keep"
    providers: tuple[str, ...] = ()
    prices_usd: Mapping[str, float] = field(default_factory=dict[str, float])
    price_usd: float | None = None
    n_items: int | None = None
    seed: int = 0


def open_recording(
    source: RecordingSource, tally: FindingCounter | None = None
) -> Recording:
    """Read recorded answers, bring them into order, and take the part that is wanted.

    Args:
        source: where and how.
        tally: where everything odd is counted; ``tally.report()`` tells it.

    Returns:
        A clean recording: words in one label set, scores in [0, 1], boxes on their
        images, the items and providers that were asked for.

    Raises:
        DataError: something is missing, cannot be read, or does not fit.
    """
    tally = tally if tally is not None else FindingCounter()
    n_outside = _n_outside(tally)
    with np.errstate(over="ignore"):  # what is too large is infinite, and cleaned so
        recording = _read(source, tally)
    if source.mismatch == "error" and (n_outside := _n_outside(tally) - n_outside):
        message = f"{n_outside} answers in {source.file} are about items without truth"
        raise DataError(message, "compare the ids of items, or take the intersection")
    if source.providers:
        tally.forget(set(recording.providers) - set(source.providers))
        recording = recording.only(source.providers)
    _check_prices(recording, source)
    recording = match_items(recording, source.mismatch, tally=tally)
    vocabulary = _vocabulary(source)
    if vocabulary is None and not _has_fixed_labels(source):
        recording = match_labels(recording, tally=tally)
    recording = clean_recording(recording, vocabulary, source.rules, tally=tally)
    _look_for_nothing(recording, tally)
    check_alignment(recording, tally=tally)
    if source.n_items is None:
        return recording
    return draw_items(recording, source.n_items, source.seed)


def draw_items(recording: Recording, n_items: int, seed: int = 0) -> Recording:
    """Some items of a recording, in its order.

    Whether an item is drawn depends on the hash of its id and the seed alone: with more
    items of the same recording, those drawn before are drawn again.

    Args:
        recording: any.
        n_items: how many; all when there are not so many.
        seed: another one draws others.
    """
    if n_items >= len(recording):
        return recording
    # salted, or those drawn would all be in the first part of a split by hash
    ranks = [_hash(f"drawn {seed}:{item}") for item in recording.items]
    drawn = np.argsort(np.array(ranks, np.uint64), kind="stable")[:n_items]
    return recording.take(np.sort(drawn))


def _has_fixed_labels(source: RecordingSource) -> bool:
    """Whether labels are numbers of a list, which no spelling can change."""
    return source.kind == "coco" or (
        source.kind == "armol" and source.labels == "class"
    )


def _look_for_nothing(recording: Recording, tally: FindingCounter) -> None:
    """Count items that somebody answered with nothing, where that is most of them."""
    if recording.truth is None or recording.task == "labels":
        return
    has_some = np.bincount(
        recording.truth.items[~recording.truth.is_ignored], minlength=len(recording)
    )
    for name, answers in zip(recording.providers, recording.answers, strict=True):
        asked = (has_some > 0) & ~answers.is_missing
        silent = np.flatnonzero(asked & (answers.counts == 0)).tolist()
        if len(silent) > _MOST_SILENT * asked.sum():
            shown = [recording.items[i] for i in silent[:_SHOWN]]
            reason: Reason = "item answered with nothing"
            tally.add(name, reason, len(silent), shown, of=int(asked.sum()))


def _n_outside(tally: FindingCounter) -> int:
    counts = tally.counts.items()
    return sum(n for (_, reason), n in counts if reason == "item not in the truth")


def _check_prices(recording: Recording, source: RecordingSource) -> None:
    unpriced = np.flatnonzero(np.isnan(recording.prices_usd)).tolist()
    if unpriced:
        names = ", ".join(recording.providers[p] for p in unpriced)
        message = f"{names} have no price in {source.file}"
        raise DataError(message, "give their price of a call in USD")


def _read(source: RecordingSource, tally: FindingCounter) -> Recording:
    price_usd = source.price_usd
    if price_usd is None and source.providers:
        price_usd = math.nan  # those that are left out need no price
    if source.kind == "parquet":
        from midhaul.federation.readers.parquet import read_parquet  # noqa: PLC0415

        return read_parquet(
            source.file,
            task=source.task,
            truth_file=source.truth,
            prices_usd=source.prices_usd,
            price_usd=price_usd,
            tally=tally,
        )
    if source.kind == "armol":
        from midhaul.federation.readers.armol import read_armol  # noqa: PLC0415

        return read_armol(
            source.file,
            split=source.split,
            labels=source.labels,
            prices_usd=source.prices_usd,
            price_usd=price_usd,
            tally=tally,
        )
    if source.kind == "frugalml":
        from midhaul.federation.readers.frugalml import read_frugalml  # noqa: PLC0415

        return read_frugalml(source.file, prices_usd=source.prices_usd, tally=tally)
    if source.kind == "frugalmct":
        from midhaul.federation.readers.frugalmct import read_frugalmct  # noqa: PLC0415

        return read_frugalmct(source.file, prices_usd=source.prices_usd, tally=tally)
    if source.truth is None:
        message = f"COCO's results in {source.file} mean nothing without annotations"
        raise DataError(message, "give the file of the annotations as the truth")
    from midhaul.federation.readers.coco_results import (  # noqa: PLC0415
        read_coco_results,
    )

    return read_coco_results(
        source.file,
        truth_file=source.truth,
        prices_usd=source.prices_usd,
        price_usd=price_usd,
        tally=tally,
    )


def _vocabulary(source: RecordingSource) -> Vocabulary | None:
    said = source.vocabulary
    if said is None:
        return Vocabulary(source.names) if source.names else None
    vocabulary = said if isinstance(said, Vocabulary) else read_vocabulary(said)
    return vocabulary.renamed(source.names) if source.names else vocabulary


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
