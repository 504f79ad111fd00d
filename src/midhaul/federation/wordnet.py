"""What words mean, as WordNet has it: proposals for synonym tables, and their check.

WordNet is read by NLTK from the files of a local installation (Debian's wordnet-base);
nothing is fetched. Nothing else in midhaul needs either of them.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midhaul.errors import PrerequisiteError, require
from midhaul.federation.recordings.vocabulary import UNKNOWN
from midhaul.vision.data.names import word_forms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.federation.recordings.vocabulary import Vocabulary

FOLDERS = (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet"))
"""Where installations put the files."""

_N_LEXNAMES = 45
_SUFFIXES = frozenset({".noun", ".verb", ".adj", ".adv", ".exc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What an unknown word may mean.

    Attributes:
        word: as it was asked.
        name: the label that has a sense which is a synonym of the word's, or wider.
        sense: the word's sense, and what it says.
        n_senses: how many senses the word has at all; with several, look twice.
    """

    word: str
    name: str
    sense: str
    n_senses: int


class WordNet:
    """The nouns of WordNet.

    The usual folders of ``data.noun`` and its likes are tried without one;
    PrerequisiteError without NLTK or the files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        tried = FOLDERS if folder is None else (folder,)
        found = next((one for one in tried if (one / "data.noun").is_file()), None)
        if found is None:
            places = " or ".join(str(one) for one in tried)
            message = f"WordNet's files are not in {places}"
            raise PrerequisiteError(message, "apt-get install wordnet-base")
        self._reader = _open(found)

    def senses(self, words: str | Sequence[str]) -> tuple[str, ...]:
        """The noun senses of a word, or of several spellings of it."""
        spellings = [words] if isinstance(words, str) else words
        found: dict[str, None] = {}
        for spelling in spellings:
            for synset in self._reader.synsets(spelling.replace(" ", "_"), "n"):
                found[synset.name()] = None
        return tuple(found)

    def words_below(self, sense: str) -> dict[str, str]:
        """Every word for a sense or something narrower, with the sense it is of.

        KeyError where there is no such sense.
        """
        top = self._synset(sense)
        found: dict[str, str] = {}
        for synset in [top, *top.closure(lambda one: one.hyponyms())]:
            for lemma in synset.lemma_names():
                found.setdefault(lemma.replace("_", " ").lower(), synset.name())
        return found

    def meaning(self, sense: str) -> str:
        """What a sense says in a sentence."""
        return str(self._synset(sense).definition())

    def is_below(self, sense: str, wider: str) -> bool:
        """True where a sense is another one, or narrower."""
        top = self._synset(wider)
        one = self._synset(sense)
        return one == top or any(top in path for path in one.hypernym_paths())

    def _synset(self, sense: str) -> Any:
        try:
            return self._reader.synset(sense)
        except (
            Exception
        ) as error:  # NLTK's own class, whose module is not imported here
            raise KeyError(sense) from error


def propose(
    wordnet: WordNet,
    vocabulary: Vocabulary,
    senses: Mapping[str, Sequence[str]],
    words: Iterable[str],
) -> list[Proposal]:
    """What WordNet makes of words that a vocabulary does not know.

    A proposal is no decision: *bat* has a sense below every animal. They are in the
    order of the words; a word may have several or none.
    """
    found: list[Proposal] = []
    for word in words:
        if vocabulary.find(word) != UNKNOWN:
            continue
        own = wordnet.senses(_spellings(word))
        for sense in own:
            for name, tops in senses.items():
                if any(wordnet.is_below(sense, wider) for wider in tops):
                    said = f"{sense}: {wordnet.meaning(sense)}"
                    found.append(
                        Proposal(word=word, name=name, sense=said, n_senses=len(own))
                    )
    return found


def _spellings(word: str) -> list[str]:
    """Spellings that WordNet may have a word under: with spaces, hyphens or neither."""
    plain = " ".join(word.lower().replace("_", " ").split())
    spaced = plain.replace("-", " ")
    forms = [*word_forms(plain)] if " " not in spaced else []
    return list(dict.fromkeys([plain, spaced, spaced.replace(" ", "-"), *forms]))


def _open(folder: Path) -> Any:
    require("nltk", "wordnet")
    import nltk.data  # noqa: PLC0415 - optional
    from nltk.corpus.reader.wordnet import WordNetCorpusReader  # noqa: PLC0415

    class EnglishReader(WordNetCorpusReader):
        """The reader without its map to the words of other languages."""

        def map_wn(self, version: str = "wordnet") -> None:
            """No map: it would need NLTK's own copy of WordNet."""

    # NLTK wants a file of lexicographers' names, which Debian does not ship and nothing
    # here looks at, and it follows no link out of a folder on its path: hence the copy.
    # It keeps open what it was made to open here.
    with tempfile.TemporaryDirectory() as made:
        for file in folder.iterdir():
            if file.suffix in _SUFFIXES:
                shutil.copyfile(file, Path(made) / file.name)
        names = "".join(f"{i:02d}\tunnamed\t1\n" for i in range(_N_LEXNAMES))
        (Path(made) / "lexnames").write_text(names)
        nltk.data.path.append(made)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader = EnglishReader(made, None)
            reader.synset("entity.n.01")
        finally:
            nltk.data.path.remove(made)
        return reader
