"""Answers that do not fit the truth: found where they can be, else not valid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midhaul.errors import DataError
from midhaul.federation.evaluate.config import EvaluateConfig, TrainConfig
from midhaul.federation.evaluate.experiment import evaluate
from midhaul.federation.evaluate.train import train
from midhaul.federation.recordings.findings import FindingCounter
from midhaul.federation.recordings.source import RecordingSource, open_recording
from midhaul.model import Verdict
from midhaul.runs.progress import SilentProgress
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from midhaul.model import Tally

Entry = dict[str, Any]

N = 60
FIRST = 201
NAMES = ("crate", "barrel", "sack", "drum", "pallet")


def truth_of(folder: Path, *, ids: Iterable[int] = ()) -> list[Entry]:
    """Write annotations of two boxes an image; a perfect provider's results."""
    rng = np.random.default_rng(3)
    numbers = list(ids) or list(range(1, len(NAMES) + 1))
    images: list[Entry] = []
    results: list[Entry] = []
    for image in range(FIRST, FIRST + N):
        name = f"shelf/{image + 5000:08d}.jpg"
        images.append({"id": image, "file_name": name, "width": 400, "height": 300})
        for side in range(2):
            corner = rng.integers(0, (150, 240)).tolist()
            result: Entry = {
                "image_id": image,
                "category_id": numbers[int(rng.integers(len(NAMES)))],
                "bbox": [corner[0] + 200 * side, corner[1], 45, 50],
                "score": 0.5 + 0.4 * float(rng.random()),
            }
            results.append(result)
    annotations = [
        {"id": i, **{k: v for k, v in one.items() if k != "score"}}
        for i, one in enumerate(results)
    ]
    categories = [{"id": i, "name": n} for i, n in zip(numbers, NAMES, strict=True)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(whole))
    return results


def opened(
    folder: Path, mismatch: Any = "keep", **providers: list[Entry]
) -> tuple[dict[str, int], FindingCounter]:
    """How many boxes of each provider are there to be judged, and what was odd."""
    for name, results in providers.items():
        (folder / f"{name}.json").write_text(json.dumps(results))
    counter = FindingCounter()
    found = open_recording(
        RecordingSource(
            kind="coco",
            file=folder,
            truth=folder / "truth.json",
            price_usd=0.001,
            mismatch=mismatch,
        ),
        counter,
    )
    sizes = [len(answers.labels) for answers in found.answers]
    return dict(zip(found.providers, sizes, strict=True)), counter


def verdict_of(counter: FindingCounter) -> Verdict:
    """What the oddities make of a measurement."""
    return Verdict.of(*counter.report().tallies())


def changed(results: list[Entry], **by: Callable[[Any], Any]) -> list[Entry]:
    """Results with some fields of every entry written otherwise."""
    return [{**one, **{key: do(one[key]) for key, do in by.items()}} for one in results]


@pytest.mark.parametrize(
    "name",
    [
        lambda image: f"{image + 5000:08d}",
        lambda image: f"{image + 5000:08d}.jpg",
        lambda image: f"some/where/{image + 5000:08d}.PNG",
        lambda image: image + 5000,
        lambda image: f"{image + 5000}",
    ],
)
def test_items_are_found_by_their_files(
    tmp_path: Path, name: Callable[[int], Any]
) -> None:
    """An item may be called by its file, which is said beside a verdict that holds."""
    results = truth_of(tmp_path)
    found, counter = opened(tmp_path, A=changed(results, image_id=name), B=results)
    assert found == {"A": 2 * N, "B": 2 * N}
    verdict = verdict_of(counter)
    assert verdict.is_valid
    assert [tally.n for tally in verdict.tallies] == [2 * N]
    assert "taken to be about" in verdict.remarks[0]


def test_an_id_written_as_a_fraction_is_that_id(tmp_path: Path) -> None:
    """7.0 is 7: some programs write every number as a float."""
    results = truth_of(tmp_path)
    odd = changed(results, image_id=float, category_id=float)
    found, counter = opened(tmp_path, A=odd)
    assert found == {"A": 2 * N}
    assert verdict_of(counter) == Verdict()


