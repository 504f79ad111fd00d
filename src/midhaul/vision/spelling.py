"""The spellings in which words of different label sets meet."""

from __future__ import annotations

import re
import unicodedata

_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "oxen": "ox",
}
_SHORTEST = 2


def word_key(word: str) -> str:
    """The spelling in which words meet: letters and digits alone, small, no accents."""
    if not word.isascii():
        word = unicodedata.normalize("NFKD", word)
    return "".join(filter(str.isalnum, word.casefold()))


def word_forms(word: str) -> tuple[str, ...]:
    """The key of a word, then keys of what it may be the plural of."""
    key = word_key(word)
    forms = [key]
    for plural, singular in _IRREGULAR.items():
        if key.endswith(plural):
            forms.append(key.removesuffix(plural) + singular)
    if key.endswith("ies"):
        forms.append(key[:-3] + "y")
    if key.endswith("ves"):
        forms += [key[:-3] + "f", key[:-3] + "fe"]
    if key.endswith("es"):
        forms.append(key[:-2])
    if key.endswith("s") and not key.endswith("ss"):
        forms.append(key[:-1])
    return (key, *(form for form in forms[1:] if len(form) >= _SHORTEST))


def word_parts(word: str) -> list[str]:
    """The words of a label of several words, small."""
    return re.findall(r"[^\W_]+", word.casefold())
