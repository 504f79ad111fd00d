"""Specs: texts of the form ``kind:location?key=value`` that may name files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler

_NAMES_A_FILE = re.compile(r"/|\.[A-Za-z]\w*$")


class Spec(str):
    """Text of the form ``kind:location?key=value``, such as a detector.

    Its location and the values of its options may name files; see :meth:`resolved`.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate like a string."""
        del source, handler
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )

    def resolved(self, folder: Path) -> Spec:
        """The same with its files absolute: relative ones are taken from ``folder``.

        The location or an option's value names a file when it has a slash in it or ends
        in a suffix that begins with a letter; ``builtin:small`` names none, and neither
        does the address ``http://host:8000``. ``local:SPEC`` has the files of its spec.
        """
        kind, colon, rest = self.partition(":")
        if not colon or rest.startswith("//"):
            return self
        if kind == "local":
            return Spec(f"local:{Spec(rest).resolved(folder)}")
        location, mark, options = rest.partition("?")
        pairs = [pair.partition("=") for pair in options.split("&")]
        options = "&".join(k + eq + _absolute(v, folder) for k, eq, v in pairs)
        return Spec(kind + colon + _absolute(location, folder) + mark + options)


def _absolute(text: str, folder: Path) -> str:
    return str((folder / text).resolve()) if _NAMES_A_FILE.search(text) else text
