"""Words of providers in one label set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midhaul.errors import DataError
from midhaul.federation.recordings.vocabulary import (
    IGNORED,
    UNKNOWN,
    Vocabulary,
    read_vocabulary,
)
from midhaul.vision.data.names import word_forms, word_key

if TYPE_CHECKING:
    from pathlib import Path

_COCO = read_vocabulary("coco80")
_VOC = read_vocabulary("voc20")


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Wine Glass", "wine glass"),
        ("wine_glasses", "wine glass"),
        ("WINE-GLASS", "wine glass"),
        ("wineglass", "wine glass"),
        ("People", "person"),
        ("Women", "person"),
        ("Policemen", "person"),
        ("children", "person"),
        ("Geese", "bird"),
        ("puppies", "dog"),
        ("Knives", "knife"),
        ("calves", "cow"),
        ("Buses", "bus"),
        ("bus", "bus"),
        ("Toothbrushes", "toothbrush"),
        ("Ski", "skis"),
        ("scissor", "scissors"),
        ("Automobile", "car"),
        ("Pickup Truck", "truck"),
        ("Kitchen & dining room table", "dining table"),
        ("Basketball (Ball)", "sports ball"),
        ("Télévision", "tv"),
        ("diningtable", "dining table"),
        ("satchel", None),
        ("counter", None),
        ("time", None),
        ("boo", None),
        ("cur", None),
        ("frank", None),
        ("glass", None),
        ("bag", None),
        ("Football", None),
    ],
)
def test_what_a_word_means(word: str, name: str | None) -> None:
    """Spelling and plurals are bridged, synonyms known, and doubtful words are not."""
    found = _COCO.find(word)
    assert (_COCO.names[found] if found >= 0 else None) == name


def test_words_that_mean_none_of_the_classes() -> None:
    """A wider word is ignored, a word that nobody declared is unknown."""
    assert _COCO.find("Vehicles") == IGNORED
    assert _COCO.find("guitar") == UNKNOWN
    assert _COCO.table(["car", "Animal", "guitar"]).tolist() == [2, IGNORED, UNKNOWN]
    assert _COCO.find("") == UNKNOWN
    assert _COCO.find("---") == UNKNOWN


def test_voc_knows_the_words_of_coco() -> None:
    """Its names are spelled its way, and classes that it lacks are none of its own."""
    assert _VOC.names[_VOC.find("airplane")] == "aeroplane"
    assert _VOC.names[_VOC.find("Golden Retriever")] == "dog"
    assert _VOC.names[_VOC.find("monitor")] == "tvmonitor"
    assert _VOC.names[_VOC.find("couch")] == "sofa"
    assert _VOC.find("Pickup Truck") == IGNORED
    assert _VOC.find("truck") == IGNORED
    assert _VOC.find("football", "google") == IGNORED
    assert len(_VOC.names) == 20


def test_what_a_provider_means_otherwise() -> None:
    """A provider's own words come first, and may mean none of the names."""
    assert _COCO.find("football", "google") == _COCO.find("ball")
    words = _COCO.with_overrides({"A": {"Mouse": None, "Crane": "bird"}})
    assert words.find("mouse", "A") == IGNORED
    assert words.names[words.find("cranes", "A")] == "bird"
    assert words.names[words.find("mouse", "B")] == "mouse"
    assert words.find("football", "google") == _COCO.find("ball")
    both = words.with_overrides({"A": {"crane": None}})
    assert both.find("crane", "A") == IGNORED
    assert both.find("mouse", "A") == IGNORED


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("vintage car", "car"),
        ("Racket", "tennis racket"),
        ("umbrela", "umbrella"),
        ("phone", "cell phone"),
        ("xyzzy", None),
    ],
)
def test_near_names_are_suggested(word: str, first: str | None) -> None:
    """A slip of the pen or a part of a word suggests a name, nonsense does not."""
    assert next(iter(_COCO.suggestions(word)), None) == first


def test_names_may_be_picked_and_spelled_otherwise() -> None:
    """Synonyms go with their name; words of names that are left out are ignored."""
    few = _COCO.renamed(["Automobile", "persons"])
    assert few.names == ("Automobile", "persons")
    assert few.table(["car", "sedan", "woman", "dog", "beagle"]).tolist() == [
        0,
        0,
        1,
        IGNORED,
        IGNORED,
    ]
    for names in (["car", "auto"], ["car", "starship"], ["car", "animal"]):
        with pytest.raises(DataError, match="means no label"):
            _COCO.renamed(names)


@pytest.mark.parametrize(
    ("synonyms", "ignored", "message"),
    [
        ({"car": ["dog"]}, [], "'dog' is there for 'dog' and for 'car'"),
        ({"car": ["Puppy"], "dog": ["pup py"]}, [], "there for 'car' and for 'dog'"),
        ({"boat": ["ship"]}, [], "'boat', which is no label"),
        ({"car": ["auto"]}, ["Auto"], "there for 'car' and for None"),
        ({"car": ["--"]}, [], "without letter or digit"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    synonyms: dict[str, list[str]], ignored: list[str], message: str
) -> None:
    """A word means one label or none, and targets are labels."""
    with pytest.raises(DataError, match=message):
        Vocabulary(("car", "dog"), synonyms, ignored)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    """A file may have its own names, or extend a table with words of its own."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'extends = "coco80"\nnames = ["car", "bird"]\nignored = ["tram"]\n'
        '[synonyms]\nbird = ["crane", "truck"]\n[providers.A]\ncrane = ""\n'
    )
    mine = read_vocabulary(file)
    assert mine.table(["Sedan", "owl", "crane", "trucks", "tram"]).tolist() == [
        0,
        1,
        1,
        1,
        IGNORED,
    ]
    assert mine.find("crane", "A") == IGNORED
    assert mine.find("dog") == IGNORED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names = [", "cannot be read as TOML"),
        ("names = 3", "names must be a list of texts"),
        ('names = ["a"]\nsynonym = 1', "has the key 'synonym'"),
        ('names = ["a"]\nsynonyms = 1', "synonyms must be a table"),
        ('names = ["a"]\n[synonyms]\na = "b"', "synonyms of a must be a list"),
        ('names = ["a"]\n[providers]\nA = 1', "A must be a table"),
        ('extends = "none"\nnames = ["a"]', "no vocabulary in none"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """What is wrong with a file is said, with its name."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_vocabulary(file)
    assert caught.value.hint


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    """A missing file names what else there is."""
    with pytest.raises(DataError) as caught:
        read_vocabulary(tmp_path / "none.toml")
    assert "coco80" in caught.value.hint


@given(st.text(max_size=12))
def test_any_text_has_a_spelling(word: str) -> None:
    """Keys are stable: the key of a key is itself, and forms begin with it."""
    key = word_key(word)
    assert word_key(key) == key
    assert word_forms(word)[0] == key
    assert word_key(f" {word.upper()}_".lower()) == word_key(word.upper().lower())