def test_a_provider_of_other_items_is_not_valid(tmp_path: Path) -> None:
    """Answers about other items speak against the measurement unless that is meant."""
    results = truth_of(tmp_path)
    strange = changed(results, image_id=lambda image: f"frame-{image}")
    found, counter = opened(tmp_path, A=strange, B=results)
    assert found["A"] == 0
    verdict = verdict_of(counter)
    assert "120 of 120 entries of A are about an item" in verdict.reasons[0]
    assert "were answered with nothing" in verdict.reasons[1]
    few = [*results, *strange[:3]]
    _, counter = opened(tmp_path, A=few, B=few)
    assert not verdict_of(counter).is_valid
    accepted = counter.report().tallies({"item not in the truth"})
    assert Verdict.of(*accepted).is_valid
    with pytest.raises(DataError, match="answers are about frame-201"):
        opened(tmp_path, A=strange, B=strange)


@pytest.mark.parametrize("shift", [-1, 1])
def test_ids_that_are_shifted_by_one_are_told(tmp_path: Path, shift: int) -> None:
    """A list counted from another number finds nearly all ids, and is not valid."""
    results = truth_of(tmp_path)
    images = changed(results, image_id=lambda image: image + shift)
    labels = changed(results, category_id=lambda category: category + shift)
    _, counter = opened(tmp_path, images=images, labels=labels, right=results)
    found = {(f.provider, f.reason): f for f in counter.report().findings}
    assert found["images", "items shifted by one"].count > N / 2
    assert found["labels", "labels shifted by one"].count > N
    assert not [key for key in found if key[0] == "right"]
    verdict = verdict_of(counter)
    assert sum("shifted by one" in one for one in verdict.reasons) >= 1
    assert sum("look shifted by one" in one for one in verdict.advice) == 2


def test_places_in_a_list_are_no_ids(tmp_path: Path) -> None:
    """Category ids with gaps, answered by their places: the exchange is told."""
    results = truth_of(tmp_path, ids=[1, 2, 4, 5, 9])
    places = {1: 1, 2: 2, 4: 5, 5: 4, 9: 1}
    odd = changed(results, category_id=places.__getitem__)
    odd = [
        {**one, "category_id": {1: 2, 2: 1}.get(one["category_id"], one["category_id"])}
        for one in odd
    ]
    _, counter = opened(tmp_path, A=odd, B=results)
    reasons = {f.reason for f in counter.report().findings if f.provider == "A"}
    assert "labels in another order" in reasons
    assert not verdict_of(counter).is_valid


def test_a_bad_provider_is_only_bad(tmp_path: Path) -> None:
    """Labels, boxes and silence at random are no shift: bad answers are measured."""
    results = truth_of(tmp_path)
    rng = np.random.default_rng(8)
    guessed = changed(
        results, category_id=lambda _: int(rng.integers(1, len(NAMES) + 1))
    )
    elsewhere = changed(results, bbox=lambda box: [*rng.integers(0, 240, 2), *box[2:]])
    elsewhere = json.loads(json.dumps(elsewhere, default=int))
    half = [one for one in results if one["image_id"] % 2]
    _, counter = opened(tmp_path, guessed=guessed, elsewhere=elsewhere, half=half)
    assert verdict_of(counter).is_valid


