"""The synonym tables that come with midhaul say nothing wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import pytest
from tools import propose_synonyms

from midhaul.errors import PrerequisiteError
from midhaul.federation.recordings.vocabulary import (
    ShippedTable,
    read_table,
    read_vocabulary,
)
from midhaul.federation.wordnet import WordNet, propose
from midhaul.vision.data.names import map_labels, word_forms, word_key

if TYPE_CHECKING:
    from pathlib import Path

TABLES: tuple[ShippedTable, ...] = get_args(ShippedTable)
_COCO = read_table("coco80")[1]


@pytest.fixture(scope="module")
def wordnet() -> WordNet:
    """WordNet, where it and its reader are installed."""
    try:
        return WordNet()
    except PrerequisiteError as error:
        pytest.skip(f"{error.message}: {error.hint}")


def _words(table: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = table.get("synonyms", {}).items()
    return [(name, word) for name, words in pairs for word in words]


@pytest.mark.parametrize("table", TABLES)
def test_every_word_of_a_table_can_match(table: ShippedTable) -> None:
    """Each word is found as itself, and means what stands in the table."""
    vocabulary = read_vocabulary(table)
    for name, words in vocabulary.synonyms.items():
        for word in words:
            assert vocabulary.names[vocabulary.find(word)] == name, word
            assert vocabulary.names[vocabulary.find(word.upper())] == name, word


def test_words_are_written_in_one_way() -> None:
    """Small letters with single spaces; what only says so again is not there."""
    words = [word for _, word in _words(_COCO)] + _COCO["ignored"] + _COCO["names"]
    for word in words:
        assert word == " ".join(word.split()), word
        assert all(c.isascii() and (c.isalnum() or c == " ") for c in word), word
        assert word == word.lower(), word
    counts = Counter(word_key(word) for word in words)
    assert [key for key, count in counts.items() if count > 1] == []
    plurals = {
        word: form
        for word in words
        if word not in _COCO["names"]
        for form in word_forms(word)[1:]
        if form in counts
    }
    assert plurals == {}


def test_tables_point_at_their_names() -> None:
    """Synonyms, senses and reasons belong to names and words that are there."""
    names = set(_COCO["names"])
    words = {word for _, word in _words(_COCO)}
    assert len(_COCO["names"]) == len(names) == 80
    assert set(_COCO["synonyms"]) <= names
    assert names - set(_COCO["synsets"]) == {"stop sign"}
    assert set(_COCO["synsets"]) <= names
    assert set(_COCO["reviewed"]) <= words
    assert all(len(reason) > 5 for reason in _COCO["reviewed"].values())
    assert len(words) > 1000


def test_names_agree_with_those_of_the_data_sets() -> None:
    """VOC's names for COCO's classes are those that detections are mapped with."""
    import numpy as np  # noqa: PLC0415 - one test needs it

    from midhaul.model import Detections  # noqa: PLC0415 - one test needs it

    coco, voc = read_vocabulary("coco80"), read_vocabulary("voc20")
    n = len(coco.names)
    everything = Detections(
        boxes=np.zeros((n, 4), np.float32),
        scores=np.ones(n, np.float32),
        labels=np.arange(n, dtype=np.int32),
        names=coco.names,
    )
    mapped, unknown = map_labels(everything, voc.names)
    assert len(mapped) == 20
    meant = [voc.find(name) for name in coco.names]
    assert [i for i in meant if i >= 0] == mapped.labels.tolist()
    assert len(unknown) == sum(i < 0 for i in meant)


def test_words_are_synonyms_or_narrower(wordnet: WordNet) -> None:
    """WordNet has each word at or below its name's sense, or a reason stands there."""
    below = {
        name: {word_key(word) for one in senses for word in wordnet.words_below(one)}
        for name, senses in _COCO["synsets"].items()
    }
    elsewhere = {
        word
        for name, word in _words(_COCO)
        if word_key(word) not in below.get(name, frozenset())
    }
    assert elsewhere == set(_COCO["reviewed"])


def test_wordnet_proposes_words(wordnet: WordNet) -> None:
    """A word below a name's sense is proposed for it, one that is known is not."""
    found = propose(
        wordnet,
        read_vocabulary("coco80"),
        _COCO["synsets"],
        ["Cockers", "springer_spaniel", "bat", "satchel", "beagle", "wine-bottle"],
    )
    assert {(one.word, one.name) for one in found} == {("Cockers", "dog")}
    assert found[0].n_senses >= 1
    assert "spaniel" in found[0].sense
    with pytest.raises(KeyError):
        wordnet.words_below("nothing.n.77")


def test_missing_files_of_wordnet_are_told(tmp_path: Any) -> None:
    """Without the files, the message names the package that brings them."""
    with pytest.raises(PrerequisiteError) as caught:
        WordNet(tmp_path)
    assert "wordnet-base" in caught.value.hint


def test_the_tool_prints_lines_for_a_table(
    wordnet: WordNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proposals come as TOML with their sense, and a word without one is told of."""
    assert wordnet.senses("spaniel")
    file = tmp_path / "words.txt"
    file.write_text("Cockers\nbeagle\nxyzzy\n")
    assert propose_synonyms.main(["voc20", "--words", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('"dog" = ["Cockers"]  # ')
    assert lines[1:] == ["# xyzzy: nothing"]
    assert propose_synonyms.main(["coco80", "--below", "spoon"]) == 0
    assert '"wooden spoon"' not in capsys.readouterr().out
    assert propose_synonyms.main([str(tmp_path / "none.toml"), "x"]) == 2
    assert "no vocabulary in" in capsys.readouterr().err
