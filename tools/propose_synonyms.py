"""What may words of a provider mean? Ask WordNet, and print lines for a synonym table.

    python tools/propose_synonyms.py coco80 Cockers "springer spaniel" bat
    python tools/propose_synonyms.py my-table.toml --words unknown-words.txt
    python tools/propose_synonyms.py coco80 --below bottle

The words are those that a report calls unknown, one a line in a file. A proposal is no
decision: a line of a word with several senses says so, and its sense stands behind it.
``--below`` lists what WordNet has for a name and the table has not. Needs NLTK and the
files of WordNet (Debian: wordnet-base); nothing is fetched.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from midhaul.errors import MidhaulError
from midhaul.federation.recordings.vocabulary import (
    UNKNOWN,
    read_table,
    read_vocabulary,
)
from midhaul.federation.wordnet import WordNet, propose

if TYPE_CHECKING:
    from midhaul.federation.recordings.vocabulary import ShippedTable


def main(arguments: list[str] | None = None) -> int:
    """Print proposals for words, or words below a name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", help="coco80, voc20 or a TOML file")
    parser.add_argument("word", nargs="*", help="words of providers")
    parser.add_argument("--words", type=Path, help="file with one word a line")
    parser.add_argument("--below", default="", help="a name of the table")
    given = parser.parse_args(arguments)
    words: list[str] = list(given.word)
    try:
        if given.words is not None:
            words += given.words.read_text(encoding="utf-8").splitlines()
        return _print(
            given.table, [word for word in words if word.strip()], given.below
        )
    except (MidhaulError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _print(table: str, words: list[str], below: str) -> int:
    source = Path(table) if table.endswith(".toml") else cast("ShippedTable", table)
    vocabulary = read_vocabulary(source)
    senses = _senses(source)
    wordnet = WordNet()
    for sense in senses.get(below, []):
        for word, own in sorted(wordnet.words_below(sense).items()):
            if vocabulary.find(word) == UNKNOWN:
                print(f'"{word}",  # {own}: {wordnet.meaning(own)}')
    found = propose(wordnet, vocabulary, senses, words)
    for one in found:
        doubt = f", 1 of {one.n_senses} senses" if one.n_senses > 1 else ""
        print(f'"{one.name}" = ["{one.word}"]  # {one.sense}{doubt}')
    for word in words:
        if vocabulary.find(word) == UNKNOWN and all(word != one.word for one in found):
            near = " or ".join(vocabulary.suggestions(word))
            print(f"# {word}: nothing" + (f", spelled like {near}" if near else ""))
    return 0


def _senses(source: ShippedTable | Path) -> dict[str, list[str]]:
    """The senses of a table's names, through the table that it extends."""
    table = read_table(source)[1]
    senses: dict[str, list[str]] = dict(table.get("synsets", {}))
    if "extends" in table:
        base = read_table(table["extends"])[1].get("synsets", {})
        own = read_vocabulary(source)
        for name, found in base.items():
            place = own.find(name)
            if place >= 0:
                senses.setdefault(own.names[place], found)
    return senses


if __name__ == "__main__":
    sys.exit(main())