def test_a_file_that_was_cut_short_is_not_valid(tmp_path: Path) -> None:
    """Most items answered with nothing, where there is something: not valid."""
    results = truth_of(tmp_path)
    _, counter = opened(tmp_path, A=results[: N // 2], B=results)
    verdict = verdict_of(counter)
    assert "items of A were answered with nothing" in verdict.reasons[0]
    assert "cut short" in verdict.advice[0]


def tags(
    file: Path, words: list[str], truth: list[str], task: Any = "tags"
) -> FindingCounter:
    """One tag an item of a provider that says these words, and what was odd."""
    items = [f"item-{i}" for i in range(len(words))]
    table = {"item": items, "provider": ["A"] * len(items), "label": words}
    pq.write_table(pa.table({**table, "score": [0.5] * len(items)}), file)
    true = file.with_name("truth.parquet")
    pq.write_table(pa.table({"item": items, "label": truth}), true)
    counter = FindingCounter()
    found = open_recording(
        RecordingSource(
            kind="parquet", file=file, truth=true, task=task, price_usd=0.1
        ),
        counter,
    )
    assert found.truth is not None
    right = found.answers[0].labels == found.truth.labels
    counter.see("right", items=int(right.sum()))
    return counter


def test_labels_are_matched_by_spelling_alone(tmp_path: Path) -> None:
    """Capitals and blanks are bridged and told; synonyms are not valid; a few pass."""
    true = ["car", "person", "tv"] * 30
    spelled = tags(tmp_path / "a.parquet", [" Car", "Person ", "TV"] * 30, true)
    verdict = verdict_of(spelled)
    assert verdict.is_valid
    assert (
        "90 of 90 entries of A have a label that the truth spells"
        in (verdict.remarks[0])
    )
    named = tags(tmp_path / "a.parquet", ["Automobile", "person", "tv"] * 30, true)
    verdict = verdict_of(named)
    assert "'Automobile' for 'car'" in verdict.reasons[0]
    assert "data.vocabulary" in verdict.advice[0]
    other = tags(tmp_path / "a.parquet", ["0", "1", "2"] * 30, true)
    assert "nothing of the truth has" in verdict_of(other).reasons[0]
    some = tags(tmp_path / "a.parquet", ["car", "person", "harp"] * 30, true)
    assert verdict_of(some).is_valid


def test_labels_by_number_from_another_start(tmp_path: Path) -> None:
    """One label an item: numbers from 1 where the truth counts from 0."""
    rng = np.random.default_rng(2)
    true = [str(number) for number in rng.integers(0, 6, 90)]
    said = [str(int(number) + 1) for number in true]
    counter = tags(tmp_path / "a.parquet", said, true, task="labels")
    found = {finding.reason for finding in counter.report().findings}
    assert "labels shifted by one" in found
    late = [true[-1], *true[:-1]]
    counter = tags(tmp_path / "a.parquet", late, true, task="labels")
    found = {finding.reason for finding in counter.report().findings}
    assert found == {"items shifted by one"}


def test_words_that_are_no_news_are_declared(tmp_path: Path) -> None:
    """Unknown words speak against a measurement until somebody says they are none."""
    table = tmp_path / "mine.toml"
    items = [f"item-{i}" for i in range(20)]
    rows = {"item": items, "provider": ["A"] * 20, "label": ["car", "tent"] * 10}
    pq.write_table(pa.table({**rows, "score": [0.5] * 20}), tmp_path / "a.parquet")
    said = {}
    for key in ("false", "true"):
        table.write_text(
            f'extends = "coco80"\nnames = ["car"]\nignores_others = {key}\n'
        )
        counter = FindingCounter()
        open_recording(
            RecordingSource(
                kind="parquet",
                file=tmp_path / "a.parquet",
                task="tags",
                vocabulary=table,
                price_usd=0.1,
            ),
            counter,
        )
        said[key] = verdict_of(counter)
    assert "10 of 20 entries of A have a word" in said["false"].reasons[0]
    assert said["true"].is_valid
    assert "10 of 20 entries of A have a word" in said["true"].remarks[0]


def test_whom_nobody_wants_does_not_count(tmp_path: Path) -> None:
    """Oddities of a provider that is left out say nothing about the others."""
    results = truth_of(tmp_path)
    opened(tmp_path, A=changed(results, score=lambda _: "high"), B=results)
    counter = FindingCounter()
    source = RecordingSource(
        kind="coco",
        file=tmp_path,
        truth=tmp_path / "truth.json",
        price_usd=0.001,
        providers=("B",),
    )
    open_recording(source, counter)
    assert counter.report().tallies() == ()


def test_every_run_on_recorded_answers_says_it(tmp_path: Path) -> None:
    """Evaluating and training put what was dropped beside their verdict."""
    results = truth_of(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    late = changed(results, image_id=lambda image: image + 1)
    for name, one in (("late", late), ("right", results)):
        (folder / f"{name}.json").write_text(json.dumps(one))
    values: dict[str, Any] = {
        "data": {
            "kind": "coco",
            "file": folder,
            "truth": tmp_path / "truth.json",
            "price_usd": 0.001,
        },
        "fusion": {"name": "wbf", "calibration": "none"},
    }
    more = {"policies": ("single",), "n_seeds": 1, "faults": {"is_on": False}}
    evaluating = EvaluateConfig.model_validate({**values, **more, "n_resamples": 100})
    training = TrainConfig.model_validate({**values, "policy": "fixed"})
    runs = [
        Run.create(tmp_path / "one", "federation.evaluate", evaluating),
        Run.create(tmp_path / "two", "federation.train", training),
    ]
    evaluate(evaluating, runs[0], SilentProgress())
    train(training, runs[1], SilentProgress())
    told: list[tuple[Tally, ...]] = []
    for run in runs:
        run.finish()
        assert run.verdict is not None
        assert any("one beside it" in reason for reason in run.verdict.reasons)
        told.append(run.verdict.tallies)
    assert told[0] == told[1]
