"""Armol's text files of boxes: one file for each provider and image, a line a box.

A line is ``label-class-score-left-top-right-bottom`` in px, split by hyphens though
labels may hold hyphens, numbers a minus, and scores an exponent: it is read from its
end. Old lines of truth have no class. Files are named by the image's place in a JSON
list; a file that is not there found nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.recordings.cleaning import TRUTH
from midhaul.federation.recordings.parts import WordList, json_of, prices_from, text_of
from midhaul.federation.recordings.problem import Answers, Recording
from midhaul.federation.recordings.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.federation.recordings.findings import FindingCounter

TRUTH_FOLDERS = ("ground_truth", "ground-truth")
"""What the folder of the truth may be called."""

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SCORE = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf"
_BOX = "-".join(f"({_NUMBER})" for _ in range(4))
_LINE = re.compile(rf"(.+?)-(\d+)-({_SCORE})-{_BOX}")
_OLD_LINE = re.compile(rf"(.+?)-({_SCORE})-{_BOX}")
_N_CLASSES = 80


@dataclass(slots=True)
class _Boxes:
    """Boxes of one provider, in the order in which they come."""

    items: list[int]
    labels: list[int]
    numbers: list[tuple[float, ...]]

    def answers(self, n_items: int) -> Answers:
        rows = np.array(self.numbers, np.float32).reshape(-1, 5)
        return Answers.of_rows(
            np.array(self.items, np.int64),
            n_items,
            np.array(self.labels, np.int32),
            rows[:, 0],
            rows[:, 1:],
        )


def read_armol(
    folder: Path,
    *,
    split: str = "test",
    labels: Literal["class", "word"] = "class",
    prices_usd: Mapping[str, float] | None = None,
    price_usd: float | None = None,
    tally: FindingCounter,
) -> Recording:
    """Read a folder of Armol's text files.

    Args:
        folder: holds ``SPLIT/PROVIDER/N.txt``, ``SPLIT/ground_truth/N.txt`` and
            ``SPLIT_rank.json`` (or that in ``SPLIT``, or in ``../src/scripts`` as in
            Armol's own tree): names of the images, number N at place N. Without that
            list, images are called by their numbers.
        split: ``test`` or ``train``.
        labels: whether a box is what its class says (Armol's mapping, COCO's 80), or
            what the provider's own word says, to be mapped by a vocabulary of yours.
        prices_usd: price of a call by provider.
        price_usd: price of a call of everybody else.
        tally: where lines that cannot be read and files without an image are counted.

    Raises:
        DataError: a folder is missing, or a provider has no price.
    """
    whole = folder / split
    if not whole.is_dir():
        message = f"expected Armol's text files in {whole}, nothing is there"
        raise DataError(message, "its folder holds test and train with a folder each")
    found = sorted(path.name for path in whole.iterdir() if path.is_dir())
    providers = [name for name in found if name not in TRUTH_FOLDERS]
    truth_name = next((name for name in TRUTH_FOLDERS if name in found), None)
    if not providers:
        message = f"{whole} has no folder of a provider"
        raise DataError(message, "there is one for each, with N.txt for image N")
    items = _items(folder, split, [whole / name for name in found], tally)
    coco = read_vocabulary("coco80").names
    words = WordList(coco)
    answers = {
        name: _read_folder(whole / name, items, words, labels, tally) for name in found
    }
    recording = Recording(
        task="boxes",
        items=tuple(items.values()),
        names=words.names,
        providers=tuple(providers),
        prices_usd=prices_from(providers, {}, prices_usd, price_usd, str(whole)),
        answers=tuple(answers[name] for name in providers),
        truth=None if truth_name is None else _certain(answers[truth_name]),
    )
    return words.in_order(recording)


def write_armol(recording: Recording, folder: Path, *, split: str = "test") -> None:
    """Write boxes as Armol's text files, coordinates in whole px as it has them.

    What the layout cannot say is lost: missing answers become empty, scores keep six
    digits, and labels that COCO does not have are written without a class. DataError
    for another task.
    """
    if recording.task != "boxes":
        message = f"Armol's text files hold boxes, not {recording.task}"
        raise DataError(message, "write Parquet")
    vocabulary = read_vocabulary("coco80")
    classes = [vocabulary.find(name) for name in recording.names]
    whole = folder / split
    for name, number in zip(recording.names, classes, strict=True):
        parsed = parse_line(_line(name, number, 0.5, (0, 0, 1, 1)).strip())
        if parsed is None or parsed[0] != name:
            message = f"the label {name!r} cannot be told from numbers in Armol's lines"
            raise DataError(message, "rename it, or write Parquet")
    parts = dict(zip(recording.providers, recording.answers, strict=True))
    if recording.truth is not None:
        parts[TRUTH_FOLDERS[0]] = recording.truth
    for name, answers in parts.items():
        (whole / name).mkdir(parents=True, exist_ok=True)
        for i in np.flatnonzero(answers.counts).tolist():
            lines = [
                _line(recording.names[label], classes[label], score, box)
                for label, score, box in zip(
                    answers.labels[answers.of(i)].tolist(),
                    answers.scores[answers.of(i)].tolist(),
                    answers.boxes[answers.of(i)].tolist(),
                    strict=True,
                )
            ]
            (whole / name / f"{i}.txt").write_text("".join(lines), encoding="utf-8")
    (folder / f"{split}_rank.json").write_text(json.dumps(recording.items))


def parse_line(line: str) -> tuple[str, int | None, tuple[float, ...]] | None:
    """A line of Armol's: label, class (None where there is none), score and corners.

    None where the line is no such thing.
    """
    if match := _LINE.fullmatch(line):
        label, number, *rest = match.groups()
        return label, int(number), tuple(map(float, rest))
    if match := _OLD_LINE.fullmatch(line):
        label, *rest = match.groups()
        return label, None, tuple(map(float, rest))
    return None


def _line(name: str, number: int, score: float, box: Sequence[float]) -> str:
    corners = "-".join(f"{round(value)}" for value in box)
    middle = f"-{number}" if number >= 0 else ""
    return f"{name}{middle}-{score:.6g}-{corners}\n"


def _items(
    folder: Path, split: str, folders: Sequence[Path], tally: FindingCounter
) -> dict[int, str]:
    """Names of the images by their number."""
    for place in (folder, folder / split, folder.parent / "src" / "scripts"):
        file = place / f"{split}_rank.json"
        if file.is_file():
            return _ranked(file, tally)
    numbers = {
        int(path.stem)
        for one in folders
        for path in one.glob("*.txt")
        if _is_number(path)
    }
    return {number: str(number) for number in sorted(numbers)}


def _ranked(file: Path, tally: FindingCounter) -> dict[int, str]:
    listed = json_of(file, "a list of images")
    entries = cast("list[Any]", listed) if isinstance(listed, list) else [None]
    if not all(isinstance(entry, str) for entry in entries):
        message = f"{file} is no list of names"
        raise DataError(message, "it is a list of the images' names")
    items: dict[int, str] = {}
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        name, _, suffix = str(entry).rpartition(".")
        if suffix == "json":  # Armol lists the list itself
            tally.see("images", files=len(entries))
            tally.add("images", "file without a use", 1, [str(entry)])
            continue
        item = name or str(entry)
        if item in seen:
            message = f"{file}: the image {item} is there twice"
            raise DataError(message, "give every image a name of its own")
        seen.add(item)
        items[number] = item
    return items


def _read_folder(
    folder: Path,
    items: Mapping[int, str],
    words: WordList,
    labels: Literal["class", "word"],
    tally: FindingCounter,
) -> Answers:
    place = {number: i for i, number in enumerate(items)}
    boxes = _Boxes([], [], [])
    names = words.names
    who = TRUTH if folder.name in TRUTH_FOLDERS else folder.name
    for path in sorted(folder.glob("*.txt")):
        number = int(path.stem) if _is_number(path) else -1
        tally.see(who, files=1)
        if number not in place:
            tally.add(who, "file without an item", 1, [path.name])
            continue
        for line in text_of(path).splitlines():
            if not line.strip():
                continue
            parsed = parse_line(line.strip())
            if parsed is None:
                tally.see(who, entries=1)
                tally.add(who, "unreadable entry", 1, [f"{path.name}: {line}"])
                continue
            word, of_class, values = parsed
            if labels == "class" and of_class is not None and of_class < _N_CLASSES:
                word = names[of_class]
            boxes.items.append(place[number])
            boxes.labels.append(words.number(word))
            boxes.numbers.append(values)
    return boxes.answers(len(items))


def _certain(truth: Answers) -> Answers:
    return replace(truth, scores=np.ones_like(truth.scores))


def _is_number(path: Path) -> bool:
    return path.stem.isdecimal()
